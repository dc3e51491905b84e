//! The loop that decides on runs: what is said of them comes in, decisions are written, and only then does anybody hear
//! of them.
//!
//! Whatever comes while a transaction is under way is decided on together in the next one, whichever runs it is about. What
//! is known of runs between two decisions is kept, but is nothing that is not in the database: if somebody else has moved a
//! run on, it is read again and decided on anew.

mod turn;

use std::sync::Arc;

use crate::telemetry::{self, Observer};
use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::runs::{Known, Queue, RunRecord, RunStore, Said};
use reactorcide_engine::scheduler::{Event, Millis, RunState};
use reactorcide_engine::store::StoreError;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

/// What may wait to be decided on.
const WAITING: usize = 4096;
/// What is decided on together.
const BATCH: usize = 1024;
/// Notices that a slow listener may be behind. Who is further behind looks for itself.
const NOTICES: usize = 1024;

/// Decides on runs. Cheap to clone.
#[derive(Clone)]
pub struct Conductor {
    inputs: mpsc::Sender<Input>,
    notices: broadcast::Sender<Notice>,
    /// Something may be there to be taken.
    queued: Arc<Notify>,
    failed: Arc<watch::Sender<Option<Arc<StoreError>>>>,
    /// What is told of all this to operators.
    pub observer: Arc<Observer>,
    /// Where runs are.
    pub runs: Arc<dyn RunStore>,
    /// Where their attempts wait.
    pub queue: Arc<dyn Queue>,
}

/// That something was decided on a run: whoever wants to know what reads it.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The run.
    pub run: Arc<str>,
    /// Something of it is to stop, or is over.
    pub stops: bool,
    /// It has ended.
    pub ended: bool,
    /// It wants a place in a group, which may be another one's, or has left one.
    pub crowds: bool,
}

/// A run to be started.
pub struct Start {
    /// What it is.
    pub record: RunRecord,
    /// The delivery that starts it, of which there may be two.
    pub key: Option<String>,
    /// The run before its first step.
    pub state: RunState,
}

/// A run that was started, now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub run: String,
    /// Whether it is new; else the same delivery had started it before.
    pub new: bool,
}

/// Why a run could not be told something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConductError {
    /// There is none.
    #[error("there is no run {0}")]
    NoRun(String),
    /// The lease that it came with is over.
    #[error("the lease on attempt {} of {} is over", .0.attempt, .0.node)]
    Stale(LeaseId),
    /// The database failed. Nothing was decided.
    #[error("a decision on the run could not be stored")]
    Store(#[source] Arc<StoreError>),
    /// What is stored of the run is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The loop has ended.
    #[error("it is shutting down")]
    Closed,
}

type Reply<T> = oneshot::Sender<Result<T, ConductError>>;
type Look = Box<dyn FnOnce(Result<&Known, ConductError>) + Send>;

enum Input {
    Start(Box<Start>, Reply<Started>),
    Tell { run: String, said: Box<Said>, reply: Reply<()> },
    Look { run: String, fresh: bool, look: Look },
}

impl Conductor {
    /// Starts the loop. It ends when nobody can tell it anything any more.
    pub fn new(runs: Arc<dyn RunStore>, queue: Arc<dyn Queue>) -> Self {
        let (inputs, incoming) = mpsc::channel(WAITING);
        let (notices, _) = broadcast::channel(NOTICES);
        let queued = Arc::new(Notify::new());
        let failed = Arc::new(watch::Sender::new(None));
        let observer = Arc::<Observer>::default();
        let turns = turn::Turns::new(
            Arc::clone(&runs),
            notices.clone(),
            Arc::clone(&queued),
            Arc::clone(&failed),
            Arc::clone(&observer),
        );
        tokio::spawn(conduct(turns, incoming));
        Self { inputs, notices, queued, failed, observer, runs, queue }
    }

    /// Starts a run. Returns once that can no longer be lost.
    pub async fn start(&self, mut start: Start) -> Result<Started, ConductError> {
        start.state.trace.get_or_insert_with(telemetry::fresh);
        let (reply, replied) = oneshot::channel();
        self.send(Input::Start(Box::new(start), reply)).await?;
        replied.await.unwrap_or(Err(ConductError::Closed))
    }

    /// Tells a run something. Returns once what was decided can no longer be lost.
    pub async fn tell(&self, run: &str, event: Event) -> Result<(), ConductError> {
        self.say(run, event.into()).await
    }

    /// The same from a worker that has a lease.
    pub async fn report(&self, lease: &LeaseId, event: Event) -> Result<(), ConductError> {
        self.say(&lease.run, Said { event, lease: Some(lease.clone()) }).await
    }

    async fn say(&self, run: &str, said: Said) -> Result<(), ConductError> {
        let (reply, replied) = oneshot::channel();
        self.send(Input::Tell { run: run.to_owned(), said: Box::new(said), reply }).await?;
        replied.await.unwrap_or(Err(ConductError::Closed))
    }

    /// Looks at a run as it is known here, after all that was said before. `fresh`: somebody else may know more.
    pub async fn look<T: Send + 'static>(
        &self,
        run: &str,
        fresh: bool,
        look: impl FnOnce(&Known) -> T + Send + 'static,
    ) -> Result<T, ConductError> {
        let (reply, replied) = oneshot::channel();
        let look: Look = Box::new(move |known| drop(reply.send(known.map(look))));
        self.send(Input::Look { run: run.to_owned(), fresh, look }).await?;
        replied.await.unwrap_or(Err(ConductError::Closed))
    }

    /// Hears that something was decided, from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// The last error of the database, whoever met it.
    pub fn failures(&self) -> watch::Receiver<Option<Arc<StoreError>>> {
        self.failed.subscribe()
    }

    /// Is woken when there may be something to take.
    pub fn queued(&self) -> Arc<Notify> {
        Arc::clone(&self.queued)
    }

    /// Says that others, elsewhere, may have decided something on any run.
    pub fn wake(&self) {
        self.queued.notify_waiters();
        let _ = self.notices.send(Notice { run: Arc::from(""), stops: true, ended: true, crowds: true });
    }

    async fn send(&self, input: Input) -> Result<(), ConductError> {
        self.inputs.send(input).await.map_err(|_| ConductError::Closed)
    }
}

impl Notice {
    /// Whether it may be about a run.
    pub fn is_about(&self, run: &str) -> bool {
        self.run.is_empty() || &*self.run == run
    }
}

async fn conduct(mut turns: turn::Turns, mut incoming: mpsc::Receiver<Input>) {
    let mut inputs = Vec::with_capacity(BATCH);
    while incoming.recv_many(&mut inputs, BATCH).await > 0 {
        turns.turn(std::mem::take(&mut inputs), now()).await;
    }
}

/// The time.
pub(crate) fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests;
