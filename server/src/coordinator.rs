//! What workers are told and tell: leases from the queue, with what to run under them, and what came of it.

mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reactorcide_engine::artifacts::Content;
use reactorcide_engine::config::FailureReason;
use reactorcide_engine::coordinator::{
    Coordinator, CoordinatorError, Delivered, Keeping, Lease, LeaseId, NO_ISSUER, Offered, Report, Urgency,
    Work,
};
use reactorcide_engine::protocol::query::{Answer, Query};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::queue::{Claim, Claimant, Renewed};
use reactorcide_engine::scheduler::{self, Assignment, AttemptResult, Event, Millis, NodeStatus, assignment};
use reactorcide_engine::workers::{WorkerStatus, WorkerStore};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until};

use crate::conductor::{ConductError, Conductor, Notice, now};
use crate::files::{Files, FilesError};
use crate::issuer::Issuer;
use crate::vault::Deliverer;
use tokens::TokenMaker;
pub use tokens::Tokens;

/// How long leases hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A worker that has not been able to keep a lease for so long ends what runs under it.
    pub stop_after: Duration,
    /// A lease that nobody kept for so long is lost, and the attempt may go to another worker. Longer than `stop_after` and
    /// every job's grace time together, so that nothing runs twice.
    pub lost_after: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { stop_after: Duration::from_secs(300), lost_after: Duration::from_secs(420) }
    }
}

/// Where logs go, and what workers say to people.
#[async_trait]
pub trait Audience: Send + Sync {
    /// Takes a piece of an attempt's log; see [`Coordinator::log`].
    async fn log(&self, lease: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError>;
    /// Something for people while a job does not run yet.
    async fn progress(&self, lease: &LeaseId, text: String);
    /// The attempt is over: nothing will be added to its log.
    async fn finished(&self, lease: &LeaseId);
}

/// The coordinator of one worker.
pub struct Desk {
    conductor: Conductor,
    audience: Arc<dyn Audience>,
    claimant: Claimant,
    terms: Terms,
    tokens: TokenMaker,
    mode: watch::Sender<Mode>,
    /// Where people say whether this worker takes jobs, if they can.
    directed: Option<Arc<dyn WorkerStore>>,
    /// Where artifacts and caches are kept.
    files: Files,
    /// Who hands out secrets, if anybody does.
    secrets: Option<Deliverer>,
    /// Who signs identity tokens, where somebody does.
    issuer: Option<Issuer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Closed,
    Abandoned,
}

impl Desk {
    /// For a worker.
    pub fn new(
        conductor: Conductor,
        audience: Arc<dyn Audience>,
        files: Files,
        claimant: Claimant,
        terms: Terms,
    ) -> Self {
        let mode = watch::Sender::new(Mode::Open);
        Self {
            conductor,
            audience,
            claimant,
            terms,
            tokens: TokenMaker::new(Tokens::Random),
            mode,
            directed: None,
            files,
            secrets: None,
            issuer: None,
        }
    }

    /// The same whose leases have other tokens.
    #[must_use]
    pub fn with_tokens(self, tokens: Tokens) -> Self {
        Self { tokens: TokenMaker::new(tokens), ..self }
    }

    /// The same for a worker that people may drain and disable.
    #[must_use]
    pub fn directed_by(self, workers: Arc<dyn WorkerStore>) -> Self {
        Self { directed: Some(workers), ..self }
    }

    /// The same that hands out secrets.
    #[must_use]
    pub fn with_secrets(self, secrets: Deliverer) -> Self {
        Self { secrets: Some(secrets), ..self }
    }

    /// The same whose jobs have identities.
    #[must_use]
    pub fn with_issuer(self, issuer: Issuer) -> Self {
        Self { issuer: Some(issuer), ..self }
    }

    /// There will be no more work for this worker.
    pub fn close(&self) {
        self.mode.send_if_modified(|mode| {
            let was_open = *mode == Mode::Open;
            *mode = if was_open { Mode::Closed } else { *mode };
            was_open
        });
    }

    /// Nothing more can be decided: whatever runs must end, and nobody wants to know of it.
    pub fn abandon(&self) {
        self.mode.send_replace(Mode::Abandoned);
    }

    fn is_abandoned(&self) -> bool {
        *self.mode.borrow() == Mode::Abandoned
    }

    /// Takes what is due now.
    async fn take(&self, max: usize, token: &str) -> Result<Vec<Lease>, CoordinatorError> {
        if let Some(workers) = &self.directed {
            let worker = workers.get(&self.claimant.worker).await.map_err(unavailable)?;
            match worker.map(|worker| worker.status) {
                Some(WorkerStatus::Active) => {}
                Some(WorkerStatus::Draining) => return Ok(Vec::new()),
                Some(WorkerStatus::Disabled) | None => {
                    let message = format!("the worker {:?} is disabled", self.claimant.worker);
                    return Err(CoordinatorError::Refused(message));
                }
            }
        }
        let now = now();
        let claim = Claim {
            claimant: self.claimant.clone(),
            max,
            now,
            expires_at: now.saturating_add(millis(self.terms.lost_after)),
            token: token.to_owned(),
        };
        let claimed = self.conductor.queue.claim(&claim).await.map_err(unavailable)?;
        let observer = &self.conductor.observer;
        claimed.iter().for_each(|claimed| observer.claimed(claimed, now, &self.claimant.worker));
        self.assigned(claimed.into_iter().map(|claimed| claimed.lease)).await
    }

    /// What was taken already by whoever asks again, since it was not heard what came of it.
    async fn taken(&self, token: &str) -> Result<Vec<Lease>, CoordinatorError> {
        let leases = self.conductor.queue.leases_of(&self.claimant.worker).await.map_err(unavailable)?;
        self.assigned(leases.into_iter().filter(|lease| lease.token == token)).await
    }

    async fn assigned(
        &self,
        leases: impl Iterator<Item = LeaseId> + Send,
    ) -> Result<Vec<Lease>, CoordinatorError> {
        let mut assigned = Vec::new();
        for id in leases {
            if let Some(assignment) = self.assignment(&id).await? {
                assigned.push(Lease { id, assignment, stop_after: self.terms.stop_after });
            }
        }
        Ok(assigned)
    }

    /// What runs under a lease. Nothing where the run wants it no more; then the lease is over as well.
    async fn assignment(&self, lease: &LeaseId) -> Result<Option<Assignment>, CoordinatorError> {
        let (node, attempt) = (lease.node.clone(), lease.attempt);
        let found = self.conductor.look(&lease.run, true, move |known| {
            let wanted = known.state.node(&node).is_some_and(|node| {
                node.attempt == attempt && matches!(node.status, NodeStatus::Queued | NodeStatus::Running)
            });
            wanted.then(|| assignment(&known.state, &node, now())).flatten()
        });
        let (failure, message) = match found.await {
            Ok(Some(Ok(assignment))) => return Ok(Some(assignment)),
            Ok(Some(Err(message))) => (FailureReason::Config, message),
            Ok(None) => (FailureReason::Cancelled, "it is wanted no more".to_owned()),
            Err(ConductError::Damaged(message)) => (FailureReason::Config, message),
            Err(error) => return Err(refused(error, lease)),
        };
        let result = AttemptResult {
            failure: Some(failure),
            exit_code: None,
            message: Some(message),
            outputs: BTreeMap::new(),
            started: false,
            permanent: true,
            usage: None,
        };
        let event = Event::AttemptFinished { node: lease.node.clone(), attempt, result };
        match self.conductor.report(lease, event).await {
            Ok(()) | Err(ConductError::Stale(_)) => Ok(None),
            Err(error) => Err(refused(error, lease)),
        }
    }

    /// Refuses any worker but the one that has the lease: whose it is counts, not only who knows its token.
    async fn check(&self, lease: &LeaseId) -> Result<(), CoordinatorError> {
        let holder = self.conductor.queue.holder(lease).await.map_err(unavailable)?;
        if holder.as_deref() == Some(&self.claimant.worker) { Ok(()) } else { Err(lease.stale()) }
    }

    /// Where artifacts and caches are kept, for who has a lease.
    async fn files(&self, lease: &LeaseId) -> Result<&Files, CoordinatorError> {
        self.check(lease).await?;
        Ok(&self.files)
    }

    async fn kept(&self, known: &[(LeaseId, Urgency)]) -> Result<Vec<Renewed>, CoordinatorError> {
        let leases: Vec<LeaseId> = known.iter().map(|(lease, _)| lease.clone()).collect();
        let now = now();
        let expires_at = now.saturating_add(millis(self.terms.lost_after));
        let worker = &self.claimant.worker;
        self.conductor.queue.renew(worker, &leases, now, expires_at).await.map_err(unavailable)
    }
}

#[async_trait]
impl Coordinator for Desk {
    async fn claim(&self, max: usize, wait: Duration) -> Result<Work, CoordinatorError> {
        let deadline = Instant::now() + wait;
        let queued = self.conductor.queued();
        let mut mode = self.mode.subscribe();
        let mut turn = self.tokens.turn();
        loop {
            // Registered before looking, so that nothing is missed between the look and the wait.
            let changed = queued.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if *mode.borrow_and_update() != Mode::Open {
                return Ok(Work::Closed);
            }
            // The first request may still be under way, and take something that nobody hears of.
            let mut leases = if turn.is_again() { self.taken(turn.token()).await? } else { Vec::new() };
            if leases.is_empty() {
                leases = self.take(max, turn.asked()).await?;
                turn.answered();
            }
            if !leases.is_empty() || Instant::now() >= deadline {
                turn.heard();
                return Ok(Work::Leases(leases));
            }
            let now = now();
            let due = self.conductor.queue.next_due(now).await.map_err(unavailable)?;
            let due = due.map(|at| Instant::now() + Duration::from_millis((at - now).unsigned_abs()));
            tokio::select! {
                () = changed => {}
                _ = mode.changed() => {}
                () = sleep_until(due.map_or(deadline, |due| due.min(deadline))) => {}
            }
        }
    }

    async fn renew(
        &self,
        known: &[(LeaseId, Urgency)],
        wait: Duration,
    ) -> Result<Vec<Renewed>, CoordinatorError> {
        let deadline = Instant::now() + wait;
        let mut notices = self.conductor.notices();
        let mut mode = self.mode.subscribe();
        loop {
            if *mode.borrow_and_update() == Mode::Abandoned {
                let over = |(lease, _): &(LeaseId, Urgency)| Renewed {
                    lease: lease.clone(),
                    stands: false,
                    stop: Urgency::AtOnce,
                };
                return Ok(known.iter().map(over).collect());
            }
            let renewed = self.kept(known).await?;
            let is_news = |((_, urgency), renewed): (&(LeaseId, Urgency), &Renewed)| {
                !renewed.stands || renewed.stop > *urgency
            };
            if known.iter().zip(&renewed).any(is_news) || Instant::now() >= deadline {
                return Ok(renewed);
            }
            tokio::select! {
                () = news(&mut notices, known) => {}
                _ = mode.changed() => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    async fn report(&self, lease: &LeaseId, report: Report) -> Result<(), CoordinatorError> {
        if self.is_abandoned() {
            return Err(lease.stale());
        }
        self.check(lease).await?;
        let (node, attempt) = (lease.node.clone(), lease.attempt);
        let event = match report {
            Report::Started => Event::AttemptStarted { node, attempt },
            Report::Triggered { ordinal, request } => Event::Triggered { node, attempt, ordinal, request },
            Report::Finished(result) => Event::AttemptFinished { node, attempt, result },
            Report::Progress(text) => {
                self.audience.progress(lease, text).await;
                return Ok(());
            }
        };
        let finished = matches!(event, Event::AttemptFinished { .. });
        self.conductor.report(lease, event).await.map_err(|error| refused(error, lease))?;
        if finished {
            self.audience.finished(lease).await;
        }
        Ok(())
    }

    async fn log(&self, lease: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError> {
        self.check(lease).await?;
        let (bytes, metrics) = (lines.len(), &self.conductor.observer.metrics);
        let next = self.audience.log(lease, offset, lines).await;
        match &next {
            Ok(_) => metrics.log(bytes),
            Err(CoordinatorError::Unavailable(_)) => metrics.log_failed(),
            Err(_) => {}
        }
        next
    }

    async fn ask(&self, lease: &LeaseId, query: Query) -> Result<Answer, CoordinatorError> {
        self.check(lease).await?;
        answer(&self.conductor, lease, query).await.map_err(|error| refused(error, lease))
    }

    async fn secrets(&self, lease: &LeaseId) -> Result<Delivered, CoordinatorError> {
        if self.is_abandoned() {
            return Err(lease.stale());
        }
        self.check(lease).await?;
        match &self.secrets {
            Some(secrets) => secrets.deliver(&self.conductor, lease, &self.claimant.worker).await,
            None => Ok(Delivered::Given { job: BTreeMap::new(), sources: BTreeMap::new() }),
        }
    }

    async fn id_token(&self, lease: &LeaseId, audience: &str) -> Result<Sensitive, CoordinatorError> {
        if self.is_abandoned() {
            return Err(lease.stale());
        }
        self.check(lease).await?;
        let Some(issuer) = &self.issuer else {
            return Err(CoordinatorError::Refused(NO_ISSUER.to_owned()));
        };
        let issued = issuer.issue(&self.conductor, lease, audience, None).await;
        issued.map(|issued| issued.token).map_err(|error| error.of(lease))
    }

    async fn keep(
        &self,
        lease: &LeaseId,
        keeping: &Keeping,
        content: Content,
    ) -> Result<(), CoordinatorError> {
        let kept = self.files(lease).await?.keep(&self.conductor, lease, keeping, u64::MAX, content).await;
        kept.map_err(|error| error.of(lease))
    }

    async fn inputs(&self, lease: &LeaseId) -> Result<Vec<Offered>, CoordinatorError> {
        let inputs = self.files(lease).await?.inputs(&self.conductor, lease).await;
        inputs.map_err(|error| error.of(lease))
    }

    async fn cache(
        &self,
        lease: &LeaseId,
        key: &str,
        restore_keys: &[String],
    ) -> Result<Option<Offered>, CoordinatorError> {
        let cache = self.files(lease).await?.cache(&self.conductor, lease, key, restore_keys).await;
        cache.map_err(|error| error.of(lease))
    }

    async fn content(&self, lease: &LeaseId, id: &str, from: u64) -> Result<Content, CoordinatorError> {
        let content = self.files(lease).await?.content(&self.conductor, lease, id, from).await;
        content.map_err(|error: FilesError| error.of(lease))
    }
}

/// Waits until something may have been decided that a worker with these leases must know.
async fn news(notices: &mut broadcast::Receiver<Notice>, known: &[(LeaseId, Urgency)]) {
    loop {
        match notices.recv().await {
            Ok(notice) if !notice.stops => {}
            Ok(notice) if known.iter().any(|(lease, _)| notice.is_about(&lease.run)) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Answers a job's question: from its run, and what is remembered of others.
pub(crate) async fn answer(
    conductor: &Conductor,
    lease: &LeaseId,
    query: Query,
) -> Result<Answer, ConductError> {
    let (node, asked) = (lease.node.clone(), query.clone());
    let (mut said, project) = conductor
        .look(&lease.run, true, move |known| {
            let project = known.state.workflow.address.project.clone();
            (scheduler::answer(&known.state, &node, &asked), project)
        })
        .await?;
    if let (Answer::Job(state), Query::Job { name }) = (&mut said, &query) {
        match conductor.runs.active(project.as_deref(), name).await {
            Ok(active) => state.elsewhere = active.into_iter().filter(|one| one.run != lease.run).collect(),
            Err(error) => tracing::warn!(%error, "other runs could not be looked at"),
        }
        state.running |= !state.elsewhere.is_empty();
    }
    Ok(said)
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

fn unavailable(error: impl std::error::Error) -> CoordinatorError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    CoordinatorError::Unavailable(format!("{error}{cause}"))
}

fn refused(error: ConductError, lease: &LeaseId) -> CoordinatorError {
    match error {
        ConductError::Stale(_) | ConductError::NoRun(_) => lease.stale(),
        ConductError::Damaged(message) => CoordinatorError::Refused(message),
        error => unavailable(error),
    }
}

#[cfg(test)]
mod tests;
