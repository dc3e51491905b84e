//! A PostgreSQL of a test's own, which can be stopped, killed, frozen and starved without anybody else being hurt.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::docker::{children_of, eventually};

/// A cluster in a directory of its own.
pub struct Postgres {
    /// Short, since the path of a socket may have 107 bytes.
    directory: tempfile::TempDir,
    programs: PathBuf,
    /// More of its settings, as `name=value`.
    settings: Vec<String>,
    postmaster: Option<Child>,
}

impl Postgres {
    /// Starts one with these settings.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_in(
            tempfile::Builder::new().prefix("rc-pg-").tempdir_in("/tmp").expect("a directory"),
            settings,
        )
    }

    /// The same in a directory.
    pub fn start_in(directory: tempfile::TempDir, settings: &[&str]) -> Self {
        let versions =
            std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: ./dev setup");
        let newest = versions.flatten().map(|version| version.path().join("bin")).max().expect("a version");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut postgres = Self { directory, programs: newest, settings, postmaster: None };
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(postgres.directory.path(), mode).expect("a mode");
        for part in ["data", "socket"] {
            let part = postgres.directory.path().join(part);
            std::fs::create_dir(&part).expect("a directory");
            std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o700)).expect("a mode");
            if let Some((uid, gid)) = other_user() {
                chown(&part, Some(uid), Some(gid)).expect("its owner");
            }
        }
        let mut make = postgres.command("initdb");
        make.args(["--username", "reactorcide", "--auth", "trust", "--no-sync", "--pgdata"])
            .arg(postgres.data());
        let made = make.output().expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        postgres.start_again();
        postgres
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Where it is, with a schema of its own.
    pub fn url(&self) -> String {
        format!("postgres://reactorcide@localhost/postgres?host={}&schema=it", self.socket().display())
    }

    /// PostgreSQL refuses to run as root: there its own user runs it.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match other_user() {
            None => Command::new(program),
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command.args([
                    "--reuid",
                    &uid.to_string(),
                    "--regid",
                    &gid.to_string(),
                    "--clear-groups",
                    "--",
                ]);
                command.arg(program);
                command
            }
        };
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    pub fn start_again(&mut self) {
        // Children of one that was killed need a moment to notice; until then a new one refuses to start.
        eventually("PostgreSQL starts", || {
            let ended = match &mut self.postmaster {
                Some(postmaster) => postmaster.try_wait().is_ok_and(|ended| ended.is_some()),
                None => true,
            };
            if ended {
                let mut command = self.command("postgres");
                command
                    .arg("-D")
                    .arg(self.data())
                    .arg("-k")
                    .arg(self.socket())
                    .args(["-c", "listen_addresses="]);
                command.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
                let log = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(self.directory.path().join("log"));
                command.stdout(Stdio::null()).stderr(log.expect("a log"));
                self.postmaster = Some(command.spawn().expect("postgres"));
            }
            self.query("select 1").is_ok()
        });
    }

    /// What a query says.
    pub fn query(&self, query: &str) -> Result<String, String> {
        let output =
            self.client().args(["--tuples-only", "--no-align", "--command", query]).output().expect("psql");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// A client that a test starts.
    pub fn client(&self) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command.arg("--host").arg(self.socket()).args([
            "--username",
            "reactorcide",
            "--no-psqlrc",
            "--dbname",
            "postgres",
        ]);
        command.env("PGCONNECT_TIMEOUT", "2").stdin(Stdio::null());
        command
    }

    /// Ends it as an operator does, without waiting for anybody.
    pub fn stop(&mut self) {
        self.signal("INT", false);
        self.postmaster.take().expect("it runs").wait().expect("it ends");
    }

    /// Kills it and all its children.
    pub fn kill(&mut self) {
        self.signal("KILL", true);
        self.postmaster.take().expect("it runs").wait().expect("it ended");
    }

    /// It takes what is sent, and answers nothing.
    pub fn freeze(&self) {
        self.signal("STOP", true);
    }

    pub fn thaw(&self) {
        self.signal("CONT", true);
    }

    fn signal(&self, name: &str, everybody: bool) {
        let postmaster = self.postmaster.as_ref().expect("it runs").id();
        let mut who = vec![postmaster.to_string()];
        if everybody {
            who.extend(children_of(postmaster));
        }
        let _ = Command::new("kill").arg(format!("-{name}")).args(who).stderr(Stdio::null()).status();
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.postmaster.is_some() {
            self.thaw();
            self.kill();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("-- the end of PostgreSQL's log, backwards:\n{}", tail.join("\n"));
        }
    }
}

/// The user that runs it where we may not.
fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("users");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user postgres");
    let mut fields = line.split(':').skip(2).map(|id| id.parse().expect("an id"));
    Some((fields.next().expect("a uid"), fields.next().expect("a gid")))
}
