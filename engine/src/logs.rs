//! Logs as they are kept: one sequence of bytes for each attempt of a job.

pub mod conformance;
mod memory;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::storage::StorageError;

pub use memory::MemoryLogs;

/// Keeps logs.
///
/// A log is a sequence of bytes: frames of [`crate::protocol::frame`], each ended by a newline, but the store knows no
/// frames. It begins empty, and one that nobody wrote to is empty: it has the length 0 and is not finished.
///
/// **Writers.** One at a time for each log; the lease on the job sees to that. The writer numbers its bytes, and bytes of
/// the same number are the same whenever they are sent. Hence an append that is repeated, overlaps what is there, or
/// comes to another server than the one before, changes nothing that is there. Appends that are sent before the answer
/// to an earlier one may be stored together with it, and fail together with it.
///
/// **Durability.** Once an append returned, its bytes survive the end of this process, and every reader of the same
/// storage sees them, in this process and in others. When one failed, its bytes may be there or not.
///
/// **Readers.** Any number, also while the log is written. What a reader has seen at an offset stays as it is.
///
/// A future that is dropped leaves a log that can be used: its bytes may be there or not.
#[async_trait]
pub trait LogStore: Send + Sync {
    /// Adds bytes whose first has the number `offset`, and returns the number that the next byte will have. What is there
    /// already is skipped. Bytes after the end of the log are refused with [`LogError::Gap`], so that a hole cannot come
    /// about unless the writer says so in the log, and a finished log with [`LogError::Finished`], unless the bytes
    /// add nothing to it. A server that has not heard yet that another one finished the log may take bytes; they add
    /// nothing either. Only a writer that goes on after it lost its lease can see that.
    async fn append(&self, key: &LogKey, offset: u64, bytes: Bytes) -> Result<u64, LogError>;

    /// Bytes from `offset` on, at most `max` of them, maybe fewer; none only at the end of the log and beyond, and where
    /// `max` is 0.
    async fn read(&self, key: &LogKey, offset: u64, max: usize) -> Result<Bytes, LogError>;

    /// How many bytes there are: what the next append begins with.
    async fn length(&self, key: &LogKey) -> Result<u64, LogError>;

    /// Whether it was finished.
    async fn is_finished(&self, key: &LogKey) -> Result<bool, LogError>;

    /// Waits until there are bytes after `offset`, or the log is finished. What this process appends is noticed at once,
    /// what others append within a few seconds. The way to follow: wait, then read up to the length that was told.
    async fn wait(&self, key: &LogKey, offset: u64) -> Result<Progress, LogError>;

    /// Says that nothing will be added, and makes the log compact. Can be repeated, and where it was interrupted must be.
    async fn finish(&self, key: &LogKey) -> Result<(), LogError>;

    /// Removes all logs of a run. What is gone is no error.
    async fn remove(&self, run: &str) -> Result<(), LogError>;

    /// The runs that have logs, in no order. For retention; it may be slow.
    async fn runs(&self) -> Result<Vec<String>, LogError>;
}

/// Names a log: one attempt of one job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogKey {
    /// The run's id.
    pub run: String,
    /// The node's name, as `test[0]`.
    pub node: String,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl LogKey {
    /// The log of an attempt.
    pub fn new(run: impl Into<String>, node: impl Into<String>, attempt: u32) -> Self {
        Self { run: run.into(), node: node.into(), attempt }
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log of job {:?} of run {}, attempt {}", self.node, self.run, self.attempt)
    }
}

/// How far a log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes there are.
    pub length: u64,
    /// Whether nothing will be added.
    pub finished: bool,
}

/// Why a log did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There are bytes missing before these.
    #[error("{key} ends at byte {expected}; bytes from {offset} on would leave a hole")]
    Gap {
        /// The log.
        key: LogKey,
        /// What the next append must begin with.
        expected: u64,
        /// What this one began with.
        offset: u64,
    },
    /// Nothing can be added any more.
    #[error("{key} is finished with {length} bytes")]
    Finished {
        /// The log.
        key: LogKey,
        /// Its length.
        length: u64,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What of an append is new to a log that ends at `end`: where it begins, and how many of its bytes to skip.
pub fn unseen(key: &LogKey, end: u64, offset: u64, count: usize) -> Result<usize, LogError> {
    match usize::try_from(end.saturating_sub(offset)) {
        _ if offset > end => Err(LogError::Gap { key: key.clone(), expected: end, offset }),
        Ok(seen) => Ok(seen.min(count)),
        Err(_) => Ok(count),
    }
}
