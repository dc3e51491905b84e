//! What the job uses, as the kernel counts it for the container: its own cgroup's files, of version 2 or 1.
//!
//! A look costs three or four small reads; how often there is one is in [`reactorcide_protocol::usage::interval`].

use std::fs::read_to_string;
use std::time::{Duration, Instant};

use reactorcide_protocol::usage::{Sample, interval};

/// Where a container sees its own cgroup.
const ROOT: &str = "/sys/fs/cgroup";

/// Looks at what the job uses.
pub struct Meter {
    root: String,
    began: Instant,
    /// What was used before the job, by a container that waited for it.
    before: Counters,
    looks: u32,
    next: Instant,
}

/// What the kernel has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    cpu_ms: u64,
    read: u64,
    written: u64,
}

impl Meter {
    /// Begins to count; nothing, where the kernel tells nothing.
    pub fn new() -> Option<Self> {
        Self::at(ROOT.to_owned())
    }

    fn at(root: String) -> Option<Self> {
        let before = counters(&root)?;
        memory(&root)?;
        let now = Instant::now();
        Some(Self { root, began: now, before, looks: 0, next: now + interval(0) })
    }

    /// How long until the next look.
    pub fn due(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Looks, if it is time to.
    pub fn tick(&mut self) -> Option<Sample> {
        if !self.due().is_zero() {
            return None;
        }
        self.looks += 1;
        self.next = Instant::now() + interval(self.looks);
        self.look()
    }

    /// The last look, when nothing of the job is left. Of a job that was over before anybody looked, memory is the most that
    /// the kernel saw: there is little in it that could have been dropped.
    pub fn end(&self) -> Option<Sample> {
        let mut sample = self.look()?;
        if self.looks == 0 {
            sample.memory = sample.memory.max(peak(&self.root).unwrap_or(0));
        }
        Some(sample)
    }

    fn look(&self) -> Option<Sample> {
        let Counters { cpu_ms, read, written } = counters(&self.root)?;
        Some(Sample {
            at_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            cpu_ms: cpu_ms.saturating_sub(self.before.cpu_ms),
            memory: memory(&self.root)?,
            read: read.saturating_sub(self.before.read),
            written: written.saturating_sub(self.before.written),
        })
    }
}

fn counters(root: &str) -> Option<Counters> {
    let read = |path: &str| read_to_string(format!("{root}/{path}")).ok();
    if let Some(cpu) = read("cpu.stat").as_deref().and_then(|text| value(text, "usage_usec")) {
        let (read, written) = read("io.stat").as_deref().map(io_v2).unwrap_or_default();
        return Some(Counters { cpu_ms: cpu / 1000, read, written });
    }
    let cpu = read("cpuacct/cpuacct.usage").or_else(|| read("cpu,cpuacct/cpuacct.usage"))?;
    let io = read("blkio/blkio.throttle.io_service_bytes");
    let (read, written) = io.as_deref().map(io_v1).unwrap_or_default();
    Some(Counters { cpu_ms: cpu.trim().parse::<u64>().ok()? / 1_000_000, read, written })
}

/// Memory in use, without pages of files that nobody has used for a while: those the kernel drops before it kills anybody.
fn memory(root: &str) -> Option<u64> {
    let read = |path: &str| read_to_string(format!("{root}/{path}")).ok();
    let (used, stat, inactive) = match read("memory.current") {
        Some(used) => (used, read("memory.stat"), "inactive_file"),
        None => (read("memory/memory.usage_in_bytes")?, read("memory/memory.stat"), "total_inactive_file"),
    };
    let inactive = stat.as_deref().and_then(|text| value(text, inactive)).unwrap_or(0);
    Some(used.trim().parse::<u64>().ok()?.saturating_sub(inactive))
}

fn peak(root: &str) -> Option<u64> {
    let files = ["memory.peak", "memory/memory.max_usage_in_bytes"];
    files.iter().find_map(|file| read_to_string(format!("{root}/{file}")).ok()?.trim().parse().ok())
}

/// The number after a word, in lines of a word and a number.
fn value(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 …`, one line a device.
fn io_v2(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let words = text.split_whitespace().filter_map(|word| word.strip_prefix(key));
        words.filter_map(|number| number.parse::<u64>().ok()).sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

/// `8:0 Read 1`, `8:0 Write 2`, …, and a line with the total.
fn io_v1(text: &str) -> (u64, u64) {
    let sum = |operation: &str| {
        let of = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            (words.next() == Some(operation)).then(|| words.next()?.parse::<u64>().ok()).flatten()
        };
        text.lines().filter_map(of).sum()
    };
    (sum("Read"), sum("Write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        directory
    }

    fn root(directory: &tempfile::TempDir) -> String {
        directory.path().display().to_string()
    }

    #[test]
    fn version_2_counts_from_when_the_job_began() {
        let io = "8:0 rbytes=100 wbytes=10 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=7 rios=1\n";
        let files = tree(&[
            ("cpu.stat", "usage_usec 5000\nuser_usec 4000\nsystem_usec 1000\n"),
            ("memory.current", "9000\n"),
            ("memory.stat", "anon 5000\ninactive_anon 1\nactive_file 10\ninactive_file 1000\n"),
            ("io.stat", io),
        ]);
        let meter = Meter::at(root(&files)).expect("it counts");
        std::fs::write(files.path().join("cpu.stat"), "usage_usec 1205000\n").expect("written");
        std::fs::write(files.path().join("io.stat"), "8:0 rbytes=1100 wbytes=10\n8:16 rbytes=5 wbytes=8\n")
            .expect("written");
        let sample = meter.look().expect("a sample");
        assert_eq!((sample.cpu_ms, sample.memory, sample.read, sample.written), (1200, 8000, 1000, 1));
        std::fs::write(files.path().join("memory.peak"), "70000\n").expect("written");
        assert_eq!(meter.end().expect("a sample").memory, 70_000, "nobody had looked before");
    }

    #[test]
    fn version_1_has_its_files_elsewhere() {
        let files = tree(&[
            ("cpuacct/cpuacct.usage", "3000000000\n"),
            ("memory/memory.usage_in_bytes", "4096\n"),
            ("memory/memory.stat", "cache 1\ninactive_file 1\ntotal_inactive_file 96\n"),
            ("blkio/blkio.throttle.io_service_bytes", "8:0 Read 12\n8:0 Write 34\n8:0 Total 46\nTotal 46\n"),
        ]);
        assert_eq!(counters(&root(&files)), Some(Counters { cpu_ms: 3000, read: 12, written: 34 }));
        assert_eq!(memory(&root(&files)), Some(4000));
    }

    #[test]
    fn where_nothing_is_told_nothing_is_said() {
        let files = tree(&[("memory.current", "12\n")]);
        assert!(Meter::at(root(&files)).is_none());
        assert!(Meter::at("/nothing/there".to_owned()).is_none());
    }
}
