//! From what was said of a run to what must be written for it: the scheduler's steps, gathered into one commit.

use std::collections::{BTreeSet, VecDeque};

use super::{Commit, Loaded, NewRecord, RunRecord, Used};
use crate::config::FailureReason;
use crate::coordinator::{LeaseId, Urgency};
use crate::protocol::usage::Usage;
use crate::queue::{Entry, Needs, Slot, entry};
use crate::scheduler::{
    AttemptResult, Command, Damaged, Event, Millis, Node, NodeName, NodeStatus, RunState, assignment, step,
};

/// The worker that what is for nobody waits for: no worker can have this name.
const NOBODY: &str = "/nobody";

/// A run as a scheduler knows it.
#[derive(Debug, Clone)]
pub struct Known {
    /// In short.
    pub record: RunRecord,
    /// The version that it knows.
    pub version: u64,
    /// How many transitions there were by then.
    pub ordinal: u64,
    /// All of it.
    pub state: RunState,
}

/// Something that a run is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// What.
    pub event: Event,
    /// The lease of the worker that says so; it must stand.
    pub lease: Option<LeaseId>,
}

impl From<Event> for Said {
    fn from(event: Event) -> Self {
        Self { event, lease: None }
    }
}

impl Known {
    /// A run that was read.
    pub fn loaded(loaded: Loaded) -> Result<Self, Damaged> {
        let Loaded { record, version, ordinal, stored } = loaded;
        Ok(Self { record, version, ordinal, state: RunState::restore(stored)? })
    }

    /// A new run, and what is to be remembered of it.
    pub fn begin(record: RunRecord, key: Option<String>, state: RunState, now: Millis) -> (Self, NewRecord) {
        let definition = state.definition();
        let mut known = Self { record, version: 0, ordinal: 0, state };
        let first = known.decide(vec![Event::Begin.into()], now);
        let new = NewRecord { record: known.record.clone(), key, definition, first };
        (known, new)
    }

    /// Decides on what was said, in its order, and knows the run from then on as it will be once that is written. If it
    /// cannot be written, this must be forgotten and the run loaded again.
    pub fn decide(&mut self, said: Vec<Said>, now: Millis) -> Commit {
        let mut commit = Commit {
            run: self.state.id.clone(),
            version: self.version,
            ordinal: self.ordinal,
            changes: self.state.take_changes(),
            transitions: Vec::new(),
            held: Vec::new(),
            started: Vec::new(),
            used: Vec::new(),
            over: Vec::new(),
            enqueue: Vec::new(),
            stop: Vec::new(),
            ended: None,
        };
        let mut pending = VecDeque::from(said);
        while let Some(Said { event, lease }) = pending.pop_front() {
            if event == Event::Admit {
                commit.started.push((NodeName::new(), 0, now));
            }
            if matches!(event, Event::Cancel { .. }) && self.state.workflow.concurrency.is_some() {
                commit.stop.push((NodeName::new(), 0, Urgency::Graceful));
            }
            if let Some(lease) = lease {
                note(&mut commit, &event, &lease, now);
                commit.held.push(lease);
            }
            for command in step(&mut self.state, event, now) {
                match command {
                    Command::Record(transition) => commit.transitions.push(transition),
                    Command::Stop { node, attempt, force } => {
                        let urgency = if force { Urgency::AtOnce } else { Urgency::Graceful };
                        commit.stop.push((node, attempt, urgency));
                    }
                    Command::Finish(status) => commit.ended = Some((status, now)),
                    Command::Line(slot) => commit.enqueue.push(self.line(slot, now)),
                    Command::Enqueue { node, attempt, not_before } => {
                        let refused = self.enqueue(&mut commit, &node, attempt, not_before, now);
                        pending.extend(refused.map(Said::from));
                    }
                }
            }
        }
        commit.held.sort();
        commit.held.dedup();
        let changes = self.state.take_changes();
        commit.changes.head = changes.head.or(commit.changes.head);
        commit.changes.nodes.extend(changes.nodes);
        self.tidy(&mut commit);
        self.record.status = self.state.status();
        if let Some((status, at)) = commit.ended {
            (self.record.status, self.record.ended_at) = (status, Some(at));
        }
        self.version += 1;
        self.ordinal += commit.transitions.len() as u64;
        commit
    }

    /// The run as a whole, as it stands in the line of its group. It keeps its place until it has ended, and no worker
    /// ever takes it.
    fn line(&self, slot: Slot, now: Millis) -> Entry {
        let needs = Needs { only: Some(NOBODY.to_owned()), ..Needs::default() };
        Entry {
            run: self.state.id.clone(),
            node: String::new(),
            attempt: 0,
            project: self.record.project.clone().unwrap_or_default(),
            needs,
            priority: 0,
            enqueued_at: now,
            due_at: now,
            slot: Some(slot),
            timeout: None,
        }
    }

    /// Puts an attempt into the queue. One that cannot even be put together has failed: this is what is to be said of it.
    fn enqueue(
        &self,
        commit: &mut Commit,
        node: &NodeName,
        attempt: u32,
        not_before: Option<Millis>,
        now: Millis,
    ) -> Option<Event> {
        match assignment(&self.state, node, now) {
            Some(Ok(assignment)) => {
                let (project, only) = (self.record.project.as_deref(), self.record.holder.as_deref());
                commit.enqueue.push(entry(&assignment, project, now, not_before, only));
                None
            }
            Some(Err(message)) => {
                let result = AttemptResult {
                    failure: Some(FailureReason::Config),
                    exit_code: None,
                    message: Some(message),
                    outputs: std::collections::BTreeMap::new(),
                    started: false,
                    permanent: true,
                    usage: None,
                };
                Some(Event::AttemptFinished { node: node.clone(), attempt, result })
            }
            None => None,
        }
    }

    /// Leaves one entry for each attempt that may run, and none for what is over.
    fn tidy(&self, commit: &mut Commit) {
        let stands_in_line = self.state.workflow.concurrency.is_some();
        if stands_in_line && self.state.status().is_terminal() {
            commit.over.push((NodeName::new(), 0));
        }
        let is_current = |node: &str, attempt: u32| {
            if node.is_empty() {
                return !self.state.status().is_terminal();
            }
            let may_run = |node: &Node| matches!(node.status, NodeStatus::Queued | NodeStatus::Running);
            self.state.node(node).is_some_and(|node| may_run(node) && node.attempt == attempt)
        };
        let mut over: BTreeSet<(NodeName, u32)> = std::mem::take(&mut commit.over).into_iter().collect();
        for (_, node) in &commit.changes.nodes {
            if node.attempt > 1 {
                over.insert((node.name.clone(), node.attempt - 1));
            }
            if node.attempt > 0 && !is_current(&node.name, node.attempt) {
                over.insert((node.name.clone(), node.attempt));
            }
        }
        let mut fresh = BTreeSet::new();
        commit.enqueue.retain(|entry| {
            fresh.insert((entry.node.clone(), entry.attempt));
            is_current(&entry.node, entry.attempt)
        });
        // What came and went within this commit was never in the queue.
        commit.over = over
            .into_iter()
            .filter(|(node, attempt)| {
                !is_current(node, *attempt) && !fresh.contains(&(node.clone(), *attempt))
            })
            .collect();
        commit.stop.retain(|(node, attempt, _)| is_current(node, *attempt));
    }
}

/// What a worker's word means for its entry.
fn note(commit: &mut Commit, event: &Event, lease: &LeaseId, now: Millis) {
    match event {
        Event::AttemptStarted { node, attempt } => commit.started.push((node.clone(), *attempt, now)),
        // Whatever the run makes of it: the worker has nothing left of it.
        Event::AttemptFinished { result, .. } => {
            commit.over.push((lease.node.clone(), lease.attempt));
            let used = |usage: &Usage| Used {
                node: lease.node.clone(),
                attempt: lease.attempt,
                usage: usage.clone(),
            };
            commit.used.extend(result.usage.as_deref().map(used));
        }
        _ => {}
    }
}
