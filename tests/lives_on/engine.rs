//! A container engine of a test's own, which can be killed without anybody else's containers being hurt.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use crate::docker::eventually;

const BUSYBOX: &str = "reactorcide/busybox:local";

/// An engine with one image.
pub struct Engine {
    /// Short, since the path of a socket may have 107 bytes.
    directory: tempfile::TempDir,
    daemon: Option<Child>,
    live_restore: bool,
}

impl Engine {
    /// Starts one whose containers live on without it, or end when it starts again. Nothing where we may not.
    pub fn start(live_restore: bool) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can start a container engine");
            return None;
        }
        let directory =
            tempfile::Builder::new().prefix("rc-engine-").tempdir_in("/tmp").expect("a directory");
        let mut engine = Self { directory, daemon: None, live_restore };
        engine.start_again();
        let archive = engine.path("image.tar");
        let saved = Command::new("docker").args(["save", "-o"]).arg(&archive).arg(BUSYBOX).status();
        assert!(saved.expect("docker is on the PATH: ./dev setup").success());
        assert!(engine.docker(&["load", "-i", archive.to_str().expect("text")]).status.success());
        Some(engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As in DOCKER_HOST.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    pub fn start_again(&mut self) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a log");
        // In a network of its own: an engine removes what another one has made for itself.
        let mut command = Command::new("unshare");
        command.args(["--net", "dockerd", "--data-root"]).arg(self.path("data"));
        command.arg("--exec-root").arg(self.path("exec"));
        command.arg("--pidfile").arg(self.path("pid"));
        command.args(["--bridge", "none", "--iptables=false", "--ip-forward=false", "--host", &self.host()]);
        if self.live_restore {
            command.arg("--live-restore");
        }
        // A killed engine leaves files with process ids, and waits for what it takes for its own.
        for stale in ["pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.path(stale));
        }
        let errors = log.try_clone().expect("a clone");
        let daemon = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.daemon = Some(daemon.expect("dockerd is on the PATH: ./dev setup"));
        eventually("the engine answers", || self.docker(&["version"]).status.success());
    }

    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("killed");
            daemon.wait().expect("it ended");
        }
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        Command::new("docker").args(["--host", &self.host()]).args(arguments).output().expect("docker")
    }

    /// The containers that run.
    pub fn running(&self) -> Vec<String> {
        self.list(&["ps", "-q"])
    }

    /// All containers.
    pub fn all(&self) -> Vec<String> {
        self.list(&["ps", "-aq"])
    }

    fn list(&self, arguments: &[&str]) -> Vec<String> {
        String::from_utf8_lossy(&self.docker(arguments).stdout).lines().map(str::to_owned).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.daemon.is_none() {
            self.start_again();
        }
        for container in self.all() {
            self.docker(&["rm", "-f", &container]);
        }
        if let Some(mut daemon) = self.daemon.take() {
            let pid = rustix::process::Pid::from_child(&daemon);
            // Told to end, it ends what it started.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = daemon.wait();
        }
        // What it mounted for itself.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = self.directory.path().to_str().expect("text");
        for mount in
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(ours))
        {
            let _ = Command::new("umount").arg(mount).output();
        }
    }
}
