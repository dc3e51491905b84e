//! What must hold of every run, told from the workflow and from what happened, in the simplest way there is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reactorcide_engine::config::FailureReason;
use reactorcide_engine::protocol::spec::Condition;
use reactorcide_engine::scheduler::{
    AttemptResult, Command, Event, Gate, Millis, NodeStatus, RunState, RunStatus, Transition,
};
use serde_json::Value;

use crate::scenario::{Each, Known, Scenario, When};
use crate::trigger::{self, Told};

/// What is known of a node from what was written down.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// How it ended.
    pub ended: Option<NodeStatus>,
    /// Attempts so far.
    pub attempts: u32,
    /// The attempt that a worker has or may take.
    pub live: Option<u32>,
    pub running: bool,
    pub retries: u32,
    /// Parts that it must become.
    pub parts: Option<usize>,
    pub outputs: BTreeMap<String, Value>,
    /// Requests that were carried out.
    pub operations: BTreeMap<String, String>,
    pub triggered: u32,
    pub refused: bool,
    /// How many workers were lost with it.
    pub lost: usize,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Nothing,
    End(String, NodeStatus),
    Retry(String, Millis),
}

/// What a node whose dependencies have ended must become.
#[derive(Debug, PartialEq)]
enum Decision {
    Waits,
    WaitsForUnknown,
    /// Somebody has to approve it.
    Held,
    Starts,
    Expands(usize),
    Skips,
    Fails,
}

pub struct Oracle {
    pub known: BTreeMap<String, Known>,
    /// Declared jobs that are not in the run.
    pub left_out: BTreeMap<String, Known>,
    pub seen: BTreeMap<String, Seen>,
    pub vars: BTreeMap<String, Value>,
    pub vars_by: BTreeMap<String, String>,
    /// Whether it was cancelled, and whether at once.
    pub cancelled: Option<bool>,
    pub finished: Option<RunStatus>,
    expected: Expected,
    told: Option<Told>,
    told_to_begin: bool,
    began: bool,
    /// What keeps the run from beginning, in order.
    gates: VecDeque<Gate>,
    approved: BTreeSet<String>,
    stop_all: bool,
    live: BTreeSet<String>,
}

/// The job of a node: `test` of `test[0]`.
pub fn base(name: &str) -> &str {
    name.split_once('[').map_or(name, |(base, _)| base)
}

impl Oracle {
    pub fn new(scenario: &Scenario, state: &RunState) -> Self {
        let (mut known, mut left_out) = (BTreeMap::new(), BTreeMap::new());
        for (name, about) in &scenario.known {
            let mut about = about.clone();
            if state.node(name).is_some() {
                about.depends_on.retain(|dependency| state.node(dependency).is_some());
                known.insert(name.clone(), about);
            } else {
                left_out.insert(name.clone(), about);
            }
        }
        let seen = known.keys().map(|name| (name.clone(), Seen::default())).collect();
        let admission = scenario.admission.as_ref().map(|_| Gate::Approval);
        let place = scenario.workflow.concurrency.as_ref().map(|_| Gate::Place);
        Self {
            known,
            left_out,
            seen,
            vars: state.vars().clone(),
            vars_by: BTreeMap::new(),
            cancelled: None,
            finished: None,
            expected: Expected::Nothing,
            told: None,
            told_to_begin: false,
            began: false,
            gates: admission.into_iter().chain(place).collect(),
            approved: BTreeSet::new(),
            stop_all: false,
            live: BTreeSet::new(),
        }
    }

    fn ended(&self, name: &str) -> Option<NodeStatus> {
        self.seen.get(name)?.ended
    }

    /// Whether an event about this attempt may mean anything.
    pub fn is_current(&self, node: &str, attempt: u32) -> bool {
        self.finished.is_none() && self.seen.get(node).is_some_and(|seen| seen.live == Some(attempt))
    }

    /// Before a step: what must come of it.
    pub fn before(&mut self, event: &Event, now: Millis) {
        self.expected = Expected::Nothing;
        self.told = None;
        self.stop_all = false;
        if self.finished.is_some() {
            return;
        }
        match event {
            Event::Begin => self.told_to_begin = true,
            Event::Approve { node: None, .. } if self.told_to_begin => {
                self.gates.pop_front_if(|gate| *gate == Gate::Approval);
            }
            Event::Admit if self.told_to_begin => {
                self.gates.pop_front_if(|gate| *gate == Gate::Place);
            }
            Event::Approve { node: Some(node), .. } => {
                self.approved.insert(node.clone());
            }
            Event::Cancel { force, .. } => {
                // What was told to begin, and could not, has nothing to clean up.
                let force = *force || self.told_to_begin && !self.gates.is_empty();
                self.gates.clear();
                self.told_to_begin = true;
                self.cancelled = Some(self.cancelled.unwrap_or(false) || force);
                self.stop_all = true;
            }
            Event::AttemptFinished { node, attempt, result } if self.is_current(node, *attempt) => {
                self.expected = self.after_result(node, result, now);
                let seen = self.seen.get_mut(node).expect("current");
                seen.outputs = result.outputs.clone();
                seen.live = None;
                seen.running = false;
                self.live.remove(node);
            }
            Event::Triggered { node, attempt, ordinal, request } if self.is_current(node, *attempt) => {
                self.told = Some(trigger::carry_out(self, node, *ordinal, request));
            }
            _ => {}
        }
        self.began = self.told_to_begin && self.gates.is_empty();
    }

    fn after_result(&mut self, node: &str, result: &AttemptResult, now: Millis) -> Expected {
        let cancelled = self.cancelled.is_some();
        let job = &self.known[base(node)];
        let seen = self.seen.get_mut(node).expect("current");
        let end = |status| Expected::End(node.to_owned(), status);
        // A trigger that was refused is a failure like any other, in the end.
        let Some(failure) = result.failure.or(seen.refused.then_some(FailureReason::Config)) else {
            return end(NodeStatus::Succeeded);
        };
        if failure == FailureReason::Cancelled {
            return end(NodeStatus::Cancelled);
        }
        seen.lost += usize::from(failure == FailureReason::LostWorker);
        if failure == FailureReason::LostWorker && seen.lost >= 3 {
            return end(NodeStatus::Failed);
        }
        use FailureReason::{Evicted, ImagePull, LostWorker, Provider};
        let infrastructure = matches!(failure, LostWorker | Evicted | ImagePull | Provider);
        let (counts, max, delay, factor) = match &job.retry {
            Some(retry) if retry.on.is_empty() => {
                (infrastructure, retry.max, retry.delay.as_millis(), retry.factor)
            }
            Some(retry) => (retry.on.contains(&failure), retry.max, retry.delay.as_millis(), retry.factor),
            None => (infrastructure && !result.permanent && !(result.started && job.delicate), 2, 1_000, 2.0),
        };
        if cancelled || !counts || seen.retries >= max {
            return end(NodeStatus::Failed);
        }
        let mut wait = delay;
        for _ in 0..seen.retries {
            wait *= factor as u64;
        }
        seen.retries += 1;
        seen.refused = false;
        Expected::Retry(node.to_owned(), now + wait.min(3_600_000) as Millis)
    }

    fn decide(&self, name: &str) -> Decision {
        let job = &self.known[name];
        let mut ended = Vec::new();
        let mut is_unknown = false;
        for dependency in &job.depends_on {
            match self.seen.get(dependency) {
                Some(Seen { ended: Some(status), .. }) => ended.push(*status),
                Some(_) => return Decision::Waits,
                None => is_unknown = true,
            }
        }
        if is_unknown {
            return Decision::WaitsForUnknown;
        }
        let after_cancel = self.cancelled.is_some() && job.on_cancel;
        let allowed = match job.condition {
            Condition::Always => true,
            Condition::AllSuccess => ended.iter().all(|status| *status == NodeStatus::Succeeded),
            Condition::AnyFailed => ended.iter().any(|status| {
                *status == NodeStatus::Failed || (after_cancel && *status == NodeStatus::Cancelled)
            }),
        };
        if !allowed {
            return Decision::Skips;
        }
        match &job.when {
            When::Absent | When::True => {}
            When::False => return Decision::Skips,
            When::Error => return Decision::Fails,
            When::FlagIsSet if self.vars.contains_key("flag") => {}
            When::FlagIsSet => return Decision::Skips,
            When::Succeeded(of) if !job.depends_on.contains(of) => return Decision::Fails,
            When::Succeeded(of) if self.ended(of) == Some(NodeStatus::Succeeded) => {}
            When::Succeeded(_) => return Decision::Skips,
        }
        let started = match &job.each {
            Each::One => Decision::Starts,
            Each::Fixed(count) => Decision::Expands(*count),
            Each::Output(of) if !job.depends_on.contains(of) => Decision::Fails,
            Each::Output(of) => match self.seen[of].outputs.get("list") {
                Some(Value::Array(items)) => Decision::Expands(items.len()),
                Some(Value::String(text)) => serde_json::from_str::<Vec<Value>>(text)
                    .map_or(Decision::Fails, |items| Decision::Expands(items.len())),
                _ => Decision::Fails,
            },
        };
        let held = job.protected && !self.approved.contains(name) && started != Decision::Fails;
        if held { Decision::Held } else { started }
    }

    /// After a step: whether what came of it is right.
    pub fn after(&mut self, commands: &[Command], now: Millis, state: &RunState) {
        let was_over = self.finished.is_some();
        let mut stopped = BTreeSet::new();
        let running: BTreeSet<String> =
            self.seen.iter().filter(|(_, seen)| seen.running).map(|(name, _)| name.clone()).collect();
        if let Some(told) = self.told.take() {
            trigger::check(self, &told, state);
        }
        for command in commands {
            assert!(!was_over, "after the end: {command:?}");
            match command {
                Command::Record(transition) => self.recorded(transition, state),
                Command::Enqueue { node, attempt, not_before } => {
                    self.enqueued(node, *attempt, *not_before, now)
                }
                Command::Stop { node, attempt, force } => {
                    assert!(self.cancelled.is_some(), "{node} is stopped though nobody cancelled");
                    assert_eq!(Some(*force), self.cancelled, "how {node} is stopped");
                    assert_eq!(self.seen[node].attempts, *attempt, "{node} is stopped");
                    assert!(stopped.insert(node.clone()), "{node} is stopped twice");
                }
                Command::Line(slot) => {
                    assert_eq!((slot.group.as_str(), self.gates.front()), ("web: g", Some(&Gate::Place)))
                }
                Command::Finish(status) => self.finish(*status, state),
            }
        }
        assert_eq!(self.expected, Expected::Nothing, "this must have come of the step");
        if self.stop_all && !was_over {
            for name in running {
                let spared = self.known[base(&name)].on_cancel && self.cancelled == Some(false);
                assert_eq!(stopped.contains(&name), !spared, "{name} runs while the run is cancelled");
            }
        }
        if self.began && self.finished.is_none() {
            let waits = state.held().next().is_some();
            assert!(
                !self.live.is_empty() || waits,
                "nothing runs, and the run has not ended: {:?}",
                state.rows()
            );
        }
        let goes_on = if self.told_to_begin && !self.gates.is_empty() {
            RunStatus::Waiting
        } else {
            RunStatus::Running
        };
        assert_eq!(self.finished.unwrap_or(goes_on), state.status());
    }

    /// No node waits although it need not.
    pub fn nobody_is_forgotten(&self) {
        if !self.began || self.finished.is_some() {
            return;
        }
        for (name, seen) in &self.seen {
            if seen.ended.is_none() && seen.attempts == 0 && seen.parts.is_none() {
                let decision = self.decide(base(name));
                assert!(
                    matches!(decision, Decision::Waits | Decision::WaitsForUnknown | Decision::Held),
                    "{name} waits, though it should be: {decision:?}"
                );
            }
        }
    }

    fn recorded(&mut self, transition: &Transition, state: &RunState) {
        assert!(!transition.reason.is_empty(), "no reason: {transition:?}");
        let Some(name) = &transition.node else {
            let waits = !self.gates.is_empty();
            assert_eq!(transition.to == "waiting" && self.finished.is_none(), waits, "{transition:?}");
            return;
        };
        assert_eq!(self.ended(name), None, "it has ended already: {transition:?}");
        match transition.to.as_str() {
            "waiting" if transition.reason.contains("an approval") => {
                assert_eq!(self.decide(name), Decision::Held, "{transition:?}");
            }
            "waiting" | "queued" => {}
            "running" => self.runs(name),
            "succeeded" => self.end(name, NodeStatus::Succeeded, state),
            "failed" => self.end(name, NodeStatus::Failed, state),
            "skipped" => self.end(name, NodeStatus::Skipped, state),
            "cancelled" => self.end(name, NodeStatus::Cancelled, state),
            other => panic!("what is {other:?}? {transition:?}"),
        }
    }

    fn runs(&mut self, name: &str) {
        if self.seen[name].live.is_some() {
            self.seen.get_mut(name).expect("seen").running = true;
        } else if self.seen[name].parts.is_none() {
            let Decision::Expands(count) = self.decide(name) else {
                panic!("{name} is expanded, though it should be: {:?}", self.decide(name))
            };
            self.may_start(name);
            self.seen.get_mut(name).expect("seen").parts = Some(count);
            for part in 0..count {
                self.seen.insert(format!("{name}[{part}]"), Seen::default());
            }
        }
    }

    fn may_start(&self, name: &str) {
        if let Some(force) = self.cancelled {
            assert!(!force, "{name} starts although the run is to stop at once");
            assert!(self.known[base(name)].on_cancel, "{name} starts although the run was cancelled");
        }
    }

    fn enqueued(&mut self, name: &str, attempt: u32, not_before: Option<Millis>, now: Millis) {
        let seen = self.seen.get(name).unwrap_or_else(|| panic!("what is {name}?"));
        assert_eq!(seen.live, None, "{name} has two live attempts");
        assert_eq!(seen.ended, None, "{name} starts after its end");
        assert_eq!(attempt, seen.attempts + 1, "attempts of {name}");
        self.may_start(name);
        if attempt > 1 {
            let expected = std::mem::replace(&mut self.expected, Expected::Nothing);
            assert_eq!(expected, Expected::Retry(name.to_owned(), not_before.expect("a retry waits")));
        } else {
            assert!(not_before.is_none_or(|at| at <= now), "{name} waits for nothing");
            if base(name) == name {
                assert_eq!(self.decide(name), Decision::Starts, "{name} is started");
            } else {
                assert!(self.seen[base(name)].parts.is_some(), "{name} before its group");
            }
        }
        let seen = self.seen.get_mut(name).expect("seen");
        (seen.attempts, seen.live) = (attempt, Some(attempt));
        self.live.insert(name.to_owned());
    }

    fn end(&mut self, name: &str, status: NodeStatus, state: &RunState) {
        let node = state.node(name).unwrap_or_else(|| panic!("no node {name}"));
        assert!(
            !node.reason.is_empty() && node.status == status,
            "{name} did not end as {status:?}: {node:?}"
        );
        let group_is_over = base(name) == name || self.seen[base(name)].ended.is_none();
        assert!(group_is_over, "{name} ends after its group");
        let seen = &self.seen[name];
        if self.expected == Expected::End(name.to_owned(), status) {
            self.expected = Expected::Nothing;
        } else if let Some(parts) = seen.parts {
            let ends: Vec<_> = (0..parts)
                .map(|part| self.ended(&format!("{name}[{part}]")).expect("every part ends before its group"))
                .collect();
            let should =
                [NodeStatus::Failed, NodeStatus::Cancelled].into_iter().find(|bad| ends.contains(bad));
            assert_eq!(status, should.unwrap_or(NodeStatus::Succeeded), "{name} of {ends:?}");
        } else if status == NodeStatus::Cancelled {
            let force = self.cancelled.unwrap_or_else(|| panic!("{name} is cancelled, though nobody asked"));
            let job = &self.known[base(name)];
            let is_held = job.protected && !self.approved.contains(base(name));
            assert!(force || !job.on_cancel || is_held, "{name} is for cleaning up");
            assert!(!seen.running, "{name} runs, so only its worker can tell its end");
        } else {
            assert_eq!(seen.live, None, "{name} ends as {status:?} while an attempt lives");
            let should = match self.decide(name) {
                Decision::Skips => NodeStatus::Skipped,
                Decision::Expands(0) => NodeStatus::Succeeded,
                Decision::WaitsForUnknown if self.live.is_empty() => NodeStatus::Failed,
                // It waits for an unknown name besides a known one that nobody can start either.
                Decision::Waits if self.live.is_empty() && self.waits_for_unknown(name) => NodeStatus::Failed,
                Decision::Fails => NodeStatus::Failed,
                other => panic!("{name} ends as {status:?}, though it should be: {other:?}"),
            };
            assert_eq!(status, should, "{name}: {}", node.reason);
        }
        let seen = self.seen.get_mut(name).expect("seen");
        (seen.ended, seen.live, seen.running) = (Some(status), None, false);
        self.live.remove(name);
    }

    fn waits_for_unknown(&self, name: &str) -> bool {
        self.known[name].depends_on.iter().any(|dependency| !self.seen.contains_key(dependency))
    }

    fn finish(&mut self, status: RunStatus, state: &RunState) {
        assert_eq!(self.finished, None, "it finishes twice");
        let leaves = || self.seen.values().filter(|seen| seen.parts.is_none());
        assert!(self.seen.values().all(|seen| seen.ended.is_some()), "not every node has ended");
        let any = |end: NodeStatus| leaves().any(|seen| seen.ended == Some(end));
        let should = if self.cancelled.is_some() {
            RunStatus::Cancelled
        } else if any(NodeStatus::Failed) {
            RunStatus::Failed
        } else if any(NodeStatus::Cancelled) {
            RunStatus::Cancelled
        } else {
            RunStatus::Succeeded
        };
        assert_eq!(status, should);
        assert_eq!(state.nodes().len(), self.seen.len(), "nodes nobody knows of");
        assert_eq!(state.rows().len(), leaves().count(), "rows for people");
        self.finished = Some(status);
    }
}
