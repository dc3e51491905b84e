//! What is counted and timed. docs/observability.md says what each of them means; a test compares the two.
//!
//! Labels have few values, all of them ours: a route is a template and never a path, and no label holds the name of a
//! project, a user or a job, of which there may be any number and which not everybody who reads metrics may know.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use reactorcide_engine::scheduler::Millis;
use reactorcide_providers::process::Process;

/// Times of requests and of the queue, in seconds.
const SHORT: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];
/// Times of jobs and runs, in seconds.
const LONG: [f64; 10] = [0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0];

type Timed<L> = Family<L, Histogram>;

/// What is counted and timed.
pub struct Metrics {
    registry: Registry,
    process: Registry,
    requests: Family<Answered, Counter>,
    request_times: Timed<Asked>,
    events: Family<Event, Counter>,
    runs: Family<Ended, Counter>,
    run_times: Timed<Ended>,
    jobs: Family<EndedFor, Counter>,
    job_times: Timed<Ended>,
    retries: Counter,
    waits: Histogram,
    starts: Histogram,
    lost: Family<Lost, Counter>,
    log_bytes: Counter,
    log_errors: Counter,
    followers: Family<FollowedLabel, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Event {
    event: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    result: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndedFor {
    result: String,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Lost {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FollowedLabel {
    of: &'static str,
}

/// What somebody follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// The output of a job.
    Log,
    /// Decisions on a run.
    Run,
}

/// That somebody follows, until it is dropped.
#[derive(Debug)]
pub struct Following {
    followers: Gauge,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.followers.dec();
    }
}

fn short() -> Histogram {
    Histogram::new(SHORT)
}

fn long() -> Histogram {
    Histogram::new(LONG)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            process: Registry::default(),
            requests: Family::default(),
            request_times: Family::new_with_constructor(short),
            events: Family::default(),
            runs: Family::default(),
            run_times: Family::new_with_constructor(long),
            jobs: Family::default(),
            job_times: Family::new_with_constructor(long),
            retries: Counter::default(),
            waits: short(),
            starts: short(),
            lost: Family::default(),
            log_bytes: Counter::default(),
            log_errors: Counter::default(),
            followers: Family::default(),
        };
        metrics.registry = metrics.named();
        metrics.process.register_collector(Box::new(Process::new()));
        metrics
    }
}

impl Metrics {
    /// Everything under its name.
    fn named(&self) -> Registry {
        let mut all = Registry::with_prefix("reactorcide");
        all.register("http_requests", "Requests that were answered", self.requests.clone());
        let help =
            "Time until the answer to a request began; whoever waits for work or news waits on purpose";
        all.register("http_request_duration_seconds", help, self.request_times.clone());
        all.register("events", "Runs that events asked for", self.events.clone());
        all.register("runs", "Runs that have ended", self.runs.clone());
        all.register(
            "run_duration_seconds",
            "Time from a run's acceptance to its end",
            self.run_times.clone(),
        );
        all.register("jobs", "Jobs that have ended", self.jobs.clone());
        let help = "Time from the start of a job's first container to its end";
        all.register("job_duration_seconds", help, self.job_times.clone());
        all.register("job_retries", "Attempts of jobs beside their first", self.retries.clone());
        let help = "Time from when an attempt could run until a worker took it";
        all.register("queue_wait_seconds", help, self.waits.clone());
        let help = "Time from a worker's lease until the container ran";
        all.register("job_start_seconds", help, self.starts.clone());
        all.register(
            "leases_lost",
            "Leases that a server ended, since the worker did not",
            self.lost.clone(),
        );
        all.register("log_bytes", "Bytes of logs that workers handed over", self.log_bytes.clone());
        all.register("log_errors", "Pieces of logs that could not be stored", self.log_errors.clone());
        all.register("followers", "Who is being told of something as it happens", self.followers.clone());
        all
    }

    /// What is counted here, and what is told of the process, whose names have no prefix of ours.
    pub(super) fn registries(&self) -> [&Registry; 2] {
        [&self.registry, &self.process]
    }

    /// A request was answered. `route` is the template that its path fits.
    pub fn answered(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let (method, route) = (word(method), route.unwrap_or("none"));
        let answered = Answered { method, route: route.to_owned(), status: status.as_u16() };
        self.requests.get_or_create(&answered).inc();
        let asked = Asked { method, route: route.to_owned() };
        self.request_times.get_or_create(&asked).observe(took.as_secs_f64());
    }

    /// An event asked for a run: one that is new, or one that it had asked for before.
    pub fn event(&self, event: &str, new: bool) {
        let outcome = if new { "accepted" } else { "repeated" };
        self.events.get_or_create(&Event { event: event.to_owned(), outcome }).inc();
    }

    /// A run has ended.
    pub fn run(&self, result: &str, took: Millis) {
        let ended = Ended { result: result.to_owned() };
        self.runs.get_or_create(&ended).inc();
        self.run_times.get_or_create(&ended).observe(seconds(took));
    }

    /// A job has ended.
    pub fn job(&self, result: &str, reason: Option<&str>, took: Option<Millis>) {
        let ended = Ended { result: result.to_owned() };
        let reason = reason.unwrap_or("none").to_owned();
        self.jobs.get_or_create(&EndedFor { result: result.to_owned(), reason }).inc();
        if let Some(took) = took {
            self.job_times.get_or_create(&ended).observe(seconds(took));
        }
    }

    /// Jobs are tried again.
    pub fn retried(&self, count: usize) {
        self.retries.inc_by(count as u64);
    }

    /// A worker took what could run for so long.
    pub fn waited(&self, wait: Millis) {
        self.waits.observe(seconds(wait));
    }

    /// A container runs, so long after the lease.
    pub fn begun(&self, after: Millis) {
        self.starts.observe(seconds(after));
    }

    /// A lease was ended, since nothing was heard of its worker, or since it took too long.
    pub fn lost(&self, timed_out: bool) {
        let reason = if timed_out { "timeout" } else { "lost_worker" };
        self.lost.get_or_create(&Lost { reason }).inc();
    }

    /// A piece of a log was stored.
    pub fn log(&self, bytes: usize) {
        self.log_bytes.inc_by(bytes as u64);
    }

    /// A piece of a log could not be stored.
    pub fn log_failed(&self) {
        self.log_errors.inc();
    }

    /// Somebody follows something.
    pub fn follow(&self, what: Followed) -> Following {
        let of = match what {
            Followed::Log => "log",
            Followed::Run => "run",
        };
        let followers = self.followers.get_or_create_owned(&FollowedLabel { of });
        followers.inc();
        Following { followers }
    }
}

/// Anybody may send any word for a method.
fn word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Seconds; a clock that was moved makes no time negative.
#[allow(clippy::cast_precision_loss, reason = "2^52 ms are long enough")]
fn seconds(millis: Millis) -> f64 {
    millis.max(0) as f64 / 1000.0
}
