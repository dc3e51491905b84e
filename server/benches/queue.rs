//! What the queue holds out: runs accepted, attempts taken and ended, and a run of ten thousand jobs, through the loop
//! that servers use. `cargo bench -p reactorcide-server --bench queue`; PostgreSQL is the one that `./dev setup` starts.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::queue::{Claim, Claimant};
use reactorcide_engine::runs::RunRecord;
use reactorcide_engine::scheduler::{AttemptResult, Event, NewRun, RunState, RunStatus};
use reactorcide_engine::workflow::Workflow;
use reactorcide_server::{Conductor, Start};
use reactorcide_state::{Location, Options, State};
use serde_json::{Value, json};

/// How long each is measured.
const MEASURED: Duration = Duration::from_secs(5);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    for (name, location) in [
        ("sqlite", Location::Sqlite(directory.path().join("state.db"))),
        ("postgresql", Location::Postgres(postgres())),
    ] {
        runtime.block_on(async {
            let options = Options { connections: 16, ..Options::default() };
            let state = State::create(&location, options).await.expect("a state");
            let conductor = Conductor::new(state.runs(), state.queue());
            for clients in [1, 64] {
                let rate = accepted(&conductor, clients).await;
                println!("{name}: runs accepted, {clients} clients: {rate:.0} a second");
            }
            // What is left would be taken too.
            while !claim(&conductor, 10_000).await.is_empty() {}
            for batch in [1, 100, 1_000] {
                let rate = taken(&conductor, batch).await;
                println!("{name}: attempts taken and ended, {batch} at a time: {rate:.0} a second");
                while !claim(&conductor, 10_000).await.is_empty() {}
            }
            let rate = large(&conductor, 10_000).await;
            println!("{name}: a run of 10,000 jobs that do nothing: {rate:.0} jobs a second");
        });
    }
}

fn postgres() -> String {
    let server = std::env::var("REACTORCIDE_TEST_POSTGRES").unwrap_or_else(|_| {
        "postgres://reactorcide@localhost/postgres?host=/tmp/reactorcide-postgres-0".to_owned()
    });
    format!("{server}&schema=test_{}", uuid::Uuid::now_v7().simple())
}

fn start(jobs: &Value) -> Start {
    let id = uuid::Uuid::now_v7().to_string();
    let record = RunRecord {
        id: id.clone(),
        pipeline: "Pipeline/bench/ci".into(),
        project: Some("bench".into()),
        event: "push".into(),
        actor: "bench".into(),
        retry_of: None,
        holder: None,
        started_at: 0,
        ended_at: None,
        status: RunStatus::Running,
    };
    let workflow =
        json!({"address": "Pipeline/bench/ci", "vars": {}, "inputs": {}, "jobs": jobs, "templates": {}});
    let workflow: Workflow = serde_json::from_value(workflow).expect("a workflow");
    let event = json!({"type": "push", "branch": "main"});
    let (vars, inputs) = (BTreeMap::new(), BTreeMap::new());
    let state = RunState::new(NewRun { id, workflow, event, vars, inputs, selection: None });
    Start { record, key: None, state }
}

fn job(depends_on: &[String]) -> Value {
    json!({"job": {"image": "i", "command": "c", "depends_on": depends_on}, "profile": {"name": "trusted", "spec": {}}})
}

/// Runs of one job that are acknowledged, a second.
async fn accepted(conductor: &Conductor, clients: usize) -> f64 {
    let jobs = json!({ "a": job(&[]) });
    let began = Instant::now();
    let client = |conductor: Conductor, jobs: Value| async move {
        let mut count = 0_u32;
        while began.elapsed() < MEASURED {
            conductor.start(start(&jobs)).await.expect("it is accepted");
            count += 1;
        }
        count
    };
    let tasks: Vec<_> = (0..clients).map(|_| tokio::spawn(client(conductor.clone(), jobs.clone()))).collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("it counts");
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

async fn claim(conductor: &Conductor, max: usize) -> Vec<LeaseId> {
    let claim = Claim {
        claimant: Claimant { worker: "bench".into(), ..Claimant::default() },
        max,
        now: i64::MAX / 2,
        expires_at: i64::MAX,
        token: uuid::Uuid::new_v4().to_string(),
    };
    let claimed = conductor.queue.claim(&claim).await.expect("an answer");
    claimed.into_iter().map(|claimed| claimed.lease).collect()
}

async fn end(conductor: &Conductor, leases: Vec<LeaseId>) -> u32 {
    let count = u32::try_from(leases.len()).expect("not so many");
    let ends = leases.into_iter().map(|lease| {
        let result = AttemptResult {
            failure: None,
            exit_code: Some(0),
            message: None,
            outputs: BTreeMap::new(),
            started: true,
            permanent: false,
            usage: None,
        };
        let event = Event::AttemptFinished { node: lease.node.clone(), attempt: lease.attempt, result };
        let conductor = conductor.clone();
        async move { conductor.report(&lease, event).await.expect("it ends") }
    });
    futures_util::future::join_all(ends).await;
    count
}

/// Attempts that are taken and ended, a second. The runs are there already.
async fn taken(conductor: &Conductor, batch: usize) -> f64 {
    let jobs = json!({ "a": job(&[]) });
    let count = (batch * 10).max(1_000);
    let starts = (0..count).map(|_| {
        let (conductor, start) = (conductor.clone(), start(&jobs));
        async move { conductor.start(start).await.expect("it is accepted") }
    });
    futures_util::future::join_all(starts).await;
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < MEASURED {
        let leases = claim(conductor, batch).await;
        if leases.is_empty() {
            break;
        }
        count += end(conductor, leases).await;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

/// Jobs of one run, each of which waits for one that was five hundred before it.
async fn large(conductor: &Conductor, count: usize) -> f64 {
    let name = |n: usize| format!("job-{n:05}");
    let on = |n: usize| (n >= 500).then(|| name(n - 500)).into_iter().collect::<Vec<_>>();
    let jobs: BTreeMap<String, Value> = (0..count).map(|n| (name(n), job(&on(n)))).collect();
    let start = start(&json!(jobs));
    let run = start.record.id.clone();
    let began = Instant::now();
    conductor.start(start).await.expect("it is accepted");
    let mut ended = 0_u32;
    while (ended as usize) < count {
        let leases = claim(conductor, 1_000).await;
        ended += end(conductor, leases).await;
    }
    let took = began.elapsed().as_secs_f64();
    let loaded = conductor.runs.load(&run).await.expect("an answer").expect("it is there");
    assert_eq!(loaded.record.status, RunStatus::Succeeded);
    f64::from(ended) / took
}
