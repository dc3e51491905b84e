//! Segments: the objects that a log consists of, and how overlapping ones make one sequence.

use std::fmt;

/// One object of a log: its bytes from `first` to before `end`. Both are in its name, so that a name always stands for the
/// same bytes: a request that arrives late, after others, cannot change what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Segment {
    /// The number of its first byte.
    pub(crate) first: u64,
    /// The number after its last byte.
    pub(crate) end: u64,
}

impl Segment {
    pub(crate) fn len(self) -> u64 {
        self.end - self.first
    }

    /// Reads a name. Nothing but what [`fmt::Display`] writes is one.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (first, end) = name.split_once('-')?;
        let segment = Self { first: number(first)?, end: number(end)? };
        (segment.first < segment.end).then_some(segment)
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:020}", self.first, self.end)
    }
}

/// The name of the object that says that a log is finished, with its length.
pub(crate) fn marker(length: u64) -> String {
    format!("finished-{length:020}")
}

/// The length in a marker's name.
pub(crate) fn marked(name: &str) -> Option<u64> {
    number(name.strip_prefix("finished-")?)
}

fn number(text: &str) -> Option<u64> {
    (text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// The sequence that some segments make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Segments by their first byte, each adding bytes to those before it, without a hole from byte 0 on.
    pub(crate) pieces: Vec<Segment>,
    /// Those that add nothing.
    pub(crate) redundant: Vec<Segment>,
    /// Those behind a hole.
    pub(crate) beyond: Vec<Segment>,
}

impl Sequence {
    /// Of all that are there. Of two that begin together the longer one counts, so that small ones which were put
    /// together into a large one are redundant.
    pub(crate) fn new(mut segments: Vec<Segment>) -> Self {
        segments.sort_unstable_by_key(|segment| (segment.first, std::cmp::Reverse(segment.end)));
        segments.dedup();
        let mut sequence = Self::default();
        for segment in segments {
            let end = sequence.end();
            if segment.end <= end {
                sequence.redundant.push(segment);
            } else if segment.first <= end {
                sequence.pieces.push(segment);
            } else {
                sequence.beyond.push(segment);
            }
        }
        sequence
    }

    /// How many bytes there are without a hole.
    pub(crate) fn end(&self) -> u64 {
        self.pieces.last().map_or(0, |last| last.end)
    }

    /// The segment to read a byte from.
    pub(crate) fn at(&self, offset: u64) -> Option<Segment> {
        // Ends grow strictly: a later segment that does not reach further is redundant.
        let index = self.pieces.partition_point(|segment| segment.end <= offset);
        self.pieces.get(index).copied()
    }

    /// The last segments that are all small, where there are at least `count` of them: what should become one.
    pub(crate) fn small_ones(&self, small: u64, count: usize) -> Option<&[Segment]> {
        let large = self.pieces.iter().rposition(|segment| segment.len() > small);
        let run = &self.pieces[large.map_or(0, |index| index + 1)..];
        (run.len() >= count).then_some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(all: &[(u64, u64)]) -> Vec<Segment> {
        all.iter().map(|&(first, end)| Segment { first, end }).collect()
    }

    #[test]
    fn names_sort_like_offsets_and_are_read_back() {
        let segment = Segment { first: 9, end: 100 };
        assert_eq!(segment.to_string(), "00000000000000000009-00000000000000000100");
        assert_eq!(Segment::parse(&segment.to_string()), Some(segment));
        assert_eq!(marked(&marker(7)), Some(7));
        for none in [
            "9-100",
            "00000000000000000009-00000000000000000009",
            "x",
            "finished-7",
            "+0000000000000000009-00000000000000000100",
        ] {
            assert_eq!((Segment::parse(none), marked(none)), (None, None), "{none}");
        }
    }

    #[test]
    fn overlaps_make_one_sequence_and_a_hole_ends_it() {
        let all = segments(&[(0, 10), (5, 8), (0, 4), (8, 12), (12, 20), (30, 40), (20, 21)]);
        let sequence = Sequence::new(all);
        assert_eq!(sequence.pieces, segments(&[(0, 10), (8, 12), (12, 20), (20, 21)]));
        assert_eq!(sequence.redundant, segments(&[(0, 4), (5, 8)]));
        assert_eq!(sequence.beyond, segments(&[(30, 40)]));
        assert_eq!(sequence.end(), 21);
        for (offset, first) in [(0, Some(0)), (9, Some(0)), (10, Some(8)), (20, Some(20)), (21, None)] {
            assert_eq!(sequence.at(offset).map(|segment| segment.first), first, "at {offset}");
        }
        assert_eq!(Sequence::new(segments(&[(1, 2)])).end(), 0);
    }

    #[test]
    fn small_ones_at_the_end_are_found_when_they_are_many() {
        let sequence = Sequence::new(segments(&[(0, 3), (3, 103), (103, 105), (105, 106)]));
        assert_eq!(sequence.small_ones(10, 2), Some(&segments(&[(103, 105), (105, 106)])[..]));
        assert_eq!(sequence.small_ones(10, 3), None);
    }
}
