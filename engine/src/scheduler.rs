//! What runs next: a pure state machine over one run's graph of jobs.
//!
//! [`RunState`] holds all there is to know about a run. [`step`] takes one [`Event`] and the time, changes the state,
//! and returns what must now be done. Loops elsewhere carry the commands out; nothing here waits, reads a clock or
//! talks to anything.
//!
//! A job that is expanded (by a matrix or `for_each`) is a *group*: one node that waits, then is running while its
//! parts `test[0]`, `test[1]`, … run, and then ends as they did. What depends on the job depends on the group.

mod activate;
mod again;
mod assignment;
mod cancel;
mod event;
mod finish;
mod gate;
mod node;
mod nodes;
mod question;
mod slot;
mod stored;
mod trigger;

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

pub(crate) use assignment::declared_job;
pub use assignment::{Assignment, assignment};
pub use event::*;
pub use gate::{Admission, Gate};
pub use node::{Node, Origin, Row};
use nodes::{Links, Nodes};
pub use question::answer;
pub(crate) use slot::slot;
pub use stored::{Changes, Damaged, Definition, Head, Stored};

use crate::trace::Trace;
use crate::workflow::Workflow;

/// The most nodes of one run.
pub const MAX_NODES: usize = 10_000;

/// What a run is started with.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Its id.
    pub id: String,
    /// What to run.
    pub workflow: Workflow,
    /// The event that started it, as conditions see it.
    pub event: Value,
    /// Variables over those that the pipeline declares.
    pub vars: BTreeMap<String, Value>,
    /// Inputs, defaults filled in.
    pub inputs: BTreeMap<String, Value>,
    /// Only these jobs. `None`: all.
    pub selection: Option<Selection>,
}

/// A part of a workflow to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The jobs.
    pub jobs: Vec<String>,
    /// And all that they wait for. Otherwise what they wait for counts as succeeded.
    pub follow_needs: bool,
}

/// All there is to know about a run.
#[derive(Debug, Clone)]
pub struct RunState {
    /// The run's id.
    pub id: String,
    /// What runs.
    pub workflow: Workflow,
    /// The event that started it.
    pub event: Value,
    /// The run's inputs.
    pub inputs: BTreeMap<String, Value>,
    /// What is written down of it anywhere is told by this.
    pub trace: Option<Trace>,
    /// What somebody has to approve before it begins.
    pub admission: Option<Admission>,
    /// What its variables were at first, over those that the workflow declares.
    first_vars: BTreeMap<String, Value>,
    head: Head,
    head_changed: bool,
    nodes: Nodes,
    links: Vec<Links>,
    by_name: BTreeMap<NodeName, usize>,
    /// Nodes that have not ended.
    open: usize,
    /// Nodes that a worker has or will have: queued or running.
    active: usize,
    /// Nodes that wait for a name that no node has yet.
    expecting: BTreeMap<NodeName, Vec<usize>>,
}

/// What can be counted anew is nothing that two runs differ in, nor is what of them was stored.
impl PartialEq for RunState {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.head, &self.nodes) == (&other.id, &other.head, &other.nodes)
            && (&self.event, &self.inputs, &self.workflow) == (&other.event, &other.inputs, &other.workflow)
    }
}

impl RunState {
    /// A run that has not begun.
    pub fn new(new: NewRun) -> Self {
        let NewRun { id, workflow, event, vars, inputs, selection } = new;
        let mut all_vars = workflow.vars.clone();
        all_vars.extend(vars.clone());
        let head = Head {
            status: RunStatus::Running,
            vars: all_vars,
            vars_by: BTreeMap::new(),
            cancelled: None,
            begun: false,
            gate: None,
            approved_by: None,
        };
        let mut state = Self {
            id,
            event,
            inputs,
            trace: None,
            admission: None,
            first_vars: vars,
            head,
            head_changed: true,
            nodes: Nodes::default(),
            links: Vec::new(),
            by_name: BTreeMap::new(),
            open: 0,
            active: 0,
            expecting: BTreeMap::new(),
            workflow,
        };
        let selected = selected(&state.workflow, selection.as_ref());
        for name in &selected {
            let job = &state.workflow.jobs[name].job;
            let depends_on =
                job.depends_on.iter().filter(|dependency| selected.contains(*dependency)).cloned().collect();
            let condition = job.condition;
            let node = Node::declared(name.clone(), condition, depends_on);
            state.add(node);
        }
        for index in 0..state.nodes.len() {
            state.link(index);
        }
        state
    }

    /// Where it is on its way.
    pub fn status(&self) -> RunStatus {
        self.head.status
    }

    /// Its variables now.
    pub fn vars(&self) -> &BTreeMap<String, Value> {
        &self.head.vars
    }

    /// The nodes in the order in which they came to be.
    pub fn nodes(&self) -> &[Node] {
        self.nodes.as_slice()
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.by_name.get(name).map(|index| &self.nodes[*index])
    }

    /// What people see of the nodes: groups only where nothing came of them.
    pub fn rows(&self) -> Vec<Row> {
        self.nodes.iter().filter(|node| node.parts == 0).map(Row::of).collect()
    }

    /// What a node was expanded to; nothing where it was not.
    pub fn parts_of(&self, node: &Node) -> &[Node] {
        &self.nodes.as_slice()[node.first_part..node.first_part + node.parts]
    }

    /// Why it was cancelled, where it was.
    pub fn cancelled(&self) -> Option<&str> {
        self.head.cancelled.as_deref()
    }

    /// The run as a whole, to change it.
    fn head(&mut self) -> &mut Head {
        self.head_changed = true;
        &mut self.head
    }

    fn add(&mut self, node: Node) -> usize {
        self.by_name.insert(node.name.clone(), self.nodes.len());
        self.links.push(Links::default());
        self.open += 1;
        self.nodes.push(node)
    }

    /// Counts what a node waits for, and makes what it waits for know of it.
    fn link(&mut self, index: usize) {
        let dependencies = self.nodes[index].depends_on.clone();
        for dependency in dependencies {
            match self.by_name.get(&dependency).copied() {
                Some(on) if self.nodes[on].status.is_terminal() => {}
                Some(on) => {
                    self.links[on].dependents.push(index);
                    self.links[index].open += 1;
                }
                None => {
                    self.expecting.entry(dependency).or_default().push(index);
                    self.links[index].open += 1;
                }
            }
        }
    }
}

/// Whether a node waits for others. The parts of a group do not: the group did.
fn is_linked(node: &Node) -> bool {
    node.status == NodeStatus::Waiting && node.group.is_none()
}

/// The jobs to run, in order of their names.
fn selected(workflow: &Workflow, selection: Option<&Selection>) -> Vec<String> {
    let Some(selection) = selection else { return workflow.jobs.keys().cloned().collect() };
    let mut found = std::collections::BTreeSet::new();
    let mut pending: Vec<&String> = selection.jobs.iter().collect();
    while let Some(name) = pending.pop() {
        if let Some(declaration) = workflow.jobs.get(name)
            && found.insert(name.clone())
            && selection.follow_needs
        {
            pending.extend(&declaration.job.depends_on);
        }
    }
    found.into_iter().collect()
}

/// One step of a run: an event comes in, commands go out. Events that no longer mean anything (an attempt that is
/// over, a node that ended) change nothing.
pub fn step(state: &mut RunState, event: Event, now: Millis) -> Vec<Command> {
    let mut work = Work { commands: Vec::new(), ended: VecDeque::new(), ready: VecDeque::new(), now };
    if !state.head.status.is_terminal() {
        match event {
            Event::Begin => gate::begin(state, &mut work),
            Event::Approve { node, by } => gate::approve(state, &mut work, node.as_deref(), &by),
            Event::Admit => gate::admit(state, &mut work),
            Event::AttemptStarted { node, attempt } => finish::started(state, &mut work, &node, attempt),
            Event::AttemptFinished { node, attempt, result } => {
                finish::finished(state, &mut work, &node, attempt, result)
            }
            Event::Triggered { node, attempt, ordinal, request } => {
                trigger::triggered(state, &mut work, &node, attempt, ordinal, &request);
            }
            Event::Cancel { reason, force } => cancel::cancel(state, &mut work, &reason, force),
            Event::Abandon { reason } => cancel::abandon(state, &mut work, &reason),
            Event::Stop { node, reason, force } => cancel::stop(state, &mut work, &node, &reason, force),
        }
        settle(state, &mut work);
    }
    work.commands
}

/// What one step does, while it does it.
struct Work {
    commands: Vec<Command>,
    /// Nodes that ended and whose dependents have not been told.
    ended: VecDeque<usize>,
    /// Nodes whose dependencies have all ended.
    ready: VecDeque<usize>,
    now: Millis,
}

impl Work {
    fn record(&mut self, node: &Node, reason: impl Into<String>) {
        self.commands.push(Command::Record(Transition {
            at: self.now,
            node: Some(node.name.clone()),
            attempt: (node.attempt > 0).then_some(node.attempt),
            to: node.status.as_str().to_owned(),
            reason: reason.into(),
        }));
    }
}

/// Follows every consequence until there is none left: without recursion, each edge once.
fn settle(state: &mut RunState, work: &mut Work) {
    if !state.head.begun {
        return;
    }
    loop {
        if let Some(index) = work.ended.pop_front() {
            finish::tell_dependents(state, work, index);
        } else if let Some(index) = work.ready.pop_front() {
            activate::activate(state, work, index);
        } else if state.active == 0 && state.open > 0 && !state.expecting.is_empty() {
            // Nobody is left who could still trigger what is waited for.
            activate::fail_expecting(state, work);
        } else {
            break;
        }
    }
    if state.open == 0 {
        finish::finish(state, work);
    }
}

#[cfg(test)]
mod tests;
