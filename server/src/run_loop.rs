//! The loop that owns one run: events in, decisions stored, commands carried out.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use reactorcide_engine::config::FailureReason;
use reactorcide_engine::coordinator::Urgency;
use reactorcide_engine::protocol::frame::Frame;
use reactorcide_engine::protocol::query::{Answer, Query};
use reactorcide_engine::runs::{RunRecord, RunStore};
use reactorcide_engine::scheduler::{
    self, AttemptResult, Command, Event, Millis, NewRun, NodeName, Row, RunState, RunStatus, Transition,
    assignment, step,
};
use reactorcide_engine::store::StoreError;
use tokio::sync::mpsc;

use crate::coordinator::{LocalCoordinator, Question, Talk};

/// Events that are decided on together, in one transaction.
const BATCH: usize = 256;
/// Reports for people that may wait to be read.
const TALK: usize = 256;

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
}

/// Why a run could not go on. What ran was stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A decision could not be stored.
    #[error("a decision on the run could not be stored")]
    Store(#[from] StoreError),
}

/// Runs a workflow. `work` is what does the jobs, and ends when the coordinator has no more of them; `stop` says that
/// somebody wants the run to end, each time a little more urgently; `show` is called with what happens and may wait.
pub async fn run<W, F>(
    new: NewRun,
    store: Arc<dyn RunStore>,
    work: W,
    mut stop: mpsc::UnboundedReceiver<(String, bool)>,
    show: mpsc::Sender<Happening>,
) -> Result<RunEnd, RunError>
where
    W: FnOnce(Arc<LocalCoordinator>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (events, mut incoming) = mpsc::unbounded_channel();
    let (talk, mut heard) = mpsc::channel(TALK);
    let (questions, mut asked) = mpsc::unbounded_channel();
    let coordinator = Arc::new(LocalCoordinator::new(events.clone(), questions, talk));
    let workers = tokio::spawn(work(Arc::clone(&coordinator)));
    let id = new.id.clone();
    let event = new.event.get("type").and_then(|kind| kind.as_str()).unwrap_or("manual").to_owned();
    store
        .begin(&RunRecord {
            id: id.clone(),
            pipeline: new.workflow.address.to_string(),
            event,
            started_at: now(),
            ended_at: None,
            status: RunStatus::Running,
        })
        .await?;
    let mut driver =
        Driver { state: RunState::new(new), coordinator: Arc::clone(&coordinator), store, events };
    let showing = show.clone();
    let repeat = tokio::spawn(async move {
        while let Some(talk) = heard.recv().await {
            let happening = match talk {
                Talk::Progress(node, text) => Happening::Progress(node, text),
                Talk::Frames(node, attempt, frames) => Happening::Frames(node, attempt, frames),
            };
            if showing.send(happening).await.is_err() {
                break;
            }
        }
    });
    let mut transitions = driver.drive(vec![Event::Begin]).await;
    let mut batch = Vec::with_capacity(BATCH);
    let outcome = loop {
        match transitions {
            Err(error) => break Err(error),
            Ok(transitions) => {
                for transition in transitions {
                    let _ = show.send(Happening::Transition(transition)).await;
                }
            }
        }
        if driver.state.status != RunStatus::Running {
            break Ok(());
        }
        tokio::select! {
            biased;
            Some((reason, force)) = stop.recv() => batch.push(Event::Cancel { reason, force }),
            count = incoming.recv_many(&mut batch, BATCH) => debug_assert!(count > 0, "the driver holds a sender"),
            // After the events: what a job asks for before it asks about it is known.
            Some(question) = asked.recv() => driver.answer(question).await,
        }
        transitions = driver.drive(std::mem::take(&mut batch)).await;
    };
    if outcome.is_err() {
        // Nothing more is decided; what runs must not go on unwatched.
        driver.stop_everything();
    }
    coordinator.close();
    let _ = workers.await;
    drop(coordinator);
    let Driver { state, store, coordinator, .. } = driver;
    drop(coordinator);
    let _ = repeat.await;
    outcome?;
    store.finish(&id, state.status, now()).await?;
    Ok(RunEnd { status: state.status, rows: state.rows() })
}

struct Driver {
    state: RunState,
    coordinator: Arc<LocalCoordinator>,
    store: Arc<dyn RunStore>,
    events: mpsc::UnboundedSender<Event>,
}

impl Driver {
    /// Decides, stores what was decided, and only then does it.
    async fn drive(&mut self, events: Vec<Event>) -> Result<Vec<Transition>, RunError> {
        let now = now();
        let mut transitions = Vec::new();
        let mut commands = Vec::new();
        for event in events {
            for command in step(&mut self.state, event, now) {
                match command {
                    Command::Record(transition) => transitions.push(transition),
                    other => commands.push(other),
                }
            }
        }
        if !transitions.is_empty() {
            self.store.append(&self.state.id, &transitions).await?;
        }
        for command in commands {
            self.carry_out(command, now);
        }
        Ok(transitions)
    }

    /// Answers a job's question: from this run's state, and what is remembered of others.
    async fn answer(&self, question: Question) {
        let Question { node, query, answer } = question;
        let mut said = scheduler::answer(&self.state, &node, &query);
        if let (Answer::Job(state), Query::Job { name }) = (&mut said, &query) {
            let project = self.state.workflow.address.project.as_deref();
            match self.store.active(project, name).await {
                Ok(active) => {
                    state.elsewhere = active.into_iter().filter(|one| one.run != self.state.id).collect()
                }
                Err(error) => tracing::warn!(%error, "other runs could not be looked at"),
            }
            state.running |= !state.elsewhere.is_empty();
        }
        let _ = answer.send(said);
    }

    fn carry_out(&self, command: Command, now: Millis) {
        match command {
            Command::Enqueue { node, attempt, not_before } => match assignment(&self.state, &node, now) {
                Some(Ok(assignment)) => self.coordinator.enqueue(assignment, not_before, now),
                Some(Err(message)) => self.refuse(node, attempt, message),
                None => {}
            },
            Command::Stop { node, attempt, force } => {
                let urgency = if force { Urgency::AtOnce } else { Urgency::Graceful };
                self.coordinator.stop(&node, attempt, urgency);
            }
            // Delays are kept by the queue; the end is seen in the state; records were stored.
            Command::WakeAt(_) | Command::Finish(_) | Command::Record(_) => {}
        }
    }

    /// A job that cannot even be put together has failed.
    fn refuse(&self, node: NodeName, attempt: u32, message: String) {
        let result = AttemptResult {
            failure: Some(FailureReason::Config),
            exit_code: None,
            message: Some(message),
            outputs: std::collections::BTreeMap::new(),
            started: false,
            permanent: true,
        };
        let _ = self.events.send(Event::AttemptFinished { node, attempt, result });
    }

    fn stop_everything(&self) {
        for node in self.state.nodes() {
            self.coordinator.stop(&node.name, node.attempt, Urgency::AtOnce);
        }
    }
}

/// The time.
fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}
