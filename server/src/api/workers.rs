//! Workers, as people see and direct them.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::http::StatusCode;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::runs::EntryFilter;
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::workers::{Worker, WorkerStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::context::{Context, Path};
use super::{Page, Problem, Route};
use crate::conductor::now;

/// The routes of workers.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/workers", list)
            .named("listWorkers", "workers", "Workers, by name")
            .needs(Capability::WorkersRead)
            .answers::<Page<WorkerRow>>(200),
        Route::get("/api/v1/workers/{worker}", show)
            .named("getWorker", "workers", "A worker")
            .needs(Capability::WorkersRead)
            .answers::<WorkerRow>(200),
        Route::post("/api/v1/workers/{worker}/drain", |context: Context, path: Path<String>| {
            set(context, path, WorkerStatus::Draining)
        })
        .named("drainWorker", "workers", "Lets a worker end what it has, and gives it no more")
        .needs(Capability::WorkersAdmin),
        Route::post("/api/v1/workers/{worker}/enable", |context: Context, path: Path<String>| {
            set(context, path, WorkerStatus::Active)
        })
        .named("enableWorker", "workers", "Lets a worker take jobs again")
        .needs(Capability::WorkersAdmin),
        Route::post("/api/v1/workers/{worker}/disable", |context: Context, path: Path<String>| {
            set(context, path, WorkerStatus::Disabled)
        })
        .named("disableWorker", "workers", "Refuses a worker from now on; what it has is lost in time")
        .needs(Capability::WorkersAdmin),
        Route::delete("/api/v1/workers/{worker}", remove)
            .named("removeWorker", "workers", "Forgets a worker that has no jobs")
            .needs(Capability::WorkersAdmin)
            .problems(&[409]),
    ]
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRow {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The WorkerPool that it is in.
    #[serde(default)]
    pub pool: Option<String>,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How many it runs now.
    pub busy: u32,
    /// `docker`, `nerdctl`, `kubernetes`.
    pub provider: String,
    /// Its version.
    pub version: String,
    /// `active`, `draining` or `disabled`.
    pub status: String,
    /// When it first came, in milliseconds since 1970.
    pub registered_at: Millis,
    /// When it was last heard of.
    pub seen_at: Millis,
    /// Whether it was heard of within the last minute and a half.
    pub present: bool,
    /// How it says that it is.
    #[serde(default)]
    pub health: Option<Value>,
}

/// A worker that nothing was heard of for so long is probably gone: it asks at least every minute.
pub(crate) const PRESENT: Millis = 90_000;

async fn row(context: &Context, worker: Worker) -> Result<WorkerRow, Problem> {
    let leases = context.api.conductor.queue.leases_of(&worker.name).await?;
    Ok(WorkerRow {
        busy: u32::try_from(leases.len()).unwrap_or(u32::MAX),
        status: worker.status.as_str().to_owned(),
        name: worker.name,
        labels: worker.labels,
        pool: worker.pool,
        slots: worker.slots,
        provider: worker.provider,
        version: worker.version,
        registered_at: worker.registered_at,
        seen_at: worker.seen_at,
        present: now() - worker.seen_at < PRESENT,
        health: worker.health,
    })
}

async fn list(context: Context) -> Result<Answer<Page<WorkerRow>>, Problem> {
    context.may(Capability::WorkersRead, None)?;
    let mut rows = Vec::new();
    for worker in context.api.workers.list().await? {
        rows.push(row(&context, worker).await?);
    }
    Ok(Answer(Page::whole(rows)))
}

fn none(worker: &str) -> Problem {
    Problem::not_found(format!("there is no worker {worker:?}"))
}

async fn show(context: Context, Path(worker): Path<String>) -> Result<Answer<WorkerRow>, Problem> {
    context.may(Capability::WorkersRead, None)?;
    let found = context.api.workers.get(&worker).await?.ok_or_else(|| none(&worker))?;
    Ok(Answer(row(&context, found).await?))
}

async fn set(
    context: Context,
    Path(worker): Path<String>,
    status: WorkerStatus,
) -> Result<StatusCode, Problem> {
    context.may(Capability::WorkersAdmin, None)?;
    if !context.api.workers.set_status(&worker, status).await? {
        return Err(none(&worker));
    }
    let detail = json!({"status": status.as_str()});
    context.note(Capability::WorkersAdmin.as_str(), &format!("worker/{worker}"), detail).await?;
    context.api.conductor.wake();
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(context: Context, Path(worker): Path<String>) -> Result<StatusCode, Problem> {
    context.may(Capability::WorkersAdmin, None)?;
    let has = EntryFilter { worker: Some(worker.clone()), limit: 1, ..EntryFilter::default() };
    if !context.api.conductor.queue.entries(&has).await?.is_empty() {
        return Err(
            Problem::conflict(format!("{worker:?} has jobs")).hint("drain it, and wait until it has none")
        );
    }
    if !context.api.workers.remove(&worker).await? {
        return Err(none(&worker));
    }
    context
        .note(Capability::WorkersAdmin.as_str(), &format!("worker/{worker}"), json!({"status": "removed"}))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
