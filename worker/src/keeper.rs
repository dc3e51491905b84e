//! Keeps leases: says again and again that they are held, hears what is to stop, and ends by itself what it could not
//! keep. Whatever must arrive is said until it has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reactorcide_engine::coordinator::{
    Coordinator, CoordinatorError, Delivered, Lease, LeaseId, Report, Urgency,
};
use reactorcide_engine::protocol::query::{Answer, Query};
use reactorcide_engine::queue::Renewed;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// How long a coordinator may wait for news before it answers.
const WAIT: Duration = Duration::from_secs(20);
/// How long an answer may take beyond that.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a job waits for its secrets, where who keeps them does not answer.
const SECRETS: Duration = Duration::from_secs(300);

/// What a job under a lease must do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// Whether it must stop.
    pub urgency: Urgency,
    /// Because the lease could not be kept, and not because somebody wants it.
    pub not_kept: bool,
}

/// Keeps the leases of one worker.
pub struct Keeper {
    coordinator: Arc<dyn Coordinator>,
    held: Mutex<HashMap<LeaseId, Held>>,
    changed: Notify,
}

struct Held {
    order: watch::Sender<Order>,
    stop_after: Duration,
    /// Until when it is kept for certain, or given up where nobody knows.
    until: Instant,
    /// Whether it was kept since this process holds it, or was given to it.
    certain: bool,
}

/// What is held at one moment.
struct Known {
    /// Which leases, and how urgently each is known to stop.
    known: Vec<(LeaseId, Urgency)>,
    /// When the first can no longer be kept for certain.
    deadline: Instant,
    /// How long a coordinator may wait for news.
    wait: Duration,
}

impl Keeper {
    /// Keeps leases of a coordinator.
    pub fn new(coordinator: Arc<dyn Coordinator>) -> Self {
        Self { coordinator, held: Mutex::default(), changed: Notify::new() }
    }

    /// Holds a lease from now on that was just given.
    pub fn hold(&self, lease: &Lease) {
        self.insert(lease, true);
    }

    /// Holds a lease from now on that an earlier process held. Nobody knows whether it stands until it was kept.
    pub fn hold_again(&self, lease: &Lease) {
        self.insert(lease, false);
    }

    fn insert(&self, lease: &Lease, certain: bool) {
        let until = Instant::now() + lease.stop_after;
        let order = watch::Sender::new(Order::default());
        self.held().insert(lease.id.clone(), Held { order, stop_after: lease.stop_after, until, certain });
        self.changed.notify_one();
    }

    /// For how long a lease is known to stand from now on; nothing, where that is not known.
    pub fn left(&self, lease: &LeaseId) -> Option<Duration> {
        let held = self.held();
        let held = held.get(lease).filter(|held| held.certain && !held.order.borrow().not_kept)?;
        Some(held.until.saturating_duration_since(Instant::now()))
    }

    /// Holds it no more.
    pub fn release(&self, lease: &LeaseId) {
        self.held().remove(lease);
        self.changed.notify_one();
    }

    /// Kills whatever runs: somebody here wants this worker to end.
    pub fn stop_all(&self) {
        for held in self.held().values() {
            more(&held.order, Order { urgency: Urgency::AtOnce, not_kept: true });
        }
    }

    /// How many are held.
    pub fn count(&self) -> usize {
        self.held().len()
    }

    /// Keeps what is held, for as long as it is run.
    pub async fn keep(&self) {
        let mut failures = 0;
        loop {
            let Known { known, deadline, wait } = self.known();
            if known.is_empty() {
                self.changed.notified().await;
                continue;
            }
            let sent = Instant::now();
            tokio::select! {
                biased;
                // Whatever came is to be kept too.
                () = self.changed.notified() => {}
                renewed = tokio::time::timeout(wait + PATIENCE, self.coordinator.renew(&known, wait)) => match renewed {
                    Ok(Ok(renewed)) => {
                        failures = 0;
                        self.hear(renewed, sent);
                    }
                    failed => {
                        if failures == 0 {
                            match failed {
                                Ok(Err(error)) => tracing::warn!(%error, "leases could not be kept, trying again"),
                                _ => tracing::warn!("no answer about leases, trying again"),
                            }
                        }
                        failures += 1;
                        sleep(back_off(failures).min(deadline.saturating_duration_since(Instant::now()))).await;
                    }
                },
                () = sleep_until(deadline) => {}
            }
            self.give_up();
        }
    }

    /// Waits until what runs under a lease must do more than `already`.
    pub async fn ordered(&self, lease: &LeaseId, already: Order) -> Order {
        let order = self.held().get(lease).map(|held| held.order.subscribe());
        let Some(mut order) = order else { return std::future::pending().await };
        let more = order.wait_for(|now| now.urgency > already.urgency).await.map(|now| *now);
        match more {
            Ok(more) => more,
            Err(_) => std::future::pending().await,
        }
    }

    /// Says something of a lease until it is known, or the lease is over.
    pub async fn report(&self, lease: &LeaseId, report: Report) -> Result<(), CoordinatorError> {
        self.until_known("a report", || self.coordinator.report(lease, report.clone())).await
    }

    /// Hands over a piece of a log in the same way; see [`Coordinator::log`].
    pub async fn log(&self, lease: &LeaseId, offset: u64, lines: &[u8]) -> Result<u64, CoordinatorError> {
        self.until_known("a piece of a log", || self.coordinator.log(lease, offset, lines.to_vec())).await
    }

    /// Asks for the secrets of a job until that is answered, for as long as it may take before the job begins.
    pub async fn secrets(&self, lease: &LeaseId) -> Result<Delivered, CoordinatorError> {
        let answer = self.until_known("a question for secrets", || self.coordinator.secrets(lease));
        let late = || CoordinatorError::Unavailable("nobody could give them for too long".to_owned());
        tokio::time::timeout(SECRETS, answer).await.unwrap_or_else(|_| Err(late()))
    }

    /// Asks about the run, once: whoever asks is told where nobody knows.
    pub async fn ask(&self, lease: &LeaseId, query: Query) -> Answer {
        let answer = self.coordinator.ask(lease, query).await;
        answer.unwrap_or_else(|error| Answer::Unavailable { reason: error.to_string() })
    }

    async fn until_known<T, F>(&self, what: &str, mut say: impl FnMut() -> F) -> Result<T, CoordinatorError>
    where
        F: Future<Output = Result<T, CoordinatorError>>,
    {
        let mut failures = 0;
        loop {
            match say().await {
                Err(CoordinatorError::Unavailable(reason)) => {
                    if failures == 0 {
                        tracing::warn!(reason, "{what} did not arrive, trying again");
                    }
                    failures += 1;
                    sleep(back_off(failures)).await;
                }
                other => return other,
            }
        }
    }

    fn known(&self) -> Known {
        let held = self.held();
        // Of what is over there is nothing more to hear.
        let kept = held.iter().filter(|(_, held)| !held.order.borrow().not_kept);
        let deadline = kept.clone().map(|(_, held)| held.until).min();
        // Asked for often enough that one answer may be lost.
        let shortest = kept.clone().map(|(_, held)| held.stop_after / 3).min();
        let wait = shortest.unwrap_or(WAIT).min(WAIT);
        let known = kept.map(|(lease, held)| (lease.clone(), held.order.borrow().urgency)).collect();
        Known { known, deadline: deadline.unwrap_or_else(|| Instant::now() + WAIT), wait }
    }

    fn hear(&self, renewed: Vec<Renewed>, sent: Instant) {
        let mut held = self.held();
        for renewed in renewed {
            let Some(held) = held.get_mut(&renewed.lease) else { continue };
            let urgency = if renewed.stands { renewed.stop } else { Urgency::AtOnce };
            more(&held.order, Order { urgency, not_kept: !renewed.stands });
            if renewed.stands {
                // A lease is kept from when it was asked for, not from when the answer came.
                held.until = held.until.max(sent + held.stop_after);
                held.certain = true;
            }
        }
    }

    fn give_up(&self) {
        let now = Instant::now();
        for held in self.held().values().filter(|held| held.until <= now) {
            more(&held.order, Order { urgency: Urgency::AtOnce, not_kept: true });
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<LeaseId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn more(order: &watch::Sender<Order>, wanted: Order) {
    order.send_if_modified(|now| {
        let is_more = wanted.urgency > now.urgency;
        if is_more {
            *now = wanted;
        }
        is_more
    });
}

/// How long to wait after so many failures: longer and longer, and not all at the same time.
pub(crate) fn back_off(failures: u32) -> Duration {
    let most = 100_u64.saturating_mul(1 << failures.min(6));
    Duration::from_millis(most / 2 + fastrand::u64(..=most / 2))
}

#[cfg(test)]
mod tests;
