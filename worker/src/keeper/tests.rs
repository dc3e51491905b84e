//! Leases that are kept, lost and to be stopped, with a coordinator that says what a test wants.

use std::collections::VecDeque;

use async_trait::async_trait;
use reactorcide_engine::coordinator::Work;

use super::*;
use crate::spec::tests::assignment;

/// Says what it was given to say, then that it cannot be reached.
#[derive(Default)]
struct Scripted {
    renewals: Mutex<VecDeque<Result<(bool, Urgency), CoordinatorError>>>,
    reports: Mutex<VecDeque<Result<(), CoordinatorError>>>,
    heard: Mutex<Vec<Report>>,
    /// How many leases each renewal was about.
    asked: Mutex<Vec<usize>>,
}

fn gone() -> CoordinatorError {
    CoordinatorError::Unavailable("nobody is there".into())
}

#[async_trait]
impl Coordinator for Scripted {
    async fn claim(&self, _: usize, _: Duration) -> Result<Work, CoordinatorError> {
        Ok(Work::Closed)
    }

    async fn renew(
        &self,
        known: &[(LeaseId, Urgency)],
        wait: Duration,
    ) -> Result<Vec<Renewed>, CoordinatorError> {
        self.asked.lock().unwrap().push(known.len());
        let next = self.renewals.lock().unwrap().pop_front();
        let (stands, stop) = next.unwrap_or_else(|| Err(gone()))?;
        if stands && known.iter().all(|(_, urgency)| *urgency >= stop) {
            sleep(wait).await;
        }
        Ok(known.iter().map(|(lease, _)| Renewed { lease: lease.clone(), stands, stop }).collect())
    }

    async fn report(&self, _: &LeaseId, report: Report) -> Result<(), CoordinatorError> {
        self.heard.lock().unwrap().push(report);
        self.reports.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }

    async fn log(&self, _: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError> {
        Ok(offset + lines.len() as u64)
    }

    async fn ask(&self, _: &LeaseId, _: Query) -> Result<Answer, CoordinatorError> {
        Err(gone())
    }
}

fn lease() -> Lease {
    let assignment = assignment(serde_json::json!({"image": "i", "command": "c"}));
    let id = LeaseId { run: "r".into(), node: "n".into(), attempt: 1, token: "t".into() };
    Lease { id, assignment, stop_after: Duration::from_secs(60) }
}

fn keeper(scripted: Scripted) -> (Arc<Keeper>, Arc<Scripted>, tokio::task::JoinHandle<()>) {
    let scripted = Arc::new(scripted);
    let keeper = Arc::new(Keeper::new(Arc::clone(&scripted) as Arc<dyn Coordinator>));
    let keeping = Arc::clone(&keeper);
    (keeper, scripted, tokio::spawn(async move { keeping.keep().await }))
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_ends_when_its_time_is_over_and_not_before() {
    let renewals = Mutex::new(VecDeque::from([Ok((true, Urgency::None)), Ok((true, Urgency::None))]));
    let (keeper, scripted, _task) = keeper(Scripted { renewals, ..Scripted::default() });
    let (lease, start) = (lease(), Instant::now());
    keeper.hold(&lease);
    let order = keeper.ordered(&lease.id, Order::default()).await;
    assert_eq!(order, Order { urgency: Urgency::AtOnce, not_kept: true });
    // The second renewal was asked for after 20 seconds, and kept it for a minute from then.
    assert_eq!(start.elapsed().as_secs(), 80);
    assert!(scripted.asked.lock().unwrap().len() > 5, "it went on trying");
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_stop_is_heard_and_more_urgently_again() {
    let renewals = Mutex::new(VecDeque::from([
        Ok((true, Urgency::Graceful)),
        Ok((true, Urgency::AtOnce)),
        Ok((true, Urgency::AtOnce)),
    ]));
    let (keeper, _, _task) = keeper(Scripted { renewals, ..Scripted::default() });
    let lease = lease();
    keeper.hold(&lease);
    let first = keeper.ordered(&lease.id, Order::default()).await;
    assert!(!first.not_kept && first.urgency >= Urgency::Graceful, "{first:?}");
    let order = Order { urgency: Urgency::Graceful, not_kept: false };
    assert_eq!(keeper.ordered(&lease.id, order).await, Order { urgency: Urgency::AtOnce, not_kept: false });
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_ends_at_once() {
    let renewals = Mutex::new(VecDeque::from([Ok((false, Urgency::AtOnce))]));
    let (keeper, _, _task) = keeper(Scripted { renewals, ..Scripted::default() });
    let (lease, start) = (lease(), Instant::now());
    keeper.hold(&lease);
    assert!(keeper.ordered(&lease.id, Order::default()).await.not_kept);
    assert!(start.elapsed() < Duration::from_secs(1));
    keeper.release(&lease.id);
    assert_eq!(keeper.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_comes_is_kept_with_the_others() {
    let renewals = Mutex::new((0..50).map(|_| Ok((true, Urgency::None))).collect());
    let (keeper, scripted, _task) = keeper(Scripted { renewals, ..Scripted::default() });
    keeper.hold(&lease());
    sleep(Duration::from_secs(1)).await;
    let mut other = lease();
    other.id.node = "other".into();
    keeper.hold(&other);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scripted.asked.lock().unwrap().last(), Some(&2));
    keeper.release(&other.id);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(scripted.asked.lock().unwrap().last(), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_report_is_said_until_it_is_known_or_nobody_wants_it() {
    let lease = lease();
    let reports = Mutex::new(VecDeque::from([Err(gone()), Err(gone()), Ok(()), Err(lease.id.stale())]));
    let (keeper, scripted, _task) = keeper(Scripted { reports, ..Scripted::default() });
    assert_eq!(keeper.report(&lease.id, Report::Started).await, Ok(()));
    assert_eq!(scripted.heard.lock().unwrap().len(), 3);
    assert_eq!(keeper.report(&lease.id, Report::Started).await, Err(lease.id.stale()));
    let answer = keeper.ask(&lease.id, Query::Vars {}).await;
    assert!(matches!(answer, Answer::Unavailable { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_short_lease_is_kept_in_time() {
    let renewals = Mutex::new((0..100).map(|_| Ok((true, Urgency::None))).collect());
    let (keeper, scripted, _task) = keeper(Scripted { renewals, ..Scripted::default() });
    let lease = Lease { stop_after: Duration::from_secs(2), ..lease() };
    keeper.hold(&lease);
    let ordered = tokio::time::timeout(Duration::from_secs(20), keeper.ordered(&lease.id, Order::default()));
    assert!(ordered.await.is_err(), "nobody wants it to end");
    assert!(scripted.asked.lock().unwrap().len() > 20);
}
