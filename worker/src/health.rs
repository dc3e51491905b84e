//! How this machine is, as its kernel says.

use std::path::Path;

use reactorcide_engine::workers::{Floor, Health};

/// Looks. What cannot be found out is left out.
pub fn look(directory: &Path, floor: Floor) -> Health {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let (disk_total, disk_free) = disk(directory).unzip();
    let health = Health {
        load: std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| load(&text)),
        processors: std::thread::available_parallelism().ok().and_then(|count| count.get().try_into().ok()),
        memory_total: amount(&memory, "MemTotal:"),
        memory_available: amount(&memory, "MemAvailable:"),
        disk_total,
        disk_free,
        refuses: None,
    };
    health.with_floor(floor)
}

/// The size of a directory's file system, and how much of it is free for whoever is not root.
fn disk(directory: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some((disk.f_blocks.checked_mul(disk.f_frsize)?, disk.f_bavail.checked_mul(disk.f_frsize)?))
}

/// The load of the last minute.
fn load(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// A line of the kernel's table of memory, in bytes.
fn amount(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_measured() {
        let directory = tempfile::tempdir().expect("a directory");
        let health = look(directory.path(), Floor::Bytes(0));
        assert!(health.processors.is_some_and(|count| count > 0) && health.load.is_some(), "{health:?}");
        assert!(
            health.memory_total > health.memory_available && health.memory_available > Some(0),
            "{health:?}"
        );
        assert!(health.disk_total > Some(0) && health.disk_free.is_some(), "{health:?}");
        assert_eq!(health.refuses, None);
        let full = look(directory.path(), Floor::Bytes(u64::MAX));
        assert!(full.refuses.is_some_and(|reason| reason.starts_with("its disk has ")));
    }

    #[test]
    fn what_the_kernel_says_is_understood() {
        assert_eq!(load("0.52 0.58 0.59 1/467 12345\n"), Some(0.52));
        assert_eq!(amount("MemTotal:  16 kB\nMemAvailable:   8 kB\n", "MemAvailable:"), Some(8192));
        assert_eq!(
            (load(""), amount("MemTotal: x", "MemTotal:"), amount("", "MemTotal:")),
            (None, None, None)
        );
    }
}
