//! Servers and workers as child processes that end with their test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::docker::{Ended, Place, Project, eventually, signal};

/// The local image of the tests.
pub const BUSYBOX: &str = "reactorcide/busybox:local";

/// A process that is killed when its test ends, and what it says.
pub struct Process {
    pub child: Child,
    said: Receiver<String>,
    /// All that it has said so far.
    pub heard: String,
}

impl Process {
    fn start(project: &Project, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = project.command(arguments);
        command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let (tell, said) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, said, heard: String::new() }
    }

    /// Waits until it says something with these words, and returns that line.
    pub fn says(&mut self, words: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(line) => {
                    self.heard.push_str(&line);
                    self.heard.push('\n');
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(error) => panic!("it never said {words:?} ({error}), but: {}", self.heard),
            }
        }
    }

    /// Kills it without a warning.
    pub fn kill(mut self) {
        signal(&self.child, "KILL");
        self.child.wait().expect("it ends");
    }

    /// Asks it to end, and waits for that.
    pub fn stop(mut self) -> Option<i32> {
        signal(&self.child, "TERM");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let rest: Vec<String> = self.said.iter().collect();
            eprintln!("-- {} said:\n{}{}", self.child.id(), self.heard, rest.join("\n"));
        }
    }
}

/// A workspace with a server's state.
pub struct Site {
    pub project: Project,
    /// The first user's token.
    pub token: String,
    workers: Vec<String>,
}

/// One server.
pub struct Serving {
    pub process: Process,
    pub url: String,
}

impl Site {
    /// A workspace with a pipeline `ci` of a project `p` of these jobs.
    pub fn new(jobs: &str, place: Place) -> Self {
        let project = Project::with_jobs(jobs).with_named_state().at(place);
        let applied = project.execute(&["apply", "--auto-approve"]);
        assert_eq!(applied.code, Some(0), "{applied:?}");
        Self { project, token: String::new(), workers: Vec::new() }
    }

    /// Starts a server.
    pub fn server(&mut self, more: &[&str]) -> Serving {
        self.server_at("127.0.0.1:0", more)
    }

    /// The same at an address that is known.
    pub fn server_at(&mut self, address: &str, more: &[&str]) -> Serving {
        let objects = self.project.path().join("objects").display().to_string();
        let mut arguments = vec!["server", "--listen", address, "--storage", &objects];
        arguments.extend(more);
        let mut process = Process::start(&self.project, &arguments, &[]);
        let line = process.says("serving at");
        let url = line.split_whitespace().nth(2).expect("a URL").trim_end_matches(',').to_owned();
        if self.token.is_empty() {
            process.says("is its first user");
            self.token = process.says("rct_").trim().to_owned();
        }
        Serving { process, url }
    }

    /// Starts a worker of a server.
    pub fn worker(&mut self, server: &Serving, more: &[&str]) -> Process {
        let name = format!("w{}", uuid::Uuid::new_v4().simple());
        let token = self.project.execute(&["tokens", "create", "--worker", &name]);
        assert_eq!(token.code, Some(0), "{token:?}");
        self.workers.push(name.clone());
        self.worker_with(server, token.stdout.trim(), more)
    }

    /// Starts a worker with a token.
    pub fn worker_with(&self, server: &Serving, token: &str, more: &[&str]) -> Process {
        let directory = self.project.path().join("worker").display().to_string();
        let mut arguments = vec!["worker", "--server", &server.url, "--directory", &directory];
        arguments.extend(more);
        if !more.contains(&"--slots") {
            arguments.extend(["--slots", "2"]);
        }
        let mut worker = Process::start(&self.project, &arguments, &[("REACTORCIDE_WORKER_TOKEN", token)]);
        worker.says("jobs from");
        worker
    }

    /// The name of the worker that was started last.
    pub fn last_worker(&self) -> &str {
        self.workers.last().expect("there is one")
    }

    /// Asks a server.
    pub fn ask(&self, server: &Serving, arguments: &[&str]) -> Ended {
        let mut command = self.project.command(arguments);
        command.env("REACTORCIDE_SERVER", &server.url).env("REACTORCIDE_TOKEN", &self.token);
        crate::docker::ended(command.output().expect("the binary starts"))
    }

    /// The same where all must be well; returns what was printed.
    pub fn say(&self, server: &Serving, arguments: &[&str]) -> String {
        let ended = self.ask(server, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    /// Starts a run; its id.
    pub fn start(&self, server: &Serving, more: &[&str]) -> String {
        let mut arguments = vec!["runs", "start", "p/ci"];
        arguments.extend(more);
        self.say(server, &arguments).trim().to_owned()
    }

    /// A run as JSON.
    pub fn run(&self, server: &Serving, run: &str) -> serde_json::Value {
        let text = self.say(server, &["runs", "show", run, "--json"]);
        serde_json::from_str(&text).expect("JSON")
    }

    /// Waits until a run is there on its way.
    pub fn until(&self, server: &Serving, run: &str, status: &str) {
        eventually(&format!("{run} is {status}"), || self.run(server, run)["status"] == status);
    }

    /// Waits until a job is there on its way.
    pub fn until_job(&self, server: &Serving, run: &str, job: &str, status: &str) {
        eventually(&format!("{job} is {status}"), || self.job(server, run, job)["status"] == status);
    }

    /// A job as JSON.
    pub fn job(&self, server: &Serving, run: &str, job: &str) -> serde_json::Value {
        let run = self.run(server, run);
        let jobs = run["jobs"].as_array().expect("jobs");
        jobs.iter().find(|one| one["name"] == job).unwrap_or_else(|| panic!("no job {job} in {run}")).clone()
    }
}

impl Drop for Site {
    /// Containers of workers that were killed.
    fn drop(&mut self) {
        for worker in &self.workers {
            let filter = format!("name=rc-worker-{worker}");
            let found =
                std::process::Command::new("docker").args(["ps", "-aq", "--filter", &filter]).output();
            let found =
                found.map(|found| String::from_utf8_lossy(&found.stdout).into_owned()).unwrap_or_default();
            for container in found.split_whitespace() {
                let _ = std::process::Command::new("docker").args(["rm", "-f", container]).output();
            }
        }
    }
}
