//! The order of a job's steps: which may start now, which are skipped and why, and how the job ended.
//!
//! A pure state machine. The runner asks [`Steps::advance`] after every change, starts what it is told to
//! start, and reports with [`Steps::started`], [`Steps::skip`] and [`Steps::finished`] what became of it.

mod graph;
#[cfg(test)]
mod tests;

use crate::frame::{JobOutcome, JobResult, StepOutcome};
use crate::spec::{Condition, StepSpec};

pub use graph::{GraphError, MAX_STEPS};

/// Checks the steps of a job without running them: names, dependencies, cycles.
pub fn validate(steps: &[StepSpec]) -> Result<(), GraphError> {
    graph::dependencies(steps).map(drop)
}

/// The steps of one job and what became of each so far.
///
/// *Dependencies* are counted with theirs: where `a` failed, `b` after `a` and `c` after `b` both see a
/// failure, even if `b` itself ran because of its condition and succeeded. A step whose `when` was false
/// neither succeeds nor fails, so what comes after it runs as if it had not been there. A failure of a step
/// with `continue_on_error` counts as success for every other step.
#[derive(Debug, Clone)]
pub struct Steps {
    nodes: Vec<Node>,
    /// Who waits for a node.
    dependents: Vec<Vec<usize>>,
    /// The first failure that counts.
    deciding: Option<JobResult>,
    stopped: Option<JobResult>,
}

#[derive(Debug, Clone)]
struct Node {
    name: String,
    condition: Condition,
    continue_on_error: bool,
    dependencies: Vec<usize>,
    /// Dependencies that have not ended.
    waiting_for: usize,
    state: State,
    /// The step whose failure this one stands behind, itself included.
    failure: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended(StepOutcome),
}

/// What follows from what has happened so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advance {
    /// Steps that may start now, in declared order. A step is repeated until it is started or skipped.
    pub start: Vec<String>,
    /// Steps that were decided never to start by this call.
    pub skipped: Vec<Skipped>,
}

/// A step that will not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// Why, for a person.
    pub reason: String,
}

/// How a step that was started ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// Exit code 0.
    Succeeded,
    /// Killed because the job was stopped.
    Cancelled,
    /// Any other end; the first that is not tolerated becomes the job's result.
    Failed(JobResult),
}

impl Steps {
    /// Builds the state machine, or says what is wrong with the steps.
    pub fn new(steps: &[StepSpec]) -> Result<Self, GraphError> {
        let dependencies = graph::dependencies(steps)?;
        let mut dependents = vec![Vec::new(); steps.len()];
        for (index, needed) in dependencies.iter().enumerate() {
            for &dependency in needed {
                dependents[dependency].push(index);
            }
        }
        let nodes = steps
            .iter()
            .zip(dependencies)
            .map(|(step, dependencies)| Node {
                name: step.name.clone(),
                condition: step.condition,
                continue_on_error: step.continue_on_error,
                waiting_for: dependencies.len(),
                dependencies,
                state: State::Waiting,
                failure: None,
            })
            .collect();
        Ok(Self { nodes, dependents, deciding: None, stopped: None })
    }

    /// Which steps may start now, and which were skipped on the way. Call it at the beginning and after each
    /// change.
    pub fn advance(&mut self) -> Advance {
        let mut advance = Advance::default();
        // A skip can settle steps declared before it, so go round until nothing moves.
        loop {
            let skipped_before = advance.skipped.len();
            advance.start.clear();
            for index in 0..self.nodes.len() {
                if self.nodes[index].state != State::Waiting {
                    continue;
                }
                match self.why_not(index) {
                    Verdict::Wait => {}
                    Verdict::Start => advance.start.push(self.nodes[index].name.clone()),
                    Verdict::Skip(reason) => {
                        self.end(index, StepOutcome::Skipped);
                        advance.skipped.push(Skipped { name: self.nodes[index].name.clone(), reason });
                    }
                }
            }
            if advance.skipped.len() == skipped_before {
                return advance;
            }
        }
    }

    /// A step that [`Steps::advance`] named has been started.
    pub fn started(&mut self, name: &str) {
        if let Some(index) = self.index(name)
            && self.nodes[index].state == State::Waiting
        {
            self.nodes[index].state = State::Running;
        }
    }

    /// A step that may start is not run because its `when` is false.
    pub fn skip(&mut self, name: &str) {
        if let Some(index) = self.index(name)
            && self.nodes[index].state == State::Waiting
        {
            self.end(index, StepOutcome::Skipped);
        }
    }

    /// A step has ended. It may end without having been started, where its start failed. Reports of a step
    /// that has ended already, or that is unknown, change nothing.
    pub fn finished(&mut self, name: &str, ending: Ending) {
        let Some(index) = self.index(name) else { return };
        if matches!(self.nodes[index].state, State::Ended(_)) {
            return;
        }
        match ending {
            Ending::Succeeded => self.end(index, StepOutcome::Succeeded),
            Ending::Cancelled => self.end(index, StepOutcome::Cancelled),
            Ending::Failed(result) => {
                if !self.nodes[index].continue_on_error {
                    self.nodes[index].failure = Some(index);
                    self.deciding.get_or_insert(result);
                }
                self.end(index, StepOutcome::Failed);
            }
        }
    }

    /// Nothing starts from now on, and the job ends with `result` (cancelled, or out of time). The first call
    /// wins. Steps that run go on until their end is reported.
    pub fn stop(&mut self, result: JobResult) {
        self.stopped.get_or_insert(result);
    }

    /// Whether every step has ended.
    pub fn is_done(&self) -> bool {
        self.nodes.iter().all(|node| matches!(node.state, State::Ended(_)))
    }

    /// How a step ended; `None` while it has not, or where there is no such step.
    pub fn outcome(&self, name: &str) -> Option<StepOutcome> {
        match self.nodes[self.index(name)?].state {
            State::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The job's result, valid once [`Steps::is_done`]: why it was stopped, else the first failure that is
    /// not tolerated, else success.
    pub fn result(&self) -> JobResult {
        let success = || JobResult { outcome: JobOutcome::Succeeded, exit_code: Some(0), reason: None };
        self.stopped.clone().or_else(|| self.deciding.clone()).unwrap_or_else(success)
    }

    fn why_not(&self, index: usize) -> Verdict {
        if let Some(stopped) = &self.stopped {
            let reason = stopped.reason.clone().unwrap_or_else(|| "the job was stopped".to_owned());
            return Verdict::Skip(reason);
        }
        let node = &self.nodes[index];
        if node.waiting_for > 0 {
            return Verdict::Wait;
        }
        match (node.condition, self.failed_dependency(index)) {
            (Condition::AllSuccess, Some(failed)) => {
                Verdict::Skip(format!("step {:?} failed", self.nodes[failed].name))
            }
            (Condition::AnyFailed, None) => {
                Verdict::Skip("it runs only after a failure, and no step before it failed".to_owned())
            }
            _ => Verdict::Start,
        }
    }

    /// The failure that a step's dependencies stand behind: the one declared first.
    fn failed_dependency(&self, index: usize) -> Option<usize> {
        let dependencies = self.nodes[index].dependencies.iter();
        dependencies.filter_map(|&dependency| self.nodes[dependency].failure).min()
    }

    fn end(&mut self, index: usize, outcome: StepOutcome) {
        self.nodes[index].state = State::Ended(outcome);
        if self.nodes[index].failure.is_none() {
            self.nodes[index].failure = self.failed_dependency(index);
        }
        for position in 0..self.dependents[index].len() {
            let dependent = self.dependents[index][position];
            self.nodes[dependent].waiting_for -= 1;
        }
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }
}

enum Verdict {
    Wait,
    Start,
    Skip(String),
}
