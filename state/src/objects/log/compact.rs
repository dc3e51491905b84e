//! Making few large segments of many small ones.

use bytes::Bytes;
use object_store::path::Path;
use reactorcide_engine::logs::LogError;
use reactorcide_engine::storage::StorageError;

use super::{BLOCK, Log, MANY, SMALL};
use crate::objects::segment::{Segment, Sequence, marker};

impl Log {
    /// Makes the small segments at the end one. They are removed when this happens next, or at the end: somebody may
    /// have listed them a moment ago.
    pub(super) async fn put_together(&self) -> Result<(), StorageError> {
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
