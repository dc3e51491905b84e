//! The queue: attempts of jobs that wait for a worker or have one, who may take which, and in which order.
//!
//! An entry is there from the moment that its attempt may run until the attempt is over. What is decided here is pure:
//! whether a worker is what a job needs ([`Needs`]), whose turn it is ([`allot`]), and why an entry waits
//! ([`explain`]). Rows and locks are the store's.

mod explain;
mod needs;
mod share;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use explain::{Group, Waiting, explain};
pub use needs::{Claimant, Needs};
pub use share::{Share, allot};

use crate::config::{ConcurrencyMode, EventType};
use crate::coordinator::{LeaseId, Urgency};
use crate::scheduler::{Assignment, Millis, NodeName, slot};
use crate::workflow::ENVIRONMENT;

/// How much earlier one point of priority lets an attempt be taken: what waits long enough passes what is more urgent.
pub const MILLIS_A_POINT: Millis = 60_000;

/// An attempt that may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The run.
    pub run: String,
    /// The node; empty for the run as a whole, which waits for its group.
    pub node: NodeName,
    /// The attempt, from 1; 0 for the run.
    pub attempt: u32,
    /// Whose share it takes. Empty for what belongs to no project.
    pub project: String,
    /// What a worker must be to take it.
    pub needs: Needs,
    /// Higher goes first.
    pub priority: i32,
    /// When it came into the queue.
    pub enqueued_at: Millis,
    /// Not to be taken before.
    pub due_at: Millis,
    /// The group that it must have a place in.
    pub slot: Option<Slot>,
    /// How long the attempt may take, in milliseconds, with everything that comes before and after it.
    pub timeout: Option<Millis>,
}

/// A place in a concurrency group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The group.
    pub group: String,
    /// How many places it has.
    pub limit: u32,
    /// What happens where there is none.
    pub mode: ConcurrencyMode,
}

impl Entry {
    /// Whether it is a run as a whole, which has no worker and keeps its place until it has ended.
    pub fn is_run(&self) -> bool {
        self.node.is_empty()
    }

    /// What it is, for people.
    pub fn title(&self) -> String {
        if self.is_run() {
            format!("the run {}", self.run)
        } else {
            format!("{} of the run {}", self.node, self.run)
        }
    }

    /// Its place in the order of its project: the lower, the sooner.
    pub fn rank(&self) -> Millis {
        rank(self.enqueued_at.max(self.due_at), self.priority)
    }
}

/// When an attempt counts as having come, by its priority. It never changes, so that an index can hold it, and what is
/// less urgent is passed only by what came not much later.
pub fn rank(came: Millis, priority: i32) -> Millis {
    came.saturating_sub(Millis::from(priority).saturating_mul(MILLIS_A_POINT))
}

/// The priority of a job that names none.
pub fn default_priority(event: EventType) -> i32 {
    match event {
        EventType::Push | EventType::Tag => 10,
        EventType::PullRequest => 5,
        _ => 0,
    }
}

/// Where an entry is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryStatus {
    /// Its group has no place for it.
    Blocked,
    /// A worker may take it.
    Ready,
    /// A worker has it.
    Leased,
}

impl EntryStatus {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::Leased => "leased",
        }
    }
}

/// An entry and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// Where it is on its way.
    pub status: EntryStatus,
    /// Whether it is to stop.
    pub stop: Urgency,
    /// The worker that has it.
    pub worker: Option<String>,
    /// Since when.
    pub leased_at: Option<Millis>,
    /// When it counts as lost, unless it is heard of before.
    pub expires_at: Option<Millis>,
}

/// What a worker wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Who.
    pub claimant: Claimant,
    /// How many at most.
    pub max: usize,
    /// The time.
    pub now: Millis,
    /// When what it takes counts as lost, unless it is heard of before.
    pub expires_at: Millis,
    /// Tells what it takes now from what anybody took before.
    pub token: String,
}

/// An entry that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The lease on it.
    pub lease: LeaseId,
    /// Whose share it took.
    pub project: String,
    /// Since when it could have been taken.
    pub due_at: Millis,
}

/// How many entries are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// Where they are on their way.
    pub status: EntryStatus,
    /// Whether they are ready and wait for a time to come.
    pub delayed: bool,
    /// Whose they are.
    pub project: String,
    /// What they need.
    pub needs: Needs,
    /// The worker that has them.
    pub worker: Option<String>,
    /// How many there are.
    pub count: u64,
    /// Since when the first of them could run.
    pub oldest: Millis,
}

/// What became of a lease that a worker wants to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The lease.
    pub lease: LeaseId,
    /// Whether it still stands; if not, what runs under it must end.
    pub stands: bool,
    /// Whether its attempt is to stop.
    pub stop: Urgency,
}

/// A lease that has to end, since nobody was heard of or it took too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// The lease.
    pub lease: LeaseId,
    /// The worker that had it.
    pub worker: String,
    /// Its time is over, although the worker is there.
    pub timed_out: bool,
}

/// An attempt that another one of its group takes the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// The run.
    pub run: String,
    /// The node; empty where it is the run.
    pub node: NodeName,
    /// By whom, for people.
    pub by: String,
}

/// How long it may take at most until the files of a job are kept that has ended.
const FILES: Millis = 1_800_000;

/// The entry of an assignment.
pub fn entry(
    assignment: &Assignment,
    project: Option<&str>,
    at: Millis,
    not_before: Option<Millis>,
    only: Option<&str>,
) -> Entry {
    let job = &assignment.job;
    let event = serde_json::from_value(assignment.event["type"].clone()).unwrap_or(EventType::Manual);
    let grace = millis(job.grace.as_millis());
    let files = if job.artifacts.is_some() || job.cache.is_some() { FILES } else { 0 };
    Entry {
        run: assignment.run.clone(),
        node: assignment.node.clone(),
        attempt: assignment.attempt,
        project: project.unwrap_or_default().to_owned(),
        needs: Needs {
            labels: job.runs_on.clone(),
            pools: assignment.profile.spec.pools.iter().cloned().collect(),
            profile: assignment.profile.name.clone(),
            only: only.map(str::to_owned),
        },
        priority: job.priority.unwrap_or_else(|| default_priority(event)),
        enqueued_at: at,
        due_at: not_before.unwrap_or(at),
        slot: job.concurrency.as_ref().map(|concurrency| match &job.deploys_to {
            // An environment may be that of several projects.
            Some(_) if concurrency.group.starts_with(ENVIRONMENT) => {
                Slot { group: concurrency.group.clone(), limit: concurrency.limit, mode: concurrency.mode }
            }
            _ => slot(concurrency, project, &assignment.event, &assignment.run),
        }),
        timeout: job
            .timeout
            .map(|timeout| millis(timeout.as_millis()).saturating_add(grace).saturating_add(files)),
    }
}

fn millis(number: u64) -> Millis {
    Millis::try_from(number).unwrap_or(Millis::MAX)
}
