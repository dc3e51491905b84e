//! What a job asks for itself, with the token of its attempt: where the jobs of its run are, what they handed on, the run's
//! variables, and more jobs. The token names the run, so that no request can name another.

mod files;

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::http::{HeaderMap, StatusCode};
use reactorcide_engine::identity::{Capability, JobAttempt, Need, Principal};
use reactorcide_engine::protocol::query::{Answer as Said, Query as Asked};
use reactorcide_engine::protocol::spec::Condition;
use reactorcide_engine::protocol::trigger::{TriggerRequest, TriggeredJob};
use reactorcide_engine::scheduler::{Event, Millis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::context::{Context, Json, Path, Query, lease_of};
use super::problem::within;
use super::runs::{JobRow, Run, idempotency_key};
use super::{Api, Problem, Route};
use crate::coordinator::answer;

/// The most jobs that one request may ask for.
const MOST_JOBS: u64 = 100;

/// The routes of jobs about themselves.
pub fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get("/api/v1/job", show)
            .named("getOwnRun", "job", "The run of the job that asks, with where its jobs are")
            .needs(Capability::JobAsk)
            .answers::<OwnRun>(200),
        Route::get("/api/v1/job/jobs/{job}", state)
            .named("getSibling", "job", "A job of the same run: where it is, and what it handed on to who waited for it")
            .needs(Capability::JobAsk)
            .answers::<Sibling>(200),
        Route::get("/api/v1/job/vars", vars)
            .named("getVars", "job", "The run's variables as they are now")
            .needs(Capability::JobAsk)
            .answers::<BTreeMap<String, Value>>(200),
        Route::get("/api/v1/job/id-token", id_token)
            .named(
                "getIdToken",
                "job",
                "A fresh token by which the job proves what it is to an audience that it declares in `id_tokens`",
            )
            .needs(Capability::JobAsk)
            .query::<ForWhom>()
            .answers::<FreshToken>(200)
            .problems(&[409]),
        Route::post("/api/v1/job/triggers", trigger)
            .named(
                "trigger",
                "job",
                "Asks for more jobs in the same run, or sets variables of it. What is refused fails the job in the end, as it \
                 does by the other ways to trigger",
            )
            .needs(Capability::JobReport)
            .body::<Trigger>()
            .problems(&[409])
            .idempotent(),
    ];
    routes.extend(files::routes());
    routes
}

/// The run of a job, as the job sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OwnRun {
    /// The run.
    pub run: Run,
    /// The name of the job that asks.
    pub job: String,
    /// Its attempt, from 1.
    pub attempt: u32,
    /// All jobs of the run.
    pub jobs: Vec<JobRow>,
}

/// A job of the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sibling {
    /// Whether the run has a job of that name.
    pub found: bool,
    /// Whether it is queued or running, in this run or in another one of the project.
    pub running: bool,
    /// `waiting`, `queued`, `running`, `succeeded`, `failed`, `skipped`, `cancelled`.
    #[serde(default)]
    pub state: Option<String>,
    /// How its command ended.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Why it is where it is.
    #[serde(default)]
    pub reason: Option<String>,
    /// What it handed on, for a job that waited for it.
    pub outputs: BTreeMap<String, Value>,
    /// Runs of the project in which a job of that name is queued or running, beside this one.
    pub elsewhere: Vec<String>,
}

/// For whom a token is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForWhom {
    /// The audience.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
}

/// An identity token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FreshToken {
    /// The token.
    pub token: String,
    /// Good until, in milliseconds since 1970.
    pub expires_at: Millis,
}

/// What a job asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Makes it one request however often it comes. Default: the `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub operation_id: Option<String>,
    /// Jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub jobs: Vec<WantedJob>,
    /// New values of the run's variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
}

/// A job that is asked for: one that the pipeline declares, by its name, or one that is made from a template, or from an
/// image and a command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedJob {
    /// Its name in the run.
    #[schemars(length(min = 1, max = 128))]
    pub job_name: String,
    /// Jobs that it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What must have become of those.
    #[serde(default)]
    pub condition: ConditionWord,
    /// Its environment, over what the declaration says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The image, for a job that is not declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The command, for a job that is not declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// A JobTemplate to make it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The template's parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// One job for each item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<Vec<Value>>,
    /// The environment variable that carries the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_var: Option<String>,
}

/// What must have become of what a job waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConditionWord {
    /// All of it succeeded.
    #[default]
    AllSuccess,
    /// Some of it failed.
    AnyFailed,
    /// It ended.
    Always,
}

impl From<WantedJob> for TriggeredJob {
    fn from(job: WantedJob) -> Self {
        Self {
            job_name: job.job_name,
            depends_on: job.depends_on,
            condition: match job.condition {
                ConditionWord::AllSuccess => Condition::AllSuccess,
                ConditionWord::AnyFailed => Condition::AnyFailed,
                ConditionWord::Always => Condition::Always,
            },
            env: job.env,
            image: job.image,
            command: job.command,
            template: job.template,
            parameters: job.parameters,
            for_each: job.for_each,
            item_var: job.item_var,
        }
    }
}

/// The attempt that asks, if it may do that in its run.
fn attempt(context: &Context, capability: Capability) -> Result<JobAttempt, Problem> {
    match &context.caller.principal {
        Principal::Job(attempt) => {
            context.must(Need::run(capability, &attempt.run))?;
            Ok(attempt.clone())
        }
        _ => {
            context.must(Need::workspace(capability))?;
            Err(Problem::forbidden("only a job may ask for its own run"))
        }
    }
}

/// The attempt with the lease that it has now.
async fn leased(
    context: &Context,
    capability: Capability,
) -> Result<(JobAttempt, reactorcide_engine::coordinator::LeaseId), Problem> {
    let attempt = attempt(context, capability)?;
    let lease = lease_of(&context.api, &attempt).await?;
    let lease = lease.ok_or_else(|| Problem::unauthenticated("the attempt is over"))?;
    Ok((attempt, lease))
}

async fn show(context: Context) -> Result<Answer<OwnRun>, Problem> {
    let JobAttempt { run, node, attempt } = attempt(&context, Capability::JobAsk)?;
    let look = context.api.conductor.look(&run, true, |known| {
        (Run::from(known.record.clone()), known.state.rows().into_iter().map(JobRow::from).collect())
    });
    let (run, jobs) = look.await?;
    Ok(Answer(OwnRun { run, job: node, attempt, jobs }))
}

async fn state(context: Context, Path(job): Path<String>) -> Result<Answer<Sibling>, Problem> {
    let (_, lease) = leased(&context, Capability::JobAsk).await?;
    match answer(&context.api.conductor, &lease, Asked::Job { name: job }).await? {
        Said::Job(state) => Ok(Answer(Sibling {
            found: state.found,
            running: state.running,
            state: state.state,
            exit_code: state.exit_code,
            reason: state.reason,
            outputs: state.outputs,
            elsewhere: state.elsewhere.into_iter().map(|one| one.run).collect(),
        })),
        _ => Err(Problem::internal("the question was answered with something else")),
    }
}

async fn vars(context: Context) -> Result<Answer<BTreeMap<String, Value>>, Problem> {
    let (_, lease) = leased(&context, Capability::JobAsk).await?;
    match answer(&context.api.conductor, &lease, Asked::Vars {}).await? {
        Said::Vars { vars } => Ok(Answer(vars)),
        _ => Err(Problem::internal("the question was answered with something else")),
    }
}

async fn id_token(context: Context, Query(query): Query<ForWhom>) -> Result<Answer<FreshToken>, Problem> {
    let (_, lease) = leased(&context, Capability::JobAsk).await?;
    within("audience", Some(&query.audience), 1, 512)?;
    let Api { issuer, conductor, .. } = &context.api;
    let issued = issuer.issue(conductor, &lease, &query.audience, Some(&context.request)).await?;
    let token = issued.token.expose().to_owned();
    Ok(Answer(FreshToken { token, expires_at: issued.expires_at }))
}

async fn trigger(
    context: Context,
    headers: HeaderMap,
    Json(body): Json<Trigger>,
) -> Result<StatusCode, Problem> {
    let (attempt, lease) = leased(&context, Capability::JobReport).await?;
    within("operation_id", body.operation_id.as_deref(), 1, 128)?;
    let key = idempotency_key(&context, &headers, "triggers")?;
    let operation = body.operation_id.or(key).unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let request = TriggerRequest {
        operation_id: Some(operation.clone()),
        jobs: body.jobs.into_iter().map(TriggeredJob::from).collect(),
        ..TriggerRequest::of_vars(body.vars)
    };
    request.check().map_err(Problem::unprocessable)?;
    if request.count() > MOST_JOBS {
        return Err(Problem::unprocessable(format!("one request asks for {MOST_JOBS} jobs at most")));
    }
    let (node, ordinal) = (attempt.node.clone(), 0);
    let event = Event::Triggered { node, attempt: attempt.attempt, ordinal, request };
    context.api.conductor.report(&lease, event).await?;
    let node = attempt.node.clone();
    let look = context.api.conductor.look(&attempt.run, false, move |known| {
        known.state.trigger_outcome(&node, &operation).map(|outcome| outcome.map_err(str::to_owned))
    });
    match look.await? {
        Some(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Some(Err(refused)) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "trigger_refused", refused)),
        None => Err(Problem::conflict("the run takes no jobs any more: it has ended or is cancelled")),
    }
}
