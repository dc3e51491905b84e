//! Finding all occurrences of many patterns at once.
//!
//! A search in the manner of Wu and Manber: a window as long as the shortest pattern moves over the text, and
//! a table indexed by the window's last four bytes says how far it may move without missing a match. Most
//! bytes are never looked at, and the speed depends little on how many patterns there are. A short pattern
//! would make every window short, so patterns are searched in classes of length, one pass each.

/// Bytes of a block, the unit that the tables are indexed by.
const BLOCK: usize = 4;
/// Longer windows gain little and fill the table.
const MAX_WINDOW: usize = 32;
/// Shifts make each step wait for the one before; with windows shorter than this, looking at every byte in
/// steps that do not depend on each other is faster.
const WORTH_SHIFTING: usize = 8;
/// Classes of length, by their lower end.
const CLASSES: [usize; 3] = [BLOCK, 8, 16];

/// A set of patterns, each of at least four bytes.
#[derive(Default)]
pub(super) struct Patterns {
    /// Sorted, each once.
    sorted: Vec<Box<[u8]>>,
    classes: Vec<Class>,
    /// Which first blocks there are, as a bit set indexed by hash.
    beginnings: Vec<u64>,
    longest: usize,
}

impl Patterns {
    /// These patterns and more.
    pub(super) fn with(&self, more: Vec<Box<[u8]>>) -> Self {
        let mut sorted = self.sorted.clone();
        sorted.extend(more);
        sorted.sort_unstable();
        sorted.dedup();
        let ends = CLASSES[1..].iter().copied().chain([usize::MAX]);
        let classes = CLASSES.iter().zip(ends).filter_map(|(&from, to)| {
            let members = (0..sorted.len()).filter(|&i| (from..to).contains(&sorted[i].len()));
            Class::new(&sorted, members.collect())
        });
        let classes = classes.collect();
        let bits = (sorted.len() * 16).next_power_of_two().max(1 << 12);
        let mut beginnings = vec![0; bits / 64];
        for pattern in &sorted {
            let slot = hash(block(pattern), bits.trailing_zeros());
            beginnings[slot / 64] |= 1 << (slot % 64);
        }
        let longest = sorted.iter().map(|pattern| pattern.len()).max().unwrap_or(0);
        Self { sorted, classes, beginnings, longest }
    }

    /// Every match as `(from, to)`, ordered by `from`. Of the matches that begin at one place only the longest
    /// of each class is given: together they cover what all matches cover.
    pub(super) fn matches(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for class in &self.classes {
            class.find(&self.sorted, text, &mut found);
        }
        if self.classes.len() > 1 {
            found.sort_unstable();
        }
        found
    }

    /// The first position from which on the text could be the beginning of a pattern that goes on after its
    /// end; the text's length if there is none.
    pub(super) fn open_end(&self, text: &[u8]) -> usize {
        let mut from = text.len().saturating_sub(self.longest.saturating_sub(1));
        let bits = (self.beginnings.len() * 64).trailing_zeros();
        while from < text.len() {
            let rest = &text[from..];
            let possible = rest.len() < BLOCK || {
                let slot = hash(block(rest), bits);
                self.beginnings[slot / 64] & (1 << (slot % 64)) != 0
            };
            if possible && self.begins_longer(rest) {
                return from;
            }
            from += 1;
        }
        text.len()
    }

    /// Whether some pattern begins with `rest` and is longer.
    fn begins_longer(&self, rest: &[u8]) -> bool {
        let after = self.sorted.partition_point(|pattern| **pattern <= *rest);
        self.sorted.get(after).is_some_and(|pattern| pattern.starts_with(rest))
    }
}

/// The patterns of one class of length and their tables.
struct Class {
    window: usize,
    bits: u32,
    /// By hash of the window's last block: how far the window may move. 0 means that a pattern may be here.
    shifts: Vec<u8>,
    /// By the same hash: where the patterns with that block at the end of their window are in `members`.
    buckets: Vec<u32>,
    /// Indices of patterns, by bucket, in each the longest first.
    members: Vec<u32>,
}

impl Class {
    fn new(patterns: &[Box<[u8]>], mut members: Vec<usize>) -> Option<Self> {
        let shortest = members.iter().map(|&member| patterns[member].len()).min()?;
        let window = shortest.min(MAX_WINDOW);
        let offsets = window - BLOCK + 1;
        let bits = (members.len() * offsets * 8).next_power_of_two().trailing_zeros().clamp(12, 20);
        let mut shifts = vec![u8::try_from(offsets).unwrap_or(u8::MAX); 1 << bits];
        let last = |member: usize| hash(block(&patterns[member][window - BLOCK..]), bits);
        for &member in &members {
            for offset in 0..offsets {
                let slot = hash(block(&patterns[member][offset..]), bits);
                let shift = u8::try_from(offsets - 1 - offset).unwrap_or(u8::MAX);
                shifts[slot] = shifts[slot].min(shift);
            }
        }
        members.sort_by_key(|&member| (last(member), std::cmp::Reverse(patterns[member].len())));
        let mut buckets = vec![0u32; (1 << bits) + 1];
        for &member in &members {
            buckets[last(member) + 1] += 1;
        }
        for slot in 1..buckets.len() {
            buckets[slot] += buckets[slot - 1];
        }
        let members = members.into_iter().map(|member| member as u32).collect();
        Some(Self { window, bits, shifts, buckets, members })
    }

    fn find(&self, patterns: &[Box<[u8]>], text: &[u8], found: &mut Vec<(usize, usize)>) {
        if self.window < WORTH_SHIFTING {
            for (at, last) in text.windows(BLOCK).enumerate().skip(self.window - BLOCK) {
                let slot = hash(block(last), self.bits);
                if self.shifts[slot] == 0 {
                    self.verify(slot, patterns, text, at + BLOCK - self.window, found);
                }
            }
            return;
        }
        let mut end = self.window;
        while end <= text.len() {
            let slot = hash(block(&text[end - BLOCK..]), self.bits);
            let shift = self.shifts[slot];
            if shift == 0 {
                self.verify(slot, patterns, text, end - self.window, found);
            }
            end += usize::from(shift.max(1));
        }
    }

    fn verify(
        &self,
        slot: usize,
        patterns: &[Box<[u8]>],
        text: &[u8],
        from: usize,
        found: &mut Vec<(usize, usize)>,
    ) {
        let bucket = self.buckets[slot] as usize..self.buckets[slot + 1] as usize;
        let here = &text[from..];
        let mut candidates = self.members[bucket].iter().map(|&member| &patterns[member as usize]);
        if let Some(pattern) = candidates.find(|pattern| here.starts_with(pattern)) {
            found.push((from, from + pattern.len()));
        }
    }
}

fn block(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Multiplicative hashing to `bits` bits.
fn hash(block: u32, bits: u32) -> usize {
    (block.wrapping_mul(0x9E37_79B1) >> (32 - bits)) as usize
}
