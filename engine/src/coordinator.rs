//! What a worker knows of whoever hands out jobs: leases go one way, reports the other.
//!
//! The worker never sees a database. Locally the coordinator is in the same process; on many machines it is a server
//! behind HTTP; the worker cannot tell.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::artifacts::{ArtifactKind, Content};
use crate::protocol::query::{Answer, Query};
use crate::protocol::spec::Sensitive;
use crate::protocol::trigger::TriggerRequest;
use crate::queue::Renewed;
use crate::scheduler::{Assignment, AttemptResult};
use crate::workers::Health;

/// Hands out jobs and hears of them. Each call may be made again when nobody knows whether it arrived. What is said of
/// artifacts and caches is for a coordinator that has no place for them.
#[async_trait]
pub trait Coordinator: Send + Sync {
    /// Takes at most `max` attempts, and waits for them no longer than `wait`.
    async fn claim(&self, max: usize, wait: Duration) -> Result<Work, CoordinatorError>;

    /// Is told how the worker's machine is. It need not hear of it at once, and may care nothing.
    fn told(&self, _health: &Health) {}

    /// Keeps leases. Returns what became of each, as soon as one is to stop more urgently than the worker knows, or is
    /// over, and after `wait` at the latest.
    async fn renew(
        &self,
        known: &[(LeaseId, Urgency)],
        wait: Duration,
    ) -> Result<Vec<Renewed>, CoordinatorError>;

    /// Tells what happened with a lease. Has it returned, it is known for good.
    async fn report(&self, lease: &LeaseId, report: Report) -> Result<(), CoordinatorError>;

    /// Hands over a piece of the log: whole lines, each a frame, and where the first begins in the log of the attempt.
    /// Returns where the next piece begins. It may wait for whoever reads it.
    async fn log(&self, lease: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError>;

    /// Asks about the run, for the job that has the lease.
    async fn ask(&self, lease: &LeaseId, query: Query) -> Result<Answer, CoordinatorError>;

    /// The secrets that the job may have now, and those that its code is fetched with. Decided anew each time it is asked,
    /// by what is applied at that moment; only for a lease that stands.
    async fn secrets(&self, lease: &LeaseId) -> Result<Delivered, CoordinatorError> {
        let _ = lease;
        Ok(Delivered::Given { job: BTreeMap::new(), sources: BTreeMap::new() })
    }

    /// A token by which the job with the lease proves to an audience what it is. The job must declare the audience.
    async fn id_token(&self, lease: &LeaseId, audience: &str) -> Result<Sensitive, CoordinatorError> {
        let _ = (lease, audience);
        Err(CoordinatorError::Refused(NO_ISSUER.to_owned()))
    }

    /// Keeps a file or a cache of the job, for later jobs and for people. It is kept once all of the content came, and not
    /// at all where that breaks off; said again with the same content, it is kept once. A cache whose key another one has
    /// stays as it is. Content is never more than a few pieces of it in memory.
    async fn keep(
        &self,
        lease: &LeaseId,
        keeping: &Keeping,
        content: Content,
    ) -> Result<(), CoordinatorError> {
        let _ = (lease, keeping, content);
        Err(no_place())
    }

    /// The files that the jobs have kept which the job with the lease depends on.
    async fn inputs(&self, lease: &LeaseId) -> Result<Vec<Offered>, CoordinatorError> {
        let _ = lease;
        Ok(Vec::new())
    }

    /// The cache that is best for the job: of this key, else of one that begins with the first of these, and so on.
    async fn cache(
        &self,
        lease: &LeaseId,
        key: &str,
        restore_keys: &[String],
    ) -> Result<Option<Offered>, CoordinatorError> {
        let _ = (lease, key, restore_keys);
        Ok(None)
    }

    /// The content of what was offered to the job, from a byte on. Where it breaks off, the rest can be asked for.
    async fn content(&self, lease: &LeaseId, id: &str, from: u64) -> Result<Content, CoordinatorError> {
        let _ = (lease, id, from);
        Err(no_place())
    }
}

/// What a coordinator says that is no server.
pub const NO_ISSUER: &str =
    "there is nobody here who issues identity tokens: a job with id_tokens runs on a server";

/// What a coordinator says that has no place for artifacts and caches, and so offers none.
fn no_place() -> CoordinatorError {
    CoordinatorError::Refused("there is no place for artifacts and caches".to_owned())
}

/// What comes of asking for secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivered {
    /// The values, by what the job calls each: `path` or `path:key`.
    Given {
        /// What the job gets.
        job: BTreeMap<String, Sensitive>,
        /// What its code is fetched with. The job gets none of it.
        sources: BTreeMap<String, Sensitive>,
    },
    /// It does not get all that it asks for, and so nothing: why, for people. Another try finds the same.
    Denied(String),
}

/// What is said of content that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// What it is.
    pub kind: ArtifactKind,
    /// Its name: a path below the working directory, or a key.
    pub name: String,
    /// Whether the file can be run as a program.
    #[serde(default)]
    pub executable: bool,
    /// How many bytes come. Content of another length is refused; nothing, where that is not known before.
    #[serde(default)]
    pub size: Option<u64>,
}

/// Content that a job may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its id.
    pub id: String,
    /// The job that made it.
    pub job: String,
    /// Its name.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
    /// Whether the file can be run as a program.
    #[serde(default)]
    pub executable: bool,
}

/// What comes of asking for work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Attempts to run; none, where there was nothing for so long.
    Leases(Vec<Lease>),
    /// There will be no more.
    Closed,
}

/// A worker's claim on one attempt of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Its identity.
    pub id: LeaseId,
    /// What to run.
    pub assignment: Assignment,
    /// If nobody could be told for so long that the lease is kept, what runs under it must end.
    pub stop_after: Duration,
}

/// Identifies a lease: an attempt of a node, and the token that fences it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseId {
    /// The run.
    pub run: String,
    /// The node.
    pub node: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Distinguishes this lease from every other one on the same attempt.
    pub token: String,
}

/// What a worker tells of a lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The container was started.
    Started,
    /// Something for people while the job does not run yet: an image is being pulled.
    Progress(String),
    /// The job asks for more jobs. Sent before its end.
    Triggered {
        /// Counts the requests of one attempt from 0.
        ordinal: u32,
        /// What it asks for.
        request: TriggerRequest,
    },
    /// The attempt is over, and nothing of it is left.
    Finished(AttemptResult),
}

/// How urgently an attempt is to be stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Not at all.
    #[default]
    None,
    /// It is asked to stop, and killed after its grace time.
    Graceful,
    /// It is killed.
    AtOnce,
}

/// Why a coordinator did not do what a worker wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// The lease is over: the attempt was given to somebody else, or has ended. Nothing was changed.
    #[error("the lease on attempt {attempt} of {node} is over")]
    Stale {
        /// The node.
        node: String,
        /// The attempt.
        attempt: u32,
    },
    /// A piece of a log does not follow what is there.
    #[error("the log goes on at byte {expected}")]
    Gap {
        /// Where it goes on.
        expected: u64,
    },
    /// Nobody answered, or could: another try may help.
    #[error("the coordinator cannot be reached: {0}")]
    Unavailable(String),
    /// The worker may not do that. Another try finds the same.
    #[error("the coordinator refuses: {0}")]
    Refused(String),
}

impl LeaseId {
    /// The error that says that it is over.
    pub fn stale(&self) -> CoordinatorError {
        CoordinatorError::Stale { node: self.node.clone(), attempt: self.attempt }
    }
}
