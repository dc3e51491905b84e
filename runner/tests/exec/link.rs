//! A worker on the other end of the control socket, which comes and goes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use reactorcide_protocol::frame::{Body, Frame, JobOutcome};
use reactorcide_protocol::link::{Key, Nonce, SOCKET, ToRunner, ToWorker, VERSION, is_control};
use reactorcide_protocol::query::Answer;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{DEADLINE, Job, Runner, run, script, steps};

const ATTEMPT: u32 = 3;
const CHALLENGE: Nonce = Nonce([5; 32]);

fn key() -> Key {
    Key::new([7; 32])
}

/// Listens where the runner connects, and keeps what it says.
struct Worker {
    directory: TempDir,
    listener: UnixListener,
    kept: Vec<Frame>,
    /// For how long a ping keeps the lease.
    lease: Option<Duration>,
}

/// One connection, after both ends proved themselves.
struct Connection {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

/// What a connection brings.
#[derive(Debug)]
enum Said {
    Frame(Frame),
    Ping(u64),
}

impl Worker {
    fn listen() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join(SOCKET)).expect("a socket");
        Self { directory, listener, kept: Vec::new(), lease: Some(DEADLINE) }
    }

    /// A job that speaks with it.
    fn job(&self, job: Job, stop_after: Duration) -> Job {
        let stop_after = u64::try_from(stop_after.as_millis()).expect("it fits");
        let socket = self.directory.path().join(SOCKET);
        job.with("control", json!({"socket": socket, "key": key().to_text(), "stop_after_ms": stop_after}))
    }

    /// The next connection, and the first frame that the runner has.
    fn accept_with(&mut self, key: &Key) -> (Connection, u64) {
        let (stream, _) = self.listener.accept().expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let lines = BufReader::new(stream.try_clone().expect("a clone"));
        let mut connection = Connection { stream, lines };
        connection.say(&ToRunner::Challenge { v: VERSION, nonce: CHALLENGE });
        let line = connection.line().expect("a hello");
        let Ok(ToWorker::Hello { v: VERSION, attempt: ATTEMPT, first, nonce, proof }) =
            serde_json::from_slice(&line)
        else {
            panic!("{}", String::from_utf8_lossy(&line))
        };
        assert!(self::key().is_of_runner(proof, CHALLENGE, nonce, ATTEMPT, first));
        let next = self.kept.len() as u64;
        connection.say(&ToRunner::Welcome { next, proof: key.of_worker(CHALLENGE, nonce, next) });
        (connection, first)
    }

    fn accept(&mut self) -> Connection {
        self.accept_with(&key()).0
    }

    /// Keeps a frame, which must be the next one.
    fn keep(&mut self, frame: Frame) {
        assert_eq!(frame.seq, self.kept.len() as u64, "no hole, nothing twice, in order");
        self.kept.push(frame);
    }

    /// Keeps and acknowledges everything until the runner goes.
    fn serve(&mut self, connection: &mut Connection) {
        self.serve_until(connection, |_| false);
    }

    /// The same, until a frame is as wanted.
    fn serve_until(&mut self, connection: &mut Connection, wanted: impl Fn(&Frame) -> bool) {
        while let Some(said) = connection.next() {
            match said {
                Said::Ping(id) => {
                    if let Some(left) = self.lease {
                        let left_ms = u64::try_from(left.as_millis()).expect("it fits");
                        connection.say(&ToRunner::Lease { id, left_ms });
                    }
                }
                Said::Frame(frame) => {
                    let is_it = wanted(&frame);
                    self.keep(frame);
                    connection.say(&ToRunner::Ack { next: self.kept.len() as u64 });
                    if is_it {
                        return;
                    }
                }
            }
        }
    }

    /// All that was printed, and how many bytes are said to be missing.
    fn printed(&self) -> (Vec<u8>, u64) {
        let (mut printed, mut missing) = (Vec::new(), 0);
        for frame in &self.kept {
            match &frame.body {
                Body::Log { data, .. } => printed.extend_from_slice(&data.bytes()),
                Body::Gap { bytes, .. } => missing += bytes,
                _ => {}
            }
        }
        (printed, missing)
    }

    fn outcome(&self) -> Option<JobOutcome> {
        let Body::Result(result) = &self.kept.last()?.body else { return None };
        Some(result.outcome)
    }
}

impl Connection {
    fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        match self.lines.read_until(b'\n', &mut line) {
            Ok(count) if count > 0 && line.ends_with(b"\n") => Some(line),
            _ => None,
        }
    }

    fn next(&mut self) -> Option<Said> {
        let line = self.line()?;
        if is_control(&line) {
            let Ok(ToWorker::Ping { id }) = serde_json::from_slice(&line) else { panic!("a ping") };
            return Some(Said::Ping(id));
        }
        Some(Said::Frame(Frame::decode(&line).expect("a frame")))
    }

    /// Who has gone hears nothing.
    fn say(&mut self, said: &ToRunner) {
        let _ = self.stream.write_all(&said.line());
    }
}

/// Waits for the end of a runner whose output nobody needs.
fn code(mut runner: Runner) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = runner.child.try_wait().expect("it can be asked") {
            return status.code();
        }
        assert!(began.elapsed() < DEADLINE, "it does not end");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn is_printed(frame: &Frame, text: &str) -> bool {
    matches!(&frame.body, Body::Log { data, .. } if String::from_utf8_lossy(&data.bytes()).contains(text))
}

#[test]
fn frames_go_to_the_worker_and_only_the_first_is_printed() {
    let mut worker = Worker::listen();
    let job = worker.job(script("echo hello; exit 7"), DEADLINE);
    let runner = job.start();
    let mut connection = worker.accept();
    worker.serve(&mut connection);
    let finished = runner.finish();
    assert_eq!((finished.code, worker.outcome()), (Some(7), Some(JobOutcome::Exit)));
    assert_eq!(worker.printed(), (b"hello\n".to_vec(), 0));
    assert!(matches!(&finished.frames[..], [Frame { seq: 0, body: Body::Started { .. }, .. }]));
    assert!(matches!(&worker.kept[0].body, Body::Started { .. }));
}

#[test]
fn the_end_of_standard_input_means_nothing() {
    let mut worker = Worker::listen();
    let runner = worker.job(script("echo hello"), DEADLINE).start();
    let mut connection = worker.accept();
    worker.serve_until(&mut connection, |frame| is_printed(frame, "hello"));
    let serving = std::thread::spawn(move || {
        worker.serve(&mut connection);
        worker
    });
    assert_eq!(runner.finish_without_input().code, Some(0));
    assert_eq!(serving.join().expect("served").outcome(), Some(JobOutcome::Succeeded));
}

#[test]
fn wherever_the_connection_is_cut_nothing_is_lost_and_nothing_comes_twice() {
    let mut worker = Worker::listen();
    let lines = 20_000;
    let runner = worker.job(script(&format!("seq {lines}")), DEADLINE).start();
    let mut random = 12345_u64;
    // Ends in the middle of a line, sometimes with frames that are kept and not acknowledged.
    while worker.outcome().is_none() {
        let (mut connection, first) = worker.accept_with(&key());
        assert!(first <= worker.kept.len() as u64);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let frames = random >> 61;
        for at in 0..=frames {
            match connection.next() {
                Some(Said::Frame(frame)) => worker.keep(frame),
                Some(Said::Ping(_)) => {}
                None => break,
            }
            // Once it hears that its result is kept it is gone.
            if at % 3 == 1 && worker.outcome().is_none() {
                connection.say(&ToRunner::Ack { next: worker.kept.len() as u64 });
            }
        }
        let mut rest = [0; 10];
        let _ = std::io::Read::read(
            &mut connection.lines,
            &mut rest[..usize::try_from(random >> 62).unwrap_or(0)],
        );
    }
    let mut connection = worker.accept();
    connection.say(&ToRunner::Ack { next: worker.kept.len() as u64 });
    assert_eq!(code(runner), Some(0));
    let expected: String = (1..=lines).map(|line| format!("{line}\n")).collect();
    assert_eq!(worker.printed(), (expected.into_bytes(), 0));
}

#[test]
fn a_job_goes_on_without_its_worker_and_says_what_was_too_much() {
    let mut worker = Worker::listen();
    let mib = 40;
    let make =
        format!("echo a=1 > $REACTORCIDE_OUTPUT; head -c {mib}M /dev/zero | tr '\\0' x; echo; touch done");
    let job = worker
        .job(steps(&[("make", run(&make)), ("after", run("echo b=2 > $REACTORCIDE_OUTPUT"))]), DEADLINE);
    let runner = job.start();
    let mut connection = worker.accept();
    worker.serve_until(&mut connection, |frame| matches!(frame.body, Body::StepStarted { .. }));
    drop(connection);
    // It is not held up: the last thing that it does is done although nobody takes anything.
    let began = Instant::now();
    while !job.path("done").exists() {
        assert!(began.elapsed() < DEADLINE, "a worker that is gone holds it up");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(runner.resident_kib() < 24 << 10, "{} KiB", runner.resident_kib());
    let mut connection = worker.accept();
    worker.serve(&mut connection);
    assert_eq!((code(runner), worker.outcome()), (Some(0), Some(JobOutcome::Succeeded)));
    let (printed, missing) = worker.printed();
    assert!(printed.len() > 4 << 20 && missing > 8 << 20, "{} {missing}", printed.len());
    assert_eq!(printed.len() as u64 + missing, (mib << 20) + 1);
    let outputs = worker.kept.iter().filter(|frame| matches!(frame.body, Body::Output { .. })).count();
    assert_eq!(outputs, 2, "what is no log is never dropped");
}

#[test]
fn a_worker_that_takes_nothing_holds_nothing_up_for_long() {
    let mut worker = Worker::listen();
    let job = worker.job(script("head -c 20M /dev/zero | tr '\\0' x; touch done"), DEADLINE);
    let runner = job.start();
    let mut connection = worker.accept();
    let began = Instant::now();
    while !job.path("done").exists() {
        assert!(began.elapsed() < DEADLINE, "a worker that is frozen holds it up");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    worker.serve(&mut connection);
    assert_eq!(code(runner), Some(0));
    let (printed, missing) = worker.printed();
    assert_eq!(printed.len() as u64 + missing, 20 << 20);
    assert!(missing > 0);
}

#[test]
fn a_job_whose_lease_nobody_keeps_ends_by_itself() {
    let mut worker = Worker::listen();
    worker.lease = None;
    let job = script("trap 'echo asked; exit 0' TERM; while :; do sleep 0.05; done");
    let runner = worker.job(job, Duration::from_millis(700)).start();
    let mut connection = worker.accept();
    worker.serve(&mut connection);
    assert_eq!((code(runner), worker.outcome()), (Some(75), Some(JobOutcome::LostWorker)));
    assert!(String::from_utf8_lossy(&worker.printed().0).contains("asked\n"), "it was asked first");
}

#[test]
fn a_job_whose_worker_never_comes_back_ends_by_itself() {
    let mut worker = Worker::listen();
    let runner = worker.job(script("trap '' TERM; sleep 1000"), Duration::from_millis(700)).start();
    drop(worker.accept());
    drop(worker);
    assert_eq!(code(runner), Some(75));
}

#[test]
fn a_lease_that_is_kept_stands() {
    let mut worker = Worker::listen();
    let stop_after = Duration::from_millis(500);
    worker.lease = Some(stop_after);
    let runner = worker.job(script("sleep 2; echo awake"), stop_after).start();
    let mut connection = worker.accept();
    worker.serve(&mut connection);
    assert_eq!((code(runner), worker.outcome()), (Some(0), Some(JobOutcome::Succeeded)));
}

#[test]
fn a_result_waits_until_it_is_acknowledged_or_the_lease_is_over() {
    for acknowledged in [true, false] {
        let mut worker = Worker::listen();
        let stop_after = if acknowledged { DEADLINE } else { Duration::from_millis(1500) };
        let mut runner = worker.job(script("exit 3"), stop_after).start();
        let mut connection = worker.accept();
        while !worker.kept.last().is_some_and(|frame| matches!(frame.body, Body::Result(_))) {
            if let Some(Said::Frame(frame)) = connection.next() {
                worker.keep(frame);
            }
        }
        assert!(runner.child.try_wait().expect("it can be asked").is_none(), "it waits");
        drop(connection);
        if acknowledged {
            let mut connection = worker.accept();
            connection.say(&ToRunner::Ack { next: worker.kept.len() as u64 });
        }
        assert_eq!(code(runner), Some(3));
    }
}

#[test]
fn who_does_not_have_the_key_is_told_nothing() {
    let mut worker = Worker::listen();
    let runner = worker.job(script("echo hello"), DEADLINE).start();
    let (mut impostor, _) = worker.accept_with(&Key::new([8; 32]));
    assert!(impostor.next().is_none(), "it hangs up");
    let mut connection = worker.accept();
    worker.serve(&mut connection);
    assert_eq!((code(runner), worker.printed().0), (Some(0), b"hello\n".to_vec()));
}

#[test]
fn the_worker_stops_a_job_and_says_so_as_often_as_it_likes() {
    let mut worker = Worker::listen();
    let job = script("trap 'sleep 0.2; echo tidy; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    let runner = worker.job(job.with("grace_ms", json!(20_000)), DEADLINE).start();
    let mut connection = worker.accept();
    worker.serve_until(&mut connection, |frame| is_printed(frame, "ready"));
    for _ in 0..5 {
        connection.say(&ToRunner::Stop {});
    }
    worker.serve(&mut connection);
    assert_eq!((code(runner), worker.outcome()), (Some(143), Some(JobOutcome::Cancelled)));
    assert!(String::from_utf8_lossy(&worker.printed().0).contains("tidy\n"));
}

#[test]
fn questions_are_answered_by_the_socket() {
    let mut worker = Worker::listen();
    let job = script("$REACTORCIDE_RUNNER vars").with("answers", json!(true));
    let runner = worker.job(job, DEADLINE).start();
    let mut connection = worker.accept();
    worker.serve_until(&mut connection, |frame| matches!(frame.body, Body::Query { .. }));
    let vars = [("channel".to_owned(), json!("beta"))].into();
    connection.say(&ToRunner::Answer { id: 0, answer: Answer::Vars { vars } });
    worker.serve(&mut connection);
    assert_eq!(code(runner), Some(0));
    assert!(String::from_utf8_lossy(&worker.printed().0).contains("beta"));
}

#[test]
fn where_there_is_no_way_to_the_socket_frames_are_printed_and_nobody_keeps_a_lease() {
    let worker = Worker::listen();
    let job = worker.job(script("sleep 1.5; echo hello"), Duration::from_millis(300));
    drop(worker);
    let finished = job.finish();
    assert_eq!(finished.code, Some(0));
    assert!(finished.frames.iter().any(|frame| is_printed(frame, "hello")));
}
