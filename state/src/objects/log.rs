//! One log in a storage: what this process knows of it, and what it has under way.

mod append;
mod compact;
mod look;
mod read;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use object_store::path::Path;
use reactorcide_engine::logs::{LogKey, Progress};
use reactorcide_engine::storage::StorageError;
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};

use super::cache::Cache;
use super::logs::{LogSettings, Pool};
use super::segment::{Segment, Sequence};
use super::{Storage, name};

/// How many segments under [`SMALL`] in a row become one.
const MANY: usize = 64;
/// Which segments are small, in bytes.
const SMALL: u64 = 256 << 10;
/// What is fetched at once for readers of what is not in memory.
const BLOCK: u64 = 1 << 20;
/// How often a listing that has a hole, or an object that went away, is looked at again: somebody is putting segments
/// together meanwhile.
const TRIES: usize = 5;

/// What a batch became: known to all who wait for it.
type Outcome = Option<Result<(), StorageError>>;

/// One log.
pub(crate) struct Log {
    key: LogKey,
    directory: Path,
    storage: Storage,
    settings: LogSettings,
    pool: Arc<Pool>,
    state: Mutex<State>,
    /// Held while listing, and while segments are put together.
    looking: AsyncMutex<()>,
    /// Held while fetching what is not in memory, so that it is fetched once for all who read there.
    fetching: AsyncMutex<()>,
    /// Told when there is enough to write at once.
    full: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct State {
    /// What is stored, as far as known here: there may be more, by others, never less.
    sequence: Sequence,
    finished: Option<u64>,
    /// How many listings have begun; which was the last that ended well, and when that was.
    listings: u64,
    looked: u64,
    looked_at: Option<Instant>,
    /// What was put since the last listing began: it may have missed it.
    put_since: Vec<Segment>,
    cache: Cache,
    /// What is being written, and what comes after it.
    writing: Option<Batch>,
    next: Option<Batch>,
    /// Whether a task writes.
    is_writing: bool,
    /// Whether it is about to be finished: nothing is taken any more.
    sealed: bool,
    /// When the last write began.
    wrote_at: Option<Instant>,
    /// Segments that became part of another; removed later, since somebody may be listing right now.
    replaced: Vec<Segment>,
    used_at: Option<Instant>,
}

/// Bytes that are stored together.
#[derive(Clone)]
struct Batch {
    first: u64,
    end: u64,
    pieces: Vec<Bytes>,
    outcome: watch::Sender<Outcome>,
}

impl State {
    /// The number of the next byte, with what is under way.
    fn accepted(&self) -> u64 {
        let under_way = self.next.as_ref().or(self.writing.as_ref()).map_or(0, |batch| batch.end);
        under_way.max(self.length())
    }

    fn length(&self) -> u64 {
        let end = self.sequence.end();
        self.finished.map_or(end, |finished| finished.min(end))
    }

    fn progress(&self) -> Progress {
        Progress { length: self.length(), finished: self.finished.is_some() }
    }

    fn add(&mut self, segment: Segment) {
        let mut all = std::mem::take(&mut self.sequence).pieces;
        all.push(segment);
        self.sequence = Sequence::new(all);
    }
}

impl Log {
    pub(crate) fn new(key: &LogKey, storage: &Storage, settings: &LogSettings, pool: &Arc<Pool>) -> Self {
        let directory = run_directory(&key.run).join(name::escape(&key.node)).join(key.attempt.to_string());
        Self {
            key: key.clone(),
            directory,
            storage: storage.clone(),
            settings: settings.clone(),
            pool: pool.clone(),
            state: Mutex::new(State { used_at: Some(Instant::now()), ..State::default() }),
            looking: AsyncMutex::default(),
            fetching: AsyncMutex::default(),
            full: Notify::new(),
            progress: watch::Sender::default(),
        }
    }

    /// When it was last used, unless something is under way.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        if state.is_writing || self.progress.receiver_count() > 0 { None } else { state.used_at }
    }

    /// How much it has in memory, and since when it is not used.
    pub(crate) fn cached(&self) -> (usize, Option<Instant>) {
        let state = self.state();
        (state.cache.size(), state.used_at)
    }

    /// Lets go of what is in memory, and says how much it was.
    pub(crate) fn release(&self) -> usize {
        self.state().cache.clear()
    }

    fn object(&self, segment: Segment) -> Path {
        self.directory.clone().join(segment.to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.pool.freed(self.release());
    }
}

/// Where the logs of a run are.
pub(crate) fn run_directory(run: &str) -> Path {
    Path::from(super::logs::LOGS).join(name::escape_all(run))
}
