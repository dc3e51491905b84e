//! Servers that come, look, are killed anywhere and look again: each due time is one run.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use reactorcide_engine::audit::MemoryAudit;
use reactorcide_engine::plan::Options;
use reactorcide_engine::read::InputFile;
use reactorcide_engine::runs::{MemoryRuns, RunRecord};
use reactorcide_engine::schedule::MemoryPositions;
use reactorcide_engine::store::{Author, Lineage, MemoryStore, Owner, Store};

use super::*;
use crate::configure;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
/// 2026-01-01T00:00:00Z
const BEGIN: Millis = 1_767_225_600_000;

struct World {
    store: Arc<MemoryStore>,
    runs: Arc<MemoryRuns>,
    positions: Arc<MemoryPositions>,
    audit: Arc<MemoryAudit>,
}

impl World {
    async fn new(schedules: &str) -> Self {
        let world = Self {
            store: Arc::new(MemoryStore::new(Lineage("lineage".to_owned()))),
            runs: Arc::default(),
            positions: Arc::default(),
            audit: Arc::default(),
        };
        world.apply(schedules).await;
        world
    }

    /// One schedule: `cron` every five minutes, and whatever else its spec says.
    async fn apply(&self, more: &str) {
        let schedule = match more {
            "" => String::new(),
            more => format!(
                "---\napiVersion: reactorcide/v1\nkind: Schedule\nmetadata: {{name: often, project: web}}\n\
                 spec: {{pipeline: ci, cron: '*/5 * * * *', {more}}}\n"
            ),
        };
        let text = format!(
            "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: web}}\n\
             spec: {{source: {{git: 'https://example.com/web.git', default_branch: trunk}}}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: web}}\n\
             spec: {{inputs: {{depth: {{type: number, default: 1}}}}, jobs: {{a: {{image: 'busybox:1', command: 'true'}}}}}}\n{schedule}"
        );
        let files = vec![InputFile { path: "all.yaml".to_owned(), bytes: text.into_bytes() }];
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        let options = Options { as_of: "2026-01-01".to_owned(), allow_destroy: true, ..Options::default() };
        let plan = configure::plan(files, &Owner::Workspace, &snapshot, &options).expect("a plan");
        let author = Author { actor: "user:root".to_owned(), message: None, commit: None };
        configure::apply(&*self.store, &plan, configure::Maker::Us, author).await.expect("it is applied");
    }

    fn server(&self) -> Schedules {
        Schedules {
            conductor: Conductor::new(self.runs.clone(), self.runs.clone()),
            applied: Arc::new(Applied::new(self.store.clone(), self.runs.clone())),
            positions: self.positions.clone(),
            audit: self.audit.clone(),
        }
    }

    /// The runs, oldest due time first.
    async fn started(&self, server: &Schedules) -> Vec<(String, RunRecord)> {
        let mut started = Vec::new();
        for run in server.conductor.runs.runs(&RunFilter::newest(1000)).await.expect("runs") {
            let due = server.conductor.look(&run.id, true, |known| known.state.event["due"].clone()).await;
            let due = due.expect("a run").as_str().expect("a time").to_owned();
            started.push((due, run));
        }
        started.sort_by(|(a, _), (b, _)| a.cmp(b));
        started
    }

    async fn position(&self) -> Position {
        self.positions.list().await.expect("positions").pop().expect("a position")
    }
}

/// Looks until it was polled so often, then is gone, as if killed.
async fn killed_after(polls: usize, look: impl Future) {
    let mut look = pin!(look);
    for _ in 0..polls {
        if look.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn two_servers_that_are_killed_anywhere_start_every_due_time_once() {
    for seed in 0..150_u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::new("catch_up: all, catch_up_limit: 100").await;
        let mut servers = [world.server(), world.server()];
        servers[0].look(BEGIN).await.expect("a look");
        let mut now = BEGIN;
        for _ in 0..12 {
            now += random.i64(0..12 * MINUTE);
            // Their clocks are not the same.
            let (one, other) = (now + random.i64(0..3000), now + random.i64(0..3000));
            let first = killed_after(random.usize(0..40), servers[0].look(one));
            let second = killed_after(random.usize(0..40), servers[1].look(other));
            tokio::join!(first, second);
            if random.bool() {
                servers[random.usize(0..2)] = world.server();
            }
        }
        now += 3000;
        servers[0].look(now).await.expect("a look");
        let started: Vec<String> = world.started(&servers[0]).await.into_iter().map(|(due, _)| due).collect();
        let due = (1..).map(|n| BEGIN + n * 5 * MINUTE).take_while(|due| *due <= now);
        let due: Vec<String> = due.map(|due| timestamp(due.unsigned_abs())).collect();
        assert_eq!(started, due, "seed {seed}");
        let position = world.position().await;
        assert_eq!(
            position.last_due.map(|due| timestamp(due.unsigned_abs())),
            due.last().cloned(),
            "seed {seed}"
        );
        assert_eq!(position.missed, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn a_start_says_who_what_and_when() {
    let world = World::new("branch: main, inputs: {depth: 2}, vars: {channel: nightly}").await;
    let server = world.server();
    assert_eq!(server.look(BEGIN + 1).await.expect("a look"), Some(BEGIN + 5 * MINUTE));
    assert_eq!(server.look(BEGIN + 5 * MINUTE).await.expect("a look"), Some(BEGIN + 10 * MINUTE));
    let (due, run) = world.started(&server).await.pop().expect("a run");
    assert_eq!(
        (due.as_str(), run.event.as_str(), run.actor.as_str()),
        ("2026-01-01T00:05:00Z", "schedule", "schedule:web/often")
    );
    let known = server.conductor.look(&run.id, true, |known| {
        (known.state.event.clone(), known.state.inputs.clone(), known.state.vars().clone())
    });
    let (event, inputs, vars) = known.await.expect("a run");
    assert_eq!((&event["schedule"], &event["branch"]), (&json!("often"), &json!("main")));
    assert_eq!((&inputs["depth"], &vars["channel"]), (&json!(2), &json!("nightly")));
}

#[tokio::test]
async fn what_is_suspended_changed_or_deleted_starts_nothing_that_was_due_before() {
    let world = World::new("catch_up: all").await;
    let server = world.server();
    let count = async || world.started(&server).await.len();
    server.look(BEGIN).await.expect("a look");
    world.apply("catch_up: all, suspended: true").await;
    assert_eq!(server.look(BEGIN + 6 * MINUTE).await.expect("a look"), None);
    assert_eq!(count().await, 0);
    // It goes on, with nothing of what fell into that time.
    world.apply("catch_up: all").await;
    assert_eq!(server.look(BEGIN + 31 * MINUTE).await.expect("a look"), Some(BEGIN + 35 * MINUTE));
    assert_eq!(count().await, 0);
    server.look(BEGIN + 35 * MINUTE).await.expect("a look");
    assert_eq!(count().await, 1);
    // Another zone, another timetable: what it would have meant before was never meant.
    world.apply("catch_up: all, timezone: Asia/Kolkata").await;
    server.look(BEGIN + 61 * MINUTE).await.expect("a look");
    assert_eq!(count().await, 1);
    world.apply("").await;
    assert_eq!(server.look(BEGIN + 70 * MINUTE).await.expect("a look"), None);
    assert!(world.positions.list().await.expect("positions").is_empty());
    world.apply("catch_up: all").await;
    server.look(BEGIN + 2 * HOUR + MINUTE).await.expect("a look");
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn a_start_is_left_out_or_cancels_while_a_run_goes_on() {
    let world = World::new("overlap: skip").await;
    let server = world.server();
    for minutes in [0, 5, 10] {
        server.look(BEGIN + minutes * MINUTE).await.expect("a look");
    }
    let first = world.started(&server).await;
    assert_eq!(first.len(), 1);
    let position = world.position().await;
    assert_eq!(position.skipped.expect("one").reason, format!("run {} of it still goes on", first[0].1.id));
    assert_eq!((position.missed, position.last_run.as_ref()), (1, Some(&first[0].1.id)));
    world.apply("overlap: cancel_running").await;
    server.look(BEGIN + 15 * MINUTE).await.expect("a look");
    let statuses: Vec<RunStatus> =
        world.started(&server).await.into_iter().map(|(_, run)| run.status).collect();
    assert_eq!(statuses, [RunStatus::Cancelled, RunStatus::Running]);
}
