//! The loop that carries out what applies owe to the outside, so that nobody has to wait for it.
//!
//! It looks when it starts, when somebody says that there is something, and when anybody has applied something, which may owe
//! something and be killed over it. Any number of servers may do so: one at a time has the lease, and whoever is killed
//! leaves the rest to the next.

use std::sync::Arc;
use std::time::Duration;

use reactorcide_engine::outside::{Ledger, Outside};
use reactorcide_engine::store::{Store, StoreError};
use tokio::sync::{Notify, watch};

use crate::conductor::now;
use crate::holder;
use crate::reconcile::{Progress, Reconcile, ReconcileError, Reconciled};

/// How often to look where nothing is known to be owed, should nobody have heard of an apply.
const LOOK: Duration = Duration::from_secs(600);
/// When to try again what failed; twice as long after each further time.
const AGAIN: Duration = Duration::from_secs(15);
/// The longest that it takes until then.
const AGAIN_AT_MOST: Duration = Duration::from_secs(600);
/// When to look again at what another carries out.
const HELD: Duration = Duration::from_secs(5);

/// What is owed, and how to get at where it is owed to. Cheap to clone.
#[derive(Clone)]
pub struct Errands {
    /// What is owed.
    pub ledger: Arc<dyn Ledger>,
    /// Where it is carried out.
    pub outside: Arc<dyn Outside>,
    wake: Arc<Notify>,
}

impl Errands {
    /// What a state owes, and who can do it.
    pub fn new(ledger: Arc<dyn Ledger>, outside: Arc<dyn Outside>) -> Self {
        Self { ledger, outside, wake: Arc::new(Notify::new()) }
    }

    /// Says that something is owed, or that what failed is worth another try.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Carries out what is owed until the server ends. What is under way then is left as it is: whoever comes next looks
    /// whether it happened. `serials` tells of applies.
    pub async fn run(
        self,
        store: Arc<dyn Store>,
        mut serials: watch::Receiver<u64>,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut failures = 0_u32;
        loop {
            serials.mark_unchanged();
            let wait = tokio::select! {
                () = crate::api::until_closing(&mut closing) => return,
                ended = self.once(&*store) => match ended {
                    Ok(Reconciled { left: 0, .. }) => {
                        failures = 0;
                        LOOK
                    }
                    Ok(Reconciled { done, .. }) => {
                        failures = if done > 0 { 1 } else { failures + 1 };
                        again(failures)
                    }
                    Err(ReconcileError::Held { .. } | ReconcileError::Lost) => HELD,
                    Err(ReconcileError::Store(error)) => {
                        tracing::warn!(%error, "what is owed elsewhere could not be carried out");
                        HELD
                    }
                },
            };
            tokio::select! {
                () = crate::api::until_closing(&mut closing) => return,
                () = self.wake.notified() => {}
                Ok(()) = serials.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn once(&self, store: &dyn Store) -> Result<Reconciled, ReconcileError> {
        if self.ledger.owed().await?.is_empty() {
            return Ok(Reconciled::default());
        }
        let lineage: Result<_, StoreError> = store.snapshot().await.map(|snapshot| snapshot.lineage);
        let reconcile = Reconcile {
            ledger: &*self.ledger,
            outside: &*self.outside,
            workspace: lineage?.as_ref().map(ToString::to_string).unwrap_or_default(),
            holder: holder::this(),
            is_gone: &holder::is_gone,
            now: &|| now().unsigned_abs(),
            patience: Duration::ZERO,
        };
        reconcile
            .run(&mut |progress| match progress {
                Progress::Waiting { .. } => {}
                Progress::Done { task, act } => {
                    tracing::info!(change = task.id.serial, address = %task.address, place = %task.place, did = act.as_str(), "carried out elsewhere");
                }
                Progress::Failed { task, error } => {
                    tracing::warn!(change = task.id.serial, address = %task.address, place = %task.place, %error, "could not be carried out elsewhere");
                }
            })
            .await
    }
}

/// How long to wait after so many failures in a row.
fn again(failures: u32) -> Duration {
    AGAIN.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(AGAIN_AT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_less_and_less_often() {
        let seconds: Vec<u64> = (1..=8).map(|failures| again(failures).as_secs()).collect();
        assert_eq!(seconds, [15, 30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(again(u32::MAX), AGAIN_AT_MOST);
    }
}
