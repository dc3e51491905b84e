//! The engine's store of logs on a storage.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use reactorcide_engine::logs::{LogError, LogKey, LogStore, Progress};
use tokio::sync::Semaphore;

use super::log::{Log, run_directory};
use super::{Storage, name};

/// What all logs are below.
pub(crate) const LOGS: &str = "logs";
/// From how many logs on those that nobody uses are forgotten, and after how long.
const KNOWN: usize = 256;
const IDLE: Duration = Duration::from_secs(60);

/// How logs are written and kept in memory.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The least time between two writes of one log; what comes meanwhile is written together. A first write, and what
    /// fills a mebibyte, does not wait.
    pub pace: Duration,
    /// How often those who wait look whether others have added something.
    pub poll: Duration,
    /// How many bytes of one log may wait to be written, apart from one batch.
    pub waiting: usize,
    /// How many bytes of one log are kept in memory for readers.
    pub cached: usize,
    /// How many bytes of all logs are.
    pub cached_in_all: usize,
    /// The largest object that a finished log consists of.
    pub object: u64,
}

impl LogSettings {
    /// What suits a storage: a bucket takes money and tens of milliseconds for each write, a directory neither.
    pub fn of(storage: &Storage) -> Self {
        Self {
            pace: if storage.is_directory() { Duration::ZERO } else { Duration::from_millis(500) },
            poll: Duration::from_secs(1),
            waiting: 4 << 20,
            cached: 8 << 20,
            cached_in_all: 64 << 20,
            object: 64 << 20,
        }
    }
}

/// Logs in a storage. Its clones share what is in memory; it needs a runtime of tokio.
///
/// A log is a directory `logs/RUN/JOB/ATTEMPT` of segments, each named by the numbers of its first byte and the one after
/// its last, and a marker once it is finished. Segments never change; those that overlap agree.
#[derive(Clone)]
pub struct Logs {
    storage: Storage,
    settings: LogSettings,
    pool: Arc<Pool>,
}

/// The logs that are known in this process.
pub(crate) struct Pool {
    logs: Mutex<HashMap<LogKey, Arc<Log>>>,
    cached: AtomicUsize,
    limit: usize,
    /// How many are made compact at a time.
    pub(crate) finishing: Semaphore,
}

impl Logs {
    /// The logs in a storage.
    pub fn new(storage: &Storage, settings: LogSettings) -> Self {
        let pool = Arc::new(Pool {
            logs: Mutex::default(),
            cached: AtomicUsize::new(0),
            limit: settings.cached_in_all,
            finishing: Semaphore::new(4),
        });
        Self { storage: storage.clone(), settings, pool }
    }

    fn log(&self, key: &LogKey) -> Arc<Log> {
        let mut logs = self.pool.logs();
        if let Some(log) = logs.get(key) {
            return log.clone();
        }
        if logs.len() >= KNOWN {
            logs.retain(|_, log| {
                Arc::strong_count(log) > 1 || log.idle_since().is_none_or(|since| since.elapsed() < IDLE)
            });
        }
        let log = Arc::new(Log::new(key, &self.storage, &self.settings, &self.pool));
        logs.insert(key.clone(), log.clone());
        log
    }
}

impl Pool {
    /// Hears that a log holds more or less in memory than before, and makes room by what was not used for longest.
    pub(crate) fn changed(&self, key: &LogKey, before: usize, after: usize) {
        self.cached.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        while self.cached.load(Ordering::Relaxed) > self.limit {
            let logs = self.logs();
            let others = logs.iter().filter(|(other, _)| *other != key).map(|(_, log)| (log, log.cached()));
            let oldest = others.filter(|(_, (size, _))| *size > 0).min_by_key(|(_, (_, used_at))| *used_at);
            let Some((log, _)) = oldest else { return };
            self.freed(log.release());
        }
    }

    /// Hears that a log let go of what it had in memory.
    pub(crate) fn freed(&self, size: usize) {
        self.cached.fetch_sub(size, Ordering::Relaxed);
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<LogKey, Arc<Log>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LogStore for Logs {
    async fn append(&self, key: &LogKey, offset: u64, bytes: Bytes) -> Result<u64, LogError> {
        self.log(key).append(offset, bytes).await
    }

    async fn read(&self, key: &LogKey, offset: u64, max: usize) -> Result<Bytes, LogError> {
        self.log(key).read(offset, max).await
    }

    async fn length(&self, key: &LogKey) -> Result<u64, LogError> {
        Ok(self.log(key).progress().await?.length)
    }

    async fn is_finished(&self, key: &LogKey) -> Result<bool, LogError> {
        Ok(self.log(key).progress().await?.finished)
    }

    async fn wait(&self, key: &LogKey, offset: u64) -> Result<Progress, LogError> {
        self.log(key).wait(offset).await
    }

    async fn finish(&self, key: &LogKey) -> Result<(), LogError> {
        self.log(key).finish().await
    }

    async fn remove(&self, run: &str) -> Result<(), LogError> {
        self.storage.remove_below(&run_directory(run)).await?;
        self.pool.logs().retain(|key, _| key.run != run);
        Ok(())
    }

    async fn runs(&self) -> Result<Vec<String>, LogError> {
        let below = self.storage.directories(&Path::from(LOGS)).await?;
        Ok(below.iter().filter_map(|path| name::unescape(path.filename()?)).collect())
    }
}
