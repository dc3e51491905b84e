//! Runs the binary with a spec and reads its frames.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use reactorcide_protocol::frame::{Body, Frame, JobResult, StepOutcome, Stream};
use serde_json::{Value, json};
use tempfile::TempDir;

/// No test waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A job to run, in a workspace of its own.
pub struct Job {
    pub workspace: TempDir,
    pub spec: Value,
    /// Set in the environment of the runner itself.
    pub image_environment: Vec<(String, String)>,
}

/// A job of these steps; each is what a step's JSON says beside its name.
pub fn steps(steps: &[(&str, Value)]) -> Job {
    let steps: Vec<Value> = steps
        .iter()
        .map(|(name, step)| {
            let mut step = step.clone();
            step["name"] = json!(name);
            step
        })
        .collect();
    job(&json!({ "steps": steps }))
}

/// A job of one shell script.
pub fn script(script: &str) -> Job {
    job(&json!({"command": {"script": script}}))
}

/// What a step runs.
pub fn run(script: &str) -> Value {
    json!({"run": {"script": script}})
}

pub fn job(work: &Value) -> Job {
    let workspace = tempfile::tempdir().expect("a directory");
    let path = workspace.path().to_str().expect("text");
    let spec = json!({
        "v": 1, "run_id": "run-1", "job": "test[0]", "attempt": 3, "work": work,
        "working_dir": path, "workspace": path, "grace_ms": 300,
    });
    Job { workspace, spec, image_environment: Vec::new() }
}

impl Job {
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.spec[key] = value;
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.workspace.path().join(name)
    }

    pub fn start(&self) -> Runner {
        let mut line = serde_json::to_vec(&self.spec).expect("JSON");
        line.push(b'\n');
        let mut runner = Runner::spawn(&self.image_environment);
        runner.stdin.write_all(&line).expect("the runner reads its spec");
        runner
    }

    pub fn finish(&self) -> Finished {
        self.start().finish()
    }
}

/// A runner that runs.
pub struct Runner {
    pub child: Child,
    pub stdin: ChildStdin,
    pub stdout: BufReader<ChildStdout>,
    frames: Vec<Frame>,
}

impl Runner {
    pub fn spawn(environment: &[(String, String)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reactorcide-runner"))
            .arg("exec")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the runner starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdin, stdout, frames: Vec::new() }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
    }

    /// The frame that was read last.
    pub fn last(&self) -> Option<&Frame> {
        self.frames.last()
    }

    /// The memory that it has, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number")
    }

    /// Closes its standard input and waits for its end.
    pub fn finish_without_input(self) -> Finished {
        let Self { child, stdin, stdout, frames } = self;
        drop(stdin);
        let (_, stdin) = std::io::pipe().expect("a pipe");
        let stdin = ChildStdin::from(std::os::fd::OwnedFd::from(stdin));
        Self { child, stdin, stdout, frames }.finish()
    }

    /// Reads frames until one is as wanted.
    pub fn read_until(&mut self, wanted: impl Fn(&Frame) -> bool) {
        loop {
            let frame = self.read().expect("a frame before the end");
            let found = wanted(&frame);
            self.frames.push(frame);
            if found {
                return;
            }
        }
    }

    /// Reads frames until some output of the job contains a text.
    pub fn read_until_printed(&mut self, text: &str) {
        let mut printed = Vec::new();
        while !String::from_utf8_lossy(&printed).contains(text) {
            let frame = self.read().expect("a frame before the end");
            if let Body::Log { data, .. } = &frame.body {
                printed.extend_from_slice(&data.bytes());
            }
            self.frames.push(frame);
        }
    }

    fn read(&mut self) -> Option<Frame> {
        let mut line = Vec::new();
        self.stdout.read_until(b'\n', &mut line).expect("readable");
        if line.is_empty() {
            return None;
        }
        assert_eq!(line.last(), Some(&b'\n'), "a frame is a whole line");
        Some(
            Frame::decode(&line)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line))),
        )
    }

    pub fn finish(mut self) -> Finished {
        while let Some(frame) = self.read() {
            self.frames.push(frame);
        }
        let begun = Instant::now();
        let code = loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => break status.code(),
                None if begun.elapsed() > DEADLINE => panic!("the runner does not end"),
                None => std::thread::yield_now(),
            }
        };
        let mut errors = String::new();
        let _ = self.child.stderr.take().expect("piped").read_to_string(&mut errors);
        for (index, frame) in self.frames.iter().enumerate() {
            assert_eq!(frame.seq, index as u64, "frames are numbered without a hole");
        }
        Finished { frames: self.frames, code, errors }
    }
}

/// What a runner did.
pub struct Finished {
    pub frames: Vec<Frame>,
    pub code: Option<i32>,
    pub errors: String,
}

impl Finished {
    /// The last frame.
    pub fn result(&self) -> &JobResult {
        match self.frames.last().map(|frame| &frame.body) {
            Some(Body::Result(result)) => result,
            other => panic!("the last frame is {other:?}"),
        }
    }

    /// Outcome, exit code and reason in one line.
    pub fn summary(&self) -> String {
        let result = self.result();
        let outcome = serde_json::to_value(result.outcome).expect("JSON");
        let code = result.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        format!("{} {code} {}", outcome.as_str().expect("a string"), result.reason.as_deref().unwrap_or("-"))
    }

    pub fn bytes(&self, of_step: Option<&str>, of_stream: Stream) -> Vec<u8> {
        let mut all = Vec::new();
        for frame in &self.frames {
            if let Body::Log { step, stream, data } = &frame.body
                && (step.as_deref(), *stream) == (of_step, of_stream)
            {
                all.extend_from_slice(&data.bytes());
            }
        }
        all
    }

    pub fn stdout(&self, step: &str) -> String {
        String::from_utf8(self.bytes(Some(step), Stream::Stdout)).expect("text")
    }

    /// The output of a job that is a single command.
    pub fn printed(&self) -> String {
        String::from_utf8(self.bytes(None, Stream::Stdout)).expect("text")
    }

    /// Name and outcome of the steps in the order in which they ended.
    pub fn steps(&self) -> Vec<String> {
        let ended = self.frames.iter().filter_map(|frame| match &frame.body {
            Body::StepFinished { step, outcome, .. } => Some(match outcome {
                StepOutcome::Succeeded => format!("{step} succeeded"),
                StepOutcome::Failed => format!("{step} failed"),
                StepOutcome::Skipped => format!("{step} skipped"),
                StepOutcome::Cancelled => format!("{step} cancelled"),
            }),
            _ => None,
        });
        ended.collect()
    }

    pub fn reason_of(&self, name: &str) -> Option<String> {
        self.frames.iter().find_map(|frame| match &frame.body {
            Body::StepFinished { step, reason, .. } if step == name => reason.clone(),
            _ => None,
        })
    }

    pub fn everything(&self) -> String {
        let mut lines = Vec::new();
        self.frames.iter().for_each(|frame| frame.encode(&mut lines));
        String::from_utf8(lines).expect("text") + &self.errors
    }
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "{what} does not come true");
        std::thread::yield_now();
    }
}

/// Whether a process that was started lives; its id stands in a file.
pub fn lives(pid_file: &Path) -> bool {
    let pid = std::fs::read_to_string(pid_file).expect("the process wrote its id");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // A zombie that nobody has reaped yet is dead.
    !stat.is_empty() && !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}
