//! The loop that ends what nobody else ends: leases that were lost, attempts that take too long although their worker says
//! nothing, attempts whose place in a group another one takes.

use std::collections::BTreeMap;
use std::time::Duration;

use reactorcide_engine::config::FailureReason;
use reactorcide_engine::queue::Overdue;
use reactorcide_engine::runs::EntryFilter;
use reactorcide_engine::scheduler::{AttemptResult, Event};
use reactorcide_engine::store::StoreError;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use crate::conductor::{ConductError, Conductor, now};

/// How often leases are looked after, while there are any.
const INTERVAL: Duration = Duration::from_secs(5);
/// What is ended at once.
const BATCH: u32 = 1000;

/// Ends what must end, for as long as it is run. Any number of these may do so at once.
pub async fn reap(conductor: Conductor) {
    let mut notices = conductor.notices();
    let mut next = Some(Instant::now());
    loop {
        tokio::select! {
            notice = notices.recv() => if matches!(notice, Err(RecvError::Closed)) { return },
            () = due(next) => {}
        }
        // Whoever waits is told at once; leases are looked after now and then.
        if let Err(error) = supersede(&conductor).await {
            tracing::warn!(%error, "attempts whose place is taken could not be looked for");
        }
        if next.is_none_or(|next| next <= Instant::now()) {
            next = match look(&conductor).await {
                Ok(true) => Some(Instant::now() + INTERVAL),
                Ok(false) => None,
                Err(error) => {
                    tracing::warn!(%error, "leases could not be looked after");
                    Some(Instant::now() + INTERVAL)
                }
            };
        }
    }
}

async fn due(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}

/// Ends leases that are overdue. Whether there are any to look after again.
pub(crate) async fn look(conductor: &Conductor) -> Result<bool, StoreError> {
    for overdue in conductor.queue.overdue(now(), BATCH).await? {
        end(conductor, overdue).await;
    }
    let any = EntryFilter { limit: 1, ..EntryFilter::default() };
    Ok(!conductor.queue.entries(&any).await?.is_empty())
}

async fn end(conductor: &Conductor, overdue: Overdue) {
    let Overdue { lease, worker, timed_out } = overdue;
    let (failure, message) = if timed_out {
        (FailureReason::Timeout, format!("it took too long, and {worker} did not end it"))
    } else {
        (FailureReason::LostWorker, format!("nothing was heard of {worker} any more"))
    };
    let result = AttemptResult {
        failure: Some(failure),
        exit_code: None,
        message: Some(message),
        outputs: BTreeMap::new(),
        started: true,
        permanent: false,
    };
    let event = Event::AttemptFinished { node: lease.node.clone(), attempt: lease.attempt, result };
    match conductor.report(&lease, event).await {
        // Somebody else was faster: another server, or the worker itself.
        Ok(()) | Err(ConductError::Stale(_)) => {}
        Err(error) => {
            tracing::warn!(run.id = lease.run, job.name = lease.node, %error, "a lost attempt could not be ended");
        }
    }
}

async fn supersede(conductor: &Conductor) -> Result<(), StoreError> {
    for superseded in conductor.queue.superseded(BATCH).await? {
        let reason = format!("{} takes its place", superseded.by);
        let event = Event::Stop { node: superseded.node.clone(), reason, force: false };
        if let Err(error) = conductor.tell(&superseded.run, event).await {
            tracing::warn!(run.id = superseded.run, job.name = superseded.node, %error, "an attempt could not be stopped");
        }
    }
    Ok(())
}
