//! Workers that are killed at any moment, over the fake provider: their successors go on, and nothing is lost, twice or
//! left. A killed worker is a runtime that is dropped: none of its tasks gets to do anything more.

mod killed;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reactorcide_engine::config::FailureReason;
use reactorcide_engine::coordinator::{Coordinator, CoordinatorError, Lease, LeaseId, Report, Urgency, Work};
use reactorcide_engine::protocol::frame::{Body, Data, Frame, JobOutcome, JobResult, Stream, VERSION};
use reactorcide_engine::protocol::link::{Key, Nonce, SOCKET, ToRunner, ToWorker};
use reactorcide_engine::protocol::query::{Answer, Query};
use reactorcide_engine::protocol::spec::JobSpec;
use reactorcide_engine::protocol::trigger::TriggerRequest;
use reactorcide_engine::provider::fake::{Behaviour, Fake, Operation, Target};
use reactorcide_engine::provider::{Exit, Owner, PullPolicy};
use reactorcide_engine::queue::Renewed;
use reactorcide_engine::scheduler::AttemptResult;
use reactorcide_engine::workers::Floor;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::container::CONTROL_PATH;
use crate::source::{Context as SourceContext, Limits as SourceLimits};
use crate::spec::Secrets;
use crate::spec::tests::assignment;
use crate::standby::StandbySettings;
use crate::worker::Settings;

const PATIENCE: Duration = Duration::from_secs(30);
const STOP_AFTER: Duration = Duration::from_secs(60);

/// A coordinator that outlives its workers, and remembers what it was told.
#[derive(Default)]
struct Desk {
    leases: Mutex<VecDeque<Lease>>,
    log: Mutex<Vec<u8>>,
    triggered: Mutex<BTreeMap<u32, TriggerRequest>>,
    finished: Mutex<Vec<AttemptResult>>,
    /// Leases that do not stand any more.
    over: Mutex<bool>,
    /// Nobody can reach it.
    away: Mutex<bool>,
}

impl Desk {
    fn reached(&self) -> Result<(), CoordinatorError> {
        if *self.away.lock().unwrap() {
            Err(CoordinatorError::Unavailable("away".to_owned()))
        } else {
            Ok(())
        }
    }

    fn frames(&self) -> Vec<Frame> {
        let log = self.log.lock().unwrap();
        log.split_inclusive(|byte| *byte == b'\n')
            .map(|line| Frame::decode(line).expect("whole lines"))
            .collect()
    }

    /// What was printed, and the reasons of what is missing.
    fn printed(&self) -> (String, Vec<String>) {
        let (mut text, mut gaps) = (String::new(), Vec::new());
        for frame in self.frames() {
            match frame.body {
                Body::Log { data, .. } => text.push_str(&String::from_utf8_lossy(&data.bytes())),
                Body::Gap { reason, .. } => gaps.push(reason),
                _ => {}
            }
        }
        (text, gaps)
    }
}

#[async_trait]
impl Coordinator for Desk {
    async fn claim(&self, _: usize, _: Duration) -> Result<Work, CoordinatorError> {
        let lease = self.leases.lock().unwrap().pop_front();
        match lease {
            Some(lease) => Ok(Work::Leases(vec![lease])),
            None => std::future::pending().await,
        }
    }

    async fn renew(
        &self,
        known: &[(LeaseId, Urgency)],
        wait: Duration,
    ) -> Result<Vec<Renewed>, CoordinatorError> {
        self.reached()?;
        let stands = !*self.over.lock().unwrap();
        if stands {
            tokio::time::sleep(wait.min(Duration::from_millis(50))).await;
        }
        Ok(known.iter().map(|(lease, stop)| Renewed { lease: lease.clone(), stands, stop: *stop }).collect())
    }

    async fn report(&self, lease: &LeaseId, report: Report) -> Result<(), CoordinatorError> {
        self.reached()?;
        match report {
            _ if *self.over.lock().unwrap() => return Err(lease.stale()),
            Report::Finished(result) => self.finished.lock().unwrap().push(result),
            Report::Triggered { ordinal, request } => {
                let known = self.triggered.lock().unwrap().insert(ordinal, request.clone());
                assert!(known.is_none_or(|known| known == request), "a number stands for one request");
            }
            _ => {}
        }
        Ok(())
    }

    async fn log(&self, _: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError> {
        self.reached()?;
        let mut log = self.log.lock().unwrap();
        let expected = log.len() as u64;
        let known = expected.checked_sub(offset).ok_or(CoordinatorError::Gap { expected })?;
        log.extend(lines.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX)));
        Ok(log.len() as u64)
    }

    async fn ask(&self, _: &LeaseId, _: Query) -> Result<Answer, CoordinatorError> {
        Err(CoordinatorError::Unavailable("nobody knows".to_owned()))
    }
}

/// What stays when a worker is killed.
struct Machine {
    fake: Fake,
    desk: Arc<Desk>,
    directory: tempfile::TempDir,
    secrets: Arc<Secrets>,
    /// Leases that the coordinator says it has.
    given: Vec<LeaseId>,
}

/// A worker's process.
struct Process(Option<tokio::runtime::Runtime>);

impl Process {
    fn kill(mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

impl Machine {
    fn new() -> Self {
        let fake = Fake::new();
        fake.script(Target::Any, Behaviour::new().hangs());
        let directory = tempfile::tempdir().expect("a directory");
        Self { fake, desk: Arc::default(), directory, secrets: Arc::default(), given: Vec::new() }
    }

    fn start(&self) -> Process {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let sources =
            SourceContext::open(&self.directory.path().join("sources"), 1 << 20, SourceLimits::default());
        let settings = Settings {
            owner: Owner("w".to_owned()),
            directory: self.directory.path().to_owned(),
            runner: PathBuf::from("/runner"),
            python: None,
            source: None,
            ci: None,
            sources: sources.expect("a cache"),
            pull: PullPolicy::IfMissing,
            pull_deadline: PATIENCE,
            secrets: Arc::clone(&self.secrets),
            api: None,
            keep_workspace: false,
            slots: 4,
            spool_bytes: 1 << 30,
            disk_floor: Floor::Bytes(0),
            standby: StandbySettings::default(),
        };
        let worker = Worker::new(Arc::new(self.fake.clone()), Arc::clone(&self.desk) as _, settings);
        runtime.spawn(worker.resume(self.given.clone()));
        Process(Some(runtime))
    }

    fn submit(&self, job: Value) {
        self.submit_of("r", job);
    }

    fn submit_of(&self, run: &str, job: Value) {
        let id = LeaseId { run: run.into(), node: "job".into(), attempt: 1, token: "t".into() };
        let mut assignment = assignment(job);
        assignment.node = "job".into();
        assignment.run = run.into();
        self.desk.leases.lock().unwrap().push_back(Lease { id, assignment, stop_after: STOP_AFTER });
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "never came true: {what}; {:?}", self.fake.calls());
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// The one end that the attempt had. Nothing is left of it.
    fn end(&self) -> AttemptResult {
        self.until("an end", |machine| !machine.desk.finished.lock().unwrap().is_empty());
        self.until("nothing left", |machine| machine.fake.names().is_empty() && machine.files().is_empty());
        let finished = self.desk.finished.lock().unwrap();
        assert_eq!(finished.len(), 1, "one end: {finished:?}");
        finished[0].clone()
    }

    fn files(&self) -> Vec<String> {
        let entries =
            std::fs::read_dir(self.directory.path().join("workspaces/w")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// The record of the one lease, once it says that the job has begun, which is a little later than the spec.
    fn begun(&self) -> String {
        let directory = self.directory.path().join("workspaces/w");
        let record = || {
            let name = self.files().into_iter().find(|name| name.ends_with(".lease"))?;
            std::fs::read_to_string(directory.join(name)).ok().filter(|text| text.contains("at_ms"))
        };
        self.until("the beginning", |_| record().is_some());
        record().expect("it is there")
    }

    fn container(&self) -> Option<String> {
        self.fake.running().into_iter().next()
    }

    /// The runner in the container, once it has its spec.
    fn runner(&self) -> Runner {
        let has_spec = |machine: &Self| {
            let input = machine.container().and_then(|name| machine.fake.input_of(&name));
            input.is_some_and(|(input, _)| input.ends_with(b"\n"))
        };
        self.until("a spec", has_spec);
        let name = self.container().expect("it runs");
        let (input, _) = self.fake.input_of(&name).expect("it runs");
        let spec: JobSpec = serde_json::from_slice(&input).expect("a spec");
        let mounts = self.fake.spec_of(&name).expect("it runs").mounts;
        let control = mounts.into_iter().find(|mount| mount.target == CONTROL_PATH).expect("a control mount");
        assert!(control.read_only, "steps cannot put a socket of theirs there");
        let key = Key::from_text(&spec.control.expect("a socket").key).expect("a key");
        Runner {
            fake: self.fake.clone(),
            name,
            control: control.source,
            key,
            said: Vec::new(),
            kept: 0,
            at: None,
        }
    }
}

/// A runner that keeps all it said, and says it to whoever listens.
struct Runner {
    fake: Fake,
    name: String,
    control: PathBuf,
    key: Key,
    said: Vec<Vec<u8>>,
    /// How many of its frames are acknowledged.
    kept: u64,
    at: Option<BufReader<UnixStream>>,
}

impl Runner {
    fn say(&mut self, body: Body) {
        let mut line = Vec::new();
        Frame { v: VERSION, attempt: 1, seq: self.said.len() as u64, at: 1, body }.encode(&mut line);
        self.said.push(line);
        let last = self.said.len() - 1;
        let said = self.said[last].clone();
        if self.at.as_mut().is_some_and(|stream| stream.get_mut().write_all(&said).is_err()) {
            self.at = None;
        }
    }

    fn print(&mut self, text: &str) {
        self.say(Body::Log { step: None, stream: Stream::Stdout, data: Data::from_bytes(text.as_bytes()) });
    }

    fn result(&mut self, outcome: JobOutcome, code: i32) {
        self.say(Body::Result(JobResult { outcome, exit_code: Some(code), reason: None }));
    }

    /// Connects, if somebody listens, and says what the worker does not have.
    fn connect(&mut self) -> bool {
        self.at = self.try_connect();
        self.at.is_some()
    }

    fn try_connect(&mut self) -> Option<BufReader<UnixStream>> {
        let handle = File::open(&self.control).ok()?;
        let path = Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string()).join(SOCKET);
        let stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut stream = BufReader::new(stream);
        let ToRunner::Challenge { nonce: challenge, .. } = hear(&mut stream)? else { return None };
        let (nonce, first) = (Nonce([3; 32]), self.kept);
        let proof = self.key.of_runner(challenge, nonce, 1, first);
        stream.get_mut().write_all(&ToWorker::Hello { v: 1, attempt: 1, first, nonce, proof }.line()).ok()?;
        let ToRunner::Welcome { next, .. } = hear(&mut stream)? else { return None };
        assert!(next >= self.kept, "what was acknowledged is kept");
        for line in &self.said[usize::try_from(next).expect("it fits")..] {
            stream.get_mut().write_all(line).ok()?;
        }
        Some(stream)
    }

    /// Reads one thing that the worker says; false where it has gone.
    fn hear(&mut self) -> bool {
        match self.at.as_mut().and_then(hear) {
            Some(ToRunner::Ack { next }) => self.kept = self.kept.max(next),
            Some(_) => {}
            None => self.at = None,
        }
        self.at.is_some()
    }

    /// Until everything is acknowledged, whoever comes and goes; then it exits.
    fn finish(mut self, code: i64) {
        let began = Instant::now();
        while self.kept < self.said.len() as u64 {
            assert!(began.elapsed() < PATIENCE, "nobody takes it");
            if self.at.is_none() && !self.connect() {
                std::thread::park_timeout(Duration::from_millis(2));
                continue;
            }
            self.hear();
        }
        self.fake.exit(&self.name, Exit { code, oom: false });
    }
}

fn hear(stream: &mut BufReader<UnixStream>) -> Option<ToRunner> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|count| *count > 0)?;
    serde_json::from_str(&line).ok()
}

fn trigger(name: &str) -> Body {
    let request = json!({"type": "trigger_job", "jobs": [{"job_name": name}]});
    Body::Trigger { request: serde_json::from_value(request).expect("a request") }
}

fn job() -> Value {
    json!({"image": "i", "command": "c"})
}
