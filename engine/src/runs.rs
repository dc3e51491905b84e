//! Runs as they are remembered: all that a scheduler needs to go on with them, the queue of their attempts, and every
//! decision with its reason.
//!
//! A run is a definition that never changes, a head, and one piece for each node ([`crate::scheduler::Stored`]). A
//! scheduler that was told something decides on what it knows, and commits what that changes with the version that it
//! knew. If the run has moved on since, nothing is written and it decides again. So any number of schedulers may work on
//! the same runs, and whoever dies loses nothing that was ever acknowledged.

pub mod conformance;
mod decide;
mod memory;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use decide::{Known, Said};
pub use memory::MemoryRuns;

use crate::coordinator::{LeaseId, Urgency};
use crate::protocol::query::Elsewhere;
use crate::protocol::usage::Usage;
use crate::queue::{Claim, Claimed, Depth, Entry, Overdue, Renewed, Row, Superseded};
use crate::scheduler::{Changes, Definition, Millis, NodeName, RunStatus, Stored, Transition};
use crate::store::StoreError;

/// Remembers runs. Whatever a method has returned from without an error survives the process.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Remembers new runs, each with what its first step decided. A run whose key is known already is not made a second
    /// time. All of them or none.
    async fn accept(&self, new: &[NewRecord]) -> Result<Vec<Accepted>, StoreError>;

    /// Writes decisions on runs. Each is written whole or not at all; one that is not written does not keep the others
    /// from it. At most one for a run.
    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, StoreError>;

    /// A run as it is stored, with its version and how many transitions it has had.
    async fn load(&self, run: &str) -> Result<Option<Loaded>, StoreError>;

    /// The run that a delivery started.
    async fn delivered(&self, key: &str) -> Result<Option<String>, StoreError>;

    /// The version of a run.
    async fn version(&self, run: &str) -> Result<Option<u64>, StoreError>;

    /// Runs, newest first.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError>;

    /// The transitions of a run from one on, oldest first.
    async fn transitions(&self, run: &str, from: u64, limit: u32) -> Result<Vec<Transition>, StoreError>;

    /// What attempts of a run used, those of one node or of all, in the order of nodes' names and attempts. Series are there
    /// where a node is named.
    async fn used(&self, run: &str, node: Option<&str>) -> Result<Vec<Used>, StoreError>;

    /// Runs of a project's pipelines that go on and have a job of this name queued or running; the newest first.
    async fn active(&self, project: Option<&str>, job: &str) -> Result<Vec<Elsewhere>, StoreError>;
}

/// Hands out attempts, in the order that [`crate::queue`] decides.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Takes what is due and what the claimant may have. Nobody else gets the same.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, StoreError>;

    /// Keeps leases of a worker until `expires_at`, and says what became of each, in their order. What another worker has
    /// is none of its leases, and is not kept.
    async fn renew(
        &self,
        worker: &str,
        leases: &[LeaseId],
        now: Millis,
        expires_at: Millis,
    ) -> Result<Vec<Renewed>, StoreError>;

    /// The worker that has a lease; nobody where it does not stand. Keeps nothing.
    async fn holder(&self, lease: &LeaseId) -> Result<Option<String>, StoreError>;

    /// Leases that nobody has kept, and attempts that take too long. Time in which nobody called this or
    /// [`Queue::claim`], as while no server was there or a clock was moved, counts for nobody: leases are moved by it,
    /// give or take a second.
    async fn overdue(&self, now: Millis, limit: u32) -> Result<Vec<Overdue>, StoreError>;

    /// Attempts whose place another one takes, and who were not told yet.
    async fn superseded(&self, limit: u32) -> Result<Vec<Superseded>, StoreError>;

    /// Runs that have got a place in their group, and were not told yet.
    async fn admitted(&self, limit: u32) -> Result<Vec<String>, StoreError>;

    /// How much there is in the queue, by where it is on its way and what it needs.
    async fn depth(&self, now: Millis) -> Result<Vec<Depth>, StoreError>;

    /// When something becomes due next that is not due now: a delay that ends.
    async fn next_due(&self, now: Millis) -> Result<Option<Millis>, StoreError>;

    /// Entries, in the order of their project's line.
    async fn entries(&self, filter: &EntryFilter) -> Result<Vec<Row>, StoreError>;

    /// The leases that a worker has.
    async fn leases_of(&self, worker: &str) -> Result<Vec<LeaseId>, StoreError>;

    /// How much more than others a project gets.
    async fn set_weight(&self, project: &str, weight: u32) -> Result<(), StoreError>;
}

/// The longest that leases run on while nobody looks; see [`Queue::overdue`].
pub const UNWATCHED: Millis = 30_000;

/// What an attempt used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The node.
    pub node: NodeName,
    /// The attempt.
    pub attempt: u32,
    /// What.
    pub usage: Usage,
}

/// A run, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: String,
    /// The address of the pipeline.
    pub pipeline: String,
    /// The project that the pipeline belongs to.
    pub project: Option<String>,
    /// The type of the event that started it.
    pub event: String,
    /// Who started it, for people.
    pub actor: String,
    /// The run that it repeats.
    pub retry_of: Option<String>,
    /// The process that runs it, where it runs beside whoever started it.
    pub holder: Option<String>,
    /// When it began.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Where it is on its way.
    pub status: RunStatus,
}

/// A run to be remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecord {
    /// What it is.
    pub record: RunRecord,
    /// What tells it from others of the same origin: the delivery that it was started by.
    pub key: Option<String>,
    /// What never changes of it.
    pub definition: Definition,
    /// What its first step decided, on version 0.
    pub first: Commit,
}

/// What became of a new run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is remembered.
    New,
    /// There was one with its key: this.
    Known(String),
}

/// What a step decided on one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The run.
    pub run: String,
    /// The version that was decided on.
    pub version: u64,
    /// How many transitions there were.
    pub ordinal: u64,
    /// What changed.
    pub changes: Changes,
    /// What was decided, and why.
    pub transitions: Vec<Transition>,
    /// Leases that must stand, since what was decided came with them.
    pub held: Vec<LeaseId>,
    /// Attempts that their workers have begun, and when.
    pub started: Vec<(NodeName, u32, Millis)>,
    /// What attempts that are over used.
    pub used: Vec<Used>,
    /// Attempts that are over. One that a worker has who does not know of it keeps its entry, to be stopped at once, until
    /// the worker says that nothing of it is left, or is lost.
    pub over: Vec<(NodeName, u32)>,
    /// Attempts that may run.
    pub enqueue: Vec<Entry>,
    /// Attempts that are to stop.
    pub stop: Vec<(NodeName, u32, Urgency)>,
    /// How the run ended, if it did.
    pub ended: Option<(RunStatus, Millis)>,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is written.
    Done,
    /// The run has another version by now, or is not there.
    Moved,
    /// These leases stand no more.
    Stale(Vec<LeaseId>),
}

/// A run that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// In short.
    pub record: RunRecord,
    /// Its version.
    pub version: u64,
    /// How many transitions it has had.
    pub ordinal: u64,
    /// All of it.
    pub stored: Stored,
}

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// The run of this id.
    pub id: Option<String>,
    /// Those whose id ends in this.
    pub id_end: Option<String>,
    /// Those of a project.
    pub project: Option<String>,
    /// Those of a pipeline, by its address.
    pub pipeline: Option<String>,
    /// Those that are there on their way.
    pub status: Option<RunStatus>,
    /// Those that an event of this type started.
    pub event: Option<String>,
    /// Those that began before this one, in the order of the list.
    pub before: Option<(Millis, String)>,
    /// At most so many; 0 means none.
    pub limit: u32,
}

impl RunFilter {
    /// The one of this id.
    pub fn of(id: &str) -> Self {
        Self { id: Some(id.to_owned()), limit: 1, ..Self::default() }
    }

    /// The newest ones.
    pub fn newest(limit: u32) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Whether a run is one of them.
    pub fn matches(&self, run: &RunRecord) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        is(&self.id, &run.id)
            && self.id_end.as_ref().is_none_or(|end| run.id.ends_with(end.as_str()))
            && is(&self.project, run.project.as_deref().unwrap_or_default())
            && is(&self.pipeline, &run.pipeline)
            && is(&self.event, &run.event)
            && self.status.is_none_or(|status| status == run.status)
            && self.before.as_ref().is_none_or(|before| (run.started_at, &run.id) < (before.0, &before.1))
    }
}

/// Which entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Those of a run.
    pub run: Option<String>,
    /// Those of a node.
    pub node: Option<String>,
    /// Those of a project.
    pub project: Option<String>,
    /// Those that a worker has.
    pub worker: Option<String>,
    /// Those that want a place in a group.
    pub group: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// How the addresses of a project's pipelines begin.
pub fn pipelines_of(project: Option<&str>) -> String {
    format!("Pipeline/{}/", project.unwrap_or("-"))
}

#[cfg(test)]
mod tests {
    use super::{MemoryRuns, conformance};

    macro_rules! check {
        ($($name:ident)*) => {
            $(#[tokio::test]
            async fn $name() {
                conformance::$name(&MemoryRuns::default()).await;
            })*
        };
    }

    check! {
        what_is_accepted_is_read_back
        a_delivery_makes_one_run
        who_is_overtaken_writes_nothing
        a_lease_is_kept_or_lost
        time_without_anybody_does_not_count
        what_was_used_is_remembered
        what_waits_is_counted
        the_order_is_fair
        workers_get_what_they_are_for
        a_group_has_its_places
        a_run_waits_for_its_group
        what_a_worker_has_is_not_over_before_it_says_so
        who_runs_a_job_is_found
        a_large_run_goes_through
    }
}
