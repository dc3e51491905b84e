//! A worker on the real engine and whoever hands out its jobs, in one process: for tests and measurements of containers
//! that were started ahead.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reactorcide_engine::coordinator::{Coordinator, CoordinatorError, Lease, LeaseId, Report, Urgency, Work};
use reactorcide_engine::protocol::frame::{Body, Frame};
use reactorcide_engine::protocol::query::{Answer, Query};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::provider::{Owner, PullPolicy};
use reactorcide_engine::queue::Renewed;
use reactorcide_engine::scheduler::{Assignment, AttemptResult};
use reactorcide_engine::workers::Floor;
use reactorcide_providers::{DockerConfig, docker};
use reactorcide_worker::{
    OwnerLock, Secrets, Settings, SourceContext, SourceLimits, StandbySettings, Worker, remove_all,
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// The runner that the binary carries.
const RUNNER: &str = concat!(env!("OUT_DIR"), "/reactorcide-runner");
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What came of a job.
#[derive(Debug)]
pub struct Came {
    pub result: AttemptResult,
    /// What it printed.
    pub log: String,
    /// From its lease to its first byte, which the benchmark reads.
    #[allow(dead_code, reason = "tests do not look at times")]
    pub first_byte: Option<Duration>,
}

/// Hands out what is put in, and keeps what is said of it.
struct Desk {
    leases: tokio::sync::Mutex<mpsc::UnboundedReceiver<Lease>>,
    told: Mutex<HashMap<LeaseId, Told>>,
}

struct Told {
    leased: Instant,
    first: Option<Duration>,
    log: Vec<u8>,
    ended: oneshot::Sender<Came>,
}

#[async_trait]
impl Coordinator for Desk {
    async fn claim(&self, _: usize, _: Duration) -> Result<Work, CoordinatorError> {
        let Some(lease) = self.leases.lock().await.recv().await else { return Ok(Work::Closed) };
        if let Some(told) = self.told.lock().expect("no panic").get_mut(&lease.id) {
            told.leased = Instant::now();
        }
        Ok(Work::Leases(vec![lease]))
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
            && let Some(told) = self.told.lock().expect("no panic").remove(lease)
        {
            let log = String::from_utf8_lossy(&told.log).into_owned();
            let _ = told.ended.send(Came { result, log, first_byte: told.first });
        }
        Ok(())
    }

    async fn log(&self, lease: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError> {
        if let Some(told) = self.told.lock().expect("no panic").get_mut(lease) {
            for line in lines.split(|byte| *byte == b'\n') {
                if let Ok(Frame { body: Body::Log { data, .. }, .. }) = Frame::decode(line) {
                    told.first.get_or_insert_with(|| told.leased.elapsed());
                    told.log.extend_from_slice(&data.bytes());
                }
            }
        }
        Ok(offset + lines.len() as u64)
    }

    async fn ask(&self, _: &LeaseId, _: Query) -> Result<Answer, CoordinatorError> {
        Err(CoordinatorError::Unavailable("nobody knows".to_owned()))
    }
}

/// A worker that works.
pub struct Working {
    pub worker: Worker,
    pub directory: tempfile::TempDir,
    desk: Arc<Desk>,
    leases: Option<mpsc::UnboundedSender<Lease>>,
    working: JoinHandle<()>,
    lock: OwnerLock,
    jobs: u32,
}

impl Working {
    /// With these containers started ahead, as in a WorkerPool.
    pub fn start(standby: Value, secrets: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("standby-").tempdir().expect("a directory");
        let path = directory.path();
        let lock = OwnerLock::take(path, Owner(format!("rc-{}", uuid::Uuid::now_v7()))).expect("a lock");
        let sources = SourceContext::open(&path.join("sources"), 1 << 30, SourceLimits::default());
        let mut sources = sources.expect("a cache");
        (sources.allow_local, sources.personal) = (true, true);
        let secrets = secrets.iter().map(|(name, value)| ((*name).to_owned(), Sensitive::new(*value)));
        let settings = Settings {
            owner: lock.owner.clone(),
            directory: path.to_owned(),
            runner: PathBuf::from(RUNNER),
            python: None,
            source: None,
            ci: None,
            sources,
            pull: PullPolicy::IfMissing,
            pull_deadline: PATIENCE,
            secrets: Arc::new(Secrets::new(secrets)),
            api: None,
            keep_workspace: false,
            slots: 4,
            spool_bytes: 1 << 30,
            disk_floor: Floor::Bytes(0),
            standby: StandbySettings {
                images: serde_json::from_value(standby).expect("settings"),
                disk_floor: 1 << 20,
            },
        };
        let (leases, inbox) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk { leases: tokio::sync::Mutex::new(inbox), told: Mutex::default() });
        let provider = Arc::new(docker(DockerConfig::from_environment()));
        let worker = Worker::new(provider, Arc::clone(&desk) as _, settings);
        let working = tokio::spawn({
            let worker = worker.clone();
            async move { worker.work().await.expect("nothing is refused") }
        });
        Self { worker, directory, desk, leases: Some(leases), working, lock, jobs: 0 }
    }

    pub fn owner(&self) -> &str {
        &self.lock.owner.0
    }

    /// Waits until at least so many wait.
    pub async fn until_waiting(&self, count: usize) {
        let looking = async {
            while self.worker.standby.waiting() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking)
            .await
            .expect("they wait: run ./dev setup if the image is missing");
    }

    /// Hands out a job; `sha` is the commit of its event.
    pub fn submit(&mut self, job: Value, sha: &str) -> oneshot::Receiver<Came> {
        self.jobs += 1;
        let profile = json!({"name": "trusted", "spec": {"secrets": "granted"}});
        let assignment = Assignment {
            run: "run".to_owned(),
            node: format!("job-{}", self.jobs),
            attempt: 1,
            job: serde_json::from_value(job).expect("a job"),
            profile: serde_json::from_value(profile).expect("a profile"),
            triggered: false,
            depth: 0,
            event: json!({"type": "push", "sha": sha}),
            vars: BTreeMap::new(),
            needs: BTreeMap::new(),
            inputs: BTreeMap::new(),
            at: 0,
            trace: None,
        };
        let id = LeaseId {
            run: assignment.run.clone(),
            node: assignment.node.clone(),
            attempt: 1,
            token: self.jobs.to_string(),
        };
        let (ended, came) = oneshot::channel();
        let told = Told { leased: Instant::now(), first: None, log: Vec::new(), ended };
        self.desk.told.lock().expect("no panic").insert(id.clone(), told);
        let lease = Lease { id, assignment, stop_after: Duration::from_secs(600) };
        assert!(self.leases.as_ref().is_some_and(|leases| leases.send(lease).is_ok()), "the worker works");
        came
    }

    /// Runs a job to its end.
    pub async fn run(&mut self, job: Value, sha: &str) -> Came {
        let came = self.submit(job, sha);
        tokio::time::timeout(PATIENCE, came).await.expect("in time").expect("an end")
    }

    /// Waits until everything has ended, and removes what is shared.
    pub async fn drain(mut self) -> tempfile::TempDir {
        drop(self.leases.take());
        tokio::time::timeout(PATIENCE, self.working).await.expect("in time").expect("no panic");
        remove_all(self.worker.provider.as_ref(), &self.lock.owner).await.expect("removed");
        self.lock.release();
        self.directory
    }

    /// Is gone without a word, as if it had been killed: only the owner's lock is left for the next to find free.
    pub async fn vanish(self) -> tempfile::TempDir {
        let Self { worker, directory, working, lock, .. } = self;
        working.abort();
        let _ = working.await;
        drop((worker, lock));
        directory
    }
}

/// A repository of so many files, and its commit.
pub fn repository(at: &Path, files: usize) -> String {
    for index in 0..files {
        let directory = at.join(format!("d{}", index / 50));
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join(format!("f{index}")), format!("{index}\n").repeat(500))
            .expect("a file");
    }
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(at).args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "init.defaultBranch=main",
        ]);
        let output = command.args(arguments).output().expect("git");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "files"]);
    git(&["rev-parse", "HEAD"])
}
