//! The server's HTTP interface: `/api/v1` for people and programs, `/worker/v1` for workers.

mod accounts;
mod ad_hoc;
mod approvals;
mod artifacts;
mod audit;
mod caches;
mod config;
mod context;
mod events;
mod health;
mod hooks;
mod job;
mod jobs;
mod link;
mod log_stream;
mod me;
mod metrics;
pub mod openapi;
mod page;
mod problem;
mod queue;
mod route;
mod runs;
mod schedules;
mod secrets;
mod services;
mod teams;
mod tokens;
mod users;
mod well_known;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use reactorcide_engine::audit::{AuditLog, Draft, Outcome};
use reactorcide_engine::identity::IdentityStore;
use reactorcide_engine::logs::LogStore;
use reactorcide_engine::removals::RemovalStore;
use reactorcide_engine::schedule::PositionStore;
use reactorcide_engine::workers::WorkerStore;
use tokio::sync::watch;

use crate::applied::Applied;
use crate::conductor::{Conductor, now};
use crate::coordinator::Terms;
use crate::errands::Errands;
use crate::files::Files;
use crate::issuer::Issuer;
use crate::telemetry;
use crate::vault::Deliverer;
use context::{Denial, Denials, RequestId};

pub use ad_hoc::{StartJob, StartedJob};
pub use approvals::{ApprovePullRequest, ApproveRun, Approved};
pub use artifacts::ArtifactRow;
pub use audit::{AuditHead, AuditRow, OutcomeWord, Verified};
pub use caches::CacheRow;
pub use config::{
    Applied as AppliedChange, AppliedObject, AppliedResource, AppliedRevision, AppliedState, Apply,
    ChangeDetail, ChangeRow, CompactionRow, Effect, EffectStatus, MakePlan, ObservationRow, OwedTask,
    PipelineRow, ProjectRow, Resource, ResourceRow, RevisionRow,
};
pub use events::{Delivered, EventData, EventWord, NotStarted, SendEvent, StartedRun};
pub use hooks::{HookEvent, HookSender, HookWord, PullRequest, PullRequestSide};
pub use job::{FreshToken, OwnRun, Sibling, Trigger, WantedJob};
pub use jobs::{AttemptUsage, JobDetail, StopJob};
pub(crate) use link::Archive;
pub use link::{Claiming, Registration, Renewing, Reporting};
pub use me::{Me, RoleRow};
pub(crate) use metrics::listener;
pub use metrics::tell_metrics;
pub use page::Page;
pub use problem::{ConfigurationError, Problem};
pub use queue::QueueEntry;
pub use route::{Access, Operation, Route};
pub(crate) use runs::failure_word;
pub use runs::{CancelRun, JobRow, RemovedRow, RetryRun, Run, RunDetail, StartRun, TransitionRow, WaitsFor};
pub use schedules::ScheduleRow;
pub use secrets::{
    DeletedValues, MasterKeyRow, RetiredKey, RevealSecret, RevealedSecret, RotatedKey, SecretKeyRow,
    SecretKeys, SecretRow, SecretValueRow, SecretVersionRow, TestedSecret,
};
pub use services::{NameServiceAccount, ServiceAccount};
pub use teams::{ChangeTeam, CreateTeam, Team, TeamDetail};
pub use tokens::{CapabilityWord, CreateToken, CreatedToken, TokenRow};
pub use users::{ChangeUser, CreateUser, User};
pub(crate) use workers::PRESENT;
pub use workers::WorkerRow;

/// The longest body of a request that is no artifact.
const MAX_BODY: usize = 2 << 20;

/// Everything that a request may need. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// What decides on runs.
    pub conductor: Conductor,
    /// What is applied.
    pub applied: Arc<Applied>,
    /// Who there is.
    pub identities: Arc<dyn IdentityStore>,
    /// Who did what.
    pub audit: Arc<dyn AuditLog>,
    /// How far schedules have come.
    pub positions: Arc<dyn PositionStore>,
    /// What is kept no longer.
    pub removals: Arc<dyn RemovalStore>,
    /// Who runs jobs.
    pub workers: Arc<dyn WorkerStore>,
    /// What jobs printed.
    pub logs: Arc<dyn LogStore>,
    /// What is owed to the outside, and how to get there.
    pub errands: Errands,
    /// What jobs have kept.
    pub files: Files,
    /// Who hands out secrets.
    pub secrets: Deliverer,
    /// Who signs identity tokens.
    pub issuer: Issuer,
    /// How long leases hold.
    pub terms: Terms,
    /// The server is to end: whoever waits for news is let go.
    pub closing: watch::Receiver<bool>,
}

/// All routes.
pub fn routes() -> Vec<Route> {
    let groups = [
        openapi::routes(),
        health::routes(),
        well_known::routes(),
        metrics::routes(),
        runs::routes(),
        approvals::routes(),
        jobs::routes(),
        artifacts::routes(),
        caches::routes(),
        queue::routes(),
        schedules::routes(),
        secrets::routes(),
        workers::routes(),
        me::routes(),
        users::routes(),
        teams::routes(),
        services::routes(),
        tokens::routes(),
        audit::routes(),
        job::routes(),
        config::routes(),
        events::routes(),
        hooks::routes(),
        ad_hoc::routes(),
        link::routes(),
    ];
    groups.into_iter().flatten().collect()
}

/// What is known of all routes.
pub fn operations() -> Vec<Operation> {
    routes().into_iter().map(|route| route.operation).collect()
}

/// The server's router.
pub fn router(api: Api) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.operation.path, route.handler);
    }
    router
        .fallback(|| async { Problem::not_found("there is nothing here").hint("see /api/v1/openapi.json") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "not like this")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(api.clone(), around))
        .with_state(api)
}

/// What happens around every request: it gets an id, problems say it, its end is in the log, and what was to change
/// something and was denied is in the audit log.
async fn around(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
    let is_fit = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let id = given.filter(is_fit).map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let denials = Denials::default();
    request.extensions_mut().insert(denials.clone());
    let (method, target) = (request.method().clone(), request.uri().path().to_owned());
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let started = std::time::Instant::now();
    let trace = telemetry::given(request.headers());
    let response = telemetry::within(trace, next.run(request)).await;
    if response.status() == StatusCode::FORBIDDEN && !method.is_safe() {
        note_denial(&api, denials.first(), &method, &target, &id).await;
    }
    let mut response = match response.extensions().get::<Problem>() {
        Some(problem) if problem.request_id.is_none() => {
            Problem { request_id: Some(id.clone()), ..problem.clone() }.into_response()
        }
        _ => response,
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let (status, took) = (response.status().as_u16(), started.elapsed());
    api.conductor.observer.metrics.answered(&method, path.as_deref(), response.status(), took);
    let path = path.unwrap_or_else(|| "-".to_owned());
    if took > Duration::from_secs(1) && status < 500 {
        tracing::debug!(request.id = id, %method, path, status, ?took, "answered");
    } else {
        tracing::trace!(request.id = id, %method, path, status, ?took, "answered");
    }
    response
}

/// Writes down that somebody who is known tried what they may not. Nobody is let in if that fails.
async fn note_denial(api: &Api, denial: Option<&Denial>, method: &Method, target: &str, request: &str) {
    let Some(Denial { actor, action, reason }) = denial else { return };
    let draft = Draft {
        at: now(),
        actor: actor.clone(),
        action: action.clone(),
        target: target.chars().take(1000).collect(),
        outcome: Outcome::Denied,
        detail: serde_json::json!({"method": method.as_str(), "reason": reason}).into(),
        request: Some(request.to_owned()),
    };
    if let Err(error) = api.audit.append(&[draft]).await {
        tracing::error!(request.id = request, actor, action, target, %error, "a denial could not be written down");
    }
}

/// Waits until the server is to end.
pub(crate) async fn until_closing(closing: &mut watch::Receiver<bool>) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
