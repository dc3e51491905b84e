//! Runs as they are remembered: what was run, and every transition with its reason.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::Serialize;

use crate::protocol::query::Elsewhere;
use crate::scheduler::{Millis, RunStatus, Transition};
use crate::store::StoreError;

/// Remembers runs. Transitions are only ever added, in the order in which they happened.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Remembers that a run begins.
    async fn begin(&self, run: &RunRecord) -> Result<(), StoreError>;
    /// Adds transitions, all or none.
    async fn append(&self, run: &str, transitions: &[Transition]) -> Result<(), StoreError>;
    /// Remembers how a run ended.
    async fn finish(&self, run: &str, status: RunStatus, at: Millis) -> Result<(), StoreError>;
    /// Runs, newest first.
    async fn runs(&self, limit: u32) -> Result<Vec<RunRecord>, StoreError>;
    /// The transitions of a run, oldest first.
    async fn transitions(&self, run: &str) -> Result<Vec<Transition>, StoreError>;

    /// Runs of a project's pipelines that go on and have a job of this name queued or running; the newest first.
    async fn active(&self, project: Option<&str>, job: &str) -> Result<Vec<Elsewhere>, StoreError> {
        let prefix = format!("Pipeline/{}/", project.unwrap_or("-"));
        let mut active = Vec::new();
        for run in self.runs(LOOKED_AT).await? {
            if run.status != RunStatus::Running || !run.pipeline.starts_with(&prefix) {
                continue;
            }
            let last =
                self.transitions(&run.id).await?.into_iter().rfind(|one| one.node.as_deref() == Some(job));
            let going_on = last.filter(|last| matches!(last.to.as_str(), "queued" | "running"));
            active.extend(going_on.map(|last| Elsewhere { run: run.id, state: last.to }));
        }
        Ok(active)
    }
}

/// How many of the newest runs are looked at for those that go on.
const LOOKED_AT: u32 = 200;

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRecord {
    /// Its id.
    pub id: String,
    /// The address of the pipeline.
    pub pipeline: String,
    /// The type of the event that started it.
    pub event: String,
    /// When it began.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Where it is on its way.
    pub status: RunStatus,
}

/// Runs in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryRuns {
    runs: Mutex<Vec<(RunRecord, Vec<Transition>)>>,
}

impl MemoryRuns {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<(RunRecord, Vec<Transition>)>) -> T) -> T {
        work(&mut self.runs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl RunStore for MemoryRuns {
    async fn begin(&self, run: &RunRecord) -> Result<(), StoreError> {
        self.with(|runs| runs.push((run.clone(), Vec::new())));
        Ok(())
    }

    async fn append(&self, run: &str, transitions: &[Transition]) -> Result<(), StoreError> {
        self.with(|runs| {
            let found = runs.iter_mut().find(|(record, _)| record.id == run);
            found.map(|(_, all)| all.extend_from_slice(transitions))
        });
        Ok(())
    }

    async fn finish(&self, run: &str, status: RunStatus, at: Millis) -> Result<(), StoreError> {
        self.with(|runs| {
            let found = runs.iter_mut().find(|(record, _)| record.id == run);
            found.map(|(record, _)| (record.status, record.ended_at) = (status, Some(at)))
        });
        Ok(())
    }

    async fn runs(&self, limit: u32) -> Result<Vec<RunRecord>, StoreError> {
        Ok(self
            .with(|runs| runs.iter().rev().take(limit as usize).map(|(record, _)| record.clone()).collect()))
    }

    async fn transitions(&self, run: &str) -> Result<Vec<Transition>, StoreError> {
        let found = |runs: &mut Vec<(RunRecord, Vec<Transition>)>| {
            let found = runs.iter().find(|(record, _)| record.id == run);
            found.map(|(_, all)| all.clone()).unwrap_or_default()
        };
        Ok(self.with(found))
    }
}
