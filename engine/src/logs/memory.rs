//! Logs in memory, for tests.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;

use super::{LogError, LogKey, LogStore, Progress, unseen};
use crate::storage::StorageError;

/// Logs in memory.
#[derive(Debug, Default)]
pub struct MemoryLogs {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    logs: BTreeMap<LogKey, Log>,
    waiting: Vec<Waker>,
    refusal: Option<StorageError>,
}

#[derive(Debug, Default)]
struct Log {
    bytes: Vec<u8>,
    finished: bool,
}

impl MemoryLogs {
    /// Answers every append with an error from now on, or no more.
    pub fn refuse(&self, error: Option<StorageError>) {
        self.with(|inner| inner.refusal = error);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn progress(&self, key: &LogKey) -> Progress {
        self.with(|inner| inner.progress(key))
    }
}

impl Inner {
    fn progress(&self, key: &LogKey) -> Progress {
        let found = self.logs.get(key);
        found.map_or_else(Progress::default, |log| Progress {
            length: log.bytes.len() as u64,
            finished: log.finished,
        })
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

#[async_trait]
impl LogStore for MemoryLogs {
    async fn append(&self, key: &LogKey, offset: u64, bytes: Bytes) -> Result<u64, LogError> {
        self.with(|inner| {
            if let Some(refusal) = &inner.refusal {
                return Err(refusal.clone().into());
            }
            let Progress { length, finished } = inner.progress(key);
            let seen = unseen(key, length, offset, bytes.len())?;
            let new = &bytes[seen..];
            if new.is_empty() {
                return Ok(length);
            }
            if finished {
                return Err(LogError::Finished { key: key.clone(), length });
            }
            inner.logs.entry(key.clone()).or_default().bytes.extend_from_slice(new);
            inner.wake();
            Ok(length + new.len() as u64)
        })
    }

    async fn read(&self, key: &LogKey, offset: u64, max: usize) -> Result<Bytes, LogError> {
        Ok(self.with(|inner| {
            let all = inner.logs.get(key).map(|log| log.bytes.as_slice()).unwrap_or_default();
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
            Bytes::copy_from_slice(&all[from..all.len().min(from.saturating_add(max))])
        }))
    }

    async fn length(&self, key: &LogKey) -> Result<u64, LogError> {
        Ok(self.progress(key).length)
    }

    async fn is_finished(&self, key: &LogKey) -> Result<bool, LogError> {
        Ok(self.progress(key).finished)
    }

    async fn wait(&self, key: &LogKey, offset: u64) -> Result<Progress, LogError> {
        Ok(poll_fn(|context| {
            self.with(|inner| {
                let progress = inner.progress(key);
                if progress.finished || progress.length > offset {
                    return Poll::Ready(progress);
                }
                inner.waiting.push(context.waker().clone());
                Poll::Pending
            })
        })
        .await)
    }

    async fn finish(&self, key: &LogKey) -> Result<(), LogError> {
        self.with(|inner| {
            inner.logs.entry(key.clone()).or_default().finished = true;
            inner.wake();
        });
        Ok(())
    }

    async fn remove(&self, run: &str) -> Result<(), LogError> {
        self.with(|inner| inner.logs.retain(|key, _| key.run != run));
        Ok(())
    }

    async fn runs(&self) -> Result<Vec<String>, LogError> {
        let mut runs: Vec<String> = self.with(|inner| inner.logs.keys().map(|key| key.run.clone()).collect());
        runs.dedup();
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::logs::conformance;

    fn open() -> Arc<dyn LogStore> {
        Arc::new(MemoryLogs::default())
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        conformance::an_append_that_is_repeated_changes_nothing(&*open()).await;
        conformance::a_hole_is_refused_by_the_offset_that_is_expected(&*open()).await;
        conformance::a_finished_log_takes_nothing(&*open()).await;
        conformance::logs_do_not_touch_each_other(&*open()).await;
        conformance::who_waits_is_woken(&*open()).await;
        for seed in 0..50 {
            let store = open();
            conformance::a_log_is_what_a_simple_model_says(&|| store.clone(), seed).await;
        }
    }
}
