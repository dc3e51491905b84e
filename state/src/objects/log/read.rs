//! Reading and following: from memory where that is possible.

use std::time::Instant;

use bytes::Bytes;
use reactorcide_engine::logs::{LogError, Progress};
use reactorcide_engine::storage::StorageError;

use super::{BLOCK, Log, TRIES};
use crate::objects::segment::Segment;

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

    pub(super) async fn bytes(
        &self,
        segment: Segment,
        first: u64,
        end: u64,
    ) -> Result<Option<Bytes>, StorageError> {
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

    pub(super) fn damaged(&self, what: String) -> StorageError {
        StorageError::Damaged { location: format!("{} in {}", self.directory, self.storage.location()), what }
    }
}
