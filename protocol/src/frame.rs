//! The frames a runner writes: one JSON object a line, versioned, in the order in which things happened.
//!
//! What a step prints is only ever *data* inside a [`Body::Log`] frame, so nothing that a step prints can
//! become a frame. Write with [`Frame::encode`] or [`encode_log`] and read with [`Frame::decode`], which are much
//! faster for log frames than serde alone. Readers ignore fields they do not know and skip frames whose `type` they do not know.

mod codec;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::Next;
use crate::query::Query;
use crate::trigger::TriggerRequest;
use crate::usage::Sample;

pub use codec::{Envelope, encode_log};

/// The version of the frame format that this crate writes.
pub const VERSION: u32 = 1;

/// The longest line of one frame, in bytes, newline included. A writer splits log data well below it; a
/// reader may give up on a stream that exceeds it.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// One frame: an envelope and a body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Format version, [`VERSION`].
    pub v: u32,
    /// The attempt of the job that wrote it, from 1.
    pub attempt: u32,
    /// Counts the frames of one attempt from 0, without a hole; a hole that a reader sees is a loss.
    pub seq: u64,
    /// Milliseconds since the Unix epoch by the container's clock; for display only.
    pub at: i64,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// The runner read its spec and is about to start.
    Started {
        /// The runner's own version.
        runner: String,
    },
    /// A piece of a step's output, already masked.
    Log {
        /// The step that printed it; absent for the runner's own words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// Where it was printed.
        stream: Stream,
        /// The bytes.
        #[serde(flatten)]
        data: Data,
    },
    /// Bytes of output that were dropped, so that a gap is never silent.
    Gap {
        /// The step whose output is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// How many bytes are missing.
        bytes: u64,
        /// Why.
        reason: String,
    },
    /// A step began.
    StepStarted {
        /// The step's name.
        step: String,
    },
    /// A step ended or was skipped.
    StepFinished {
        /// The step's name.
        step: String,
        /// How it ended.
        outcome: StepOutcome,
        /// The exit code, where a process ran and exited by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Why it was skipped, killed or failed, in words for a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How long it ran, in milliseconds.
        duration_ms: u64,
    },
    /// Values that the job hands to the workflow (`needs.JOB.outputs.KEY`).
    Output {
        /// The step that set them; absent when set for the whole job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// The values.
        values: BTreeMap<String, Value>,
    },
    /// The job asks for more jobs in the same run.
    Trigger {
        /// What it asks for.
        request: TriggerRequest,
    },
    /// The job asks something about its run; the answer is a line from whoever started the runner.
    Query {
        /// Counts the questions of one attempt.
        id: u64,
        /// The question.
        query: Query,
    },
    /// A job that would run next, said for people; it starts nothing.
    Next(Next),
    /// Sent when nothing else was for a while.
    Heartbeat {},
    /// What the job has used so far.
    Usage(Sample),
    /// The last frame: how the job ended, in the runner's eyes.
    Result(JobResult),
    /// A frame type that this version does not know; read, never written.
    #[serde(other)]
    Unknown,
}

/// Where output was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The runner's own messages to the person who reads the log.
    System,
}

/// Bytes in JSON: text where they are UTF-8, else base64 of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// Valid UTF-8.
    Text(String),
    /// Standard base64 of bytes that are not.
    Base64(String),
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Exit code 0.
    Succeeded,
    /// Any other end.
    Failed,
    /// Not started: a dependency failed, or its `when` was false.
    Skipped,
    /// Killed because the job was stopped.
    Cancelled,
}

/// How a job ended in the runner's eyes. The worker has the last word: it sees an out-of-memory kill or a
/// dead runner, which the runner cannot report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// The end in one word.
    pub outcome: JobOutcome,
    /// The exit code of the command, or of the step that decided the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// One sentence for a person: `step "unit" exited with code 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a job ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOutcome {
    /// Every step that had to succeed did.
    Succeeded,
    /// A command or step exited with a code other than 0, or was killed by a signal.
    Exit,
    /// The job or a step ran out of time.
    Timeout,
    /// The runner was told to stop.
    Cancelled,
    /// What was asked cannot be run: command not found, working directory missing, bad condition.
    Config,
    /// No space was left on the device.
    NoSpace,
    /// The kernel killed a process for lack of memory, and a command failed.
    Oom,
    /// Nobody kept the lease any more, so the runner stopped the job.
    LostWorker,
}
