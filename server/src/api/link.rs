//! What workers ask and tell: `/worker/v1`. It is no part of the API for people; a worker and a server may be one version
//! apart, so fields are only ever added, and unknown ones ignored.

mod files;

pub(super) use files::content_of;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json as Answer;
use axum::body::Bytes;
use axum::http::StatusCode;
use reactorcide_engine::config::Standby;
use reactorcide_engine::coordinator::{
    Coordinator, CoordinatorError, Delivered, LeaseId, Report, Urgency, Work,
};
use reactorcide_engine::identity::{Capability, Principal};
use reactorcide_engine::logs::{LogKey, LogStore};
use reactorcide_engine::protocol::query::{Answer as Said, Query as Asked};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::queue::{Claimant, Renewed};
use reactorcide_engine::workers::{Worker, WorkerStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::context::{Context, Json, Query};
use super::{Problem, Route, until_closing};
use crate::conductor::now;
use crate::coordinator::{Audience, Desk, Tokens};

/// The longest that a worker waits for an answer.
const LONGEST: Duration = Duration::from_secs(60);

/// The routes of workers.
pub fn routes() -> Vec<Route> {
    let lease = |route: Route| route.needs(Capability::JobsLease);
    let mut routes = vec![
        lease(Route::post("/worker/v1/register", register))
            .named("workerRegister", "link", "A worker says who it is")
            .answers_raw("application/json"),
        lease(Route::post("/worker/v1/claim", claim))
            .named("workerClaim", "link", "A worker wants jobs")
            .answers_raw("application/json"),
        lease(Route::post("/worker/v1/renew", renew))
            .named("workerRenew", "link", "A worker keeps its leases")
            .answers_raw("application/json"),
        lease(Route::post("/worker/v1/report", report)).named(
            "workerReport",
            "link",
            "A worker says what happened",
        ),
        lease(Route::post("/worker/v1/log", log))
            .named("workerLog", "link", "A worker hands over a piece of a log")
            .answers_raw("application/json"),
        lease(Route::post("/worker/v1/ask", ask))
            .named("workerAsk", "link", "A job asks about its run")
            .answers_raw("application/json"),
        lease(Route::post("/worker/v1/secrets", secrets))
            .named("workerSecrets", "link", "A worker asks for the secrets of a job that it has a lease on")
            .answers_raw("application/json"),
        lease(Route::post("/worker/v1/id-token", id_token))
            .named("workerIdToken", "link", "A worker takes an identity token for a job that it has leased")
            .answers_raw("application/json"),
    ];
    routes.extend(files::routes());
    routes
}

/// Who a worker is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The WorkerPool that it is in.
    #[serde(default)]
    pub pool: Option<String>,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// What runs its containers.
    pub provider: String,
    /// Its version.
    pub version: String,
}

/// What a worker is told when it registers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// Its name, which its token gives it.
    pub name: String,
    /// Leases that it has: those that it knows of go on, the others are to be reported as lost.
    pub leases: Vec<LeaseId>,
    /// Containers that it starts ahead of jobs, as its pool says.
    pub standby: Vec<Standby>,
}

/// What a worker wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claiming {
    /// How many jobs at most.
    pub max: usize,
    /// How long it waits, in milliseconds.
    pub wait_ms: u64,
    /// How it is.
    #[serde(default)]
    pub health: Option<Value>,
    /// What its leases shall have as their token, which nobody could guess.
    #[serde(default)]
    pub token: Option<String>,
    /// Whether it has asked with this token before and heard nothing: what was given then is given once more.
    #[serde(default)]
    pub again: bool,
}

/// Leases that a worker keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Renewing {
    /// Which, and how urgently each is known to stop.
    pub known: Vec<(LeaseId, Urgency)>,
    /// How long it waits for news, in milliseconds.
    pub wait_ms: u64,
}

/// What happened with a lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reporting {
    /// The lease.
    pub lease: LeaseId,
    /// What happened.
    pub report: Report,
}

/// A question of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asking {
    /// The lease.
    pub lease: LeaseId,
    /// The question.
    pub query: Asked,
}

/// A lease that something is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leased {
    /// The lease.
    pub lease: LeaseId,
}

/// An identity token that a job wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proving {
    /// The lease.
    pub lease: LeaseId,
    /// For whom it is.
    pub audience: String,
}

/// An identity token. It does not print itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// The token.
    pub token: Sensitive,
}

/// Where a piece of a log belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPiece {
    /// The run.
    pub run: String,
    /// The node.
    pub node: String,
    /// The attempt.
    pub attempt: u32,
    /// The lease's token.
    pub token: String,
    /// Where its first byte is.
    pub offset: u64,
}

/// Where the next piece of a log begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// The byte.
    pub next: u64,
}

/// The worker that asks, which its token names.
fn name(context: &Context) -> Result<String, Problem> {
    context.may(Capability::JobsLease, None)?;
    match &context.caller.principal {
        Principal::Worker(id) => Ok(id.0.clone()),
        _ => Err(Problem::forbidden("only workers lease jobs")),
    }
}

/// What a worker talks to about leases that it has: these decide what it may say.
fn desk(context: &Context) -> Result<Desk, Problem> {
    let claimant = Claimant { worker: name(context)?, labels: BTreeMap::new(), pool: None };
    let api = &context.api;
    let audience = Arc::new(Archive { logs: Arc::clone(&api.logs) });
    let desk = Desk::new(api.conductor.clone(), audience, api.files.clone(), claimant, api.terms);
    Ok(desk.with_secrets(api.secrets.clone()).with_issuer(api.issuer.clone()))
}

/// What a worker gets leases from, as its labels and its pool allow.
async fn counter(context: &Context) -> Result<(Worker, Desk), Problem> {
    let name = name(context)?;
    let api = &context.api;
    let worker = api.workers.get(&name).await?;
    let worker = worker.ok_or_else(|| Problem::conflict("the worker has not registered"))?;
    let current = api.applied.current().await?;
    let pool = match &worker.pool {
        None => None,
        Some(pool) => match current.pool(pool) {
            Some(spec) => Some((pool.clone(), spec)),
            // A pool that is gone must not let in what it kept out.
            None => return Err(Problem::forbidden(format!("there is no WorkerPool {pool:?}"))),
        },
    };
    let claimant = Claimant { worker: name, labels: worker.labels.clone(), pool };
    let audience = Arc::new(Archive { logs: Arc::clone(&api.logs) });
    let desk = Desk::new(api.conductor.clone(), audience, api.files.clone(), claimant, api.terms);
    Ok((worker, desk.directed_by(Arc::clone(&api.workers))))
}

async fn register(context: Context, Json(body): Json<Registration>) -> Result<Answer<Registered>, Problem> {
    let name = name(&context)?;
    let now = now();
    let known = context.api.workers.get(&name).await?;
    if known.as_ref().is_some_and(|known| known.status == WorkerStatus::Disabled) {
        return Err(disabled(&name));
    }
    let worker = Worker {
        name: name.clone(),
        labels: body.labels,
        pool: body.pool,
        slots: body.slots,
        provider: body.provider,
        version: body.version,
        status: WorkerStatus::Active,
        registered_at: now,
        seen_at: now,
        health: known.and_then(|known| known.health),
    };
    context.api.workers.register(&worker).await?;
    let leases = context.api.conductor.queue.leases_of(&name).await?;
    let current = context.api.applied.current().await?;
    let pool = worker.pool.as_deref().and_then(|pool| current.pool(pool));
    let standby = pool.map(|pool| pool.standby).unwrap_or_default();
    Ok(Answer(Registered { name, leases, standby }))
}

fn disabled(name: &str) -> Problem {
    Problem::forbidden(format!("the worker {name:?} is disabled"))
        .hint("`reactorcide workers enable` lets it in again")
}

async fn claim(context: Context, Json(body): Json<Claiming>) -> Result<Answer<Work>, Problem> {
    let (worker, mut desk) = counter(&context).await?;
    if let Some(token) = body.token {
        if !(32..=128).contains(&token.len())
            || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        {
            return Err(Problem::invalid("a token of leases is 32 to 128 letters, digits and dots"));
        }
        desk = desk.with_tokens(Tokens::Given { token, again: body.again });
    }
    context.api.workers.seen(&worker.name, now(), body.health.as_ref()).await?;
    let wait = Duration::from_millis(body.wait_ms).min(LONGEST);
    let mut closing = context.api.closing.clone();
    let nothing = Answer(Work::Leases(Vec::new()));
    let max = body.max.min(1000);
    // A server that ends hands nothing out, and cuts nobody off who was handed something.
    if *closing.borrow() {
        return Err(Problem::unavailable("the server is shutting down"));
    }
    let claim = desk.claim(max, wait);
    tokio::pin!(claim);
    tokio::select! {
        biased;
        work = &mut claim => Ok(Answer(work?)),
        () = until_closing(&mut closing) => {
            desk.close();
            Ok(claim.await.map_or(nothing, |work| match work {
                Work::Leases(leases) => Answer(Work::Leases(leases)),
                // Other servers go on.
                Work::Closed => Answer(Work::Leases(Vec::new())),
            }))
        }
    }
}

async fn renew(context: Context, Json(body): Json<Renewing>) -> Result<Answer<Vec<Renewed>>, Problem> {
    let desk = desk(&context)?;
    let name = name(&context)?;
    let worker = context.api.workers.get(&name).await?;
    if worker.is_some_and(|worker| worker.status == WorkerStatus::Disabled) {
        return Err(disabled(&name));
    }
    context.api.workers.seen(&name, now(), None).await?;
    let wait = if *context.api.closing.borrow() { 0 } else { body.wait_ms };
    let mut closing = context.api.closing.clone();
    tokio::select! {
        renewed = desk.renew(&body.known, Duration::from_millis(wait).min(LONGEST)) => Ok(Answer(renewed?)),
        () = until_closing(&mut closing) => Ok(Answer(desk.renew(&body.known, Duration::ZERO).await?)),
    }
}

async fn report(context: Context, Json(body): Json<Reporting>) -> Result<StatusCode, Problem> {
    let desk = desk(&context)?;
    desk.report(&body.lease, body.report).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn log(
    context: Context,
    Query(piece): Query<LogPiece>,
    bytes: Bytes,
) -> Result<Answer<Logged>, Problem> {
    let desk = desk(&context)?;
    let LogPiece { run, node, attempt, token, offset } = piece;
    let lease = LeaseId { run, node, attempt, token };
    let next = desk.log(&lease, offset, bytes.to_vec()).await?;
    Ok(Answer(Logged { next }))
}

async fn ask(context: Context, Json(body): Json<Asking>) -> Result<Answer<Said>, Problem> {
    let desk = desk(&context)?;
    Ok(Answer(desk.ask(&body.lease, body.query).await?))
}

async fn secrets(context: Context, Json(body): Json<Leased>) -> Result<Answer<Delivered>, Problem> {
    let desk = desk(&context)?;
    Ok(Answer(desk.secrets(&body.lease).await?))
}

async fn id_token(context: Context, Json(body): Json<Proving>) -> Result<Answer<Proof>, Problem> {
    let token = desk(&context)?.id_token(&body.lease, &body.audience).await?;
    Ok(Answer(Proof { token }))
}

/// Keeps what workers say.
pub(crate) struct Archive {
    pub(crate) logs: Arc<dyn LogStore>,
}

#[async_trait]
impl Audience for Archive {
    async fn log(&self, lease: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError> {
        use reactorcide_engine::logs::LogError;
        let key = LogKey::new(&lease.run, &lease.node, lease.attempt);
        self.logs.append(&key, offset, lines.into()).await.map_err(|error| match error {
            LogError::Gap { expected, .. } => CoordinatorError::Gap { expected },
            LogError::Finished { .. } => lease.stale(),
            LogError::Storage(error) => CoordinatorError::Unavailable(error.to_string()),
        })
    }

    async fn progress(&self, lease: &LeaseId, text: String) {
        tracing::debug!(run.id = lease.run, job.name = lease.node, text, "progress");
    }

    async fn finished(&self, lease: &LeaseId) {
        let key = LogKey::new(&lease.run, &lease.node, lease.attempt);
        // If it cannot be finished now, its followers wait for the end of the run.
        if let Err(error) = self.logs.finish(&key).await {
            tracing::warn!(run.id = lease.run, job.name = lease.node, %error, "a log could not be finished");
        }
    }
}
