//! What retention has removed, is about to, and when somebody last looked: rows that any number of servers share.
//!
//! A removal is written down before anything of it is removed, and ended after. Whoever is killed in between leaves an open
//! one, which the next sweep carries out: to remove what is gone is no error.

pub mod conformance;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::retention::Subject;
use crate::scheduler::Millis;
use crate::store::StoreError;

/// Remembers removals. Whatever a method has returned from survives the process.
#[async_trait]
pub trait RemovalStore: Send + Sync {
    /// Begins a sweep, unless one was begun after `before`. Only one of those who ask at once begins it.
    async fn begin_sweep(&self, now: Millis, before: Millis) -> Result<bool, StoreError>;

    /// Writes down what is about to be removed. What is there already stays as it is.
    async fn intend(&self, removals: &[RemovalRecord]) -> Result<(), StoreError>;

    /// Removals that were not ended, oldest first.
    async fn open(&self, limit: u32) -> Result<Vec<RemovalRecord>, StoreError>;

    /// Ends removals: nothing of them is left.
    async fn done(&self, subjects: &[String], now: Millis) -> Result<(), StoreError>;

    /// What was removed of a run, or is about to be.
    async fn of_run(&self, run: &str) -> Result<Vec<RemovalRecord>, StoreError>;
}

/// One removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalRecord {
    /// What goes: `logs:RUN` or `artifact:ID`.
    pub subject: String,
    /// The run that it is of.
    pub run: String,
    /// The name of an artifact.
    pub name: Option<String>,
    /// How many bytes it had, where that is known.
    pub bytes: Option<u64>,
    /// Why, for people.
    pub reason: String,
    /// When that was decided.
    pub decided_at: Millis,
    /// When nothing of it was left.
    pub removed_at: Option<Millis>,
}

impl Subject {
    /// What it is called in rows.
    pub fn id(&self) -> String {
        match self {
            Self::Logs { run } => format!("logs:{run}"),
            Self::Artifact { id, .. } => format!("artifact:{id}"),
        }
    }
}

/// Removals in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryRemovals {
    state: Mutex<(Option<Millis>, BTreeMap<String, RemovalRecord>)>,
}

impl MemoryRemovals {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Option<Millis>, &mut BTreeMap<String, RemovalRecord>) -> T,
    ) -> T {
        let (begun, removals) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        work(begun, removals)
    }
}

#[async_trait]
impl RemovalStore for MemoryRemovals {
    async fn begin_sweep(&self, now: Millis, before: Millis) -> Result<bool, StoreError> {
        Ok(self.with(|begun, _| {
            // One of the future is a clock's mistake.
            let may = begun.is_none_or(|begun| begun <= before || begun > now);
            if may {
                *begun = Some(now);
            }
            may
        }))
    }

    async fn intend(&self, new: &[RemovalRecord]) -> Result<(), StoreError> {
        self.with(|_, removals| {
            for removal in new {
                removals.entry(removal.subject.clone()).or_insert_with(|| removal.clone());
            }
        });
        Ok(())
    }

    async fn open(&self, limit: u32) -> Result<Vec<RemovalRecord>, StoreError> {
        let mut open: Vec<RemovalRecord> = self
            .with(|_, removals| removals.values().filter(|one| one.removed_at.is_none()).cloned().collect());
        open.sort_by(|a, b| (a.decided_at, &a.subject).cmp(&(b.decided_at, &b.subject)));
        open.truncate(limit as usize);
        Ok(open)
    }

    async fn done(&self, subjects: &[String], now: Millis) -> Result<(), StoreError> {
        self.with(|_, removals| {
            for subject in subjects {
                if let Some(removal) = removals.get_mut(subject) {
                    removal.removed_at = Some(now);
                }
            }
        });
        Ok(())
    }

    async fn of_run(&self, run: &str) -> Result<Vec<RemovalRecord>, StoreError> {
        Ok(self.with(|_, removals| removals.values().filter(|one| one.run == run).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::{MemoryRemovals, conformance};

    #[tokio::test]
    async fn removals_are_written_down_carried_out_and_told() {
        conformance::removals_are_written_down_carried_out_and_told(&MemoryRemovals::default()).await;
    }
}
