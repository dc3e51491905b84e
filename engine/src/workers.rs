//! Workers, as a server knows them.

pub mod conformance;
mod health;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use health::{Floor, Health, human};

use crate::scheduler::Millis;
use crate::store::StoreError;

/// Remembers workers. Whatever a method has returned from survives the process.
#[async_trait]
pub trait WorkerStore: Send + Sync {
    /// Remembers a worker, or what has changed of it. Its status stays what people made it.
    async fn register(&self, worker: &Worker) -> Result<(), StoreError>;

    /// Remembers that a worker was heard of, and how it is where it says so.
    async fn seen(&self, name: &str, at: Millis, health: Option<&Value>) -> Result<(), StoreError>;

    /// A worker.
    async fn get(&self, name: &str) -> Result<Option<Worker>, StoreError>;

    /// All workers, by name.
    async fn list(&self) -> Result<Vec<Worker>, StoreError>;

    /// Makes a worker take no more jobs, or take them again. Whether there is one.
    async fn set_status(&self, name: &str, status: WorkerStatus) -> Result<bool, StoreError>;

    /// Forgets a worker. Whether there was one.
    async fn remove(&self, name: &str) -> Result<bool, StoreError>;
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The WorkerPool that it is in.
    pub pool: Option<String>,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// `docker`, `nerdctl`, `kubernetes`.
    pub provider: String,
    /// Its version.
    pub version: String,
    /// Whether it takes jobs.
    pub status: WorkerStatus,
    /// When it first came.
    pub registered_at: Millis,
    /// When it was last heard of.
    pub seen_at: Millis,
    /// How it says that it is.
    pub health: Option<Value>,
}

/// Whether a worker takes jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerStatus {
    /// It does.
    #[default]
    Active,
    /// It ends what it has, and takes no more.
    Draining,
    /// It may not even ask.
    Disabled,
}

impl Worker {
    /// Why it takes no jobs as it is, where it says so.
    pub fn refuses(&self) -> Option<String> {
        self.health.as_ref()?.get("refuses")?.as_str().map(str::to_owned)
    }
}

impl WorkerStatus {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }

    /// What a word says.
    pub fn parse(text: &str) -> Self {
        match text {
            "draining" => Self::Draining,
            "disabled" => Self::Disabled,
            _ => Self::Active,
        }
    }
}

/// Workers in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryWorkers {
    workers: Mutex<BTreeMap<String, Worker>>,
}

impl MemoryWorkers {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Worker>) -> T) -> T {
        work(&mut self.workers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl WorkerStore for MemoryWorkers {
    async fn register(&self, worker: &Worker) -> Result<(), StoreError> {
        self.with(|workers| {
            let known = workers.get(&worker.name).map(|known| (known.status, known.registered_at));
            let (status, registered_at) = known.unwrap_or((worker.status, worker.registered_at));
            workers.insert(worker.name.clone(), Worker { status, registered_at, ..worker.clone() });
        });
        Ok(())
    }

    async fn seen(&self, name: &str, at: Millis, health: Option<&Value>) -> Result<(), StoreError> {
        self.with(|workers| {
            if let Some(worker) = workers.get_mut(name) {
                worker.seen_at = at;
                worker.health = health.cloned().or_else(|| worker.health.take());
            }
        });
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<Worker>, StoreError> {
        Ok(self.with(|workers| workers.get(name).cloned()))
    }

    async fn list(&self) -> Result<Vec<Worker>, StoreError> {
        Ok(self.with(|workers| workers.values().cloned().collect()))
    }

    async fn set_status(&self, name: &str, status: WorkerStatus) -> Result<bool, StoreError> {
        Ok(self.with(|workers| workers.get_mut(name).map(|worker| worker.status = status).is_some()))
    }

    async fn remove(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.with(|workers| workers.remove(name).is_some()))
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn workers_come_change_and_go() {
        super::conformance::workers_come_change_and_go(&super::MemoryWorkers::default()).await;
    }
}
