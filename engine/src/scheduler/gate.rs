//! Gates: what keeps a run or a job back although nothing that it depends on does. A run waits for an approval, then for
//! a place in its group; a job that deploys waits for the approval that its environment wants.

use serde::{Deserialize, Serialize};

use super::event::{Command, NodeStatus, RunStatus, Transition};
use super::finish::end;
use super::slot::slot;
use super::{RunState, Work};
use crate::artifacts::origins;
use crate::config::{EventType, FailureReason, Origin, Protection};
use crate::glob::selects;
use crate::queue::Slot;

/// What keeps a run from beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Somebody has to approve it.
    Approval,
    /// Its group has to have a place.
    Place,
}

/// That a run begins only once somebody approved it, and what they approve: all of this, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Whose code it is. Nobody approves their own.
    pub author: String,
    /// Who brought the commit, which is theirs as well.
    #[serde(default)]
    pub pushed_by: String,
    /// Why it needs an approval, for people.
    pub reason: String,
    /// The number of the pull request; 0 where it is none.
    pub number: u64,
    /// The commit that is proposed.
    pub head: String,
    /// The commit that it is proposed for.
    pub base: String,
    /// The profile that bounds every job.
    pub profile: Option<String>,
    /// What was applied of all that decides on who may do what, in short.
    pub policy: String,
}

impl RunState {
    /// What keeps the run from beginning now.
    pub fn gate(&self) -> Option<Gate> {
        self.head.gate
    }

    /// Who approved the run.
    pub fn approved_by(&self) -> Option<&str> {
        self.head.approved_by.as_deref()
    }

    /// Who may approve what a job waits for: names, and `team:NAME`. Nothing where it waits for no approval.
    pub fn approvers_of(&self, name: &str) -> Option<&[String]> {
        let node = self.node(name).filter(|node| node.held)?;
        Some(&protection(self, self.by_name[&node.name])?.approvers)
    }

    /// Jobs that wait for an approval.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(|node| node.held).map(|node| node.name.as_str())
    }
}

/// The run begins, or waits for what must come before.
pub(super) fn begin(state: &mut RunState, work: &mut Work) {
    if state.head.begun || state.head.gate.is_some() {
        return;
    }
    match &state.admission {
        None => take_place(state, work, None),
        Some(admission) => {
            let reason = format!("it waits for an approval: {}", admission.reason);
            hold(state, work, Gate::Approval, reason);
        }
    }
}

/// Somebody approved the run, or one job of it.
pub(super) fn approve(state: &mut RunState, work: &mut Work, name: Option<&str>, by: &str) {
    let Some(name) = name else {
        if state.head.gate == Some(Gate::Approval) {
            let head = state.head();
            (head.gate, head.approved_by) = (None, Some(by.to_owned()));
            take_place(state, work, Some(format!("{by} approved it")));
        }
        return;
    };
    let Some(&index) = state.by_name.get(name) else { return };
    if state.nodes[index].held {
        let node = &mut state.nodes[index];
        node.held = false;
        node.approved_by = Some(by.to_owned());
        node.reason = format!("{by} approved it");
        state.active -= 1;
        let node = &state.nodes[index];
        work.record(node, node.reason.clone());
        work.ready.push_back(index);
    }
}

/// The run has its place.
pub(super) fn admit(state: &mut RunState, work: &mut Work) {
    if state.head.gate == Some(Gate::Place) {
        open(state, work);
        record(state, work, "its group has a place".to_owned());
    }
}

/// Takes a place in the run's group, where it has one. `before` is what let it come so far.
fn take_place(state: &mut RunState, work: &mut Work, before: Option<String>) {
    match state.workflow.slot(&state.event, &state.id) {
        None => {
            open(state, work);
            if let Some(reason) = before {
                record(state, work, reason);
            }
        }
        Some(slot) => {
            let reason = format!("it waits for a place in the group {:?}", slot.group);
            let reason = before.map_or_else(|| reason.clone(), |before| format!("{before}; {reason}"));
            hold(state, work, Gate::Place, reason);
            work.commands.push(Command::Line(slot));
        }
    }
}

fn hold(state: &mut RunState, work: &mut Work, gate: Gate, reason: String) {
    let head = state.head();
    (head.gate, head.status) = (Some(gate), RunStatus::Waiting);
    record(state, work, reason);
}

fn open(state: &mut RunState, work: &mut Work) {
    let head = state.head();
    (head.gate, head.status, head.begun) = (None, RunStatus::Running, true);
    work.ready.extend((0..state.nodes.len()).filter(|index| state.links[*index].open == 0));
}

fn record(state: &RunState, work: &mut Work, reason: String) {
    let to = state.head.status.as_str().to_owned();
    let at = work.now;
    work.commands.push(Command::Record(Transition { at, node: None, attempt: None, to, reason }));
}

/// Whether a job that could start is kept back, or has failed, by what its environment demands.
pub(super) fn keeps(state: &mut RunState, work: &mut Work, index: usize) -> bool {
    let Some(protection) = protection(state, index) else { return false };
    if let Some(message) = not_from_here(state, protection) {
        end(state, work, index, NodeStatus::Failed, Some(FailureReason::Config), message);
        return true;
    }
    let node = &state.nodes[index];
    if protection.approvers.is_empty() || node.approved_by.is_some() {
        return false;
    }
    if let Some(reason) = state.head.cancelled.clone() {
        end(state, work, index, NodeStatus::Cancelled, None, reason);
        return true;
    }
    let reason = format!("it waits for an approval of {}", protection.approvers.join(" or "));
    let node = &mut state.nodes[index];
    node.held = true;
    node.reason = reason;
    state.active += 1;
    let node = &state.nodes[index];
    work.record(node, node.reason.clone());
    true
}

/// How long a job waits before it deploys, in milliseconds.
pub(super) fn wait(state: &RunState, index: usize) -> Option<super::Millis> {
    let wait = protection(state, index)?.wait?;
    Some(super::Millis::try_from(wait.as_millis()).unwrap_or(super::Millis::MAX))
}

fn protection(state: &RunState, index: usize) -> Option<&Protection> {
    match &state.nodes[index].origin {
        super::Origin::Declared(name) => state.workflow.jobs.get(name)?.protection.as_ref(),
        super::Origin::Triggered { .. } => None,
    }
}

/// Why an environment does not take what this run is about: only commits of its branches and tags deploy, no proposals.
fn not_from_here(state: &RunState, protection: &Protection) -> Option<String> {
    if !protection.is_selective() {
        return None;
    }
    let event = serde_json::from_value(state.event["type"].clone()).unwrap_or(EventType::Manual);
    let field = if event == EventType::Tag { "tag" } else { "branch" };
    let name = state.event[field].as_str().unwrap_or_default();
    let origins = origins(&state.event, &state.id, None);
    let is_base = origins.source == Origin::Base && origins.ci == Origin::Base;
    let taken = protection.of_event(event);
    if is_base && !name.is_empty() && !taken.is_empty() && selects(taken, name) {
        return None;
    }
    Some(format!("its environment takes only commits of {}", protection.taken()))
}

impl crate::workflow::Workflow {
    /// The place that a run of it needs for as long as it goes on.
    pub fn slot(&self, event: &serde_json::Value, run: &str) -> Option<Slot> {
        let concurrency = self.concurrency.as_ref()?;
        Some(slot(concurrency, self.address.project.as_deref(), event, run))
    }
}
