//! What is told to whoever reads metrics: what was counted here, and what the database says now, read with one statement
//! for the queue and one for workers. A database that does not answer hides its own numbers and no others.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use reactorcide_engine::queue::{Claimant, Depth, EntryStatus};
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::StoreError;
use reactorcide_engine::workers::{Worker, WorkerStatus};
use reactorcide_state::database_failures;

use crate::api::{Api, PRESENT};
use crate::applied::Current;
use crate::conductor::now;

/// Names of pools that are told apart; more of them are one.
const POOLS: usize = 100;

/// The metrics, as OpenMetrics has them.
pub(crate) async fn render(api: &Api) -> Result<String, fmt::Error> {
    let stored = Stored::read(api).await;
    if let Err(error) = &stored {
        tracing::warn!(%error, "metrics of the database could not be read");
    }
    let mut of_now = Registry::default();
    let mut spans = Vec::new();
    if let Some(exporter) = api.conductor.observer.exporter() {
        let counts = exporter.counts();
        spans.push(("sent", counts.sent.load(Ordering::Relaxed)));
        spans.push(("dropped", counts.dropped.load(Ordering::Relaxed)));
    }
    of_now.register_collector(Box::new(Now { stored: stored.ok(), spans, at: now() }));
    let mut text = String::new();
    for registry in api.conductor.observer.metrics.registries() {
        encode_registry(&mut text, registry)?;
    }
    encode_registry(&mut text, &of_now)?;
    if let Some(more) = api.conductor.observer.more.get() {
        more(&mut text)?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}

/// What the database says.
#[derive(Debug)]
pub(super) struct Stored {
    pub depths: Vec<Depth>,
    pub workers: Vec<(Worker, Claimant)>,
}

impl Stored {
    async fn read(api: &Api) -> Result<Self, StoreError> {
        let depths = api.conductor.queue.depth(now()).await?;
        let current = api.applied.current().await?;
        let workers = api.workers.list().await?.into_iter().map(|worker| {
            let claimant = claimant(&worker, &current);
            (worker, claimant)
        });
        Ok(Self { depths, workers: workers.collect() })
    }
}

fn claimant(worker: &Worker, current: &Current) -> Claimant {
    let pool = worker.pool.clone().and_then(|name| current.pool(&name).map(|spec| (name, spec)));
    Claimant { worker: worker.name.clone(), labels: worker.labels.clone(), pool }
}

/// Numbers of one moment.
#[derive(Debug)]
pub(super) struct Now {
    pub stored: Option<Stored>,
    pub spans: Vec<(&'static str, u64)>,
    pub at: Millis,
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let encoder = &mut encoder;
        let build = [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1)];
        gauges(encoder, "reactorcide_build_info", "Which server this is", build)?;
        let errors = database_failures().map(|(kind, count)| (vec![("kind", kind.to_owned())], count));
        counters(
            encoder,
            "reactorcide_database_errors",
            "Statements that the database did not carry out",
            errors,
        )?;
        if !self.spans.is_empty() {
            let spans =
                self.spans.iter().map(|(outcome, count)| (vec![("outcome", (*outcome).to_owned())], *count));
            counters(encoder, "reactorcide_trace_spans", "Spans of traces that were sent or dropped", spans)?;
        }
        let answers = i64::from(self.stored.is_some());
        let help = "Whether the database could be read for these metrics";
        gauges(encoder, "reactorcide_database_up", help, [(Vec::new(), answers)])?;
        let Some(stored) = &self.stored else { return Ok(()) };
        stored.queue(encoder, self.at)?;
        stored.workers(encoder, self.at)
    }
}

impl Stored {
    fn queue(&self, encoder: &mut DescriptorEncoder, now: Millis) -> Result<(), fmt::Error> {
        let mut pools = Pools::default();
        let mut depth: BTreeMap<(String, &str), i64> = BTreeMap::new();
        let mut oldest: BTreeMap<String, i64> = BTreeMap::new();
        let mut unserved: BTreeMap<String, i64> = BTreeMap::new();
        for one in &self.depths {
            let pool = pools.name(one);
            let count = i64::try_from(one.count).unwrap_or(i64::MAX);
            let state = if one.delayed { "delayed" } else { one.status.as_str() };
            *depth.entry((pool.clone(), state)).or_default() += count;
            if one.status != EntryStatus::Ready || one.delayed {
                continue;
            }
            let age = oldest.entry(pool.clone()).or_default();
            *age = (*age).max((now - one.oldest).max(0) / 1000);
            let fits = |(worker, claimant): &(Worker, Claimant)| {
                worker.status == WorkerStatus::Active
                    && is_present(worker, now)
                    && one.needs.met_by(claimant, &one.project).is_ok()
            };
            if !self.workers.iter().any(fits) {
                *unserved.entry(pool).or_default() += count;
            }
        }
        let labels = |((pool, state), count): ((String, &str), i64)| {
            (vec![("pool", pool), ("state", state.to_owned())], count)
        };
        let by_pool = |(pool, value): (String, i64)| (vec![("pool", pool)], value);
        gauges(encoder, "reactorcide_queue_depth", "Attempts in the queue", depth.into_iter().map(labels))?;
        let help = "How long the first attempt has waited that could run";
        gauges(encoder, "reactorcide_queue_oldest_seconds", help, oldest.into_iter().map(by_pool))?;
        let help = "Attempts that could run, and that no worker which is there may take";
        gauges(encoder, "reactorcide_queue_unserved", help, unserved.into_iter().map(by_pool))
    }

    fn workers(&self, encoder: &mut DescriptorEncoder, now: Millis) -> Result<(), fmt::Error> {
        let mut states: BTreeMap<&str, i64> =
            ["active", "draining", "disabled", "absent", "lost"].map(|state| (state, 0)).into();
        let mut slots = 0;
        for (worker, _) in &self.workers {
            let has_jobs = || self.depths.iter().any(|depth| depth.worker.as_deref() == Some(&*worker.name));
            let state = match worker.status {
                WorkerStatus::Disabled => "disabled",
                _ if !is_present(worker, now) => {
                    if has_jobs() {
                        "lost"
                    } else {
                        "absent"
                    }
                }
                WorkerStatus::Draining => "draining",
                WorkerStatus::Active => {
                    slots += i64::from(worker.slots);
                    "active"
                }
            };
            *states.entry(state).or_default() += 1;
        }
        let labels = |(state, count): (&str, i64)| (vec![("state", state.to_owned())], count);
        gauges(
            encoder,
            "reactorcide_workers",
            "Workers that have registered",
            states.into_iter().map(labels),
        )?;
        let help = "How many jobs the workers that are active and there run at once";
        gauges(encoder, "reactorcide_worker_slots", help, [(Vec::new(), slots)])
    }
}

fn is_present(worker: &Worker, now: Millis) -> bool {
    now - worker.seen_at < PRESENT
}

/// What the pools of attempts are called: as applied, a few of them together, or `any`.
#[derive(Default)]
struct Pools {
    known: BTreeMap<Vec<String>, String>,
}

impl Pools {
    fn name(&mut self, depth: &Depth) -> String {
        let pools: Vec<String> = depth.needs.pools.iter().cloned().collect();
        if let Some(name) = self.known.get(&pools) {
            return name.clone();
        }
        if self.known.len() >= POOLS {
            return "other".to_owned();
        }
        let name = if pools.is_empty() { "any".to_owned() } else { pools.join(",") };
        self.known.insert(pools, name.clone());
        name
    }
}

type Labels = Vec<(&'static str, String)>;

fn gauges(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels, i64)>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        if labels.is_empty() {
            return ConstGauge::new(value).encode(metric);
        }
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels, u64)>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
