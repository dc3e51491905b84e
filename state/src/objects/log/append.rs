//! Appending: batches, and the task that writes them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use reactorcide_engine::logs::{LogError, unseen};
use reactorcide_engine::storage::StorageError;
use tokio::sync::watch;

use super::{BLOCK, Batch, Log, MANY, Outcome, SMALL};
use crate::objects::segment::Segment;

impl Log {
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

    pub(super) fn unavailable(&self, what: impl Into<String>) -> StorageError {
        StorageError::Unavailable {
            location: self.storage.location().to_owned(),
            attempt: "written",
            transient: true,
            what: what.into(),
        }
    }
}
