//! The queue: what waits, where in its line, and why.

use std::collections::BTreeMap;

use axum::Json as Answer;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::queue::{Claimant, EntryStatus, Group, Row, Waiting, explain};
use reactorcide_engine::runs::EntryFilter;
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::workers::WorkerStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::{Context, Query};
use super::{Api, Page, Problem, Route, page};
use crate::conductor::now;

/// The route of the queue.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/queue", list)
            .named("listQueue", "queue", "Attempts of jobs that wait or run, in the order of their projects' lines, and what each waits for")
            .needs(Capability::QueueRead)
            .query::<ListQueue>()
            .answers::<Page<QueueEntry>>(200),
    ]
}

/// An attempt in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueEntry {
    /// The run.
    pub run: String,
    /// The job.
    pub job: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Whose share it takes.
    pub project: String,
    /// `blocked` (its group is full), `ready` or `leased` (a worker has it).
    pub status: String,
    /// Its place among what is ready in its project, from 1.
    #[serde(default)]
    pub position: Option<u64>,
    /// What it waits for, in a sentence.
    pub waits_for: String,
    /// Higher goes first.
    pub priority: i32,
    /// Labels that a worker must have.
    pub labels: BTreeMap<String, String>,
    /// The concurrency group that it needs a place in.
    #[serde(default)]
    pub group: Option<String>,
    /// When it came, in milliseconds since 1970.
    pub enqueued_at: Millis,
    /// Not to be taken before.
    pub due_at: Millis,
    /// The worker that has it.
    #[serde(default)]
    pub worker: Option<String>,
}

/// Which entries.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQueue {
    /// Those of a project. Needed by who may not read the whole workspace.
    pub project: Option<String>,
    /// Those of a run.
    pub run: Option<String>,
    /// Those that a worker has.
    pub worker: Option<String>,
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

async fn list(context: Context, Query(query): Query<ListQueue>) -> Result<Answer<Page<QueueEntry>>, Problem> {
    context.may(Capability::QueueRead, query.project.as_deref())?;
    let limit = page::limit(query.limit)?;
    let ListQueue { project, run, worker, .. } = query;
    let filter = EntryFilter { run, project, worker, limit, ..EntryFilter::default() };
    let rows = context.api.conductor.queue.entries(&filter).await?;
    Ok(Answer(Page::whole(explained(&context.api, rows).await?)))
}

/// Entries with what each waits for.
pub(super) async fn explained(api: &Api, rows: Vec<Row>) -> Result<Vec<QueueEntry>, Problem> {
    let current = api.applied.current().await?;
    let (mut workers, mut refusing) = (Vec::new(), Vec::new());
    for worker in api.workers.list().await? {
        let refuses = worker.refuses();
        let pool = worker.pool.and_then(|name| current.pool(&name).map(|spec| (name, spec)));
        let claimant = Claimant { worker: worker.name, labels: worker.labels, pool };
        match (worker.status, refuses) {
            (WorkerStatus::Active, None) => workers.push(claimant),
            (WorkerStatus::Active, Some(reason)) => refusing.push((claimant, reason)),
            _ => {}
        }
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for slot in rows.iter().filter_map(|row| row.entry.slot.as_ref()) {
        if !groups.contains_key(&slot.group) {
            let filter =
                EntryFilter { group: Some(slot.group.clone()), limit: 1000, ..EntryFilter::default() };
            let all = api.conductor.queue.entries(&filter).await?;
            let holders = all.into_iter().filter(|row| row.status != EntryStatus::Blocked);
            let holders = holders.map(|row| format!("{} of {}", row.entry.node, row.entry.run)).collect();
            groups.insert(slot.group.clone(), Group { limit: slot.limit, holders });
        }
    }
    let now = now();
    let mut positions: BTreeMap<String, u64> = BTreeMap::new();
    let describe = |row: Row| {
        let group = row.entry.slot.as_ref().map(|slot| slot.group.clone());
        let group_of = group.as_ref().and_then(|group| groups.get(group));
        let mut waiting = explain(&row, group_of, &workers, now);
        if let Waiting::Worker(reasons) = &mut waiting {
            let fits = |claimant: &Claimant| row.entry.needs.met_by(claimant, &row.entry.project).is_ok();
            let refuse = refusing.iter().filter(|(claimant, _)| fits(claimant));
            reasons.extend(refuse.map(|(claimant, why)| format!("{} takes none: {why}", claimant.worker)));
        }
        let position = (row.status == EntryStatus::Ready).then(|| {
            let position = positions.entry(row.entry.project.clone()).or_default();
            *position += 1;
            *position
        });
        QueueEntry {
            waits_for: words(waiting, position),
            status: row.status.as_str().to_owned(),
            position,
            worker: row.worker,
            run: row.entry.run,
            job: row.entry.node,
            attempt: row.entry.attempt,
            project: row.entry.project,
            priority: row.entry.priority,
            labels: row.entry.needs.labels,
            group,
            enqueued_at: row.entry.enqueued_at,
            due_at: row.entry.due_at,
        }
    };
    Ok(rows.into_iter().map(describe).collect())
}

fn words(waiting: Waiting, position: Option<u64>) -> String {
    match waiting {
        Waiting::Runs(text) | Waiting::Group(text) => text,
        Waiting::Until(_) => "a delay that is not over".to_owned(),
        Waiting::Worker(reasons) if reasons.is_empty() => "a worker: there is none".to_owned(),
        Waiting::Worker(reasons) => format!("a worker that fits: {}", reasons.join("; ")),
        Waiting::Turn => match position {
            Some(position) if position > 1 => {
                format!("its turn: {} of its project are before it", position - 1)
            }
            _ => "a free worker".to_owned(),
        },
    }
}
