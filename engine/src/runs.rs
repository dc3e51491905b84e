//! Runs as they are remembered: what was run, and every transition with its reason.

pub mod conformance;

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
    async fn active(&self, project: Option<&str>, job: &str) -> Result<Vec<Elsewhere>, StoreError>;
}

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
            let open = found.filter(|(record, _)| record.ended_at.is_none());
            open.map(|(record, _)| (record.status, record.ended_at) = (status, Some(at)))
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

    async fn active(&self, project: Option<&str>, job: &str) -> Result<Vec<Elsewhere>, StoreError> {
        let prefix = pipelines_of(project);
        let mut found: Vec<(Millis, Elsewhere)> = self.with(|runs| {
            let going_on = runs
                .iter()
                .filter(|(run, _)| run.status == RunStatus::Running && run.pipeline.starts_with(&prefix));
            let last = |all: &[Transition]| {
                let last = all.iter().rfind(|one| one.node.as_deref() == Some(job))?;
                is_active(&last.to).then(|| last.to.clone())
            };
            going_on
                .filter_map(|(run, all)| {
                    Some((run.started_at, Elsewhere { run: run.id.clone(), state: last(all)? }))
                })
                .collect()
        });
        found.sort_by(|(a, one), (b, other)| (b, &other.run).cmp(&(a, &one.run)));
        Ok(found.into_iter().map(|(_, elsewhere)| elsewhere).collect())
    }
}

/// How the addresses of a project's pipelines begin.
pub fn pipelines_of(project: Option<&str>) -> String {
    format!("Pipeline/{}/", project.unwrap_or("-"))
}

/// Whether a job in this state goes on.
fn is_active(state: &str) -> bool {
    matches!(state, "queued" | "running")
}
