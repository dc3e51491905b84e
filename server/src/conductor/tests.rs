//! What is said of runs is decided on once, in its order, whoever else decides and whatever the database does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use reactorcide_engine::config::FailureReason;
use reactorcide_engine::protocol::query::Elsewhere;
use reactorcide_engine::queue::{Claim, Claimant};
use reactorcide_engine::runs::{
    Accepted, Commit, EntryFilter, Loaded, MemoryRuns, NewRecord, Outcome, RunFilter, Used,
};
use reactorcide_engine::scheduler::{AttemptResult, NewRun, NodeStatus, RunStatus, Transition};
use reactorcide_engine::workflow::Workflow;
use serde_json::{Value, json};

use super::*;

/// Fails, or takes its time, as it is told to.
struct Moody {
    inner: Arc<MemoryRuns>,
    /// Every so many commits fail. 0: none.
    fails: AtomicU32,
    count: AtomicU32,
    /// Some that fail are written all the same: nobody knows what came of a commit whose answer was lost.
    lies: bool,
}

impl Moody {
    fn trouble(&self) -> bool {
        let every = self.fails.load(Ordering::Relaxed);
        every > 0 && self.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(every)
    }
}

fn broken() -> StoreError {
    StoreError::Unreachable { location: "there".into(), what: "nobody answers".into() }
}

#[async_trait]
impl RunStore for Moody {
    async fn accept(&self, new: &[NewRecord]) -> Result<Vec<Accepted>, StoreError> {
        self.inner.accept(new).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, StoreError> {
        tokio::task::yield_now().await;
        if self.trouble() {
            if self.lies && fastrand::bool() {
                self.inner.commit(commits).await?;
            }
            return Err(broken());
        }
        self.inner.commit(commits).await
    }

    async fn load(&self, run: &str) -> Result<Option<Loaded>, StoreError> {
        self.inner.load(run).await
    }

    async fn version(&self, run: &str) -> Result<Option<u64>, StoreError> {
        self.inner.version(run).await
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.runs(filter).await
    }

    async fn delivered(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.inner.delivered(key).await
    }

    async fn transitions(&self, run: &str, from: u64, limit: u32) -> Result<Vec<Transition>, StoreError> {
        self.inner.transitions(run, from, limit).await
    }

    async fn used(&self, run: &str, node: Option<&str>) -> Result<Vec<Used>, StoreError> {
        self.inner.used(run, node).await
    }

    async fn active(&self, project: Option<&str>, job: &str) -> Result<Vec<Elsewhere>, StoreError> {
        self.inner.active(project, job).await
    }
}

fn workflow(jobs: &Value) -> Workflow {
    let job = |job: &Value| {
        let mut whole = json!({"image": "i", "command": "c"});
        whole.as_object_mut().expect("object").extend(job.as_object().expect("object").clone());
        json!({"job": whole, "profile": {"name": "trusted", "spec": {}}})
    };
    let jobs: BTreeMap<&String, Value> =
        jobs.as_object().expect("jobs").iter().map(|(name, one)| (name, job(one))).collect();
    let workflow =
        json!({"address": "Pipeline/web/ci", "vars": {}, "inputs": {}, "jobs": jobs, "templates": {}});
    serde_json::from_value(workflow).expect("a workflow")
}

fn start(id: &str, key: Option<&str>, jobs: &Value) -> Start {
    let record = RunRecord {
        id: id.into(),
        pipeline: "Pipeline/web/ci".into(),
        project: Some("web".into()),
        event: "push".into(),
        actor: "ada".into(),
        retry_of: None,
        holder: None,
        started_at: now(),
        ended_at: None,
        status: RunStatus::Running,
    };
    let state = RunState::new(NewRun {
        id: id.into(),
        workflow: workflow(jobs),
        event: json!({"type": "push"}),
        vars: BTreeMap::new(),
        inputs: BTreeMap::new(),
        selection: None,
    });
    Start { record, key: key.map(str::to_owned), state }
}

async fn claim(queue: &dyn Queue, worker: &str, max: usize) -> Vec<LeaseId> {
    let claim = Claim {
        claimant: Claimant { worker: worker.into(), ..Claimant::default() },
        max,
        now: now(),
        expires_at: now() + 60_000,
        token: uuid::Uuid::new_v4().to_string(),
    };
    let claimed = queue.claim(&claim).await.expect("an answer");
    claimed.into_iter().map(|claimed| claimed.lease).collect()
}

fn finished(lease: &LeaseId, failure: Option<FailureReason>) -> Event {
    let result = AttemptResult {
        failure,
        exit_code: None,
        message: None,
        outputs: BTreeMap::new(),
        started: true,
        permanent: false,
        usage: None,
    };
    Event::AttemptFinished { node: lease.node.clone(), attempt: lease.attempt, result }
}

/// What must hold of a run that has ended, whatever happened to it.
async fn assert_whole(runs: &MemoryRuns, run: &str) {
    let transitions = runs.transitions(run, 0, 100_000).await.expect("transitions");
    let is_end = |transition: &&Transition| {
        matches!(transition.to.as_str(), "succeeded" | "failed" | "skipped" | "cancelled")
    };
    let mut ended = BTreeSet::new();
    for transition in transitions.iter().filter(is_end) {
        assert!(ended.insert(transition.node.clone()), "{:?} of {run} ends twice", transition.node);
    }
    let loaded =
        Known::loaded(runs.load(run).await.expect("an answer").expect("it is there")).expect("whole");
    assert!(loaded.state.status() != RunStatus::Running, "{run} goes on: {:?}", loaded.state.rows());
    for node in loaded.state.nodes() {
        assert!(node.status.is_terminal() && ended.contains(&Some(node.name.clone())), "{node:?}");
    }
    assert_eq!(loaded.ordinal, transitions.len() as u64, "every decision is there once");
    let entries = EntryFilter { run: Some(run.into()), limit: 10, ..EntryFilter::default() };
    assert_eq!(runs.entries(&entries).await.expect("entries"), [], "nothing of {run} is left in the queue");
}

#[tokio::test]
async fn a_delivery_starts_one_run_whoever_hears_it_first() {
    let runs = Arc::new(MemoryRuns::default());
    let conductors: Vec<Conductor> = (0..3).map(|_| Conductor::new(runs.clone(), runs.clone())).collect();
    let jobs = json!({"a": {}});
    let starts = (0..60).map(|n| {
        let conductor = conductors[n % 3].clone();
        let begun = start(&format!("r{n}"), Some(&format!("delivery-{}", n / 6)), &jobs);
        async move { conductor.start(begun).await.expect("it is accepted") }
    });
    let started = futures_util::future::join_all(starts).await;
    assert_eq!(started.iter().filter(|started| started.new).count(), 10);
    let distinct: BTreeSet<&String> = started.iter().map(|started| &started.run).collect();
    assert_eq!(distinct.len(), 10);
    assert_eq!(runs.runs(&RunFilter::newest(100)).await.expect("runs").len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_races_with_start_end_and_loss_a_thousand_times() {
    let runs = Arc::new(MemoryRuns::default());
    let conductors: Vec<Conductor> = (0..2).map(|_| Conductor::new(runs.clone(), runs.clone())).collect();
    let jobs = json!({"a": {}, "b": {"depends_on": ["a"]}, "c": {"on_cancel": true, "depends_on": ["a"], "condition": "always"}});
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..1_000 {
        let run = format!("r{round}");
        conductors[0].start(start(&run, None, &jobs)).await.expect("it is accepted");
        let one = |n: usize| conductors[n % 2].clone();
        let cancel = {
            let (conductor, run) = (one(round), run.clone());
            async move {
                let event = Event::Cancel { reason: "enough".into(), force: round % 3 == 0 };
                conductor.tell(&run, event).await.expect("it is told");
            }
        };
        let work = |name: &'static str, offset: usize| {
            let (conductor, runs) = (one(round + offset), runs.clone());
            async move {
                for lease in claim(&*runs, name, 4).await {
                    let event = Event::AttemptStarted { node: lease.node.clone(), attempt: lease.attempt };
                    let begun = conductor.report(&lease, event).await;
                    assert!(matches!(begun, Ok(()) | Err(ConductError::Stale(_))), "{begun:?}");
                    let failure = match round % 4 {
                        0 => None,
                        1 => Some(FailureReason::LostWorker),
                        2 => Some(FailureReason::Exit),
                        _ => Some(FailureReason::Cancelled),
                    };
                    let ended = conductor.report(&lease, finished(&lease, failure)).await;
                    assert!(matches!(ended, Ok(()) | Err(ConductError::Stale(_))), "{ended:?}");
                    // Said twice, it changes nothing.
                    let again = conductor.report(&lease, finished(&lease, None)).await;
                    assert!(matches!(again, Err(ConductError::Stale(_))), "{again:?}");
                }
            }
        };
        // However busy the machine is, some have ended before.
        if round % 10 == 9 {
            for _ in 0..3 {
                work("w0", 0).await;
            }
        }
        tokio::join!(
            tokio::spawn(cancel).map_ok(),
            tokio::spawn(work("w1", 0)).map_ok(),
            tokio::spawn(work("w2", 1)).map_ok()
        );
        // Whatever is left is taken and ended.
        for _ in 0..20 {
            for lease in claim(&*runs, "w3", 10).await {
                let ended = conductors[0].report(&lease, finished(&lease, None)).await;
                assert!(matches!(ended, Ok(()) | Err(ConductError::Stale(_))), "{ended:?}");
            }
        }
        assert_whole(&runs, &run).await;
        let status = runs.load(&run).await.expect("read").expect("there").record.status;
        *ends.entry(status.as_str()).or_default() += 1;
    }
    // Races that always end in the same way are none.
    assert!(ends.len() > 1 && ends["cancelled"] > 100, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_fails_and_lies_loses_nothing_that_was_acknowledged() {
    for lies in [false, true] {
        let inner = Arc::new(MemoryRuns::default());
        let moody = |every| {
            let (fails, count) = (AtomicU32::new(every), AtomicU32::new(0));
            Arc::new(Moody { inner: inner.clone(), fails, count, lies })
        };
        let conductors = [Conductor::new(moody(3), inner.clone()), Conductor::new(moody(4), inner.clone())];
        let mut jobs = serde_json::Map::new();
        for n in 0..40 {
            let on: Vec<String> = (n > 5).then(|| format!("j{}", n - 5)).into_iter().collect();
            jobs.insert(format!("j{n}"), json!({ "depends_on": on }));
        }
        conductors[0].start(start("r", None, &Value::Object(jobs))).await.expect("it is accepted");
        let work = |n: usize| {
            let (conductor, inner) = (conductors[n % 2].clone(), inner.clone());
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    let leases = claim(&*inner, &format!("w{n}"), 3).await;
                    for lease in leases {
                        // Said until it is known: a worker does not give up.
                        loop {
                            match conductor.report(&lease, finished(&lease, None)).await {
                                Ok(()) | Err(ConductError::Stale(_)) => break,
                                Err(ConductError::Store(_)) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        };
        for task in [work(0), work(1), work(2), work(3)] {
            task.await.expect("it works");
        }
        assert_whole(&inner, "r").await;
        let loaded = inner.load("r").await.expect("read").expect("there");
        assert!(loaded.stored.nodes.iter().all(|node| node.status == NodeStatus::Succeeded));
    }
}

#[tokio::test]
async fn who_looks_sees_what_was_said_before_and_what_others_decided() {
    let runs = Arc::new(MemoryRuns::default());
    let one = Conductor::new(runs.clone(), runs.clone());
    let other = Conductor::new(runs.clone(), runs.clone());
    one.start(start("r", None, &json!({"a": {}}))).await.expect("it is accepted");
    let status = |known: &Known| known.state.status();
    assert_eq!(other.look("r", false, status).await.expect("it is there"), RunStatus::Running);
    one.tell("r", Event::Cancel { reason: "enough".into(), force: true }).await.expect("it is told");
    assert_eq!(one.look("r", false, status).await.expect("it is there"), RunStatus::Cancelled);
    assert_eq!(other.look("r", true, status).await.expect("it is there"), RunStatus::Cancelled);
    assert!(matches!(one.look("nothing", true, status).await, Err(ConductError::NoRun(_))));
    let told = one.tell("nothing", Event::Begin).await;
    assert!(matches!(told, Err(ConductError::NoRun(_))), "{told:?}");
}

/// Ends with a panic what ended with one.
trait MapOk {
    async fn map_ok(self);
}

impl MapOk for tokio::task::JoinHandle<()> {
    async fn map_ok(self) {
        self.await.expect("it ends well");
    }
}
