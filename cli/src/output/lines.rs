//! Lines from pieces: what a job prints comes in pieces of any size, people read lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reactorcide_engine::protocol::frame::Stream;

/// An unfinished line waits this long for its end, for example a prompt or a row of dots.
const PATIENCE: Duration = Duration::from_millis(500);
/// A line is cut after this many bytes.
const LONGEST: usize = 64 << 10;

/// Whose output a piece is.
pub type Source = (String, Option<String>, Stream);

/// Collects pieces into lines.
#[derive(Debug, Default)]
pub struct Lines {
    partial: BTreeMap<Source, (Vec<u8>, Instant)>,
}

impl Lines {
    /// Takes a piece; hands out the lines that it ends, without their ends.
    pub fn push(&mut self, source: &Source, bytes: &[u8], now: Instant, mut take: impl FnMut(&[u8])) {
        let (partial, since) = match self.partial.get_mut(source) {
            Some(known) => known,
            None => self.partial.entry(source.clone()).or_insert_with(|| (Vec::new(), now)),
        };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = piece.strip_suffix(b"\n");
            if let (Some(line), true) = (whole, partial.is_empty()) {
                take(line);
                continue;
            }
            if partial.is_empty() {
                *since = now;
            }
            partial.extend_from_slice(whole.unwrap_or(piece));
            if whole.is_some() || partial.len() >= LONGEST {
                take(partial);
                partial.clear();
            }
        }
    }

    /// Unfinished lines that have waited long enough, or all.
    pub fn flush(&mut self, now: Option<Instant>) -> Vec<(Source, Vec<u8>)> {
        let mut flushed = Vec::new();
        for (source, (partial, since)) in &mut self.partial {
            if !partial.is_empty() && now.is_none_or(|now| now.duration_since(*since) >= PATIENCE) {
                flushed.push((source.clone(), std::mem::take(partial)));
            }
        }
        flushed
    }

    /// Unfinished lines of one job.
    pub fn flush_job(&mut self, job: &str) -> Vec<(Source, Vec<u8>)> {
        let mine: Vec<Source> = self.partial.keys().filter(|(name, ..)| name == job).cloned().collect();
        let taken = mine
            .into_iter()
            .filter_map(|source| self.partial.remove(&source).map(|(bytes, _)| (source, bytes)));
        taken.filter(|(_, bytes)| !bytes.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        ("job".into(), None, Stream::Stdout)
    }

    fn push(lines: &mut Lines, bytes: &[u8], now: Instant) -> Vec<String> {
        let mut out = Vec::new();
        lines.push(&source(), bytes, now, |line| out.push(String::from_utf8_lossy(line).into_owned()));
        out
    }

    #[test]
    fn lines_come_out_whole_however_they_went_in() {
        let mut lines = Lines::default();
        let now = Instant::now();
        assert_eq!(push(&mut lines, b"one\ntw", now), ["one"]);
        assert_eq!(push(&mut lines, b"o\n\nthr", now), ["two", ""]);
        assert!(lines.flush(Some(now)).is_empty());
        assert_eq!(lines.flush(Some(now + PATIENCE)), [(source(), b"thr".to_vec())]);
        assert!(lines.flush(None).is_empty());
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Lines::default();
        let long = vec![b'x'; LONGEST + 10];
        assert_eq!(push(&mut lines, &long, Instant::now()).len(), 1);
    }
}
