//! Carries out what commits owe to the outside: the loop behind [`reactorcide_engine::outside`].

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use reactorcide_engine::outside::{
    Access, Acquired, Act, Entry, Fence, Goal, Lease, LeaseLost, Ledger, LedgerError, Outside, OutsideError,
    Owed, Precondition, TaskId, act, body_of, last_of, ready, target_of,
};
use reactorcide_engine::store::StoreError;
use tokio::time::Instant;

/// How long the lease lasts without being renewed.
const LEASE: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(4);
/// How many tasks are carried out at once.
const AT_ONCE: usize = 8;
/// How often a task is tried before it is left for another time.
const TRIES: u32 = 3;
/// How long to wait before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// How often to ask for a lease that another has.
const ASK: Duration = Duration::from_millis(250);

/// What a reconcile is made of.
pub struct Reconcile<'a> {
    /// What is owed.
    pub ledger: &'a dyn Ledger,
    /// Where it is carried out.
    pub outside: &'a dyn Outside,
    /// Whose it is: the workspace's lineage.
    pub workspace: String,
    /// Who carries it out; [`crate::holder::this`].
    pub holder: String,
    /// Whether another holder is gone.
    pub is_gone: &'a (dyn for<'b> Fn(&'b str) -> bool + Send + Sync),
    /// The time, in milliseconds since 1970 UTC.
    pub now: &'a (dyn Fn() -> u64 + Sync),
    /// How long to wait for another reconcile to end.
    pub patience: Duration,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Another carries it out just now.
    Waiting {
        /// Who.
        holder: &'a str,
    },
    /// A task is done.
    Done {
        /// Which.
        task: &'a Owed,
        /// What it took.
        act: &'a Act,
    },
    /// A task could not be done.
    Failed {
        /// Which.
        task: &'a Owed,
        /// Why.
        error: &'a OutsideError,
    },
}

/// What came of a task.
type Attempted = Result<Result<Act, OutsideError>, Ended>;

/// Why a task was not ended.
enum Ended {
    /// It is owed no more.
    Void,
    /// Nothing can go on.
    For(ReconcileError),
}

impl From<LedgerError> for Ended {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Void(_) => Self::Void,
            error => Self::For(error.into()),
        }
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::For(error.into())
    }
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// How many tasks were done.
    pub done: usize,
    /// How many are owed still.
    pub left: usize,
}

/// Why it ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Another carries it out.
    #[error("{holder} is carrying out what is owed outside")]
    Held {
        /// Who.
        holder: String,
    },
    /// Another has taken over.
    #[error("another apply has taken over what is owed outside")]
    Lost,
    /// The database could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LedgerError> for ReconcileError {
    fn from(error: LedgerError) -> Self {
        match error {
            // Nothing but a task can be void.
            LedgerError::Lost(LeaseLost) | LedgerError::Void(_) => Self::Lost,
            LedgerError::Store(error) => Self::Store(error),
        }
    }
}

impl Reconcile<'_> {
    /// Carries out what is owed, as far as it goes.
    pub async fn run(
        &self,
        report: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Reconciled, ReconcileError> {
        if self.ledger.owed().await?.is_empty() {
            return Ok(Reconciled::default());
        }
        let Some(lease) = self.lease(report).await? else { return Ok(Reconciled::default()) };
        let ended = tokio::select! {
            ended = self.all(&lease, report) => ended,
            lost = self.keep(&lease) => Err(lost),
        };
        // Who lost it has nothing to give back, and where it cannot be given back, its time ends by itself.
        let _ = self.ledger.release(&lease).await;
        ended
    }

    /// The lease; nothing where another did all of it meanwhile.
    async fn lease(
        &self,
        report: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Option<Lease>, ReconcileError> {
        let since = Instant::now();
        let mut is_told = false;
        loop {
            match self.ledger.acquire(&self.holder, LEASE, self.is_gone).await? {
                Acquired::Ours(lease) => return Ok(Some(lease)),
                Acquired::Held { holder, .. } if since.elapsed() >= self.patience => {
                    return Err(ReconcileError::Held { holder });
                }
                Acquired::Held { holder, remaining } => {
                    if !is_told && since.elapsed() > Duration::from_secs(1) {
                        report(Progress::Waiting { holder: &holder });
                        is_told = true;
                    }
                    tokio::time::sleep(remaining.min(ASK)).await;
                }
            }
            if self.ledger.owed().await?.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Keeps the lease, and ends once it is lost or may be.
    async fn keep(&self, lease: &Lease) -> ReconcileError {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW).await;
            let asked = Instant::now();
            match tokio::time::timeout(RENEW, self.ledger.renew(lease, LEASE)).await {
                Ok(Ok(())) => renewed = asked,
                Ok(Err(LedgerError::Lost(_))) => return ReconcileError::Lost,
                // By our own clock: before anybody else may believe that it is theirs.
                Ok(Err(_)) | Err(_) if renewed.elapsed() + RENEW * 2 < LEASE => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return ReconcileError::Lost,
            }
        }
    }

    async fn all(
        &self,
        lease: &Lease,
        report: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Reconciled, ReconcileError> {
        let mut failed: BTreeSet<TaskId> = BTreeSet::new();
        let mut done = 0;
        loop {
            // Always from what is owed by now: others may have said something else meanwhile.
            let owed = self.ledger.owed().await?;
            let tasks: Vec<&Owed> =
                ready(&owed).into_iter().filter(|task| !failed.contains(&task.id)).collect();
            if tasks.is_empty() {
                return Ok(Reconciled { done, left: owed.len() });
            }
            // Boxed: what a task borrows would otherwise keep the whole from being sent to another thread.
            let mut attempts: Vec<BoxFuture<'_, (&Owed, Attempted)>> = Vec::with_capacity(tasks.len());
            for task in tasks {
                attempts.push(Box::pin(async move { (task, self.task(lease, task).await) }));
            }
            let mut attempts = stream::iter(attempts).buffer_unordered(AT_ONCE);
            while let Some((task, ended)) = attempts.next().await {
                match ended {
                    // Something else is owed by now.
                    Err(Ended::Void) => {}
                    Err(Ended::For(error)) => return Err(error),
                    Ok(Ok(act)) => {
                        done += 1;
                        report(Progress::Done { task, act: &act });
                    }
                    Ok(Err(error)) => {
                        failed.insert(task.id);
                        report(Progress::Failed { task, error: &error });
                    }
                }
            }
        }
    }

    /// Carries out one task: looks, writes down what it is about to do, does it, and writes down that it is done.
    async fn task(&self, lease: &Lease, task: &Owed) -> Attempted {
        let mut pause = PAUSE;
        for number in 1.. {
            match self.attempt(lease, task).await? {
                Ok(act) => {
                    self.ledger.write(lease, task.id, (self.now)(), &Entry::Done).await?;
                    return Ok(Ok(act));
                }
                Err(error) if error.is_passing() && number < TRIES => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => {
                    let entry = Entry::Failed(error.to_string());
                    self.ledger.write(lease, task.id, (self.now)(), &entry).await?;
                    return Ok(Err(error));
                }
            }
        }
        unreachable!("the loop ends with its last try")
    }

    async fn attempt(&self, lease: &Lease, task: &Owed) -> Attempted {
        let Some(spec) = target_of(&task.document) else {
            let what = "this version does not understand what was applied".to_owned();
            return Ok(Err(OutsideError::Refused { place: task.place.clone(), what }));
        };
        let fence = Fence { workspace: self.workspace.clone(), token: lease.token };
        let access = Access { fence: Some(fence), ..Access::new(&spec, &task.place) };
        let seen = match self.outside.look(&access).await {
            Ok(seen) => seen,
            Err(error) => return Ok(Err(error)),
        };
        let wanted = body_of(&spec);
        let last = match task.goal {
            Goal::Put => self.last(task).await?,
            Goal::Remove => None,
        };
        let act = act(task.goal, &wanted, last.as_ref(), seen.as_ref());
        if act == Act::Nothing {
            return Ok(Ok(act));
        }
        let begun = Entry::Begun(act.as_str().to_owned());
        self.ledger.write(lease, task.id, (self.now)(), &begun).await?;
        let did = match &act {
            Act::Nothing => Ok(()),
            Act::Create => self.outside.put(&access, &wanted, &Precondition::Absent).await,
            Act::Replace(only_if) => self.outside.put(&access, &wanted, only_if).await,
            Act::Remove => self.outside.remove(&access).await,
        };
        Ok(did.map(|()| act))
    }

    /// What the object was last made.
    async fn last(&self, task: &Owed) -> Result<Option<serde_json::Value>, Ended> {
        let objects = self.ledger.objects().await?;
        let object = objects.into_iter().find(|object| object.uid == task.uid && object.place == task.place);
        Ok(object.as_ref().and_then(last_of))
    }
}

#[cfg(test)]
mod tests;
