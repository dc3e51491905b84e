//! What a container uses, as the engine counts it.

use bollard::models::ContainerStatsResponse;
use reactorcide_engine::protocol::usage::Sample;

/// What statistics say; nothing, where the container does not run any more.
pub fn sample(stats: ContainerStatsResponse) -> Option<Sample> {
    let memory = stats.memory_stats?;
    let used = memory.usage.filter(|used| *used > 0)?;
    let inactive = memory.stats.and_then(|stats| {
        // The words of cgroup v1 and v2.
        stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")).copied()
    });
    let cpu = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage).unwrap_or(0);
    let entries = stats.blkio_stats.and_then(|io| io.io_service_bytes_recursive).unwrap_or_default();
    let sum = |operation: &str| {
        let is_it = |op: &Option<String>| op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(operation));
        entries.iter().filter(|entry| is_it(&entry.op)).filter_map(|entry| entry.value).sum()
    };
    Some(Sample {
        at_ms: 0,
        cpu_ms: cpu / 1_000_000,
        memory: used.saturating_sub(inactive.unwrap_or(0)),
        read: sum("read"),
        written: sum("write"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ContainerStatsResponse {
        serde_json::from_str(text).expect("statistics")
    }

    #[test]
    fn both_versions_of_cgroups_are_read() {
        let v1 = r#"{"cpu_stats": {"cpu_usage": {"total_usage": 2500000}},
            "memory_stats": {"usage": 5000, "stats": {"total_inactive_file": 1000, "inactive_file": 7}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 10}, {"major": 8, "minor": 1, "op": "Read", "value": 1},
                {"major": 8, "minor": 0, "op": "Write", "value": 20}, {"major": 8, "minor": 0, "op": "Total", "value": 30}]}}"#;
        let expected = Sample { at_ms: 0, cpu_ms: 2, memory: 4000, read: 11, written: 20 };
        assert_eq!(sample(read(v1)), Some(expected));
        let v2 = r#"{"cpu_stats": {"cpu_usage": {"total_usage": 2500000}},
            "memory_stats": {"usage": 5000, "stats": {"inactive_file": 1000}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 11}, {"op": "write", "value": 20}]}}"#;
        assert_eq!(sample(read(v2)), Some(expected));
        assert_eq!(
            sample(read(r#"{"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}"#)),
            None
        );
    }
}
