//! What a scheduler is told, what it asks for, and what it writes down.

use std::collections::BTreeMap;

use reactorcide_protocol::trigger::TriggerRequest;
use reactorcide_protocol::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::FailureReason;
use crate::queue::Slot;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// The name of a node in a run: a job's name, with its index where it was expanded: `test`, `test[0]`.
pub type NodeName = String;

/// What a scheduler is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    Begin,
    /// Somebody who may approved the run, or one job of it.
    Approve {
        /// The job; absent: the run.
        node: Option<NodeName>,
        /// Who, for people.
        by: String,
    },
    /// The run has a place in its group.
    Admit,
    /// A worker started an attempt.
    AttemptStarted {
        /// The node.
        node: NodeName,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// An attempt ended.
    AttemptFinished {
        /// The node.
        node: NodeName,
        /// The attempt, from 1.
        attempt: u32,
        /// How.
        result: AttemptResult,
    },
    /// A running job asks for more jobs or sets variables. It comes before the attempt's end.
    Triggered {
        /// The node that asks.
        node: NodeName,
        /// Its attempt.
        attempt: u32,
        /// Counts the requests of this node from 0; with `operation_id` absent it makes the request idempotent
        /// across attempts.
        ordinal: u32,
        /// What it asks for.
        request: TriggerRequest,
    },
    /// Somebody wants the run to stop.
    Cancel {
        /// Who and why, for people.
        reason: String,
        /// Kill at once instead of asking.
        force: bool,
    },
    /// Nobody is left who could go on with the run: what had started has failed, and nothing else starts.
    Abandon {
        /// Why, for people.
        reason: String,
    },
    /// Somebody wants one job to stop, and the others to go on.
    Stop {
        /// The node.
        node: NodeName,
        /// Who and why, for people.
        reason: String,
        /// Kill at once instead of asking.
        force: bool,
    },
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptResult {
    /// `None`: it succeeded.
    pub failure: Option<FailureReason>,
    /// The exit code, where there is one.
    pub exit_code: Option<i32>,
    /// One sentence for people.
    pub message: Option<String>,
    /// Values for `needs.JOB.outputs`.
    #[serde(default)]
    pub outputs: BTreeMap<String, Value>,
    /// Whether the attempt had started when it failed. What never started may always be tried again.
    pub started: bool,
    /// Whether another try would find the same, so that only a job that says so gets one.
    #[serde(default)]
    pub permanent: bool,
    /// What it used of its machine, where that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Box<Usage>>,
}

/// What a scheduler asks for, to be carried out in order after the state was stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Put an attempt of a node into the queue, not to be leased before `not_before`.
    Enqueue {
        /// The node.
        node: NodeName,
        /// The attempt, from 1.
        attempt: u32,
        /// Time before which it must not start (retry delay).
        not_before: Option<Millis>,
    },
    /// Let the run wait for a place in its group.
    Line(Slot),
    /// Stop an attempt that is queued or running.
    Stop {
        /// The node.
        node: NodeName,
        /// Its attempt.
        attempt: u32,
        /// Kill at once.
        force: bool,
    },
    /// Write this down.
    Record(Transition),
    /// The run has ended.
    Finish(RunStatus),
}

/// One change of one node or of the run, with its reason: the answer to "why?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at: Millis,
    /// The node; absent for the run as a whole.
    pub node: Option<NodeName>,
    /// The attempt, where the change is about one.
    pub attempt: Option<u32>,
    /// What it became: a status word.
    pub to: String,
    /// Why, in a sentence without a full stop: `"lint" failed and condition is all_success`.
    pub reason: String,
}

impl Transition {
    /// Whether it is the end of the run.
    pub fn ends_run(&self) -> bool {
        self.node.is_none() && RunStatus::of(&self.to).is_some_and(RunStatus::is_terminal)
    }
}

/// Where a node is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// Its dependencies have not all ended.
    Waiting,
    /// In the queue: it may start, and waits for a place, a time, a retry's delay or a worker.
    Queued,
    /// A worker runs it.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Never started, by decision.
    Skipped,
    /// Stopped, or never started because the run was stopped.
    Cancelled,
}

impl NodeStatus {
    /// Whether it is one of the four ends.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Cancelled)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where a run is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It has not begun: it waits for an approval, or for a place in its group.
    Waiting,
    /// Some node has not ended.
    Running,
    /// Every node succeeded or was skipped.
    Succeeded,
    /// Some node failed and no declared `any_failed` or `always` job changes that.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl RunStatus {
    /// Whether it is one of the three ends.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    /// The status that a word stands for.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == word)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
