//! Containers that wait, over the fake provider: what a job finds, and what becomes of the rest.

use std::path::PathBuf;

use async_trait::async_trait;
use reactorcide_engine::config::FailureReason;
use reactorcide_engine::coordinator::{Coordinator, CoordinatorError, Lease, LeaseId, Report, Urgency, Work};
use reactorcide_engine::protocol::frame::{Body, Data, Frame, JobOutcome, JobResult, Stream, VERSION};
use reactorcide_engine::protocol::query::{Answer, Query};
use reactorcide_engine::protocol::spec::JobSpec;
use reactorcide_engine::provider::fake::{Behaviour, Call, Fake, Operation, Step, Target};
use reactorcide_engine::provider::{Exit, ImageInfo, Owner, PullPolicy};
use reactorcide_engine::queue::Renewed;
use reactorcide_engine::scheduler::AttemptResult;
use reactorcide_engine::workers::Floor;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::source::{Context as SourceContext, Limits as SourceLimits};
use crate::spec::Secrets;
use crate::spec::tests::assignment;
use crate::worker::Worker;

const PATIENCE: Duration = Duration::from_secs(20);

/// Hands out what a test puts in, and tells how each ended.
struct Desk {
    leases: tokio::sync::Mutex<mpsc::UnboundedReceiver<Lease>>,
    ended: Mutex<HashMap<LeaseId, oneshot::Sender<AttemptResult>>>,
}

#[async_trait]
impl Coordinator for Desk {
    async fn claim(&self, _: usize, _: Duration) -> Result<Work, CoordinatorError> {
        Ok(self.leases.lock().await.recv().await.map_or(Work::Closed, |lease| Work::Leases(vec![lease])))
    }

    async fn renew(
        &self,
        known: &[(LeaseId, Urgency)],
        wait: Duration,
    ) -> Result<Vec<Renewed>, CoordinatorError> {
        tokio::time::sleep(wait).await;
        let renewed =
            |(lease, stop): &(LeaseId, Urgency)| Renewed { lease: lease.clone(), stands: true, stop: *stop };
        Ok(known.iter().map(renewed).collect())
    }

    async fn report(&self, lease: &LeaseId, report: Report) -> Result<(), CoordinatorError> {
        if let Report::Finished(result) = report
            && let Some(ended) = self.ended.lock().unwrap().remove(lease)
        {
            let _ = ended.send(result);
        }
        Ok(())
    }

    async fn log(&self, _: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError> {
        Ok(offset + lines.len() as u64)
    }

    async fn ask(&self, _: &LeaseId, _: Query) -> Result<Answer, CoordinatorError> {
        Err(CoordinatorError::Unavailable("nobody knows".to_owned()))
    }
}

/// A worker over the fake, with containers that wait for jobs with the image `i`.
struct Bench {
    fake: Fake,
    worker: Worker,
    desk: Arc<Desk>,
    leases: Option<mpsc::UnboundedSender<Lease>>,
    working: tokio::task::JoinHandle<()>,
    directory: tempfile::TempDir,
    jobs: u32,
}

fn frames(bodies: impl IntoIterator<Item = Body>) -> Vec<u8> {
    let mut lines = Vec::new();
    for (seq, body) in bodies.into_iter().enumerate() {
        Frame { v: VERSION, attempt: 1, seq: seq as u64, at: 0, body }.encode(&mut lines);
    }
    lines
}

fn started() -> Body {
    Body::Started { runner: "test".to_owned() }
}

/// What our runner does: waits for a spec, runs it, and ends at once where none comes.
fn runner() -> Behaviour {
    Behaviour::new().on_input(|input, closed| match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let spec: JobSpec = serde_json::from_slice(&input[..end]).expect("a spec");
            let log =
                Body::Log { step: None, stream: Stream::Stdout, data: Data::from_bytes(spec.job.as_bytes()) };
            let result = JobResult { outcome: JobOutcome::Succeeded, exit_code: Some(0), reason: None };
            let bytes = frames([started(), log, Body::Result(result)]);
            Some(vec![Step::Print { stderr: false, bytes }, Step::Exit(Exit { code: 0, oom: false })])
        }
        None => closed.then(|| vec![Step::Exit(Exit { code: 64, oom: false })]),
    })
}

fn two() -> config::Standby {
    serde_json::from_value(json!({"image": "i", "min": 2, "max": 3})).expect("settings")
}

impl Bench {
    fn new(standby: config::Standby, disk_floor: u64) -> Self {
        let fake = Fake::new();
        fake.script(Target::Any, runner());
        Self::over(fake, standby, disk_floor)
    }

    fn over(fake: Fake, standby: config::Standby, disk_floor: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let sources =
            SourceContext::open(&directory.path().join("sources"), 1 << 20, SourceLimits::default());
        let settings = Settings {
            owner: Owner("w".to_owned()),
            directory: directory.path().to_owned(),
            runner: PathBuf::from("/runner"),
            python: None,
            source: None,
            ci: None,
            sources: sources.expect("a cache"),
            pull: PullPolicy::IfMissing,
            pull_deadline: PATIENCE,
            secrets: Arc::new(Secrets::default()),
            api: None,
            keep_workspace: false,
            slots: 4,
            spool_bytes: 1 << 20,
            disk_floor: Floor::Bytes(0),
            standby: StandbySettings { images: vec![standby], disk_floor },
        };
        let (leases, inbox) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk { leases: tokio::sync::Mutex::new(inbox), ended: Mutex::default() });
        let worker = Worker::new(Arc::new(fake.clone()), Arc::clone(&desk) as _, settings);
        let working = tokio::spawn({
            let worker = worker.clone();
            async move { worker.work().await.expect("nothing is refused") }
        });
        Self { fake, worker, desk, leases: Some(leases), working, directory, jobs: 0 }
    }

    /// Waits until so many wait, and no more are being started or removed.
    async fn settled(&self, waiting: usize) {
        self.until(|bench| bench.worker.standby.waiting() == waiting && bench.fake.names().len() == waiting)
            .await;
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let looking = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{:?}", self.fake.names()));
    }

    fn submit(&mut self, job: Value) -> oneshot::Receiver<AttemptResult> {
        self.jobs += 1;
        let mut assignment = assignment(job);
        assignment.node = format!("job-{}", self.jobs);
        let id = LeaseId {
            run: assignment.run.clone(),
            node: assignment.node.clone(),
            attempt: 1,
            token: self.jobs.to_string(),
        };
        let (tell, ended) = oneshot::channel();
        self.desk.ended.lock().unwrap().insert(id.clone(), tell);
        let lease = Lease { id, assignment, stop_after: Duration::from_secs(600) };
        self.leases.as_ref().expect("open").send(lease).expect("the worker listens");
        ended
    }

    async fn run(&mut self, job: Value) -> AttemptResult {
        let ended = self.submit(job);
        timeout(PATIENCE, ended).await.expect("in time").expect("an end")
    }

    /// The names of containers that were created for one job alone.
    fn cold(&self) -> Vec<String> {
        let created = self.fake.calls().into_iter().filter_map(|call| match call {
            Call::Create { spec } if !spec.labels.contains_key(shape::LABEL) => Some(spec.name),
            _ => None,
        });
        created.collect()
    }

    fn input_of(&self, name: &str) -> Vec<u8> {
        self.fake.input_of(name).map(|(input, _)| input).unwrap_or_default()
    }

    fn workspaces(&self) -> usize {
        let entries = std::fs::read_dir(self.directory.path().join("workspaces/w")).into_iter().flatten();
        // Beside each lies the directory for the worker's socket.
        let besides = |name: &std::ffi::OsStr| name.as_encoded_bytes().ends_with(b".control");
        entries.flatten().filter(|entry| !besides(&entry.file_name())).count()
    }

    async fn drained(mut self) -> Fake {
        drop(self.leases.take());
        timeout(PATIENCE, &mut self.working).await.expect("in time").expect("no panic");
        assert_eq!(self.workspaces(), 0);
        self.fake
    }
}

fn job() -> Value {
    json!({"image": "i", "command": "c", "environment": {"A": "b"}})
}

fn fine(result: &AttemptResult) {
    assert_eq!((result.failure, result.started), (None, true), "{result:?}");
}

#[tokio::test]
async fn a_job_takes_a_container_that_waits_which_serves_no_other() {
    let mut bench = Bench::new(two(), 0);
    bench.settled(2).await;
    let before = bench.fake.names();
    assert!(before.iter().all(|name| bench.input_of(name).is_empty()), "nothing of a job is in what waits");
    fine(&bench.run(job()).await);
    assert_eq!(bench.cold(), Vec::<String>::new());
    bench.until(|bench| bench.worker.standby.waiting() >= 2).await;
    let after = bench.fake.names();
    assert_eq!(before.iter().filter(|name| after.contains(name)).count(), 1, "{before:?} {after:?}");
    assert_eq!(bench.drained().await.names(), Vec::<String>::new());
}

#[tokio::test]
async fn many_jobs_at_once_share_no_container() {
    let mut bench = Bench::new(two(), 0);
    bench.settled(2).await;
    let ends: Vec<_> = (0..12).map(|_| bench.submit(job())).collect();
    for end in ends {
        fine(&timeout(PATIENCE, end).await.expect("in time").expect("an end"));
    }
    assert!(bench.cold().len() <= 10, "two of them found one: {:?}", bench.cold());
    bench.drained().await;
}

#[tokio::test]
async fn a_job_that_needs_another_container_gets_its_own_and_the_next_one_finds_it_waiting() {
    let mut bench = Bench::new(two(), 0);
    bench.settled(2).await;
    let other = json!({"image": "i", "command": "c", "network": "none", "resources": {"memory": "64Mi"}});
    fine(&bench.run(other.clone()).await);
    assert_eq!(bench.cold().len(), 1);
    let is_other = |bench: &Bench, name: &String| {
        bench.fake.spec_of(name).is_some_and(|spec| spec.limits.memory_bytes == Some(64 << 20))
    };
    bench
        .until(|bench| {
            bench.worker.standby.waiting() == 3 && bench.fake.names().iter().any(|n| is_other(bench, n))
        })
        .await;
    fine(&bench.run(other).await);
    assert_eq!(bench.cold().len(), 1);
    fine(&bench.run(json!({"image": "j", "command": "c"})).await);
    assert_eq!(bench.cold().len(), 2, "nothing waits for another image");
    bench.drained().await;
}

#[tokio::test]
async fn what_died_while_it_waited_is_not_handed_out() {
    let mut bench = Bench::new(two(), 0);
    bench.settled(2).await;
    for name in bench.fake.names() {
        bench.fake.exit(&name, Exit { code: 137, oom: true });
    }
    fine(&bench.run(job()).await);
    bench.drained().await;
}

#[tokio::test]
async fn what_dies_when_it_gets_its_job_is_replaced_and_the_job_does_not_notice() {
    let fake = Fake::new();
    fake.script(Target::Any, runner());
    let dies =
        |input: &[u8], _| (!input.is_empty()).then(|| vec![Step::Exit(Exit { code: 137, oom: false })]);
    fake.script_next(Target::Any, Behaviour::new().on_input(dies));
    fake.script_next(Target::Any, Behaviour::new().on_input(dies));
    let mut bench = Bench::over(fake, two(), 0);
    bench.settled(2).await;
    fine(&bench.run(job()).await);
    assert_eq!(bench.cold().len(), 1);
    bench.drained().await;
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_is_stopped_and_replaced() {
    let fake = Fake::new();
    fake.script(Target::Any, runner());
    for _ in 0..2 {
        fake.script_next(Target::Any, Behaviour::new().hangs());
    }
    let mut bench = Bench::over(fake, two(), 0);
    bench.settled(2).await;
    fine(&bench.run(job()).await);
    assert_eq!(bench.cold().len(), 1);
    bench.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_may_have_begun_is_not_begun_again() {
    let fake = Fake::new();
    fake.script(Target::Any, runner());
    let mut bench = Bench::over(fake, two(), 0);
    bench.settled(2).await;
    // Both connections break as the job arrives, while the containers live on.
    let ended = {
        for name in bench.fake.names() {
            bench.fake.cut(&name);
        }
        bench.submit(job())
    };
    let result = timeout(PATIENCE, ended).await.expect("in time").expect("an end");
    // The container ended well, so that it had a job.
    assert_eq!(result.failure, Some(FailureReason::Provider));
    assert!(bench.cold().is_empty());
    bench.drained().await;
}

#[tokio::test]
async fn a_job_gets_the_image_that_its_name_stands_for_now() {
    let mut bench = Bench::new(two(), 0);
    bench.settled(2).await;
    let info = ImageInfo { id: "fake:new".to_owned(), digest: None, command: Vec::new() };
    bench.fake.image("i", info);
    fine(&bench.run(job()).await);
    assert_eq!(bench.cold().len(), 1);
    bench.drained().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_with_an_old_image_is_replaced() {
    let bench = Bench::new(two(), 0);
    bench.settled(2).await;
    let before = bench.fake.names();
    bench.fake.image("i", ImageInfo { id: "fake:new".to_owned(), digest: None, command: Vec::new() });
    let gone = |bench: &Bench| bench.fake.names().iter().all(|name| !before.contains(name));
    let replaced = async {
        while !(gone(&bench) && bench.worker.standby.waiting() == 2) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(2 * LOOK, replaced).await.expect("in time");
    bench.drained().await;
}

#[tokio::test]
async fn nothing_waits_where_the_disk_is_full() {
    let mut bench = Bench::new(two(), u64::MAX);
    fine(&bench.run(job()).await);
    assert_eq!(bench.cold().len(), 1);
    assert_eq!(bench.worker.standby.waiting(), 0);
    bench.drained().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_had_is_left_alone_for_longer_and_longer() {
    let fake = Fake::new();
    let error = ProviderError::Image { image: "i".to_owned(), reason: "no".to_owned(), transient: false };
    fake.fail(Operation::Pull, Target::image("i"), error);
    let bench = Bench::over(fake, two(), 0);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let pulls = bench.fake.calls().iter().filter(|call| matches!(call, Call::Pull { .. })).count();
    assert!((5..40).contains(&pulls), "{pulls} in ten minutes");
    bench.drained().await;
}

#[tokio::test]
async fn what_is_under_way_when_the_worker_is_drained_is_removed() {
    let fake = Fake::new();
    fake.script(Target::Any, runner());
    fake.hold(Operation::Start, Target::Any);
    let mut bench = Bench::over(fake, two(), 0);
    bench.until(|bench| bench.fake.names().len() == 2).await;
    drop(bench.leases.take());
    tokio::task::yield_now().await;
    bench.fake.unhold(Operation::Start);
    assert_eq!(bench.drained().await.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failed_start_leaves_nothing() {
    let fake = Fake::new();
    fake.script(Target::Any, runner());
    let error = ProviderError::Refused { reason: "no".to_owned() };
    fake.fail_once(Operation::Start, Target::Any, error);
    let bench = Bench::over(fake, two(), 0);
    bench
        .until(|bench| {
            (bench.worker.standby.waiting(), bench.fake.names().len(), bench.workspaces()) == (1, 1, 1)
        })
        .await;
    bench.drained().await;
}

#[tokio::test]
async fn what_waited_for_an_earlier_worker_is_removed_and_what_was_taken_is_not() {
    let fake = Fake::new();
    fake.script(Target::Any, runner());
    let bench = Bench::over(fake.clone(), two(), 0);
    bench.settled(2).await;
    // The earlier worker is gone without a word; one of its containers had been taken.
    bench.working.abort();
    let (names, shared) = (bench.fake.names(), &bench.worker.standby.0);
    let id = |name: &String| name.strip_prefix("w-standby-").expect("a name").to_owned();
    let directory = |name: &String| bench.directory.path().join(format!("workspaces/w/standby-{}", id(name)));
    std::fs::rename(directory(&names[0]), bench.directory.path().join("workspaces/w/job-1-1"))
        .expect("moved");
    make::remove_leftovers(shared).await.expect("looked for");
    assert_eq!(fake.names(), names[..1]);
    assert!(!directory(&names[1]).exists());
}
