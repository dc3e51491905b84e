//! The coordinator of workers in the same process: a queue in memory, and a channel to the run's loop.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use reactorcide_engine::coordinator::{Coordinator, Lease, LeaseId, Report, StaleLease, Urgency};
use reactorcide_engine::protocol::frame::Frame;
use reactorcide_engine::protocol::query::{Answer, Query};
use reactorcide_engine::scheduler::{Assignment, Event, Millis, NodeName};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Duration, Instant};

/// What a worker says that is for people alone.
#[derive(Debug)]
pub(crate) enum Talk {
    Progress(NodeName, String),
    Frames(NodeName, u32, Vec<Frame>),
}

/// A job's question about its run.
#[derive(Debug)]
pub(crate) struct Question {
    pub node: NodeName,
    pub query: Query,
    pub answer: oneshot::Sender<Answer>,
}

/// Hands out the attempts of runs in this process.
#[derive(Debug)]
pub struct LocalCoordinator {
    state: Mutex<State>,
    changed: Notify,
    events: mpsc::UnboundedSender<Event>,
    questions: mpsc::UnboundedSender<Question>,
    /// Bounded: who prints slowly makes the log's follower wait, and nobody else.
    talk: mpsc::Sender<Talk>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Queued>,
    leases: HashMap<(NodeName, u32), Held>,
    closed: bool,
}

#[derive(Debug)]
struct Queued {
    assignment: Assignment,
    due: Instant,
}

#[derive(Debug)]
struct Held {
    token: String,
    urgency: watch::Sender<Urgency>,
}

impl LocalCoordinator {
    pub(crate) fn new(
        events: mpsc::UnboundedSender<Event>,
        questions: mpsc::UnboundedSender<Question>,
        talk: mpsc::Sender<Talk>,
    ) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), events, questions, talk }
    }

    pub(crate) fn enqueue(&self, assignment: Assignment, not_before: Option<Millis>, now: Millis) {
        let wait = not_before.map_or(0, |at| u64::try_from(at - now).unwrap_or(0));
        let due = Instant::now() + Duration::from_millis(wait);
        self.state().queue.push_back(Queued { assignment, due });
        self.changed.notify_waiters();
    }

    /// Stops an attempt that a worker has, or takes one back that none has yet.
    pub(crate) fn stop(&self, node: &str, attempt: u32, urgency: Urgency) {
        let mut state = self.state();
        state.queue.retain(|queued| queued.assignment.node != node || queued.assignment.attempt != attempt);
        if let Some(held) = state.leases.get(&(node.to_owned(), attempt)) {
            held.urgency.send_if_modified(|now| {
                let more = urgency > *now;
                *now = (*now).max(urgency);
                more
            });
        }
    }

    /// There will be no more work.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is due now; else when something will be.
    fn take(&self, max: usize) -> Taken {
        let mut state = self.state();
        if state.closed {
            return Taken::Closed;
        }
        let now = Instant::now();
        let mut leases = Vec::new();
        let mut index = 0;
        while index < state.queue.len() && leases.len() < max {
            if state.queue[index].due > now {
                index += 1;
                continue;
            }
            let Some(Queued { assignment, .. }) = state.queue.remove(index) else { break };
            let id = LeaseId {
                run: assignment.run.clone(),
                node: assignment.node.clone(),
                attempt: assignment.attempt,
                token: uuid::Uuid::now_v7().to_string(),
            };
            let held = Held { token: id.token.clone(), urgency: watch::Sender::new(Urgency::None) };
            state.leases.insert((id.node.clone(), id.attempt), held);
            leases.push(Lease { id, assignment });
        }
        if leases.is_empty() {
            Taken::Wait(state.queue.iter().map(|queued| queued.due).min())
        } else {
            Taken::Leases(leases)
        }
    }

    fn check(&self, lease: &LeaseId) -> Result<(), StaleLease> {
        let state = self.state();
        let held = state.leases.get(&(lease.node.clone(), lease.attempt));
        match held {
            Some(held) if held.token == lease.token => Ok(()),
            _ => Err(StaleLease { node: lease.node.clone(), attempt: lease.attempt }),
        }
    }
}

enum Taken {
    Leases(Vec<Lease>),
    Wait(Option<Instant>),
    Closed,
}

#[async_trait]
impl Coordinator for LocalCoordinator {
    async fn lease(&self, max: usize) -> Option<Vec<Lease>> {
        loop {
            // Registered before looking, so that no change is missed between the look and the wait.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.take(max) {
                Taken::Leases(leases) => return Some(leases),
                Taken::Closed => return None,
                Taken::Wait(None) => changed.await,
                Taken::Wait(Some(due)) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
            }
        }
    }

    async fn report(&self, lease: &LeaseId, report: Report) -> Result<(), StaleLease> {
        self.check(lease)?;
        let (node, attempt) = (lease.node.clone(), lease.attempt);
        // The loop outlives its workers, so a closed channel means that nobody wants to know any more.
        match report {
            Report::Started { .. } => drop(self.events.send(Event::AttemptStarted { node, attempt })),
            Report::Triggered { ordinal, request } => {
                drop(self.events.send(Event::Triggered { node, attempt, ordinal, request }));
            }
            Report::Finished(result) => {
                self.state().leases.remove(&(node.clone(), attempt));
                drop(self.events.send(Event::AttemptFinished { node, attempt, result }));
            }
            Report::Progress(text) => drop(self.talk.send(Talk::Progress(node, text)).await),
            Report::Frames(frames) => drop(self.talk.send(Talk::Frames(node, attempt, frames)).await),
        }
        Ok(())
    }

    async fn ask(&self, lease: &LeaseId, query: Query) -> Result<Answer, StaleLease> {
        self.check(lease)?;
        let (answer, answered) = oneshot::channel();
        let _ = self.questions.send(Question { node: lease.node.clone(), query, answer });
        let gone = || Answer::Unavailable { reason: "the run is ending".to_owned() };
        Ok(answered.await.unwrap_or_else(|_| gone()))
    }

    async fn stop_requested(&self, lease: &LeaseId, already: Urgency) -> Urgency {
        let key = (lease.node.clone(), lease.attempt);
        let urgency = self.state().leases.get(&key).map(|held| held.urgency.subscribe());
        let Some(mut urgency) = urgency else { return std::future::pending().await };
        let more = urgency.wait_for(|now| *now > already).await.map(|now| *now);
        match more {
            Ok(more) => more,
            Err(_) => std::future::pending().await,
        }
    }
}
