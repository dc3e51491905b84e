//! The loop that ends what nobody else ends: leases that were lost, attempts that take too long although their worker says
//! nothing, attempts and runs whose place in a group another one takes. It also lets runs begin that have got theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use reactorcide_engine::config::FailureReason;
use reactorcide_engine::queue::Overdue;
use reactorcide_engine::runs::EntryFilter;
use reactorcide_engine::scheduler::{AttemptResult, Event};
use reactorcide_engine::store::StoreError;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until};

use crate::conductor::{ConductError, Conductor, Notice, now};

/// How often leases are looked after, while there are any.
const INTERVAL: Duration = Duration::from_secs(5);
/// What is ended at once.
const BATCH: u32 = 1000;

/// Ends what must end, for as long as it is run. Any number of these may do so at once.
pub async fn reap(conductor: Conductor) {
    let mut notices = conductor.notices();
    let mut next = Some(Instant::now());
    let mut crowded = true;
    loop {
        tokio::select! {
            notice = notices.recv() => match crowds(notice) {
                Some(crowds) => crowded |= crowds,
                None => return,
            },
            () = due(next) => {}
        }
        // However many decisions there were meanwhile, one look is enough.
        while let Some(crowds) = more(&mut notices) {
            crowded |= crowds;
        }
        // Whoever waits is told at once; leases are looked after now and then.
        if crowded {
            match places(&conductor).await {
                Ok(more) => crowded = more,
                Err(error) => {
                    tracing::warn!(%error, "whose place is taken, and who has one, could not be looked for");
                }
            }
            if crowded {
                let again = Instant::now() + INTERVAL;
                next = Some(next.map_or(again, |next| next.min(again)));
            }
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

/// Whether something wants a place that may be another one's. Nothing once there is nobody to say so.
fn crowds(notice: Result<Notice, RecvError>) -> Option<bool> {
    match notice {
        Ok(notice) => Some(notice.crowds),
        Err(RecvError::Lagged(_)) => Some(true),
        Err(RecvError::Closed) => None,
    }
}

/// The same of a notice that is there already.
fn more(notices: &mut broadcast::Receiver<Notice>) -> Option<bool> {
    match notices.try_recv() {
        Ok(notice) => Some(notice.crowds),
        Err(TryRecvError::Lagged(_)) => Some(true),
        Err(TryRecvError::Empty | TryRecvError::Closed) => None,
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
        usage: None,
    };
    let event = Event::AttemptFinished { node: lease.node.clone(), attempt: lease.attempt, result };
    match conductor.report(&lease, event).await {
        Ok(()) => {
            conductor.observer.metrics.lost(timed_out);
            tracing::warn!(
                run.id = lease.run,
                job.name = lease.node,
                attempt = lease.attempt,
                worker,
                timed_out,
                "a lease was ended"
            );
        }
        // Somebody else was faster: another server, or the worker itself.
        Err(ConductError::Stale(_)) => {}
        Err(error) => {
            tracing::warn!(run.id = lease.run, job.name = lease.node, %error, "a lost attempt could not be ended");
        }
    }
}

/// Stops what others take the place of, and lets runs begin that have got one. Whether there is more of it.
async fn places(conductor: &Conductor) -> Result<bool, StoreError> {
    Ok(supersede(conductor).await? | admit(conductor).await?)
}

/// Lets runs begin that have got a place in their group. Whether there are more of them, or some that could not be told.
async fn admit(conductor: &Conductor) -> Result<bool, StoreError> {
    let found = conductor.queue.admitted(BATCH).await?;
    let mut more = found.len() >= BATCH as usize;
    for run in found {
        if let Err(error) = conductor.tell(&run, Event::Admit).await {
            more = true;
            tracing::warn!(run.id = run, %error, "a run that has got its place could not begin");
        }
    }
    Ok(more)
}

/// Stops attempts and runs whose place another one takes. Whether there are more of them, or some that could not be stopped.
async fn supersede(conductor: &Conductor) -> Result<bool, StoreError> {
    let found = conductor.queue.superseded(BATCH).await?;
    let mut more = found.len() >= BATCH as usize;
    for superseded in found {
        let reason = format!("{} takes its place", superseded.by);
        let event = match superseded.node.as_str() {
            "" => Event::Cancel { reason, force: false },
            node => Event::Stop { node: node.to_owned(), reason, force: false },
        };
        if let Err(error) = conductor.tell(&superseded.run, event).await {
            more = true;
            tracing::warn!(run.id = superseded.run, job.name = superseded.node, %error, "an attempt could not be stopped");
        }
    }
    Ok(more)
}
