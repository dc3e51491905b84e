//! What an attempt used of its machine: processor, memory, disk; as a few numbers and a short series over its time.
//!
//! Whoever looks says what it sees as a [`Sample`]; a [`Series`] keeps at most [`MAX_POINTS`] of them, however long the
//! attempt takes, and gives a [`Usage`] in the end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most points of a series.
pub const MAX_POINTS: usize = 60;

/// What was used until a moment. Everything but memory only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sample {
    /// When, in milliseconds since the job began.
    pub at_ms: u64,
    /// Time on processors, in milliseconds.
    pub cpu_ms: u64,
    /// Memory in use, in bytes, without what the kernel can drop at once.
    pub memory: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
}

/// What an attempt used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Usage {
    /// Time on processors, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that was seen in use, in bytes.
    pub memory_peak: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
    /// How it came to that, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Sample>,
}

/// A series that grows and stays short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    points: Vec<Sample>,
    last: Option<Sample>,
    peak: u64,
    /// How far apart points are at least.
    apart: u64,
}

impl Series {
    /// Takes what was seen. What is older than what is known is passed over.
    pub fn push(&mut self, sample: Sample) {
        if self.last.is_some_and(|last| sample.at_ms < last.at_ms) {
            return;
        }
        self.last = Some(sample);
        self.peak = self.peak.max(sample.memory);
        let due = self.points.last().is_none_or(|point| sample.at_ms - point.at_ms >= self.apart);
        if !due {
            // A short spike stays to be seen.
            let point = self.points.last_mut().expect("one is not due only after another");
            point.memory = point.memory.max(sample.memory);
            return;
        }
        // One place is for the last one.
        if self.points.len() + 1 >= MAX_POINTS {
            self.thin();
        }
        self.points.push(sample);
    }

    /// The most memory that somebody else knows of, such as the kernel.
    pub fn peak(&mut self, bytes: u64) {
        self.peak = self.peak.max(bytes);
    }

    /// Every second point goes, its memory where that was higher into the one before it.
    fn thin(&mut self) {
        let kept = self.points.chunks(2).map(|pair| {
            let most = pair.iter().map(|point| point.memory).max().unwrap_or_default();
            Sample { memory: most, ..pair[0] }
        });
        self.points = kept.collect();
        let span = self.points.last().map_or(0, |point| point.at_ms);
        self.apart = (span / self.points.len().max(1) as u64).max(1);
    }

    /// What was used; nothing, where nothing was seen.
    pub fn usage(&self) -> Option<Usage> {
        let last = self.last?;
        let mut series = self.points.clone();
        if series.last().is_none_or(|point| point.at_ms < last.at_ms) {
            series.push(last);
        }
        let Sample { cpu_ms, read, written, .. } = last;
        Some(Usage { cpu_ms, memory_peak: self.peak, read, written, series })
    }
}

/// How long to wait for the next look after so many: soon at first, since most jobs are short, then twice as long each
/// time that as many points again have come together.
pub fn interval(looks: u32) -> Duration {
    match looks {
        0 => Duration::from_millis(100),
        1 => Duration::from_millis(400),
        _ => {
            let half = MAX_POINTS as u32 / 2;
            let doublings = (looks.saturating_sub(half) / half).min(10);
            Duration::from_secs(1 << doublings)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64) -> Sample {
        Sample { at_ms, cpu_ms: at_ms / 2, memory: 1000 + at_ms % 7, read: at_ms, written: 2 * at_ms }
    }

    #[test]
    fn however_many_there_are_few_are_kept_and_the_ends_are_true() {
        for count in [1_u64, 2, 59, 60, 61, 1000, 100_000] {
            let mut series = Series::default();
            (0..count).for_each(|at| series.push(sample(at * 1000)));
            let usage = series.usage().expect("something was seen");
            assert!(usage.series.len() <= MAX_POINTS, "{count}: {}", usage.series.len());
            assert!(count < 100 || usage.series.len() >= MAX_POINTS / 4, "{count}: {}", usage.series.len());
            let end = sample((count - 1) * 1000);
            assert_eq!((usage.cpu_ms, usage.read, usage.written), (end.cpu_ms, end.read, end.written));
            assert_eq!(usage.series.first().map(|point| point.at_ms), Some(0));
            assert_eq!(usage.series.last().map(|point| point.at_ms), Some(end.at_ms));
            assert!(usage.series.is_sorted_by_key(|point| point.at_ms));
        }
        assert_eq!(Series::default().usage(), None);
    }

    #[test]
    fn a_short_spike_of_memory_is_not_lost() {
        let mut series = Series::default();
        for at in 0..10_000 {
            let memory = if at == 5_003 { 9_000_000 } else { 1_000 };
            series.push(Sample { at_ms: at * 1000, memory, ..Sample::default() });
        }
        let usage = series.usage().expect("something was seen");
        assert_eq!(usage.memory_peak, 9_000_000);
        assert!(usage.series.iter().any(|point| point.memory == 9_000_000));
    }

    #[test]
    fn what_comes_late_changes_nothing() {
        let mut series = Series::default();
        series.push(sample(5000));
        series.push(sample(1000));
        assert_eq!(series.usage().expect("something was seen").series, [sample(5000)]);
    }

    #[test]
    fn a_day_takes_few_looks() {
        let (mut looks, mut time) = (0, Duration::ZERO);
        while time < Duration::from_secs(86_400) {
            time += interval(looks);
            looks += 1;
        }
        assert!(looks < 450, "{looks}");
    }
}
