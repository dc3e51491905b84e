//! What a worker knows of whoever hands out jobs: leases go one way, reports the other.
//!
//! The worker never sees a database. Locally the coordinator is a loop in the same process; on many machines it is a
//! server behind HTTP; the worker cannot tell.

use async_trait::async_trait;

use crate::protocol::frame::Frame;
use crate::protocol::query::{Answer, Query};
use crate::protocol::trigger::TriggerRequest;
use crate::scheduler::{Assignment, AttemptResult, Millis};

/// Hands out jobs and hears of them.
#[async_trait]
pub trait Coordinator: Send + Sync {
    /// Waits for work, and takes at most `max` attempts of it. `None`: there will be no more.
    async fn lease(&self, max: usize) -> Option<Vec<Lease>>;

    /// Tells what happened with a lease, in order. A report on a lease that is over changes nothing and is an error.
    /// It may wait for whoever reads it; what must not wait is not sent by it.
    async fn report(&self, lease: &LeaseId, report: Report) -> Result<(), StaleLease>;

    /// Asks about the run, for the job that has the lease.
    async fn ask(&self, lease: &LeaseId, query: Query) -> Result<Answer, StaleLease>;

    /// Waits until the attempt is to be stopped more urgently than `already`.
    async fn stop_requested(&self, lease: &LeaseId, already: Urgency) -> Urgency;
}

/// A worker's claim on one attempt of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Its identity.
    pub id: LeaseId,
    /// What to run.
    pub assignment: Assignment,
}

/// Identifies a lease: an attempt of a node, and the token that fences it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The container was started.
    Started {
        /// When.
        at: Millis,
    },
    /// Something for people while the job does not run yet: an image is being pulled.
    Progress(String),
    /// What the job printed, and its steps' ends.
    Frames(Vec<Frame>),
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Not at all.
    #[default]
    None,
    /// It is asked to stop, and killed after its grace time.
    Graceful,
    /// It is killed.
    AtOnce,
}

/// The lease is over: the attempt was given to somebody else, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lease on attempt {attempt} of {node} is over")]
pub struct StaleLease {
    /// The node.
    pub node: String,
    /// The attempt.
    pub attempt: u32,
}
