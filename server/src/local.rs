//! One run in this process, with a worker beside it: the same queue and the same loops as many machines have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use reactorcide_engine::audit::{AuditLog, Draft, Outcome};
use reactorcide_engine::config::FailureReason;
use reactorcide_engine::coordinator::{CoordinatorError, LeaseId};
use reactorcide_engine::identity::Capability;
use reactorcide_engine::protocol::frame::Frame;
use reactorcide_engine::protocol::usage::Usage;
use reactorcide_engine::queue::Claimant;
use reactorcide_engine::runs::{Known, Queue, RunFilter, RunRecord, RunStore};
use reactorcide_engine::scheduler::{
    AttemptResult, Event, NewRun, NodeName, Origin, Row, RunState, RunStatus, Transition,
};
use reactorcide_engine::store::StoreError;
use serde_json::json;
use tokio::sync::{broadcast, mpsc};

use crate::conductor::{ConductError, Conductor, Notice, Start, now};
use crate::coordinator::{Audience, Desk, Terms};
use crate::files::Files;
use crate::reaper;
use crate::vault::Deliverer;

/// Transitions that are read at once.
const PAGE: u32 = 1000;

/// What people may want to see of a run while it goes on, in order.
#[derive(Debug)]
pub enum Happening {
    /// A decision.
    Transition(Transition),
    /// Something is being waited for: an image.
    Progress(NodeName, String),
    /// What an attempt of a job printed.
    Frames(NodeName, u32, Vec<Frame>),
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunEnd {
    /// In one word.
    pub status: RunStatus,
    /// What came of each job.
    pub rows: Vec<Row>,
    /// What the last attempt of each job used, by the job's name, where that is known.
    pub used: BTreeMap<String, Usage>,
}

/// Why a run could not go on. What ran was stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A decision could not be stored.
    #[error("a decision on the run could not be stored")]
    Store(#[source] Arc<StoreError>),
    /// An approval could not be written down.
    #[error("an approval could not be written down: {0}")]
    Audit(String),
    /// Something else.
    #[error("the run cannot go on")]
    Other(#[source] ConductError),
}

impl From<ConductError> for RunError {
    fn from(error: ConductError) -> Self {
        match error {
            ConductError::Store(error) => Self::Store(error),
            error => Self::Other(error),
        }
    }
}

/// A run in this process.
pub struct Local {
    /// What to run.
    pub new: NewRun,
    /// Who wants it, for people.
    pub actor: String,
    /// Who the worker is: nobody else gets the jobs of this run.
    pub holder: String,
    /// Where it is remembered.
    pub runs: Arc<dyn RunStore>,
    /// Where its jobs wait.
    pub queue: Arc<dyn Queue>,
    /// Where artifacts and caches are kept.
    pub files: Files,
    /// Who hands out secrets that nobody gave by hand.
    pub secrets: Deliverer,
    /// Jobs that go on where their environment wants an approval.
    pub approvals: Approvals,
}

/// Approvals that whoever runs jobs on their own machine gives ahead: nobody else is there who could.
#[derive(Clone)]
pub struct Approvals {
    /// The jobs, as the pipeline declares them.
    pub jobs: BTreeSet<NodeName>,
    /// Who.
    pub by: String,
    /// Where it is written down.
    pub audit: Arc<dyn AuditLog>,
}

impl Approvals {
    /// Lets what waits go on if that is wanted; else says, once, how it could.
    async fn give(
        &self,
        conductor: &Conductor,
        run: &str,
        told: &mut BTreeSet<NodeName>,
        show: &mpsc::Sender<Happening>,
    ) -> Result<(), RunError> {
        let held = conductor.look(run, false, |known: &Known| {
            let declared = |name: &str| match known.state.node(name).map(|node| &node.origin) {
                Some(Origin::Declared(job)) => job.clone(),
                _ => name.to_owned(),
            };
            known.state.held().map(|name| (name.to_owned(), declared(name))).collect::<Vec<_>>()
        });
        for (node, job) in held.await? {
            if self.jobs.contains(&job) {
                let draft = Draft {
                    at: now(),
                    actor: self.by.clone(),
                    action: Capability::RunsApprove.as_str().to_owned(),
                    target: format!("run/{run}"),
                    outcome: Outcome::Done,
                    detail: json!({ "job": node }).into(),
                    request: None,
                };
                self.audit.append(&[draft]).await.map_err(|error| RunError::Audit(error.to_string()))?;
                conductor.tell(run, Event::Approve { node: Some(node), by: self.by.clone() }).await?;
            } else if told.insert(node.clone()) {
                let hint = format!("`reactorcide run … --approve {job}` lets it go on; Ctrl-C ends the run");
                let _ = show.send(Happening::Progress(node, hint)).await;
            }
        }
        Ok(())
    }
}

/// Runs a workflow. `work` is what does the jobs, and ends when the coordinator has no more of them; `stop` says that
/// somebody wants the run to end, each time a little more urgently; `show` is sent what happens and may make it wait.
pub async fn run<W, F>(
    local: Local,
    work: W,
    stop: mpsc::UnboundedReceiver<(String, bool)>,
    show: mpsc::Sender<Happening>,
) -> Result<RunEnd, RunError>
where
    W: FnOnce(Arc<Desk>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let Local { new, actor, holder, runs, queue, files, secrets, approvals } = local;
    let id = new.id.clone();
    let conductor = Conductor::new(Arc::clone(&runs), queue);
    let audience = Arc::new(Screen { show: show.clone() });
    let claimant = Claimant { worker: holder.clone(), ..Claimant::default() };
    let desk = Desk::new(conductor.clone(), audience, files, claimant, Terms::default());
    let desk = Arc::new(desk.with_secrets(secrets));
    let record = RunRecord {
        id: id.clone(),
        pipeline: new.workflow.address.to_string(),
        project: new.workflow.address.project.clone(),
        event: new.event["type"].as_str().unwrap_or("manual").to_owned(),
        actor,
        retry_of: None,
        holder: Some(holder),
        started_at: now(),
        ended_at: None,
        status: RunStatus::Running,
    };
    let notices = conductor.notices();
    conductor.start(Start { record, key: None, state: RunState::new(new) }).await?;
    let reaping = tokio::spawn(reaper::reap(conductor.clone()));
    let workers = tokio::spawn(work(Arc::clone(&desk)));
    let stopping = tokio::spawn(pass_stops(conductor.clone(), id.clone(), stop));
    let outcome = follow(&conductor, &id, notices, &approvals, &show).await;
    if outcome.is_err() {
        // Nothing more can be decided; what runs must not go on unwatched.
        desk.abandon();
    }
    desk.close();
    let _ = workers.await;
    stopping.abort();
    reaping.abort();
    outcome?;
    let (status, rows) =
        conductor.look(&id, false, |known: &Known| (known.state.status(), known.state.rows())).await?;
    // In the order of attempts, so that the last one stays. Without it the run ended all the same.
    let used = runs.used(&id, None).await.unwrap_or_default();
    let used = used.into_iter().map(|used| (used.node, used.usage)).collect();
    Ok(RunEnd { status, rows, used })
}

/// Shows a run until it has ended.
async fn follow(
    conductor: &Conductor,
    run: &str,
    mut notices: broadcast::Receiver<Notice>,
    approvals: &Approvals,
    show: &mpsc::Sender<Happening>,
) -> Result<(), RunError> {
    let mut failures = conductor.failures();
    let (mut told, mut hinted) = (0, BTreeSet::new());
    loop {
        let ended = tell(&*conductor.runs, run, &mut told, show).await;
        if ended.map_err(|error| RunError::Store(Arc::new(error)))? {
            return Ok(());
        }
        approvals.give(conductor, run, &mut hinted, show).await?;
        if let Some(error) = &*failures.borrow_and_update() {
            return Err(RunError::Store(Arc::clone(error)));
        }
        tokio::select! {
            // Of what was missed, all is read the same.
            _ = notices.recv() => {}
            _ = failures.changed() => {}
        }
    }
}

/// Passes on that somebody wants the run to end.
async fn pass_stops(conductor: Conductor, run: String, mut stop: mpsc::UnboundedReceiver<(String, bool)>) {
    while let Some((reason, force)) = stop.recv().await {
        if let Err(error) = conductor.tell(&run, Event::Cancel { reason, force }).await {
            tracing::warn!(run.id = run, %error, "the run could not be cancelled");
        }
    }
}

/// Shows what workers say.
struct Screen {
    show: mpsc::Sender<Happening>,
}

#[async_trait]
impl Audience for Screen {
    async fn log(&self, lease: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError> {
        let next = offset + lines.len() as u64;
        let frames = lines.split(|byte| *byte == b'\n').filter_map(|line| Frame::decode(line).ok()).collect();
        let _ = self.show.send(Happening::Frames(lease.node.clone(), lease.attempt, frames)).await;
        Ok(next)
    }

    async fn progress(&self, lease: &LeaseId, text: String) {
        let _ = self.show.send(Happening::Progress(lease.node.clone(), text)).await;
    }

    async fn finished(&self, _: &LeaseId) {}
}

/// Shows what was decided since the last time. Whether the run has ended.
async fn tell(
    runs: &dyn RunStore,
    run: &str,
    told: &mut u64,
    show: &mpsc::Sender<Happening>,
) -> Result<bool, StoreError> {
    loop {
        let transitions = runs.transitions(run, *told, PAGE).await?;
        let count = transitions.len();
        *told += count as u64;
        let mut ended = false;
        for transition in transitions {
            ended |= transition.ends_run();
            let _ = show.send(Happening::Transition(transition)).await;
        }
        if ended || count < PAGE as usize {
            return Ok(ended);
        }
    }
}

/// Ends runs whose processes are gone for certain, so that nobody takes them for going on.
pub async fn end_gone(
    runs: Arc<dyn RunStore>,
    queue: Arc<dyn Queue>,
    is_gone: impl Fn(&str) -> bool,
) -> Result<Vec<RunRecord>, RunError> {
    let mut known = Vec::new();
    for status in [RunStatus::Running, RunStatus::Waiting] {
        let going_on = RunFilter { status: Some(status), ..RunFilter::newest(10_000) };
        known.extend(runs.runs(&going_on).await.map_err(|error| RunError::Store(Arc::new(error)))?);
    }
    let gone: Vec<RunRecord> =
        known.into_iter().filter(|run| run.holder.as_deref().is_some_and(&is_gone)).collect();
    if gone.is_empty() {
        return Ok(gone);
    }
    let conductor = Conductor::new(runs, queue);
    for run in &gone {
        let reason = "the process that ran it was killed".to_owned();
        conductor.tell(&run.id, Event::Abandon { reason: reason.clone() }).await?;
        let holder = run.holder.as_deref().unwrap_or_default();
        let leases = conductor.queue.leases_of(holder).await;
        for lease in leases.map_err(|error| RunError::Store(Arc::new(error)))? {
            let result = AttemptResult {
                failure: Some(FailureReason::Cancelled),
                exit_code: None,
                message: Some(reason.clone()),
                outputs: std::collections::BTreeMap::new(),
                started: true,
                permanent: true,
                usage: None,
            };
            let event = Event::AttemptFinished { node: lease.node.clone(), attempt: lease.attempt, result };
            match conductor.report(&lease, event).await {
                Ok(()) | Err(ConductError::Stale(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(gone)
}
