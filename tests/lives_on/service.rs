//! A server and a worker as processes of their own, which can be killed and started again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::docker::{Project, eventually};

/// A project with a server, and a worker named `w`.
pub struct Service {
    project: Project,
    options: Vec<String>,
    server: Option<Child>,
    server_said: Arc<Mutex<String>>,
    worker: Option<Child>,
    address: String,
    token: String,
    worker_token: String,
    docker_host: Option<String>,
    name: String,
}

impl Service {
    /// Applies a pipeline `ci` of these jobs and starts a server for it.
    pub fn new(jobs: &str, docker_host: Option<String>, options: &[&str]) -> Self {
        let project = Project::with_jobs(jobs);
        let applied = project.execute(&["apply", "--auto-approve"]);
        assert_eq!(applied.code, Some(0), "{applied:?}");
        let name = format!("w-{}", uuid::Uuid::now_v7().simple());
        let token = project.execute(&["tokens", "create", "--worker", &name]);
        assert_eq!(token.code, Some(0), "{token:?}");
        let mut service = Self {
            project,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            server: None,
            server_said: Arc::default(),
            worker: None,
            address: "127.0.0.1:0".to_owned(),
            token: String::new(),
            worker_token: token.stdout.trim().to_owned(),
            docker_host,
            name,
        };
        service.start_server();
        service
    }

    /// Starts the server, if it does not run, where it was before.
    pub fn start_server(&mut self) {
        if self.server.is_some() {
            return;
        }
        let mut command = self.project.command(&["server", "--listen", &self.address]);
        command.args(&self.options);
        let (child, said) = spawn(command);
        self.server = Some(child);
        self.server_said = Arc::clone(&said);
        let serving = |said: &str| {
            said.split_once("serving at http://")?.1.split_once(',').map(|(to, _)| to.to_owned())
        };
        eventually("the server serves", || serving(&said.lock().unwrap()).is_some());
        self.address = serving(&said.lock().unwrap()).unwrap();
        if self.token.is_empty() {
            eventually("a token", || said.lock().unwrap().contains("not shown again"));
            let said = said.lock().unwrap();
            let after = said.lines().skip_while(|line| !line.contains("with this token")).nth(1);
            let token = after.and_then(|line| line.split_whitespace().next_back());
            token.unwrap_or_else(|| panic!("no token: {said}")).clone_into(&mut self.token);
        }
    }

    pub fn kill_server(&mut self) {
        kill(self.server.take());
    }

    pub fn start_worker(&mut self) {
        let directory = self.project.path().join("worker");
        let mut command = self.project.command(&["worker", "--slots", "4", "--directory"]);
        command.arg(directory);
        command.env("REACTORCIDE_SERVER", format!("http://{}", self.address));
        command.env("REACTORCIDE_WORKER_TOKEN", &self.worker_token);
        command.envs(self.docker_host.iter().map(|host| ("DOCKER_HOST", host)));
        let (child, said) = spawn(command);
        self.worker = Some(child);
        let name = format!("worker {}", self.name);
        eventually("the worker works", || said.lock().unwrap().contains(&name));
    }

    /// As if its machine had lost its power, but for the containers.
    pub fn kill_worker(&mut self) {
        kill(self.worker.take());
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let mut command = self.project.command(arguments);
        command.env("REACTORCIDE_SERVER", format!("http://{}", self.address));
        command.env("REACTORCIDE_TOKEN", &self.token);
        let output = command.output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        let server = self.server_said.lock().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {said}
the server said: {server}"
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Starts a run. Returns its id.
    pub fn start_run(&self) -> String {
        self.ask(&["runs", "start", "p/ci"]).trim().to_owned()
    }

    fn job(&self, run: &str, job: &str) -> Value {
        let detail: Value = serde_json::from_str(&self.ask(&["runs", "show", run, "--json"])).expect("JSON");
        let jobs = detail["jobs"].as_array().expect("jobs");
        jobs.iter().find(|one| one["name"] == job).expect("the job").clone()
    }

    /// What became of a job, once it has ended.
    pub fn end_of(&self, run: &str, job: &str) -> Value {
        eventually("the job's end", || {
            matches!(self.job(run, job)["status"].as_str(), Some("succeeded" | "failed" | "cancelled"))
        });
        self.job(run, job)
    }

    pub fn why(&self, run: &str) -> String {
        self.ask(&["runs", "why", run])
    }

    /// What the last attempt of a job printed.
    pub fn log(&self, run: &str, job: &str) -> String {
        self.ask(&["jobs", "logs", run, job])
    }

    /// Whose the containers are.
    fn owner(&self) -> Option<String> {
        let owners = std::fs::read_dir(self.project.path().join("worker/owners")).ok()?.flatten();
        owners
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .find(|owner| owner.contains(&self.name))
    }

    /// No container, and nothing of a job on the worker's disk.
    pub fn assert_nothing_left(&self) {
        let owner = self.owner().expect("a worker came");
        eventually("no container is left", || list(&["ps", "-aq"], &owner).is_empty());
        let workspaces = self.project.path().join("worker/workspaces").join(owner);
        eventually("no file is left", || {
            std::fs::read_dir(&workspaces).into_iter().flatten().flatten().next().is_none()
        });
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        kill(self.worker.take());
        kill(self.server.take());
        let Some(owner) = self.owner().filter(|_| self.docker_host.is_none()) else { return };
        for (kind, remove) in
            [(&["ps", "-aq"][..], &["rm", "-f"][..]), (&["network", "ls", "-q"], &["network", "rm"])]
        {
            for id in list(kind, &owner) {
                let _ = Command::new("docker").args(remove).arg(id).output();
            }
        }
    }
}

/// What the engine has of an owner.
fn list(kind: &[&str], owner: &str) -> Vec<String> {
    let filter = format!("label=reactorcide.owner={owner}");
    let found = Command::new("docker").args(kind).args(["--filter", &filter]).output().expect("docker");
    String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
}

fn kill(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Starts a process, and keeps what it says.
fn spawn(mut command: Command) -> (Child, Arc<Mutex<String>>) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let said = Arc::new(Mutex::new(String::new()));
    let (stderr, keeping) = (child.stderr.take().expect("piped"), Arc::clone(&said));
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut said = keeping.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    });
    (child, said)
}
