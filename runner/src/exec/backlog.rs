//! Frames that are written and not yet acknowledged: numbered, in order, kept for whoever takes them.
//!
//! A value without a clock, a thread or a lock. What is dropped, which is only ever a log, leaves a `gap` frame in its
//! place, so the numbers have no hole.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use reactorcide_protocol::frame::{Body, Envelope, Frame, Stream, VERSION, encode_log};

/// A block takes no more frames once it has so many bytes.
const BLOCK: usize = 64 << 10;

/// Why output is missing.
const NO_ROOM: &str = "nobody took the output for so long that there was no room for more of it";

/// The frames of one attempt.
#[derive(Debug, Default)]
pub struct Backlog {
    attempt: u32,
    blocks: VecDeque<Block>,
    /// How many of the blocks were handed out.
    sent: usize,
    held: usize,
    next: u64,
    /// Bytes of output that were dropped since the last frame, by step.
    missing: BTreeMap<Option<String>, u64>,
}

#[derive(Debug)]
struct Block {
    first: u64,
    /// The number after its last frame.
    end: u64,
    lines: Arc<Vec<u8>>,
}

impl Backlog {
    /// An empty one.
    pub fn new(attempt: u32) -> Self {
        Self { attempt, ..Self::default() }
    }

    /// Adds a frame.
    pub fn frame(&mut self, at: i64, body: Body) {
        self.mark_gaps(at);
        self.append(at, |envelope, lines| {
            let Envelope { attempt, seq, at } = envelope;
            Frame { v: VERSION, attempt, seq, at, body }.encode(lines);
        });
    }

    /// Adds a piece of a log.
    pub fn log(&mut self, at: i64, step: Option<&str>, stream: Stream, bytes: &[u8]) {
        self.mark_gaps(at);
        self.append(at, |envelope, lines| encode_log(envelope, step, stream, bytes, lines));
    }

    /// A piece of a log is not added. A gap stands in its place.
    pub fn drop_log(&mut self, step: Option<&str>, bytes: usize) {
        *self.missing.entry(step.map(str::to_owned)).or_default() += bytes as u64;
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The number of the first frame that is held, or would be.
    pub fn first(&self) -> u64 {
        self.blocks.front().map_or(self.next, |block| block.first)
    }

    /// Whole lines that were not handed out yet, and the number after them.
    pub fn take(&mut self) -> Option<(Arc<Vec<u8>>, u64)> {
        let block = self.blocks.get(self.sent)?;
        self.sent += 1;
        Some((Arc::clone(&block.lines), block.end))
    }

    /// Somebody keeps all frames before this one.
    pub fn acknowledge(&mut self, next: u64) {
        while let Some(block) = self.blocks.front().filter(|block| block.end <= next) {
            self.held -= block.lines.len();
            self.blocks.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// Hands everything out again, from this frame on.
    pub fn rewind(&mut self, next: u64) {
        self.acknowledge(next);
        self.sent = 0;
        let Some(block) = self.blocks.front_mut().filter(|block| block.first < next) else { return };
        let known = usize::try_from(next - block.first).unwrap_or(usize::MAX);
        let ends = block.lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let Some((end, _)) = ends.take(known).last() else { return };
        self.held -= end + 1;
        *block = Block { first: next, end: block.end, lines: Arc::new(block.lines[end + 1..].to_vec()) };
    }

    fn mark_gaps(&mut self, at: i64) {
        for (step, bytes) in std::mem::take(&mut self.missing) {
            let body = Body::Gap { step, bytes, reason: NO_ROOM.to_owned() };
            self.append(at, |Envelope { attempt, seq, at }, lines| {
                Frame { v: VERSION, attempt, seq, at, body }.encode(lines);
            });
        }
    }

    fn append(&mut self, at: i64, encode: impl FnOnce(Envelope, &mut Vec<u8>)) {
        let envelope = Envelope { attempt: self.attempt, seq: self.next, at };
        let open = self.blocks.len() > self.sent
            && self
                .blocks
                .back_mut()
                .is_some_and(|block| block.lines.len() < BLOCK && Arc::get_mut(&mut block.lines).is_some());
        if !open {
            let (first, lines) = (self.next, Arc::new(Vec::new()));
            self.blocks.push_back(Block { first, end: first, lines });
        }
        self.next += 1;
        let Some(block) = self.blocks.back_mut() else { return };
        // Nobody else has it: that was asked above.
        let lines = Arc::make_mut(&mut block.lines);
        let before = lines.len();
        encode(envelope, lines);
        block.end = self.next;
        self.held += lines.len() - before;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Act {
        Log(usize),
        Drop(usize),
        Frame,
        /// Hand out so many blocks.
        Take(usize),
        /// So many of the lines that are on their way arrive, are kept, and that is known.
        Arrive(usize),
        /// The connection breaks: so many arrive, the rest is lost, and nothing of it is known until the next one.
        Cut(usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            (1..40_000_usize).prop_map(Act::Log),
            (1..40_000_usize).prop_map(Act::Drop),
            Just(Act::Frame),
            (1..4_usize).prop_map(Act::Take),
            (0..9_usize).prop_map(Act::Arrive),
            (0..9_usize).prop_map(Act::Cut),
        ];
        proptest::collection::vec(act, 1..60)
    }

    /// Who reads: keeps what arrived, in order and each once.
    #[derive(Default)]
    struct Reader {
        kept: Vec<Frame>,
        way: VecDeque<Vec<u8>>,
    }

    impl Reader {
        fn send(&mut self, lines: &[u8]) {
            self.way.extend(lines.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        }

        fn arrive(&mut self, count: usize) -> u64 {
            for line in self.way.drain(..count.min(self.way.len())) {
                let frame = Frame::decode(&line).expect("whole lines");
                assert_eq!(
                    frame.seq,
                    self.kept.len() as u64,
                    "no frame twice, none missing, none out of order"
                );
                self.kept.push(frame);
            }
            self.kept.len() as u64
        }
    }

    proptest! {
        #[test]
        fn whatever_breaks_all_frames_come_once_in_order_and_what_is_missing_is_said(acts in acts()) {
            let (mut backlog, mut reader) = (Backlog::new(3), Reader::default());
            let (mut logged, mut dropped, mut frames) = (0, 0, 0);
            for act in acts {
                match act {
                    Act::Log(bytes) => {
                        backlog.log(1, Some("s"), Stream::Stdout, &vec![b'x'; bytes]);
                        logged += bytes;
                    }
                    Act::Drop(bytes) => {
                        backlog.drop_log(Some("s"), bytes);
                        dropped += bytes as u64;
                    }
                    Act::Frame => {
                        backlog.frame(1, Body::Output { step: None, values: BTreeMap::new() });
                        frames += 1;
                    }
                    Act::Take(count) => {
                        for _ in 0..count {
                            if let Some((lines, _)) = backlog.take() {
                                reader.send(&lines);
                            }
                        }
                    }
                    Act::Arrive(count) => {
                        let next = reader.arrive(count);
                        backlog.acknowledge(next);
                    }
                    Act::Cut(count) => {
                        let next = reader.arrive(count);
                        reader.way.clear();
                        backlog.rewind(next);
                    }
                }
                let held: usize = backlog.blocks.iter().map(|block| block.lines.len()).sum();
                prop_assert_eq!(backlog.held(), held);
            }
            backlog.frame(1, Body::Heartbeat {});
            while let Some((lines, _)) = backlog.take() {
                reader.send(&lines);
            }
            let next = reader.arrive(usize::MAX);
            backlog.acknowledge(next);
            prop_assert_eq!((backlog.held(), backlog.first()), (0, next));
            let (mut seen, mut gaps, mut others) = (0, 0, 0);
            for frame in &reader.kept {
                match &frame.body {
                    Body::Log { data, .. } => seen += data.bytes().len(),
                    Body::Gap { bytes, .. } => gaps += bytes,
                    Body::Output { .. } => others += 1,
                    _ => {}
                }
            }
            prop_assert_eq!((seen, gaps, others), (logged, dropped, frames));
        }
    }

    #[test]
    fn a_gap_stands_where_the_output_was() {
        let mut backlog = Backlog::new(1);
        backlog.log(0, Some("a"), Stream::Stdout, b"before");
        backlog.drop_log(Some("a"), 10);
        backlog.drop_log(None, 3);
        backlog.drop_log(Some("a"), 5);
        backlog.log(0, Some("a"), Stream::Stdout, b"after");
        let (lines, next) = backlog.take().expect("lines");
        let frames: Vec<_> = lines
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| Frame::decode(line).expect("a frame"))
            .collect();
        assert_eq!((next, frames.len()), (4, 4));
        assert!(matches!(&frames[1].body, Body::Gap { step: None, bytes: 3, .. }));
        assert!(matches!(&frames[2].body, Body::Gap { step: Some(_), bytes: 15, .. }));
        assert!(frames.iter().enumerate().all(|(at, frame)| frame.seq == at as u64));
    }
}
