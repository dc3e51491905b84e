//! The scheduler against a world that does what worlds do: jobs end in every way, events come twice or too late, somebody
//! cancels, the state is stored and read back. Ten thousand seeded runs; a failing one prints its seed, and
//! `REACTORCIDE_SEED=N` runs that one alone.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, FailureReason, Kind, Metadata, Resource, Spec};
use reactorcide_engine::protocol::spec::Condition;
use reactorcide_engine::protocol::trigger::TriggerRequest;
use reactorcide_engine::scheduler::{
    AttemptResult, Command, Event, NewRun, NodeStatus, RunState, RunStatus, Selection, assignment, step,
};
use reactorcide_engine::workflow;
use serde_json::{Value, json};

const SEEDS: u64 = 10_000;
const REASONS: [FailureReason; 9] = [
    FailureReason::Exit,
    FailureReason::Timeout,
    FailureReason::Oom,
    FailureReason::LostWorker,
    FailureReason::Evicted,
    FailureReason::ImagePull,
    FailureReason::Provider,
    FailureReason::RunnerDied,
    FailureReason::Cancelled,
];

#[test]
fn whatever_happens_the_invariants_hold() {
    if let Some(seed) = std::env::var("REACTORCIDE_SEED").ok().and_then(|text| text.parse().ok()) {
        return simulate(seed);
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (0..SEEDS).filter(|seed| seed % threads == thread).for_each(simulate));
        }
    });
}

/// Says the seed if the run with it fails.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation failed with seed {0}: REACTORCIDE_SEED={0} runs it alone", self.0);
        }
    }
}

fn simulate(seed: u64) {
    let _announce = Announce(seed);
    let mut world = World::new(Rng::with_seed(seed));
    world.send(Event::Begin);
    let mut steps = 0;
    while world.finished.is_none() {
        steps += 1;
        assert!(steps < 20_000, "the run does not end: {:?}", world.state.rows());
        if world.rng.u32(0..60) == 0 {
            let force = world.rng.bool();
            world.cancelled = true;
            world.send(Event::Cancel { reason: "the simulation wants it".into(), force });
        } else if world.rng.u32(0..10) == 0 {
            world.noise();
        } else {
            world.work();
        }
    }
    world.check_end();
}

/// An attempt that a worker has or will have.
#[derive(Debug, Clone)]
struct Live {
    node: String,
    attempt: u32,
    running: bool,
    stopping: bool,
    asked: u32,
}

struct World {
    rng: Rng,
    state: RunState,
    now: i64,
    live: Vec<Live>,
    /// Every attempt that was ever handed out.
    enqueued: BTreeSet<(String, u32)>,
    ended: BTreeMap<String, NodeStatus>,
    over: Vec<Event>,
    cancelled: bool,
    finished: Option<RunStatus>,
}

impl World {
    fn new(mut rng: Rng) -> Self {
        let jobs = random_jobs(&mut rng);
        let names: Vec<String> = jobs.as_object().expect("jobs").keys().cloned().collect();
        let spec =
            Spec::from_value(Kind::Pipeline, json!({"vars": {"v": 1}, "jobs": jobs})).expect("a valid spec");
        let metadata = Metadata { name: "ci".into(), project: Some("p".into()), ..Metadata::default() };
        let resource = Resource { metadata, spec };
        let address = resource.address();
        let catalog: Catalog = [(address.clone(), resource)].into();
        let selection = (rng.u32(0..5) == 0).then(|| Selection {
            jobs: vec![names[rng.usize(0..names.len())].clone()],
            follow_needs: rng.bool(),
        });
        let state = RunState::new(NewRun {
            id: "run".into(),
            workflow: workflow::resolve(&catalog, &Address::new(Kind::Pipeline, Some("p"), "ci"))
                .expect("resolves"),
            event: json!({"type": if rng.bool() { "push" } else { "tag" }}),
            vars: BTreeMap::new(),
            inputs: BTreeMap::new(),
            selection,
        });
        Self {
            rng,
            state,
            now: 0,
            live: Vec::new(),
            enqueued: BTreeSet::new(),
            ended: BTreeMap::new(),
            over: Vec::new(),
            cancelled: false,
            finished: None,
        }
    }

    /// Sends an event, and holds what comes of it against the invariants.
    fn send(&mut self, event: Event) {
        self.now += 1;
        if self.rng.u32(0..20) == 0 {
            let text = serde_json::to_string(&self.state).expect("JSON");
            let back: RunState = serde_json::from_str(&text).expect("a run");
            assert_eq!(back, self.state, "what is stored reads back as it was");
            self.state = back;
        }
        for command in step(&mut self.state, event, self.now) {
            match command {
                Command::Enqueue { node, attempt, .. } => self.enqueue(node, attempt),
                Command::Stop { node, attempt, .. } => {
                    // What no worker has is taken back; what one has is stopped.
                    let found =
                        self.live.iter_mut().find(|live| live.node == node && live.attempt == attempt);
                    let live = found.unwrap_or_else(|| panic!("{node} is stopped but not alive"));
                    live.stopping = true;
                    let running = live.running;
                    self.live.retain(|live| live.node != node || running);
                }
                Command::Record(transition) => assert!(!transition.reason.is_empty(), "{transition:?}"),
                Command::Finish(status) => {
                    assert_eq!(self.finished.replace(status), None, "it finishes once")
                }
                Command::WakeAt(_) => {}
            }
        }
        self.check_ends();
    }

    fn enqueue(&mut self, node: String, attempt: u32) {
        assert!(
            self.enqueued.insert((node.clone(), attempt)),
            "{node} attempt {attempt} is handed out twice"
        );
        assert!(self.live.iter().all(|live| live.node != node), "{node} has two attempts at once");
        assert!(!self.ended.contains_key(&node), "{node} had ended");
        self.check_needs(&node);
        let declared =
            self.state.node(&node).expect("a node").name.split('[').next().unwrap_or_default().to_owned();
        let on_cancel =
            self.state.workflow.jobs.get(&declared).is_some_and(|declaration| declaration.job.on_cancel);
        assert!(!self.cancelled || on_cancel, "{node} starts although the run was cancelled");
        self.live.push(Live { node, attempt, running: false, stopping: false, asked: 0 });
    }

    /// A node starts only when what it waits for has ended as its condition wants: told from the outside, from the
    /// declared conditions and the ends that were seen.
    fn check_needs(&self, name: &str) {
        let node = self.state.node(name).expect("a node");
        let group = name.split('[').next().unwrap_or_default();
        let condition = match self.state.workflow.jobs.get(group) {
            Some(declaration) if node.depth == 0 => declaration.job.condition,
            _ => node.condition,
        };
        let status = |dependency: &String| self.state.node(dependency).map(|node| node.status);
        let statuses: Vec<Option<NodeStatus>> = node.depends_on.iter().map(status).collect();
        assert!(
            statuses.iter().all(|s| s.is_some_and(NodeStatus::is_terminal)),
            "{name} starts too early: {statuses:?}"
        );
        let allowed = match condition {
            Condition::AllSuccess => statuses.iter().all(|s| *s == Some(NodeStatus::Succeeded)),
            Condition::AnyFailed => statuses.iter().any(|s| {
                *s == Some(NodeStatus::Failed) || (self.cancelled && *s == Some(NodeStatus::Cancelled))
            }),
            Condition::Always => true,
        };
        assert!(allowed, "{name} starts although its condition {condition:?} does not hold: {statuses:?}");
    }

    /// An end is for ever.
    fn check_ends(&mut self) {
        for node in self.state.nodes() {
            if let Some(before) = self.ended.get(&node.name) {
                assert_eq!(*before, node.status, "{} left its end", node.name);
            } else if node.status.is_terminal() {
                assert!(!node.reason.is_empty(), "{} has no reason", node.name);
                self.ended.insert(node.name.clone(), node.status);
            }
        }
    }

    /// A worker does something.
    fn work(&mut self) {
        if self.live.is_empty() {
            assert!(self.finished.is_some(), "nobody works and the run goes on: {:?}", self.state.rows());
            return;
        }
        let index = self.rng.usize(0..self.live.len());
        let live = self.live[index].clone();
        if !live.running && self.rng.u32(0..8) > 0 {
            self.live[index].running = true;
            let assignment = assignment(&self.state, &live.node, self.now).expect("a node").expect("a job");
            assert_eq!(assignment.attempt, live.attempt);
            assert!(assignment.job.image.is_some());
            return self.send(Event::AttemptStarted { node: live.node, attempt: live.attempt });
        }
        if live.running && live.asked < 3 && self.rng.u32(0..6) == 0 {
            self.live[index].asked += 1;
            let request = self.request(&live.node);
            return self.send(Event::Triggered {
                node: live.node,
                attempt: live.attempt,
                ordinal: live.asked,
                request,
            });
        }
        self.live.remove(index);
        let failure = if live.stopping {
            Some(FailureReason::Cancelled)
        } else if !live.running {
            Some(
                [FailureReason::ImagePull, FailureReason::Config, FailureReason::Provider]
                    [self.rng.usize(0..3)],
            )
        } else if self.rng.u32(0..3) == 0 {
            Some(REASONS[self.rng.usize(0..REASONS.len())])
        } else {
            None
        };
        let result = AttemptResult {
            failure,
            exit_code: None,
            message: None,
            outputs: BTreeMap::from([
                ("list".to_owned(), json!(self.items())),
                ("go".to_owned(), json!(self.rng.bool())),
            ]),
            started: live.running,
            permanent: self.rng.u32(0..10) == 0,
        };
        let event = Event::AttemptFinished { node: live.node, attempt: live.attempt, result };
        self.over.push(event.clone());
        self.send(event);
    }

    fn items(&mut self) -> Vec<u32> {
        (0..self.rng.u32(0..4)).collect()
    }

    /// A request for jobs: valid, repeated, or impossible.
    fn request(&mut self, by: &str) -> TriggerRequest {
        let number = self.rng.u32(0..4);
        let needs = match self.rng.u32(0..4) {
            0 => vec![format!("extra-{}", self.rng.u32(0..5))],
            1 => vec!["job-0".to_owned()],
            _ => vec![],
        };
        let name = match self.rng.u32(0..6) {
            0 => "job-1".to_owned(),
            1 => by.to_owned(),
            _ => format!("extra-{number}"),
        };
        let mut job = json!({"job_name": name, "command": "true", "depends_on": needs});
        if self.rng.u32(0..4) == 0 {
            job["for_each"] = json!(self.items());
        }
        if self.rng.u32(0..8) == 0 {
            job["env"] = json!({"LD_PRELOAD": "x"});
        }
        let vars = if self.rng.u32(0..4) == 0 { json!({"v": self.rng.u32(0..2)}) } else { json!({}) };
        let operation = (self.rng.bool()).then(|| format!("op-{}", self.rng.u32(0..3)));
        serde_json::from_value(json!({"operation_id": operation, "jobs": [job], "vars": vars}))
            .expect("a request")
    }

    /// Events that mean nothing any more, or never did, must change nothing.
    fn noise(&mut self) {
        let mut events =
            vec![Event::Tick, Event::Begin, Event::AttemptStarted { node: "nobody".into(), attempt: 1 }];
        events.extend(self.over.last().cloned());
        let index = self.rng.usize(0..events.len());
        let before = self.state.clone();
        for command in step(&mut self.state, events.swap_remove(index), self.now) {
            panic!("noise led to {command:?}");
        }
        assert_eq!(before, self.state);
    }

    fn check_end(&self) {
        assert!(self.live.is_empty(), "the run ended before its jobs: {:?}", self.live);
        let statuses: Vec<NodeStatus> = self.state.nodes().iter().map(|node| node.status).collect();
        assert!(statuses.iter().all(|status| status.is_terminal()), "{statuses:?}");
        let failed = statuses.contains(&NodeStatus::Failed);
        let cancelled = statuses.contains(&NodeStatus::Cancelled);
        match self.finished {
            Some(RunStatus::Cancelled) => assert!(self.cancelled || (cancelled && !failed)),
            Some(RunStatus::Failed) => assert!(failed && !self.cancelled),
            Some(RunStatus::Succeeded) => assert!(!failed && !cancelled && !self.cancelled),
            other => panic!("it ended as {other:?}"),
        }
    }
}

/// A random graph of jobs: each waits for some of those before it.
fn random_jobs(rng: &mut Rng) -> Value {
    let count = rng.usize(1..12);
    let mut jobs = serde_json::Map::new();
    for number in 0..count {
        let mut job = json!({"image": "i", "command": "c"});
        let needs: Vec<String> =
            (0..number).filter(|_| rng.u32(0..4) == 0).map(|n| format!("job-{n}")).collect();
        if !needs.is_empty() {
            let first = needs[0].clone();
            job["depends_on"] = json!(needs);
            job["condition"] = json!(["all_success", "all_success", "any_failed", "always"][rng.usize(0..4)]);
            match rng.u32(0..8) {
                0 => job["when"] = json!(format!("needs['{first}'].outputs.go == true")),
                1 => job["for_each"] = json!(format!("needs['{first}'].outputs.list")),
                _ => {}
            }
        }
        if job.get("for_each").is_none() {
            match rng.u32(0..10) {
                0 => job["matrix"] = json!({"axes": {"a": [1, 2], "b": ["x"]}}),
                1 => job["for_each"] = json!((0..rng.u32(0..3)).collect::<Vec<_>>()),
                2 => job["when"] = json!("event.type == 'push'"),
                3 => {
                    job["retry"] =
                        json!({"max": rng.u32(0..3), "on": ["exit", "oom", "lost_worker"], "delay": "1s"})
                }
                4 => job["on_cancel"] = json!(true),
                5 => job["secrets"] = json!({"S": "some/secret"}),
                6 => job["triggers_allowed"] = json!({"count": rng.u32(0..3), "depth": rng.u32(0..3)}),
                _ => {}
            }
        }
        jobs.insert(format!("job-{number}"), job);
    }
    Value::Object(jobs)
}
