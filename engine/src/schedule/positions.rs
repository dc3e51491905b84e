//! How far schedules have come, as it is remembered: rows that any number of servers move on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::scheduler::Millis;
use crate::store::StoreError;

/// Remembers how far schedules have come. Whatever a method has returned from survives the process.
#[async_trait]
pub trait PositionStore: Send + Sync {
    /// All of them, by uid.
    async fn list(&self) -> Result<Vec<Position>, StoreError>;

    /// Writes a position over the one with the version before it, or a new one with version 1. Whether that was so: else
    /// somebody was faster, and it is to be read again.
    async fn put(&self, position: &Position) -> Result<bool, StoreError>;

    /// Forgets those of schedules that are not there any more.
    async fn forget(&self, uids: &[String]) -> Result<(), StoreError>;
}

/// How far a schedule has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The schedule, for ever.
    pub uid: String,
    /// Counts its writes, from 1.
    pub version: u64,
    /// The cron fields and the zone that it is about. Others begin anew.
    pub timing: String,
    /// Every due time up to this one is settled.
    pub settled: Millis,
    /// It was suspended when it was looked at last.
    pub suspended: bool,
    /// The due time that started a run last.
    pub last_due: Option<Millis>,
    /// That run.
    pub last_run: Option<String>,
    /// What was left out last.
    pub skipped: Option<Skipped>,
    /// How many due times started nothing since it is there.
    pub missed: u64,
}

/// A due time that started nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// When it was due.
    pub due: Millis,
    /// Why it started nothing.
    pub reason: String,
}

impl Position {
    /// The position before the next write.
    pub fn next(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }
}

/// Positions in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryPositions {
    positions: Mutex<BTreeMap<String, Position>>,
}

impl MemoryPositions {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Position>) -> T) -> T {
        work(&mut self.positions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl PositionStore for MemoryPositions {
    async fn list(&self) -> Result<Vec<Position>, StoreError> {
        Ok(self.with(|positions| positions.values().cloned().collect()))
    }

    async fn put(&self, position: &Position) -> Result<bool, StoreError> {
        Ok(self.with(|positions| {
            let known = positions.get(&position.uid).map_or(0, |known| known.version);
            let fits = known + 1 == position.version;
            if fits {
                positions.insert(position.uid.clone(), position.clone());
            }
            fits
        }))
    }

    async fn forget(&self, uids: &[String]) -> Result<(), StoreError> {
        self.with(|positions| positions.retain(|uid, _| !uids.contains(uid)));
        Ok(())
    }
}
