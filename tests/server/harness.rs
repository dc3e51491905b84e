//! Servers and workers as child processes that end with their test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::docker::{Ended, Place, Project, children_of, eventually, signal};

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
    fn start(site: &Site, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::of(site.within(site.project.command(arguments)), variables)
    }

    fn of(mut command: Command, variables: &[(&str, &str)]) -> Self {
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

    /// Ends it: all that it has ever said.
    pub fn rest(&mut self) -> String {
        self.end();
        let rest: Vec<String> = self.said.iter().collect();
        std::mem::take(&mut self.heard) + &rest.join("\n")
    }

    /// Whether it is over.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_some())
    }

    /// Ends it, and what it has started.
    pub fn end(&mut self) {
        let children = children_of(self.child.id());
        let _ = Command::new("kill").arg("-KILL").args(children).stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        if !self.has_ended() {
            self.end();
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
    /// What the next servers and workers are started by: a program with arguments, and variables for them.
    pub around: Around,
    workers: Vec<String>,
}

/// What a process is started by.
#[derive(Debug, Clone, Default)]
pub struct Around {
    pub program: Vec<String>,
    pub variables: Vec<(String, String)>,
}

/// One server.
pub struct Serving {
    pub process: Process,
    pub url: String,
}

impl Site {
    /// A workspace with a pipeline `ci` of a project `p` of these jobs.
    pub fn new(jobs: &str, place: Place) -> Self {
        Self::of(Project::with_jobs(jobs).with_named_state().at(place))
    }

    /// The same with its state there.
    pub fn on(jobs: &str, state: &str) -> Self {
        Self::of(Project::with_jobs(jobs).with_state(state))
    }

    /// The same with these files.
    pub fn with_files(files: &[(&str, &str)], place: Place) -> Self {
        Self::of(Project::with_files(files).with_named_state().at(place))
    }

    fn of(project: Project) -> Self {
        let applied = project.execute(&["apply", "--auto-approve"]);
        assert_eq!(applied.code, Some(0), "{applied:?}");
        Self { project, token: String::new(), around: Around::default(), workers: Vec::new() }
    }

    /// A command as it is started now.
    fn within(&self, command: Command) -> Command {
        let mut command = match self.around.program.split_first() {
            None => command,
            Some((program, arguments)) => {
                let mut around = Command::new(program);
                around.args(arguments).arg(command.get_program()).args(command.get_args());
                around.current_dir(self.project.path()).env_clear().stdin(Stdio::null());
                around.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
                around
            }
        };
        command.envs(self.around.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a server.
    pub fn server(&mut self, more: &[&str]) -> Serving {
        self.server_at("127.0.0.1:0", more)
    }

    /// One at an address that is known, of which nobody knows yet whether it will serve.
    pub fn server_starting(&self, address: &str, more: &[&str]) -> Serving {
        self.server_starting_with(address, more, &[])
    }

    fn server_starting_with(&self, address: &str, more: &[&str], variables: &[(&str, &str)]) -> Serving {
        let objects = self.project.path().join("objects").display().to_string();
        let mut arguments = vec!["server", "--listen", address];
        if !more.contains(&"--storage") {
            arguments.extend(["--storage", &objects]);
        }
        arguments.extend(more);
        Serving { process: Process::start(self, &arguments, variables), url: format!("http://{address}") }
    }

    /// The same that serves.
    pub fn server_at(&mut self, address: &str, more: &[&str]) -> Serving {
        self.server_with(address, more, &[])
    }

    /// The same with variables in its environment.
    pub fn server_with(&mut self, address: &str, more: &[&str], variables: &[(&str, &str)]) -> Serving {
        let Serving { mut process, .. } = self.server_starting_with(address, more, variables);
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
        let token = self.worker_token();
        self.worker_with(server, &token, more)
    }

    /// A token for a new worker.
    pub fn worker_token(&mut self) -> String {
        let name = format!("w{}", uuid::Uuid::new_v4().simple());
        let token = self.project.execute(&["tokens", "create", "--worker", &name]);
        assert_eq!(token.code, Some(0), "{token:?}");
        self.workers.push(name);
        token.stdout.trim().to_owned()
    }

    /// Starts a worker with a token.
    pub fn worker_with(&self, server: &Serving, token: &str, more: &[&str]) -> Process {
        self.worker_in(server, token, more, &[])
    }

    /// The same with variables in its environment.
    pub fn worker_in(
        &self,
        server: &Serving,
        token: &str,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Process {
        let mut worker = self.worker_starting_with(server, token, more, variables);
        worker.says("jobs from");
        worker
    }

    /// The same of another program.
    pub fn worker_of(&self, program: &std::ffi::OsStr, server: &Serving, token: &str) -> Process {
        let directory = self.project.path().join("worker").display().to_string();
        let of = self.project.command(&[]);
        let mut command = Command::new(program);
        command.args(["worker", "--server", &server.url, "--directory", &directory, "--slots", "2"]);
        command.current_dir(self.project.path()).env_clear().stdin(Stdio::null());
        command.envs(of.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Process::of(command, &[("REACTORCIDE_WORKER_TOKEN", token)])
    }

    /// The same, of which nobody knows yet whether it will work.
    pub fn worker_starting(&self, server: &Serving, token: &str, more: &[&str]) -> Process {
        self.worker_starting_with(server, token, more, &[])
    }

    fn worker_starting_with(
        &self,
        server: &Serving,
        token: &str,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Process {
        let directory = self.project.path().join("worker").display().to_string();
        let mut arguments = vec!["worker", "--server", &server.url, "--directory", &directory];
        arguments.extend(more);
        if !more.contains(&"--slots") {
            arguments.extend(["--slots", "2"]);
        }
        let mut all = vec![("REACTORCIDE_WORKER_TOKEN", token)];
        all.extend(variables);
        Process::start(self, &arguments, &all)
    }

    /// The name of the worker that was started last.
    pub fn last_worker(&self) -> &str {
        self.workers.last().expect("there is one")
    }

    /// Asks a server.
    pub fn ask(&self, server: &Serving, arguments: &[&str]) -> Ended {
        self.ask_at(&server.url, arguments)
    }

    /// The same where it should be.
    pub fn ask_at(&self, url: &str, arguments: &[&str]) -> Ended {
        crate::docker::ended(self.asking(url, &self.token, arguments).output().expect("the binary starts"))
    }

    /// Asks a server with a token.
    pub fn ask_as(&self, server: &Serving, token: &str, arguments: &[&str]) -> Ended {
        crate::docker::ended(self.asking(&server.url, token, arguments).output().expect("the binary starts"))
    }

    /// A command that asks a server.
    pub fn asking(&self, url: &str, token: &str, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.env_remove("REACTORCIDE_STATE");
        command.env("REACTORCIDE_SERVER", url).env("REACTORCIDE_TOKEN", token);
        command
    }

    /// The same where all must be well; returns what was printed.
    pub fn say(&self, server: &Serving, arguments: &[&str]) -> String {
        let ended = self.ask(server, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    /// Sends something to a path of a server's API, with headers: the status and what was answered. The status is 0 where
    /// nothing was.
    pub fn send(&self, url: &str, headers: &[&str], body: &str) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "70", "--write-out", "\n%{http_code}", "--data-binary", "@-"]);
        curl.args(headers.iter().flat_map(|header| ["--header", header])).arg(url);
        let mut child = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl: ./dev setup");
        std::io::Write::write_all(&mut child.stdin.take().expect("it is piped"), body.as_bytes())
            .expect("sent");
        let output = child.wait_with_output().expect("curl ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (answer, status) = text.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), answer.to_owned())
    }

    /// Asks a path of a server's API: the status, and what was answered.
    pub fn api(&self, url: &str, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let authorization = format!("Bearer {}", self.token);
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let (status, answer) = ask(&format!("{url}/api/v1{path}"), method, &headers, body);
        (status, serde_json::from_str(&answer).unwrap_or_default())
    }

    /// The containers of its workers, those that run and those that do not; with more arguments of `docker ps`.
    pub fn containers(&self, more: &[&str]) -> Vec<String> {
        let of = |worker: &String| {
            let filter = format!("name=rc-worker-{worker}");
            let found = Command::new("docker").args(["ps", "-aq", "--filter", &filter]).args(more).output();
            let found = found.map(|found| found.stdout).unwrap_or_default();
            String::from_utf8_lossy(&found).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        self.workers.iter().flat_map(of).collect()
    }

    /// Removes the containers of its workers, as when their machine goes down.
    pub fn remove_containers(&self) {
        let containers = self.containers(&[]);
        if !containers.is_empty() {
            let _ = Command::new("docker").args(["rm", "-f"]).args(containers).output();
        }
    }

    /// Asks a server for a run of `p/ci` with a key that makes it one run: its id, if that was said.
    pub fn start_once(&self, url: &str, key: &str) -> Option<String> {
        let authorization = format!("Authorization: Bearer {}", self.token);
        let key = format!("Idempotency-Key: {key}");
        let headers = [authorization.as_str(), key.as_str(), "Content-Type: application/json"];
        let (status, answer) = self.send(&format!("{url}/api/v1/runs"), &headers, r#"{"pipeline": "p/ci"}"#);
        let run: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        assert!(matches!(status, 0 | 200 | 201 | 500 | 503), "{status}: {answer}");
        (status / 100 == 2).then(|| run["id"].as_str().expect("an id").to_owned())
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
        self.remove_containers();
    }
}

/// Asks by HTTP; the status and the body.
pub fn ask(url: &str, method: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let (host, path) = url.strip_prefix("http://").expect("http").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}
