//! One log in a storage: what this process knows of it, and what it has under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::path::Path;
use reactorcide_engine::logs::{LogError, LogKey, Progress, unseen};
use reactorcide_engine::storage::StorageError;
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};

use super::cache::Cache;
use super::logs::{LogSettings, Pool};
use super::segment::{Segment, Sequence, marked, marker};
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

/// Appending.
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

    pub(crate) async fn append(self: &Arc<Self>, offset: u64, bytes: Bytes) -> Result<u64, LogError> {
        if self.state().looked == 0 {
            self.look().await?;
        }
        let mut taken = self.take(offset, &bytes);
        if matches!(taken, Err(LogError::Gap { .. })) {
            // What comes before may have been taken by another server.
            self.look().await?;
            taken = self.take(offset, &bytes);
        }
        if let Some(mut outcome) = taken? {
            let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
            // No outcome: the task that wrote ended with its runtime.
            ended.unwrap_or_else(|| Err(self.unavailable("the process is ending")))?;
            return Ok(offset + bytes.len() as u64);
        }
        Ok(self.state().length())
    }

    /// Puts what is new to a batch, and says what to wait for; nothing where all of it is stored.
    fn take(
        self: &Arc<Self>,
        offset: u64,
        bytes: &Bytes,
    ) -> Result<Option<watch::Receiver<Outcome>>, LogError> {
        let mut state = self.state();
        state.used_at = Some(Instant::now());
        let accepted = state.accepted();
        let new = bytes.slice(unseen(&self.key, accepted, offset, bytes.len())?..);
        let end = offset + bytes.len() as u64;
        if new.is_empty() {
            let under_way = [&state.writing, &state.next].into_iter().flatten();
            let found =
                under_way.filter(|batch| end > state.length() && end <= batch.end).min_by_key(|b| b.end);
            return Ok(found.map(|batch| batch.outcome.subscribe()));
        }
        if state.sealed || state.finished.is_some() {
            return Err(LogError::Finished { key: self.key.clone(), length: accepted });
        }
        if state.next.as_ref().is_some_and(|next| next.end - next.first >= self.settings.waiting as u64) {
            let what = format!("{} waits for more than {} bytes", self.key, self.settings.waiting);
            return Err(self.unavailable(what).into());
        }
        let batch = state.next.get_or_insert_with(|| Batch {
            first: accepted,
            end: accepted,
            pieces: Vec::new(),
            outcome: watch::Sender::default(),
        });
        batch.pieces.push(new);
        batch.end = end;
        let (outcome, is_full) = (batch.outcome.subscribe(), end - batch.first >= BLOCK);
        if is_full {
            self.full.notify_one();
        }
        if !std::mem::replace(&mut state.is_writing, true) {
            // A task of its own: a caller that goes away does not stop what others wait for.
            tokio::spawn(self.clone().write());
        }
        Ok(Some(outcome))
    }

    /// Writes batches until none is left.
    async fn write(self: Arc<Self>) {
        while let Some(batch) = self.begin_batch().await {
            let segment = Segment { first: batch.first, end: batch.end };
            let put = self.storage.put(&self.object(segment), batch.pieces.clone()).await;
            self.end_batch(segment, batch, put);
            if self.state().sequence.small_ones(SMALL, MANY).is_some() {
                // What fails here is tried again after the next batch.
                if let Err(error) = self.put_together().await {
                    tracing::warn!(run.id = self.key.run, job.name = self.key.node, %error, "log segments stay small");
                }
            }
        }
    }

    /// The next batch. Where each write costs, a while passes since the last one, for more to come.
    async fn begin_batch(&self) -> Option<Batch> {
        let rest = {
            let mut state = self.state();
            let Some(next) = &state.next else {
                state.is_writing = false;
                return None;
            };
            let is_full = next.end - next.first >= BLOCK || state.sealed;
            let rest = state.wrote_at.map(|at| self.settings.pace.saturating_sub(at.elapsed()));
            rest.filter(|rest| !is_full && !rest.is_zero())
        };
        if let Some(rest) = rest {
            let _ = tokio::time::timeout(rest, self.full.notified()).await;
        }
        let mut state = self.state();
        state.wrote_at = Some(Instant::now());
        state.writing = state.next.take();
        state.writing.clone()
    }

    fn end_batch(&self, segment: Segment, batch: Batch, put: Result<(), StorageError>) {
        let mut state = self.state();
        state.writing = None;
        if let Err(error) = put {
            // What comes after it would leave a hole.
            let next = state.next.take();
            drop(state);
            batch.outcome.send_replace(Some(Err(error.clone())));
            next.inspect(|next| drop(next.outcome.send_replace(Some(Err(error)))));
            return;
        }
        state.add(segment);
        state.put_since.push(segment);
        let before = state.cache.size();
        let mut first = segment.first;
        for piece in batch.pieces {
            let next = first + piece.len() as u64;
            state.cache.insert(first, piece, self.settings.cached);
            first = next;
        }
        let (after, progress) = (state.cache.size(), state.progress());
        drop(state);
        self.pool.changed(&self.key, before, after);
        self.progress.send_replace(progress);
        batch.outcome.send_replace(Some(Ok(())));
    }

    fn unavailable(&self, what: impl Into<String>) -> StorageError {
        StorageError::Unavailable {
            location: self.storage.location().to_owned(),
            attempt: "written",
            transient: true,
            what: what.into(),
        }
    }
}

/// Reading.
impl Log {
    pub(crate) async fn read(&self, offset: u64, max: usize) -> Result<Bytes, LogError> {
        if max == 0 {
            return Ok(Bytes::new());
        }
        let mut asked = 0;
        loop {
            let (length, finished) = {
                let mut state = self.state();
                state.used_at = Some(Instant::now());
                let length = state.length();
                let room = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
                if let Some(bytes) = (room > 0).then(|| state.cache.read(offset, max.min(room))).flatten() {
                    return Ok(bytes);
                }
                (length, state.finished.is_some())
            };
            if offset < length {
                if self.fetch(offset).await? {
                    continue;
                }
                // Segments that we knew went away: others put them together.
            } else if finished || asked > 0 {
                return Ok(Bytes::new());
            }
            if asked == TRIES {
                return Err(self.damaged(format!("there is nothing at byte {offset}")).into());
            }
            asked += 1;
            self.look().await?;
        }
    }

    /// Brings what is around a byte into memory; `false` where its segment went away.
    async fn fetch(&self, offset: u64) -> Result<bool, StorageError> {
        let _turn = self.fetching.lock().await;
        let found = {
            let state = self.state();
            if state.cache.read(offset, 1).is_some() {
                return Ok(true);
            }
            state.sequence.at(offset)
        };
        let Some(segment) = found else { return Ok(false) };
        let first = offset - (offset - segment.first) % BLOCK;
        let Some(bytes) = self.bytes(segment, first, segment.end.min(first + BLOCK)).await? else {
            return Ok(false);
        };
        let mut state = self.state();
        let before = state.cache.size();
        state.cache.insert(first, bytes, self.settings.cached.max(BLOCK as usize));
        let after = state.cache.size();
        drop(state);
        self.pool.changed(&self.key, before, after);
        Ok(true)
    }

    async fn bytes(&self, segment: Segment, first: u64, end: u64) -> Result<Option<Bytes>, StorageError> {
        let range = first - segment.first..end - segment.first;
        let Some(bytes) = self.storage.get(&self.object(segment), range).await? else { return Ok(None) };
        if bytes.len() as u64 == end - first {
            return Ok(Some(bytes));
        }
        Err(self.damaged(format!("segment {segment} is shorter than its name says")))
    }

    pub(crate) async fn progress(&self) -> Result<Progress, LogError> {
        let known = self.state().progress();
        if known.finished {
            return Ok(known);
        }
        self.look().await?;
        Ok(self.state().progress())
    }

    pub(crate) async fn wait(&self, offset: u64) -> Result<Progress, LogError> {
        let mut changes = self.progress.subscribe();
        loop {
            let (progress, is_fresh) = {
                let mut state = self.state();
                state.used_at = Some(Instant::now());
                // Who writes here hears of others' appends by the hole before its own.
                let last = state.looked_at.max(state.wrote_at);
                (state.progress(), last.is_some_and(|at| at.elapsed() < self.settings.poll))
            };
            if progress.finished || progress.length > offset {
                return Ok(progress);
            }
            if is_fresh {
                let _ = tokio::time::timeout(self.settings.poll, changes.changed()).await;
            } else {
                self.look().await?;
            }
        }
    }

    fn damaged(&self, what: String) -> StorageError {
        StorageError::Damaged { location: format!("{} in {}", self.directory, self.storage.location()), what }
    }
}

/// Looking, and putting together.
impl Log {
    /// Learns what is there by a listing that begins after this was called. Several who ask share one.
    async fn look(&self) -> Result<(), StorageError> {
        let asked = self.state().listings;
        let _turn = self.looking.lock().await;
        if self.state().looked > asked {
            return Ok(());
        }
        self.list().await
    }

    /// Looks, by who holds `looking`.
    async fn list(&self) -> Result<(), StorageError> {
        for left in (0..TRIES).rev() {
            let number = {
                let mut state = self.state();
                state.put_since.clear();
                state.listings += 1;
                state.listings
            };
            let objects = self.storage.list(&self.directory).await?;
            let named = objects.iter().filter_map(|object| Some((object.location.filename()?, object.size)));
            let finished = named.clone().filter_map(|(name, _)| marked(name)).min();
            // One whose size is not what its name says was cut off by the end of a machine.
            let mut segments: Vec<Segment> = named
                .filter_map(|(name, size)| Segment::parse(name).filter(|segment| segment.len() == size))
                .collect();
            let learnt = {
                let mut state = self.state();
                segments.extend(&state.put_since);
                let sequence = Sequence::new(segments);
                let is_torn = !sequence.beyond.is_empty() || finished.is_some_and(|end| end > sequence.end());
                (left == 0 || !is_torn).then(|| {
                    let shrank = sequence.end() < state.sequence.end();
                    let freed = if shrank { state.cache.clear() } else { 0 };
                    (state.sequence, state.finished) = (sequence, finished);
                    (state.looked, state.looked_at) = (number, Some(Instant::now()));
                    (freed, state.progress())
                })
            };
            let Some((freed, progress)) = learnt else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            self.pool.changed(&self.key, freed, 0);
            self.progress.send_if_modified(|known| std::mem::replace(known, progress) != progress);
            return Ok(());
        }
        Ok(())
    }

    /// Makes the small segments at the end one. They are removed when this happens next, or at the end: somebody may
    /// have listed them a moment ago.
    async fn put_together(&self) -> Result<(), StorageError> {
        let Ok(_turn) = self.looking.try_lock() else { return Ok(()) };
        let (small, before) = {
            let mut state = self.state();
            let small = state.sequence.small_ones(SMALL, MANY).map(<[Segment]>::to_vec).unwrap_or_default();
            (small, std::mem::take(&mut state.replaced))
        };
        let (Some(first), Some(last)) = (small.first(), small.last()) else { return Ok(()) };
        let whole = Segment { first: first.first, end: last.end };
        let Some(pieces) = self.collect(whole).await? else { return Ok(()) };
        self.storage.put(&self.object(whole), pieces.clone()).await?;
        {
            let mut state = self.state();
            state.add(whole);
            state.replaced = small;
        }
        self.storage.remove(before.into_iter().map(|segment| self.object(segment)).collect()).await
    }

    /// The bytes of a range, which need not be one segment; `None` where others changed what is there.
    async fn collect(&self, range: Segment) -> Result<Option<Vec<Bytes>>, StorageError> {
        let mut pieces = Vec::new();
        let mut offset = range.first;
        while offset < range.end {
            let room = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
            let (cached, segment) = {
                let state = self.state();
                (state.cache.read(offset, room), state.sequence.at(offset))
            };
            let Some(segment) = segment else { return Ok(None) };
            let piece = match cached {
                Some(piece) => Some(piece),
                None => self.bytes(segment, offset, range.end.min(segment.end).min(offset + BLOCK)).await?,
            };
            let Some(piece) = piece else { return Ok(None) };
            offset += piece.len() as u64;
            pieces.push(piece);
        }
        Ok(Some(pieces))
    }

    pub(crate) async fn finish(&self) -> Result<(), LogError> {
        let under_way = {
            let mut state = self.state();
            state.sealed = true;
            state.next.as_ref().or(state.writing.as_ref()).map(|batch| batch.outcome.subscribe())
        };
        self.full.notify_one();
        let finished = async {
            if let Some(mut outcome) = under_way {
                let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
                ended.unwrap_or_else(|| Err(self.unavailable("the process is ending")))?;
            }
            let _turn = self.looking.lock().await;
            let _room = self.pool.finishing.acquire().await;
            self.list().await?;
            self.compact().await
        };
        let result = finished.await;
        self.state().sealed = false;
        Ok(result?)
    }

    /// Makes few large segments, says that this is all, and removes every other object.
    async fn compact(&self) -> Result<(), StorageError> {
        let (length, sequence, replaced, is_finished) = {
            let mut state = self.state();
            let replaced = std::mem::take(&mut state.replaced);
            (state.length(), state.sequence.clone(), replaced, state.finished.is_some())
        };
        let mut kept = Vec::new();
        let mut first = 0;
        while first < length {
            let end = length.min(first + self.settings.object);
            let wanted = Segment { first, end };
            let found = sequence.at(first);
            if let Some(whole) = found.filter(|piece| {
                piece.first == first && piece.end >= end && piece.len() <= self.settings.object
            }) {
                kept.push(whole);
                first = whole.end;
                continue;
            }
            self.copy(wanted).await?;
            kept.push(wanted);
            first = end;
        }
        if !is_finished {
            let name = self.directory.clone().join(marker(length));
            self.storage.put(&name, vec![Bytes::from(length.to_string())]).await?;
        }
        let others = [sequence.pieces, sequence.redundant, sequence.beyond, replaced].concat();
        let others = others.into_iter().filter(|segment| !kept.contains(segment));
        let others: Vec<Path> = others.map(|segment| self.object(segment)).collect();
        let progress = {
            let mut state = self.state();
            state.sequence = Sequence::new(kept);
            state.finished = Some(length);
            state.progress()
        };
        self.progress.send_replace(progress);
        if others.is_empty() { Ok(()) } else { self.storage.remove(others).await }
    }

    /// Writes a range as one segment.
    async fn copy(&self, wanted: Segment) -> Result<(), StorageError> {
        let gone = || self.unavailable("its segments changed meanwhile");
        let mut writer = self.storage.writer(self.object(wanted));
        let mut first = wanted.first;
        while first < wanted.end {
            let end = wanted.end.min(first + BLOCK);
            let copied = match self.collect(Segment { first, end }).await {
                Ok(Some(pieces)) => writer.write_all(pieces).await,
                Ok(None) => Err(gone()),
                Err(error) => Err(error),
            };
            if let Err(error) = copied {
                let _ = writer.abort().await;
                return Err(error);
            }
            first = end;
        }
        writer.finish().await
    }
}

/// For the pool.
impl Log {
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
