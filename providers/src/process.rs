//! What the machine says of this process, under the names that every Prometheus dashboard knows.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Tells of this process, as it is when it is asked.
#[derive(Debug)]
pub struct Process {
    started: f64,
}

impl Process {
    /// To be made when the process starts.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: now.as_secs_f64() }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Memory of this process that is in RAM",
                kilobytes(&status, "VmRSS:"),
            ),
            ("process_virtual_memory_bytes", "Address space of this process", kilobytes(&status, "VmSize:")),
            ("process_threads", "Threads of this process", field(&status, "Threads:")),
            ("process_open_fds", "Open file descriptors of this process", descriptors()),
            (
                "process_max_fds",
                "File descriptors that this process may have",
                limit(&limits, "Max open files"),
            ),
        ];
        for (name, help, value) in gauges {
            // What the system does not tell is not told.
            if let Some(value) = value {
                gauge(&mut encoder, name, help, value)?;
            }
        }
        gauge(
            &mut encoder,
            "process_start_time_seconds",
            "When this process started, since 1970",
            self.started,
        )?;
        let seconds = ConstCounter::new(processor_time().as_secs_f64());
        let help = "Time that this process had on processors";
        let metric = encoder.encode_descriptor("process_cpu_seconds", help, None, seconds.metric_type())?;
        seconds.encode(metric)
    }
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: f64) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A number of `/proc/self/status`.
fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

fn kilobytes(text: &str, name: &str) -> Option<f64> {
    field(text, name).map(|number| number * 1024.0)
}

fn limit(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

fn descriptors() -> Option<f64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them looks.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn it_tells_of_this_process() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::new()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in {text}")).parse().expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_start_time_seconds") > 1.7e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
