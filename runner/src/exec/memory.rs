//! Whether the kernel killed processes of the container for lack of memory: its own count in the container's cgroup.
//!
//! The engine tells it too, but later than a job ends.

use std::path::Path;

/// The files with the count, of cgroup v2 and v1, as a container sees its own.
const FILES: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// The kills so far; 0 where it cannot be told.
pub fn kills() -> u64 {
    FILES.iter().find_map(|file| count(&std::fs::read_to_string(Path::new(file)).ok()?)).unwrap_or(0)
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_count_kills_on_a_line_of_their_own() {
        assert_eq!(count("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
