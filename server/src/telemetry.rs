//! What operators see of a server: numbers, traces, and lines of the log that belong together.
//!
//! Whatever is counted here is counted in this process alone; what is in the database is read when somebody asks.

mod current;
mod metrics;
mod scrape;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::queue::Claimed;
use reactorcide_engine::runs::{Commit, Known, RunRecord, RunStore};
use reactorcide_engine::scheduler::{Millis, NodeStatus, RunStatus};
use reactorcide_engine::trace::{self, Trace};
use reactorcide_providers::otlp::Exporter;

pub(crate) use current::{fresh, given, within};
pub use metrics::{Followed, Metrics};
pub(crate) use scrape::render;

/// Decisions that are read at once.
const PAGE: u32 = 1000;
/// Attempts whose start is waited for. That of others is not timed.
const TAKEN: usize = 10_000;
/// How long it is waited for where there are as many.
const TAKEN_FOR: Millis = 600_000;

/// Watches what happens. One for a process.
#[derive(Default)]
pub struct Observer {
    /// What is counted.
    pub metrics: Metrics,
    exporter: OnceLock<Exporter>,
    more: OnceLock<More>,
    /// Attempts that were taken here and are not known to have begun.
    taken: Mutex<HashMap<(String, String, u32), Taken>>,
}

/// When an attempt was taken.
struct Taken {
    due_at: Millis,
    at: Millis,
    worker: String,
}

/// Adds to what is told as metrics.
type More = Box<dyn Fn(&mut String) -> std::fmt::Result + Send + Sync>;

impl Observer {
    /// Sends traces from now on.
    pub fn export(&self, exporter: Exporter) {
        let _ = self.exporter.set(exporter);
    }

    /// What sends traces, if anything does.
    pub fn exporter(&self) -> Option<&Exporter> {
        self.exporter.get()
    }

    /// Something else in this process has metrics of its own: what it adds is told too.
    pub fn also_tell(&self, more: impl Fn(&mut String) -> std::fmt::Result + Send + Sync + 'static) {
        let _ = self.more.set(Box::new(more));
    }

    /// A run was accepted.
    pub(crate) fn accepted(&self, known: &Known, first: &Commit, runs: &Arc<dyn RunStore>) {
        let record = &known.record;
        let trace_id = known.state.trace.as_ref().map(Trace::id).unwrap_or_default();
        tracing::info!(
            run.id = record.id,
            trace_id,
            pipeline = record.pipeline,
            event = record.event,
            "a run was accepted"
        );
        self.metrics.event(&record.event, true);
        self.committed(known, first, runs);
    }

    /// A delivery came again.
    pub(crate) fn known_already(&self, event: &str) {
        self.metrics.event(event, false);
    }

    /// A decision was written.
    pub(crate) fn committed(&self, known: &Known, commit: &Commit, runs: &Arc<dyn RunStore>) {
        for transition in &commit.transitions {
            let Some(name) = &transition.node else { continue };
            let Some(node) = known.state.node(name) else { continue };
            let word = transition.to.as_str();
            let ends = node.status.is_terminal() && node.status.as_str() == word;
            // A group of jobs has no attempts and is none; what was never tried is only ever left out.
            let is_job = transition.attempt.is_some()
                || matches!(node.status, NodeStatus::Skipped | NodeStatus::Cancelled);
            if ends && is_job {
                let took = node.started_at.zip(node.ended_at).map(|(start, end)| end - start);
                let reason = node.failure.map(crate::api::failure_word);
                self.metrics.job(word, reason.as_deref(), took.filter(|_| transition.attempt.is_some()));
            }
        }
        self.begun(known, commit);
        self.metrics.retried(commit.enqueue.iter().filter(|entry| entry.attempt > 1).count());
        if let Some((status, at)) = commit.ended {
            self.ended(known, status, at, runs);
        }
    }

    fn ended(&self, known: &Known, status: RunStatus, at: Millis, runs: &Arc<dyn RunStore>) {
        let record = RunRecord { status, ended_at: Some(at), ..known.record.clone() };
        let trace_id = known.state.trace.as_ref().map(Trace::id).unwrap_or_default();
        let (word, took) = (status.as_str(), at - record.started_at);
        tracing::info!(run.id = record.id, trace_id, status = word, took_ms = took, "a run has ended");
        self.metrics.run(word, took);
        if let (Some(exporter), Some(trace)) = (self.exporter.get(), &known.state.trace)
            && trace.sampled
        {
            let (exporter, trace, runs) = (exporter.clone(), trace.clone(), Arc::clone(runs));
            tokio::spawn(async move { tell(&exporter, &record, &trace, runs.as_ref()).await });
        }
    }

    /// A worker took something.
    pub(crate) fn claimed(&self, claimed: &Claimed, now: Millis, worker: &str) {
        self.metrics.waited(now - claimed.due_at);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= TAKEN {
            // Those whose start another server hears of are never asked for here.
            taken.retain(|_, one| now - one.at < TAKEN_FOR);
        }
        if taken.len() < TAKEN {
            let LeaseId { run, node, attempt, .. } = claimed.lease.clone();
            let due_at = claimed.due_at.min(now);
            taken.insert((run, node, attempt), Taken { due_at, at: now, worker: worker.to_owned() });
        }
    }

    /// What was taken has begun, or has ended without that.
    fn begun(&self, known: &Known, commit: &Commit) {
        let started = commit.started.iter().map(|(node, attempt, at)| (node, *attempt, Some(*at)));
        let over = commit.over.iter().map(|(node, attempt)| (node, *attempt, None));
        for (node, attempt, started) in started.chain(over) {
            let key = (commit.run.clone(), node.clone(), attempt);
            let found = self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            let Some(Taken { due_at, at, worker }) = found else { continue };
            if let Some(started) = started {
                self.metrics.begun(started - at);
            }
            if let (Some(exporter), Some(trace)) = (self.exporter.get(), &known.state.trace) {
                exporter.push(trace::queued(trace, (&commit.run, node, attempt), due_at, at, &worker));
            }
        }
    }
}

/// Tells of a run that has ended.
async fn tell(exporter: &Exporter, record: &RunRecord, trace: &Trace, runs: &dyn RunStore) {
    let mut transitions = Vec::new();
    loop {
        match runs.transitions(&record.id, transitions.len() as u64, PAGE).await {
            Ok(page) => {
                let is_last = page.len() < PAGE as usize;
                transitions.extend(page);
                if is_last {
                    break;
                }
            }
            Err(error) => {
                tracing::warn!(run.id = record.id, trace_id = trace.id(), %error, "the trace of a run could not be put together");
                return;
            }
        }
    }
    trace::spans_of_run(record, trace, &transitions).into_iter().for_each(|span| exporter.push(span));
}
