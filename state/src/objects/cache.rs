//! What is kept in memory of a log, so that those who follow it share it.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

/// Pieces smaller than this are copied together for a reader; larger ones are shared as they are.
const SHARED: usize = 32 << 10;

/// Pieces of a log, by the number of their first byte. The oldest to come is the first to go.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pieces: BTreeMap<u64, Bytes>,
    order: VecDeque<u64>,
    size: usize,
}

impl Cache {
    /// How many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Adds a piece, in place of those that lie within it, and lets go of the oldest until there are at most `limit`
    /// bytes.
    pub(crate) fn insert(&mut self, first: u64, bytes: Bytes, limit: usize) {
        if bytes.is_empty() || bytes.len() > limit {
            return;
        }
        let end = first + bytes.len() as u64;
        let within: Vec<u64> = self
            .pieces
            .range(first..end)
            .filter(|(at, piece)| **at + piece.len() as u64 <= end)
            .map(|(at, _)| *at)
            .collect();
        if !within.is_empty() {
            self.size -=
                within.iter().filter_map(|at| self.pieces.remove(at)).map(|piece| piece.len()).sum::<usize>();
            self.order.retain(|at| !(first..end).contains(at) || self.pieces.contains_key(at));
        }
        // What begins at the same byte and was not within is longer: it has all of this.
        if self.pieces.contains_key(&first) {
            return;
        }
        self.size += bytes.len();
        self.pieces.insert(first, bytes);
        self.order.push_back(first);
        while self.size > limit {
            let Some(oldest) = self.order.pop_front() else { break };
            self.size -= self.pieces.remove(&oldest).map_or(0, |piece| piece.len());
        }
    }

    /// Up to `max` bytes from `offset` on; `None` where the first of them is not here.
    pub(crate) fn read(&self, offset: u64, max: usize) -> Option<Bytes> {
        let first = self.piece(offset)?;
        if first.len() >= SHARED.min(max) {
            return Some(first.slice(..first.len().min(max)));
        }
        let mut together = BytesMut::with_capacity(max.min(2 * SHARED));
        let mut next = Some(first);
        while let Some(piece) = next {
            let room = max.min(2 * SHARED) - together.len();
            together.extend_from_slice(&piece[..piece.len().min(room)]);
            next = if piece.len() < room { self.piece(offset + together.len() as u64) } else { None };
        }
        Some(together.freeze())
    }

    /// Lets go of everything, and says how much it was.
    pub(crate) fn clear(&mut self) -> usize {
        let size = self.size;
        *self = Self::default();
        size
    }

    /// What is here of the piece that has a byte, from that byte on.
    fn piece(&self, offset: u64) -> Option<Bytes> {
        let (first, bytes) = self.pieces.range(..=offset).next_back()?;
        let skip = usize::try_from(offset - first).ok()?;
        (skip < bytes.len()).then(|| bytes.slice(skip..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_read_together_and_the_oldest_go_first() {
        let mut cache = Cache::default();
        for (first, text) in [(0, "abc"), (3, "de"), (5, "f"), (8, "x")] {
            cache.insert(first, Bytes::from_static(text.as_bytes()), 8);
        }
        let read = |cache: &Cache, offset, max| cache.read(offset, max).map(|bytes| bytes.to_vec());
        assert_eq!(read(&cache, 1, 100).as_deref(), Some(b"bcdef".as_slice()));
        assert_eq!(read(&cache, 1, 3).as_deref(), Some(b"bcd".as_slice()));
        assert_eq!(read(&cache, 6, 100), None);
        cache.insert(9, Bytes::from_static(b"yz"), 8);
        assert_eq!((read(&cache, 0, 1), cache.size()), (None, 6));
        assert_eq!(read(&cache, 8, 9).as_deref(), Some(b"xyz".as_slice()));
        cache.insert(2, Bytes::from_static(b"cdefgh"), 100);
        assert_eq!((read(&cache, 3, 100).as_deref(), cache.size()), (Some(b"defghxyz".as_slice()), 9));
        assert_eq!((cache.clear(), cache.size()), (9, 0));
    }

    #[test]
    fn large_pieces_are_shared_and_not_copied() {
        let mut cache = Cache::default();
        let large = Bytes::from(vec![7; 4 * SHARED]);
        cache.insert(10, large.clone(), usize::MAX);
        let read = cache.read(10 + SHARED as u64, usize::MAX).expect("it is here");
        assert_eq!(read.as_ptr(), large[SHARED..].as_ptr());
        assert_eq!(read.len(), 3 * SHARED);
    }
}
