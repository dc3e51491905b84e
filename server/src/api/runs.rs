//! Runs: started, listed, looked at, followed, cancelled and repeated.

mod rows;

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::EventType;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::policy::digest;
use reactorcide_engine::protocol::usage::Usage;
use reactorcide_engine::runs::{RunFilter, RunRecord};
use reactorcide_engine::scheduler::{Event, RunStatus, Selection};
use reactorcide_engine::trace::Trace;
use reactorcide_engine::trigger_match::RunEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use self::rows::failure_word;
pub use self::rows::{JobRow, RemovedRow, Run, RunDetail, TransitionRow, WaitsFor};
use super::context::{Context, Json, MaybeJson, Path, Query};
use super::log_stream::follow_run;
use super::problem::{commit_id, within};
use super::{Page, Problem, Route, page};
use crate::conductor::{Start, now};
use crate::start::{StartError, Wanted, find, start};

/// The routes of runs.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/runs", list)
            .named("listRuns", "runs", "Runs, newest first")
            .needs(Capability::RunsRead)
            .query::<ListRuns>()
            .answers::<Page<Run>>(200),
        Route::post("/api/v1/runs", create)
            .named("startRun", "runs", "Starts a run of an applied pipeline")
            .needs(Capability::RunsStart)
            .body::<StartRun>()
            .answers::<Run>(201)
            .problems(&[404])
            .idempotent(),
        Route::get("/api/v1/runs/{run}", show)
            .named("getRun", "runs", "A run with its jobs")
            .needs(Capability::RunsRead)
            .answers::<RunDetail>(200),
        Route::get("/api/v1/runs/{run}/transitions", transitions)
            .named("listTransitions", "runs", "Every decision on a run, with its reason, oldest first")
            .needs(Capability::RunsRead)
            .query::<ListTransitions>()
            .answers::<Page<TransitionRow>>(200),
        Route::get("/api/v1/runs/{run}/events", events)
            .named(
                "followRun",
                "runs",
                "Decisions on a run as they are made, as server-sent events; it ends with the run",
            )
            .needs(Capability::RunsRead)
            .query::<Follow>()
            .answers_raw("text/event-stream"),
        Route::post("/api/v1/runs/{run}/cancel", cancel)
            .named("cancelRun", "runs", "Cancels a run")
            .needs(Capability::RunsCancel)
            .maybe_body::<CancelRun>()
            .problems(&[409]),
        Route::post("/api/v1/runs/{run}/retry", retry)
            .named("retryRun", "runs", "Runs a run that has ended once more, or what of it did not succeed")
            .needs(Capability::RunsStart)
            .maybe_body::<RetryRun>()
            .answers::<Run>(201)
            .problems(&[409])
            .idempotent(),
    ]
}

/// Which runs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRuns {
    /// Those of a project. Needed by who may not read the whole workspace.
    pub project: Option<String>,
    /// Those of a pipeline, by its address.
    pub pipeline: Option<String>,
    /// Those that are there on their way.
    pub status: Option<RunStatusWord>,
    /// Those that an event of this type started.
    pub event: Option<String>,
    /// Those whose id ends in this.
    pub id: Option<String>,
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Goes on with an earlier list.
    pub cursor: Option<String>,
}

/// Where a run is on its way.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words say it")]
pub enum RunStatusWord {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<RunStatusWord> for RunStatus {
    fn from(word: RunStatusWord) -> Self {
        match word {
            RunStatusWord::Waiting => Self::Waiting,
            RunStatusWord::Running => Self::Running,
            RunStatusWord::Succeeded => Self::Succeeded,
            RunStatusWord::Failed => Self::Failed,
            RunStatusWord::Cancelled => Self::Cancelled,
        }
    }
}

async fn list(context: Context, Query(query): Query<ListRuns>) -> Result<Answer<Page<Run>>, Problem> {
    context.may(Capability::RunsRead, query.project.as_deref())?;
    let limit = page::limit(query.limit)?;
    let filter = RunFilter {
        id_end: query.id,
        project: query.project,
        pipeline: query.pipeline,
        status: query.status.map(RunStatus::from),
        event: query.event,
        before: page::decode(query.cursor.as_deref())?,
        limit: limit + 1,
        ..RunFilter::default()
    };
    let runs = context.api.conductor.runs.runs(&filter).await?;
    let runs: Vec<Run> = runs.into_iter().map(Run::from).collect();
    Ok(Answer(Page::of(runs, limit, |run| (run.started_at, run.id.clone()))))
}

/// What to start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// The pipeline: `PROJECT/NAME` or its address.
    #[schemars(length(min = 1, max = 300))]
    pub pipeline: String,
    /// The branch whose code is to be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub branch: Option<String>,
    /// The tag whose code is to be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub tag: Option<String>,
    /// The commit whose code is to be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"))]
    pub sha: Option<String>,
    /// Values of the pipeline's inputs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Value>,
    /// Variables over those that the pipeline declares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// Only these jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
    /// And all that they wait for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow_needs: bool,
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let detail = error.to_string();
        match error {
            StartError::NoPipeline { hint, .. } => Self { hint, ..Self::not_found(detail) },
            StartError::Broken(_) | StartError::Refused(_) => Self::unprocessable(detail),
        }
    }
}

async fn create(
    context: Context,
    headers: HeaderMap,
    Json(body): Json<StartRun>,
) -> Result<impl IntoResponse, Problem> {
    let current = context.api.applied.current().await?;
    let pipeline = match find(&current.catalog, &body.pipeline) {
        Ok(pipeline) => pipeline,
        // Who may start nothing does not learn what there is.
        Err(error) => {
            context.may(Capability::RunsStart, None)?;
            return Err(error.into());
        }
    };
    context.may(Capability::RunsStart, pipeline.project.as_deref())?;
    within("branch", body.branch.as_deref(), 0, 1000)?;
    within("tag", body.tag.as_deref(), 0, 1000)?;
    commit_id("sha", body.sha.as_deref())?;
    let event = RunEvent {
        branch: body.branch.unwrap_or_default(),
        tag: body.tag.unwrap_or_default(),
        sha: body.sha.unwrap_or_default(),
        ..RunEvent::of(EventType::Manual)
    };
    let selection = (!body.jobs.is_empty())
        .then(|| Selection { jobs: body.jobs.clone(), follow_needs: body.follow_needs });
    let (inputs, vars, actor) = (body.inputs, body.vars, context.actor());
    let wanted = Wanted { pipeline, event, inputs, vars, selection, actor, told: None };
    let key = idempotency_key(&context, &headers, "runs")?;
    let begun = start(&current.catalog, wanted, key)?;
    accept(&context, begun).await
}

/// Starts a run, or finds the one that the same request started before.
async fn accept(context: &Context, begun: Start) -> Result<impl IntoResponse + use<>, Problem> {
    let run = Run::from(begun.record.clone());
    let started = context.api.conductor.start(begun).await?;
    let run = if started.new {
        let detail = json!({"pipeline": run.pipeline, "event": run.event, "retry_of": run.retry_of});
        context.note(Capability::RunsStart.as_str(), &format!("run/{}", run.id), detail).await?;
        run
    } else {
        let filter = RunFilter::of(&started.run);
        let known = context.api.conductor.runs.runs(&filter).await?;
        known.into_iter().next().map(Run::from).ok_or_else(|| Problem::not_found("the run is gone"))?
    };
    let location = format!("/api/v1/runs/{}", run.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Answer(run)))
}

/// What makes two requests one: the key that the caller gave, which is theirs alone.
pub(super) fn idempotency_key(
    context: &Context,
    headers: &HeaderMap,
    what: &str,
) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let key =
        key.ok_or_else(|| Problem::invalid("an Idempotency-Key is 1 to 128 visible ASCII characters"))?;
    Ok(Some(format!("{what} {} {key}", context.caller.principal)))
}

/// The run that somebody asks about, if they may.
pub(super) async fn run_of(
    context: &Context,
    run: &str,
    capability: Capability,
) -> Result<RunRecord, Problem> {
    let found = context.api.conductor.runs.runs(&RunFilter::of(run)).await?;
    match found.into_iter().next() {
        Some(found) => {
            context.may(capability, found.project.as_deref())?;
            Ok(found)
        }
        None => {
            context.may(capability, None)?;
            Err(Problem::not_found(format!("there is no run {run:?}")))
        }
    }
}

async fn show(context: Context, Path(run): Path<String>) -> Result<Answer<RunDetail>, Problem> {
    let record = run_of(&context, &run, Capability::RunsRead).await?;
    let look = context.api.conductor.look(&run, true, |known| {
        let state = &known.state;
        let trigger = state.event.as_object().cloned().unwrap_or_default().into_iter().collect();
        let jobs = state.rows().into_iter().map(JobRow::from).collect();
        let trace_id = state.trace.as_ref().map(Trace::id);
        let run = Run::from(known.record.clone());
        let (inputs, vars) = (state.inputs.clone(), state.vars().clone());
        let (waits_for, approved_by) = (WaitsFor::of(state), state.approved_by().map(str::to_owned));
        RunDetail { run, trigger, trace_id, waits_for, approved_by, inputs, vars, jobs, removed: Vec::new() }
    });
    let mut detail = match look.await {
        Ok(detail) => detail,
        // Remembered by an earlier version, which kept less.
        Err(crate::conductor::ConductError::NoRun(_)) => RunDetail {
            run: record.into(),
            trigger: BTreeMap::new(),
            trace_id: None,
            waits_for: None,
            approved_by: None,
            inputs: BTreeMap::new(),
            vars: BTreeMap::new(),
            jobs: Vec::new(),
            removed: Vec::new(),
        },
        Err(error) => return Err(error.into()),
    };
    // In the order of attempts, so that the last one stays.
    let used = context.api.conductor.runs.used(&run, None).await?;
    let mut used: BTreeMap<String, Usage> = used.into_iter().map(|used| (used.node, used.usage)).collect();
    for job in &mut detail.jobs {
        job.usage = used.remove(&job.name);
    }
    let removed = context.api.removals.of_run(&detail.run.id).await?;
    detail.removed = removed.into_iter().map(RemovedRow::from).collect();
    Ok(Answer(detail))
}

/// Which decisions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTransitions {
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Goes on with an earlier list.
    pub cursor: Option<String>,
}

async fn transitions(
    context: Context,
    Path(run): Path<String>,
    Query(query): Query<ListTransitions>,
) -> Result<Answer<Page<TransitionRow>>, Problem> {
    run_of(&context, &run, Capability::RunsRead).await?;
    let limit = page::limit(query.limit)?;
    let from: u64 = page::decode(query.cursor.as_deref())?.unwrap_or(0);
    let found = context.api.conductor.runs.transitions(&run, from, limit + 1).await?;
    let rows = (from..).zip(found).map(|(ordinal, one)| TransitionRow::new(ordinal, one)).collect();
    Ok(Answer(Page::of(rows, limit, |last: &TransitionRow| last.ordinal + 1)))
}

/// From where to follow.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// The first decision to be told. `Last-Event-ID` goes on after that.
    #[serde(default)]
    pub from: u64,
}

async fn events(
    context: Context,
    Path(run): Path<String>,
    headers: HeaderMap,
    Query(query): Query<Follow>,
) -> Result<impl IntoResponse, Problem> {
    run_of(&context, &run, Capability::RunsRead).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    Ok(follow_run(context.api, run, last.map_or(query.from, |last| last + 1)))
}

/// How to cancel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRun {
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub reason: Option<String>,
    /// Kill at once instead of asking.
    #[serde(default)]
    pub force: bool,
}

impl CancelRun {
    /// Who wants it and why, in one line.
    pub(super) fn words(&self, verb: &str, actor: &str) -> String {
        match self.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty()) {
            Some(reason) => {
                let reason: String = reason.chars().filter(|c| !c.is_control()).take(1000).collect();
                format!("{verb} by {actor}: {reason}")
            }
            None => format!("{verb} by {actor}"),
        }
    }
}

async fn cancel(
    context: Context,
    Path(run): Path<String>,
    MaybeJson(body): MaybeJson<CancelRun>,
) -> Result<StatusCode, Problem> {
    let record = run_of(&context, &run, Capability::RunsCancel).await?;
    within("reason", body.reason.as_deref(), 0, 1000)?;
    if record.status.is_terminal() {
        return Err(Problem::conflict(format!("the run has already ended: {}", record.status.as_str())));
    }
    let reason = body.words("cancelled", &context.actor());
    context.api.conductor.tell(&run, Event::Cancel { reason, force: body.force }).await?;
    let detail = json!({"force": body.force, "reason": body.reason});
    context.note(Capability::RunsCancel.as_str(), &format!("run/{run}"), detail).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How to repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRun {
    /// Only what did not succeed; the rest counts as it is.
    #[serde(default)]
    pub failed_only: bool,
}

async fn retry(
    context: Context,
    Path(run): Path<String>,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson<RetryRun>,
) -> Result<impl IntoResponse, Problem> {
    let record = run_of(&context, &run, Capability::RunsStart).await?;
    if !record.status.is_terminal() {
        return Err(Problem::conflict("the run goes on").hint("cancel it first, or wait for its end"));
    }
    if body.failed_only && record.status == RunStatus::Succeeded {
        return Err(Problem::conflict("nothing of the run failed"));
    }
    let id = uuid::Uuid::now_v7().to_string();
    let again = id.clone();
    let look =
        context.api.conductor.look(&run, true, move |known| known.state.again(again, body.failed_only));
    let state = look.await?;
    let address: Result<Address, _> = record.pipeline.parse();
    let Ok(address) = address else {
        return Err(Problem::conflict("the run is of no pipeline that is applied"));
    };
    if let Some(admission) = &state.admission {
        let current = context.api.applied.current().await?;
        if digest(&current.catalog, &address) != admission.policy {
            return Err(Problem::conflict(
                "what is applied has changed since the run was accepted: nobody could approve it again",
            )
            .hint("send its event again: that makes a new run"));
        }
    }
    let key = idempotency_key(&context, &headers, &format!("retry {run}"))?;
    let record = RunRecord {
        id,
        actor: context.actor(),
        retry_of: Some(run),
        holder: None,
        started_at: now(),
        ended_at: None,
        status: RunStatus::Running,
        ..record
    };
    accept(&context, Start { record, key, state }).await
}
