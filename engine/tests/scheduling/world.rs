//! A model of everything outside: workers that start, fail, trigger and stop in any order, deliveries that are late
//! or come twice, people who cancel, and a database that a run is read back from.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use reactorcide_engine::config::FailureReason;
use reactorcide_engine::protocol::trigger::TriggerRequest;
use reactorcide_engine::scheduler::{
    AttemptResult, Command, Event, Gate, Millis, NewRun, NodeStatus, RunState, RunStatus, Stored, step,
};
use serde_json::json;

use crate::oracle::Oracle;
use crate::scenario::{REASONS, Scenario, scenario};
use crate::trigger;

/// The most steps of one run: far more than any needs.
const MAX_STEPS: usize = 20_000;

/// What all seeds together must have reached.
pub const EVERYTHING: [&str; 19] = [
    "approval",
    "approval of nothing",
    "run succeeded",
    "run failed",
    "run cancelled",
    "node succeeded",
    "node failed",
    "node skipped",
    "node cancelled",
    "retry",
    "group",
    "empty group",
    "trigger carried out",
    "trigger refused",
    "stale event",
    "repeated event",
    "stop",
    "kill",
    "job waits for a name that never comes",
];

/// What became of a run.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    commands: Vec<Command>,
    status: RunStatus,
    /// How often something happened.
    pub seen: BTreeMap<&'static str, u64>,
}

/// One attempt, as its worker knows it.
struct Attempt {
    node: String,
    number: u32,
    not_before: Millis,
    running: bool,
    /// Asked to stop.
    stopping: bool,
    over: bool,
    requests: usize,
    /// What the worker has said and nobody has heard yet, in order.
    unheard: VecDeque<Event>,
}

struct World {
    rng: Rng,
    /// Decides when the state is stored and read back, so that everything else is the same where it is not.
    storing: Option<Rng>,
    /// What a database would hold.
    stored: Option<Stored>,
    now: Millis,
    state: RunState,
    oracle: Oracle,
    chances: Chances,
    attempts: Vec<Attempt>,
    /// What each node asks for, attempt after attempt.
    scripts: BTreeMap<String, Vec<TriggerRequest>>,
    heard: Vec<Event>,
    triggered: u32,
    commands: Vec<Command>,
    seen: BTreeMap<&'static str, u64>,
}

struct Chances {
    fails: u32,
    triggers: u32,
    cancels: u32,
}

/// Runs one seed to its end.
pub fn simulate(seed: u64, stored: bool) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let scenario = scenario(&mut rng);
    let mut state = RunState::new(NewRun {
        id: "r1".into(),
        workflow: scenario.workflow.clone(),
        event: json!({"type": "push"}),
        vars: BTreeMap::new(),
        inputs: BTreeMap::new(),
        selection: scenario.selection.clone(),
    });
    state.admission = scenario.admission.clone();
    let oracle = Oracle::new(&scenario, &state);
    let Scenario { fails, triggers, cancels, .. } = scenario;
    let mut world = World {
        rng,
        storing: stored.then(|| Rng::with_seed(seed ^ 0x5eed)),
        stored: None,
        now: 1_000_000,
        state,
        oracle,
        chances: Chances { fails, triggers, cancels },
        attempts: Vec::new(),
        scripts: BTreeMap::new(),
        heard: Vec::new(),
        triggered: 0,
        commands: Vec::new(),
        seen: BTreeMap::new(),
    };
    if world.rng.u8(..50) == 0 {
        world.cancel();
    }
    world.tell(Event::Begin);
    for _ in 0..MAX_STEPS {
        if world.state.status().is_terminal() && world.attempts.is_empty() {
            return world.outcome();
        }
        world.something_happens();
    }
    panic!("the run does not end: {:?}", world.state.rows());
}

impl World {
    fn something_happens(&mut self) {
        self.now += self.rng.i64(0..500);
        if self.rng.u32(..100) < self.chances.cancels {
            return self.cancel();
        }
        match self.rng.u8(..16) {
            0 if !self.heard.is_empty() => self.hear_again(),
            2 if self.rng.bool() => self.oracle.nobody_is_forgotten(),
            0..3 => self.approve(),
            _ if self.state.gate().is_some() && self.rng.bool() => self.approve(),
            _ if self.attempts.is_empty() && !self.state.status().is_terminal() => self.approve(),
            _ if self.attempts.is_empty() => {}
            3..=8 => {
                let index = self.rng.usize(..self.attempts.len());
                if let Some(event) = self.attempts[index].unheard.pop_front() {
                    self.hear(event);
                }
                self.attempts.retain(|attempt| !attempt.over || !attempt.unheard.is_empty());
            }
            _ => {
                let index = self.rng.usize(..self.attempts.len());
                self.work(index);
            }
        }
    }

    /// Somebody approves what waits for it, or what does not; the run's group has a place.
    fn approve(&mut self) {
        let held: Vec<String> = self.state.held().map(str::to_owned).collect();
        let by = "ada".to_owned();
        let node = match self.state.nodes() {
            nodes if !nodes.is_empty() && self.rng.u8(..8) == 0 => {
                Some(nodes[self.rng.usize(..nodes.len())].name.clone())
            }
            _ if held.is_empty() => None,
            _ => Some(held[self.rng.usize(..held.len())].clone()),
        };
        let (event, counts) = match (self.state.gate(), node) {
            (Some(Gate::Place), _) => (Event::Admit, true),
            (gate, None) => (Event::Approve { node: None, by }, gate == Some(Gate::Approval)),
            (Some(Gate::Approval), Some(_)) => (Event::Approve { node: None, by }, true),
            (None, Some(node)) => {
                let waits = held.contains(&node);
                (Event::Approve { node: Some(node), by }, waits)
            }
        };
        if counts {
            self.count("approval");
            self.tell(event);
        } else {
            self.count("approval of nothing");
            self.tell_in_vain(event);
            self.tell_in_vain(Event::Admit);
        }
    }

    /// A worker goes on with an attempt.
    fn work(&mut self, index: usize) {
        let attempt = &self.attempts[index];
        if attempt.over {
            return;
        }
        let (node, number) = (attempt.node.clone(), attempt.number);
        if !attempt.running {
            if self.now < attempt.not_before {
                // Time passes while nobody looks.
                if self.rng.bool() {
                    self.now = attempt.not_before;
                }
            } else if self.rng.u32(..200) < self.chances.fails {
                self.end(index, false);
            } else {
                let attempt = &mut self.attempts[index];
                attempt.running = true;
                attempt.unheard.push_back(Event::AttemptStarted { node, attempt: number });
            }
        } else if self.rng.u32(..100) < self.chances.triggers && self.triggered < 60 {
            let ordinal = self.attempts[index].requests;
            self.attempts[index].requests += 1;
            let script = self.scripts.entry(node.clone()).or_default();
            // A later attempt asks for the same again, but for a few that do not.
            let request = match script.get(ordinal) {
                Some(before) if self.rng.u8(..8) > 0 => before.clone(),
                _ => {
                    let request = trigger::random(&mut self.rng, &self.oracle, &mut self.triggered);
                    script.truncate(ordinal);
                    script.push(request.clone());
                    request
                }
            };
            let ordinal = u32::try_from(ordinal).expect("few");
            self.attempts[index].unheard.push_back(Event::Triggered {
                node,
                attempt: number,
                ordinal,
                request,
            });
        } else {
            self.end(index, true);
        }
    }

    fn end(&mut self, index: usize, started: bool) {
        let (rng, attempt) = (&mut self.rng, &mut self.attempts[index]);
        let failure = if attempt.stopping && rng.u8(..5) > 0 {
            Some(FailureReason::Cancelled)
        } else {
            let fails = !started || rng.u32(..100) < self.chances.fails;
            fails.then(|| REASONS[rng.usize(..REASONS.len())])
        };
        let mut outputs = BTreeMap::new();
        if rng.bool() {
            let list: Vec<usize> = (0..rng.usize(..4)).collect();
            outputs
                .insert("list".to_owned(), if rng.bool() { json!(list) } else { json!(format!("{list:?}")) });
        }
        let result = AttemptResult {
            failure,
            exit_code: started.then(|| i32::from(failure.is_some())),
            message: rng.bool().then(|| "so it was".to_owned()),
            outputs,
            started,
            permanent: failure.is_some() && rng.u8(..8) == 0,
            usage: None,
        };
        attempt.over = true;
        let (node, attempt_number) = (attempt.node.clone(), attempt.number);
        attempt.unheard.push_back(Event::AttemptFinished { node, attempt: attempt_number, result });
    }

    fn cancel(&mut self) {
        let force = self.rng.u8(..3) == 0 || self.state.cancelled().is_some();
        self.tell(Event::Cancel { reason: "enough".into(), force });
    }

    /// An event arrives for the first time. Where its attempt is over, nothing may come of it.
    fn hear(&mut self, event: Event) {
        let (Event::AttemptStarted { node, attempt }
        | Event::AttemptFinished { node, attempt, .. }
        | Event::Triggered { node, attempt, .. }) = &event
        else {
            unreachable!("workers say nothing else");
        };
        if self.oracle.is_current(node, *attempt) {
            self.heard.push(event.clone());
            self.tell(event);
        } else {
            self.count("stale event");
            self.tell_in_vain(event);
        }
    }

    /// The same event arrives once more.
    fn hear_again(&mut self) {
        self.count("repeated event");
        let event = self.heard[self.rng.usize(..self.heard.len())].clone();
        self.tell_in_vain(event);
        self.tell_in_vain(Event::Begin);
    }

    fn tell_in_vain(&mut self, event: Event) {
        let before = self.state.clone();
        let commands = step(&mut self.state, event.clone(), self.now);
        assert!(self.state == before, "{event:?} means nothing any more, and changed something");
        let is_note = |command: &Command| matches!(command, Command::Record(note) if note.to == "running" || note.to == "queued");
        assert!(commands.iter().all(is_note), "{event:?} means nothing any more: {commands:?}");
    }

    fn tell(&mut self, event: Event) {
        self.store();
        let (refused, added) = (self.refused(), self.oracle.known.len());
        self.oracle.before(&event, self.now);
        let commands = step(&mut self.state, event, self.now);
        if self.oracle.known.len() > added {
            self.count("trigger carried out");
        }
        if self.refused() > refused {
            self.count("trigger refused");
        }
        self.oracle.after(&commands, self.now, &self.state);
        for command in &commands {
            match command {
                Command::Enqueue { node, attempt, not_before } => {
                    if *attempt > 1 {
                        self.count("retry");
                    }
                    self.attempts.push(Attempt {
                        node: node.clone(),
                        number: *attempt,
                        not_before: not_before.unwrap_or(0),
                        running: false,
                        stopping: false,
                        over: false,
                        requests: 0,
                        unheard: VecDeque::new(),
                    });
                }
                Command::Stop { node, attempt, force } => {
                    self.count(if *force { "kill" } else { "stop" });
                    let is_it = |one: &Attempt| one.node == *node && one.number == *attempt;
                    // What was not taken from the queue is taken out of it.
                    self.attempts.retain(|one| !is_it(one) || one.running || one.over);
                    for one in self.attempts.iter_mut().filter(|one| is_it(one)) {
                        one.stopping = true;
                    }
                }
                _ => {}
            }
        }
        self.commands.extend(commands);
    }

    fn refused(&self) -> usize {
        self.oracle.seen.values().filter(|seen| seen.refused).count()
    }

    /// Stores what changed, as a database would, and now and then goes on with what was stored.
    fn store(&mut self) {
        let Some(rng) = &mut self.storing else { return };
        let changes = self.state.take_changes();
        let stored = self.stored.get_or_insert_with(|| Stored {
            definition: self.state.definition(),
            head: changes.head.clone().expect("a new run has one"),
            nodes: Vec::new(),
        });
        if let Some(head) = changes.head {
            stored.head = text(&head);
        }
        for (index, node) in changes.nodes {
            match stored.nodes.get_mut(index) {
                Some(known) => *known = text(&node),
                None => {
                    assert_eq!(index, stored.nodes.len(), "a node is missing");
                    stored.nodes.push(text(&node));
                }
            }
        }
        if rng.u8(..16) == 0 {
            let read = RunState::restore(Stored { definition: text(&stored.definition), ..stored.clone() });
            let read = read.expect("a run");
            assert!(read == self.state, "storing changes a run");
            self.state = read;
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn outcome(mut self) -> Outcome {
        self.oracle.nobody_is_forgotten();
        self.count(match self.state.status() {
            RunStatus::Running | RunStatus::Waiting => unreachable!("it has ended"),
            RunStatus::Succeeded => "run succeeded",
            RunStatus::Failed => "run failed",
            RunStatus::Cancelled => "run cancelled",
        });
        let mut counts = Vec::new();
        for node in self.state.nodes() {
            counts.push(match node.status {
                NodeStatus::Succeeded => "node succeeded",
                NodeStatus::Failed => "node failed",
                NodeStatus::Skipped => "node skipped",
                NodeStatus::Cancelled => "node cancelled",
                other => panic!("{} ended as {other:?}", node.name),
            });
            if node.reason.contains("nobody triggered") {
                counts.push("job waits for a name that never comes");
            }
            match self.oracle.seen[&node.name].parts {
                Some(0) => counts.push("empty group"),
                Some(_) => counts.push("group"),
                None if node.reason == "there is no item" => counts.push("empty group"),
                None => {}
            }
        }
        counts.into_iter().for_each(|what| self.count(what));
        Outcome { commands: self.commands, status: self.state.status(), seen: self.seen }
    }
}

/// A value, written and read.
fn text<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("it is JSON");
    serde_json::from_str(&text).expect("what was written can be read")
}
