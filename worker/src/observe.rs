//! What operators see of a worker: numbers and traces. docs/observability.md says what each number means.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use reactorcide_engine::config::FailureReason;
use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::provider::ProviderError;
use reactorcide_engine::scheduler::{AttemptResult, Millis};
use reactorcide_engine::trace::{self, Trace};
use reactorcide_providers::otlp::Exporter;
use reactorcide_providers::process::Process;

use crate::sweep::OwnerLock;
use crate::worker::Worker;

/// Times of getting an attempt ready, in seconds.
const SHORT: [f64; 11] = [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];
/// Times of running it.
const LONG: [f64; 10] = [0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0];

/// Watches what a worker does.
pub struct Observer {
    registry: Registry,
    process: Registry,
    slots: Gauge,
    running: Gauge,
    spool: Gauge,
    disk_free: Gauge,
    disk_size: Gauge,
    leases: Counter,
    attempts: Family<Ended, Counter>,
    prepare_times: Histogram,
    run_times: Histogram,
    containers: Family<Started, Counter>,
    provider_errors: Family<Failed, Counter>,
    coordinator_errors: Counter,
    spans: Family<Told, Counter>,
    exporter: OnceLock<Exporter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    result: &'static str,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Started {
    how: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Failed {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Told {
    outcome: &'static str,
}

impl Default for Observer {
    fn default() -> Self {
        let mut observer = Self {
            registry: Registry::default(),
            process: Registry::default(),
            slots: Gauge::default(),
            running: Gauge::default(),
            spool: Gauge::default(),
            disk_free: Gauge::default(),
            disk_size: Gauge::default(),
            leases: Counter::default(),
            attempts: Family::default(),
            prepare_times: Histogram::new(SHORT),
            run_times: Histogram::new(LONG),
            containers: Family::default(),
            provider_errors: Family::default(),
            coordinator_errors: Counter::default(),
            spans: Family::default(),
            exporter: OnceLock::new(),
        };
        observer.registry = observer.named();
        observer.process.register_collector(Box::new(Process::new()));
        observer
    }
}

impl Observer {
    fn named(&self) -> Registry {
        let mut all = Registry::with_prefix("reactorcide_worker");
        let version = Family::<Vec<(&str, &str)>, Gauge>::default();
        version.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))]).set(1);
        all.register("build_info", "Which worker this is", version);
        all.register("capacity", "How many jobs it runs at once", self.slots.clone());
        all.register("running", "Leases that it holds", self.running.clone());
        all.register("leases", "Leases that it was given", self.leases.clone());
        all.register("attempts", "Attempts that have ended here", self.attempts.clone());
        let help = "Time from a lease until its container ran";
        all.register("prepare_duration_seconds", help, self.prepare_times.clone());
        let help = "Time from the start of a container to the end of its attempt";
        all.register("run_duration_seconds", help, self.run_times.clone());
        all.register("container_starts", "Containers that got a job", self.containers.clone());
        let help = "Attempts that the provider of containers did not carry out";
        all.register("provider_errors", help, self.provider_errors.clone());
        let help = "Requests for work that nobody answered";
        all.register("coordinator_errors", help, self.coordinator_errors.clone());
        all.register("spool_bytes", "Bytes of logs that are kept on disk for attempts", self.spool.clone());
        let help = "Bytes that are free where workspaces are";
        all.register("disk_free_bytes", help, self.disk_free.clone());
        all.register("disk_size_bytes", "Bytes that there are where workspaces are", self.disk_size.clone());
        all.register("trace_spans", "Spans of traces that were sent or dropped", self.spans.clone());
        all
    }

    /// Sends traces from now on.
    pub fn export(&self, exporter: Exporter) {
        let _ = self.exporter.set(exporter);
    }

    /// What sends traces, if anything does.
    pub fn exporter(&self) -> Option<&Exporter> {
        self.exporter.get()
    }

    pub(crate) fn leased(&self) {
        self.leases.inc();
    }

    pub(crate) fn coordinator_failed(&self) {
        self.coordinator_errors.inc();
    }

    pub(crate) fn container(&self, waited: bool) {
        let how = if waited { "standby" } else { "created" };
        self.containers.get_or_create(&Started { how }).inc();
    }

    pub(crate) fn provider_failed(&self, error: &ProviderError) {
        let kind = match error {
            ProviderError::Image { .. } => "image",
            ProviderError::Refused { .. } => "refused",
            ProviderError::NoSpace { .. } => "no_space",
            ProviderError::Missing(_) => "missing",
            ProviderError::Unreachable { .. } => "unreachable",
            ProviderError::Engine { .. } => "engine",
        };
        self.provider_errors.get_or_create(&Failed { kind }).inc();
    }

    /// An attempt has ended.
    pub(crate) fn ended(
        &self,
        lease: &LeaseId,
        trace: Option<&Trace>,
        times: &Times,
        result: &AttemptResult,
    ) {
        let now = now();
        let (word, reason) = match result.failure {
            None => ("succeeded", "none".to_owned()),
            Some(FailureReason::Cancelled) => ("cancelled", "cancelled".to_owned()),
            Some(failure) => {
                let word = serde_json::to_value(failure).unwrap_or_default();
                ("failed", word.as_str().unwrap_or_default().to_owned())
            }
        };
        self.attempts.get_or_create(&Ended { result: word, reason }).inc();
        let begun = times.begun();
        if let Some(begun) = begun {
            // Who goes on with an attempt did not prepare it.
            if begun >= times.taken {
                self.prepare_times.observe(seconds(begun - times.taken));
            }
            self.run_times.observe(seconds(now - begun));
        }
        if let (Some(exporter), Some(trace)) = (self.exporter.get(), trace) {
            let spans = trace::worked(trace, lease, times.taken, begun, now, result);
            spans.into_iter().for_each(|span| exporter.push(span));
        }
    }

    /// The metrics, as OpenMetrics has them.
    pub fn text(&self, worker: &Worker) -> String {
        let mut text = String::new();
        let encoded = self
            .encode(worker, &mut text)
            .and_then(|()| encode_registry(&mut text, &self.process))
            .and_then(|()| encode_eof(&mut text));
        encoded.map_or_else(|_| String::new(), |()| text)
    }

    /// The same without what is told of the process, and without an end.
    pub fn encode(&self, worker: &Worker, text: &mut String) -> fmt::Result {
        let settings = &worker.settings;
        self.slots.set(i64::try_from(settings.slots).unwrap_or(i64::MAX));
        self.running.set(i64::try_from(worker.keeper.count()).unwrap_or(i64::MAX));
        self.spool.set(spooled(&OwnerLock::workspaces(&settings.directory, &settings.owner)));
        if let Ok(disk) = rustix::fs::statvfs(&settings.directory) {
            let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
            self.disk_free.set(bytes(disk.f_bavail));
            self.disk_size.set(bytes(disk.f_blocks));
        }
        if let Some(exporter) = self.exporter.get() {
            let counts = exporter.counts();
            for (outcome, count) in [("sent", &counts.sent), ("dropped", &counts.dropped)] {
                // The exporter counts; this only tells.
                let told = self.spans.get_or_create(&Told { outcome });
                told.inner().store(count.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        encode_registry(text, &self.registry)
    }
}

/// When an attempt came to what.
#[derive(Debug)]
pub(crate) struct Times {
    taken: Millis,
    /// 0 until then.
    begun: AtomicI64,
}

impl Times {
    /// Of an attempt that is taken now.
    pub fn new() -> Self {
        Self { taken: now(), begun: AtomicI64::new(0) }
    }

    /// Its container runs, for so long already.
    pub fn begin(&self, age: Duration) {
        let age = Millis::try_from(age.as_millis()).unwrap_or(Millis::MAX);
        self.begun.store(now().saturating_sub(age), Ordering::Relaxed);
    }

    fn begun(&self) -> Option<Millis> {
        Some(self.begun.load(Ordering::Relaxed)).filter(|begun| *begun > 0)
    }
}

/// Bytes of the spools in a directory.
fn spooled(directory: &Path) -> i64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
    let bytes: u64 = logs.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "2^52 ms are long enough")]
fn seconds(millis: Millis) -> f64 {
    millis.max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// docs/observability.md lists what a worker tells, with types and labels.
    #[test]
    fn the_documentation_lists_what_is_told() {
        let observer = Observer::default();
        let lease = LeaseId { run: "r".into(), node: "a".into(), attempt: 1, token: "t".into() };
        let result = AttemptResult {
            failure: Some(FailureReason::Exit),
            exit_code: Some(1),
            message: None,
            outputs: BTreeMap::new(),
            started: true,
            permanent: false,
            usage: None,
        };
        let times = Times::new();
        times.begin(Duration::ZERO);
        observer.ended(&lease, None, &times, &result);
        observer.container(true);
        observer.provider_failed(&ProviderError::Missing("c".into()));
        observer.spans.get_or_create(&Told { outcome: "sent" }).inc_by(3);
        let mut text = String::new();
        for registry in [&observer.registry, &observer.process] {
            encode_registry(&mut text, registry).expect("text");
        }
        assert!(
            text.contains("reactorcide_worker_attempts_total{result=\"failed\",reason=\"exit\"} 1"),
            "{text}"
        );

        let mut told: BTreeMap<String, String> = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').expect("a name and a type");
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            told.insert(name, kind.to_owned());
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/observability.md");
        let documentation = std::fs::read_to_string(path).expect("docs/observability.md");
        let (mut heading, mut documented) = ("", BTreeMap::new());
        for line in documentation.lines() {
            heading = line.strip_prefix("### ").unwrap_or(heading);
            let is_ours = ["Of a worker", "Of both"].contains(&heading);
            let Some(rest) = line.strip_prefix("| `").filter(|_| is_ours) else { continue };
            let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
            let name = cells[0].trim_end_matches('`');
            documented.insert(name.to_owned(), cells[1].to_owned());
            let labels: BTreeSet<&str> = cells[2].split('`').skip(1).step_by(2).collect();
            let sample = format!("{name}{{");
            let sample = text.lines().find_map(|line| line.strip_prefix(&sample)?.split_once('}'));
            let names = sample.map_or("", |(labels, _)| labels).split("\",");
            let names: BTreeSet<&str> = names.filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
            assert_eq!(names, labels, "the labels of {name}");
        }
        assert_eq!(told, documented);
    }
}
