//! What tests on a real container engine share: a project directory, the binary, and the check that nothing is left.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A directory with a configuration, in an environment of its own.
pub struct Project {
    directory: tempfile::TempDir,
    /// Where its state is, if not in its directory.
    pub state: Option<String>,
    /// What else is in its environment.
    variables: Vec<(&'static str, String)>,
}

/// Where the state of a project is.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// In its directory.
    Sqlite,
    /// In a schema of its own of the PostgreSQL that `./dev setup` starts.
    Postgres,
}

/// An empty directory. Its name does not begin with a dot, as few directories of projects do: the globs of editors do not
/// look into such.
fn new_directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("project-").tempdir().expect("a directory")
}

/// How a command ended, as text.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Project {
    /// A project `p` with a pipeline `ci` of these jobs, as YAML indented by four blanks.
    pub fn with_jobs(jobs: &str) -> Self {
        Self::with_files(&[(
            ".reactorcide/ci.yaml",
            &format!(
                "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
                 apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n{jobs}"
            ),
        )])
    }

    /// A directory with nothing in it.
    pub fn empty() -> Self {
        Self::with_files(&[])
    }

    pub fn with_files(files: &[(&str, &str)]) -> Self {
        let project = Self { directory: new_directory(), state: None, variables: Vec::new() };
        files.iter().for_each(|(path, text)| project.write(path, text));
        project
    }

    /// A copy of a directory of this repository.
    pub fn copy_of(directory: &str) -> Self {
        let project = Self { directory: new_directory(), state: None, variables: Vec::new() };
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory).join(".");
        let status = Command::new("cp").arg("-R").arg(from).arg(project.path()).status().expect("cp");
        assert!(status.success());
        project
    }

    /// The same with its state elsewhere.
    pub fn at(mut self, place: Place) -> Self {
        if let Place::Postgres = place {
            let server = std::env::var("REACTORCIDE_TEST_POSTGRES").unwrap_or_else(|_| {
                let user = rustix::process::getuid().as_raw();
                format!("postgres://reactorcide@localhost/postgres?host=/tmp/reactorcide-postgres-{user}")
            });
            let mark = if server.contains('?') { '&' } else { '?' };
            self.state = Some(format!("{server}{mark}schema=test_{}", uuid::Uuid::now_v7().simple()));
        }
        self
    }

    /// The same with its state there.
    pub fn with_state(mut self, url: &str) -> Self {
        self.state = Some(url.to_owned());
        self
    }

    /// The same with its state named, so that other configurations can be planned against it too.
    pub fn with_named_state(mut self) -> Self {
        let file = self.path().join(".reactorcide-state/state.db");
        self.state.get_or_insert_with(|| format!("sqlite:{}", file.display()));
        self
    }

    /// The same with a variable in its environment.
    pub fn with_variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reactorcide"));
        command.args(arguments).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.path());
        command.env("USER", "tester");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.envs(self.state.as_ref().map(|state| ("REACTORCIDE_STATE", state)));
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        command
    }

    pub fn execute(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().expect("the binary starts"))
    }

    /// `run ci --from-config .` and more; afterwards nothing may be left.
    pub fn run(&self, more: &[&str]) -> Ended {
        let mut arguments = vec!["run", "ci", "--from-config", "."];
        arguments.extend(more);
        let ended = self.execute(&arguments);
        self.assert_nothing_left();
        ended
    }

    /// Starts a run whose end the test waits for by itself.
    pub fn start(&self, more: &[&str]) -> Child {
        let mut arguments = vec!["run", "ci", "--from-config", "."];
        arguments.extend(more);
        self.command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }

    /// No container of a run of this project exists, and no workspace.
    pub fn assert_nothing_left(&self) {
        let workspaces = self.path().join(".reactorcide-state/workspaces");
        let left: Vec<PathBuf> = std::fs::read_dir(&workspaces)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "workspaces");
        let database = self.execute(&["runs", "--json"]);
        for line in database.stdout.lines() {
            let run: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let id = run["id"].as_str().expect("an id");
            for kind in [&["ps", "-aq"][..], &["network", "ls", "-q"]] {
                let filter = format!("label=reactorcide.owner=rc-{id}");
                let found =
                    Command::new("docker").args(kind).args(["--filter", &filter]).output().expect("docker");
                assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{kind:?} of run {id}");
            }
        }
    }
}

/// Waits for a child and takes what it printed.
pub fn wait(child: Child) -> Ended {
    ended(child.wait_with_output().expect("it ends"))
}

/// What a process gave, as text.
pub fn ended(output: Output) -> Ended {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Sends a signal to a child.
pub fn signal(child: &Child, name: &str) {
    let status =
        Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().expect("kill");
    assert!(status.success());
}

/// The ids of the processes that a process has started.
pub fn children_of(parent: u32) -> Vec<String> {
    let tasks = std::fs::read_dir("/proc").expect("/proc").flatten();
    let is_child = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which may hold anything: the state, then the parent.
        let parent_of =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parent_of == Some(parent)
    };
    tasks.map(|task| task.file_name().to_string_lossy().into_owned()).filter(is_child).collect()
}

/// Looks again and again until it holds.
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(Duration::from_secs(60), what, holds);
}

/// The same for what takes its time.
pub fn within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The running containers of a run of a project, by the job's name.
pub fn running(job: &str) -> Vec<String> {
    let filter = format!("label=reactorcide.job={job}");
    let found = Command::new("docker").args(["ps", "-q", "--filter", &filter]).output();
    let found = found.expect("docker is on the PATH: ./dev setup");
    String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
}
