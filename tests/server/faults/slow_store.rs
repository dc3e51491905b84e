//! An object store that answers late, refuses, and for a while answers nothing: jobs do not notice, and what they say and
//! keep arrives whole. With `./dev test --all` it is silent for longer than anybody waits for one answer.

use std::fmt::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::sync::watch;

use super::{assert_settled, is_long, unique};
use crate::docker::{Place, eventually, running, within};
use crate::server::harness::{BUSYBOX, Process, Site};

/// How a store answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answers {
    AtOnce,
    /// After 300 ms to 2 s.
    Late,
    /// `503 Slow Down`.
    No,
    /// Not at all, until it answers otherwise. Half of what it is asked it does all the same.
    Never,
}

/// An S3 server in this process, with a bucket `bucket`.
struct Store {
    url: String,
    answers: watch::Sender<Answers>,
    /// How often it was asked while it never answered.
    unanswered: Arc<AtomicUsize>,
    _directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Store {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("bucket")).expect("a bucket");
        let files = s3s_fs::FileSystem::new(directory.path()).expect("a file system");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single("key", "s3cret"));
        let service = builder.build();
        let (answers, unanswered) = (watch::Sender::new(Answers::AtOnce), Arc::<AtomicUsize>::default());
        let (mode, counted) = (answers.subscribe(), Arc::clone(&unanswered));
        let handler =
            move |request: Request| answer(service.clone(), mode.clone(), Arc::clone(&counted), request);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(axum::serve(listener, Router::new().fallback(handler)).into_future());
        Self { url, answers, unanswered, _directory: directory, _runtime: runtime }
    }

    fn answers(&self, how: Answers) {
        self.answers.send_replace(how);
    }
}

async fn answer(
    service: S3Service,
    mut mode: watch::Receiver<Answers>,
    unanswered: Arc<AtomicUsize>,
    request: Request,
) -> Response {
    let unavailable = || {
        let said = "<Error><Code>SlowDown</Code><Message>no</Message></Error>";
        (StatusCode::SERVICE_UNAVAILABLE, said).into_response()
    };
    let serve = async |request: Request| {
        let answer = service.call(request.map(s3s::Body::http_body_unsync)).await.expect("an answer");
        answer.map(Body::new)
    };
    let how = *mode.borrow();
    match how {
        Answers::AtOnce => serve(request).await,
        Answers::Late => {
            let answer = serve(request).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(300..2_000))).await;
            answer
        }
        Answers::No => unavailable(),
        Answers::Never => {
            if unanswered.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                serve(request).await;
            }
            let _ = mode.wait_for(|mode| *mode != Answers::Never).await;
            unavailable()
        }
    }
}

/// The most memory that a process has had, in mebibytes.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
}

#[test]
fn a_store_that_does_not_answer_holds_up_no_job_and_loses_nothing() {
    let lines = if is_long() { 400_000 } else { 100_000 };
    let job = unique();
    // About 90 bytes a line: far more than a server may hold of it. Then a while in which the store is silent.
    let jobs = format!(
        "    {job}:\n      image: '{BUSYBOX}'\n      artifacts: {{paths: [big, small]}}\n      command: |\n\
         \x20       dd if=/dev/urandom of=big bs=1M count=24 2>/dev/null; echo small > small\n\
         \x20       echo sum $(sha256sum < big | cut -c 1-64)\n\
         \x20       seq 1 {lines} | sed 's/$/ 01234567890123456789012345678901234567890123456789012345678901234567890123456789/'\n\
         \x20       echo last\n"
    );
    let mut site = Site::new(&jobs, Place::Sqlite);
    let store = Store::start();
    let variables = [
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "s3cret"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", &store.url),
    ];
    let storage = ["--storage", "s3://bucket/ci?allow_http=true"];
    let server = site.server_with("127.0.0.1:0", &storage, &variables);
    let worker = site.worker(&server, &[]);
    let before = [peak(&server.process), peak(&worker)];

    store.answers(Answers::Late);
    let run = site.start(&server, &[]);
    let follower = std::fs::File::create(site.project.path().join("followed")).expect("a file");
    let mut follow = site.asking(&server.url, &site.token, &["jobs", "logs", "-f", &run, &job]);
    eventually("its container runs", || running(&job).len() == 1);
    let mut follow =
        follow.stdout(follower).stderr(Stdio::null()).stdin(Stdio::null()).spawn().expect("it starts");
    store.answers(Answers::Never);
    // The job comes to its end, although nobody can keep what it says.
    eventually("the job is over", || running(&job).is_empty());
    eventually("the store was asked", || store.unanswered.load(Ordering::Relaxed) > 0);
    assert_eq!(
        site.job(&server, &run, &job)["status"],
        "running",
        "its log and its files are to be kept first"
    );
    if is_long() {
        let asked = store.unanswered.load(Ordering::Relaxed);
        within(Duration::from_secs(120), "whoever waited for an answer asked again", || {
            store.unanswered.load(Ordering::Relaxed) > asked + 2
        });
    }
    store.answers(Answers::No);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(site.job(&server, &run, &job)["status"], "running");
    store.answers(Answers::Late);
    std::thread::sleep(Duration::from_secs(if is_long() { 20 } else { 3 }));
    store.answers(Answers::AtOnce);
    within(Duration::from_secs(120), "the run succeeds", || site.run(&server, &run)["status"] == "succeeded");

    let shown = site.job(&server, &run, &job);
    assert_eq!(shown["attempts"], 1, "{shown}");
    let log = site.say(&server, &["jobs", "logs", &run, &job]);
    let (sum, rest) = log.split_once('\n').expect("lines");
    let mut expected = String::new();
    for n in 1..=lines {
        let _ = writeln!(expected, "{n} {}", "0123456789".repeat(8));
    }
    expected.push_str("last\n");
    assert_eq!(rest.len(), expected.len(), "{}", &rest[rest.len().saturating_sub(300)..]);
    assert!(rest == expected, "all lines in their order");
    assert!(follow.wait().expect("it ends").success());
    let followed = std::fs::read_to_string(site.project.path().join("followed")).expect("what was followed");
    if let Some(at) = first_difference(&followed, &log) {
        let around = |text: &str| text[at.saturating_sub(100)..text.len().min(at + 100)].to_owned();
        let lengths = (followed.len(), log.len());
        panic!(
            "who follows gets something else from byte {at} of {lengths:?} on: {:?} and not {:?}",
            around(&followed),
            around(&log)
        );
    }
    site.say(&server, &["artifacts", "get", &run, &job, "--all", "-o", "got"]);
    let got = Command::new("sha256sum").arg(site.project.path().join("got/big")).output().expect("sha256sum");
    assert_eq!(sum, format!("sum {}", &String::from_utf8_lossy(&got.stdout)[..64]));
    let small = std::fs::read_to_string(site.project.path().join("got/small")).expect("it is there");
    assert_eq!(small, "small\n");

    let grown: Vec<u64> = [peak(&server.process), peak(&worker)]
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    eprintln!("the server and the worker have grown by {grown:?} MiB over {} MiB of log", log.len() >> 20);
    assert!(grown.iter().all(|grown| *grown < 96), "{grown:?} MiB");
    assert_eq!(worker.stop(), Some(0));
    assert_settled(&site, &server, &[run]);
}

/// Where two texts are no longer the same.
fn first_difference(one: &str, other: &str) -> Option<usize> {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    (one != other).then_some(same)
}
