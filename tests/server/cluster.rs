//! `deploy/cluster/cluster`: a PostgreSQL, two servers and three workers by one command, as its README says.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::docker::{Project, eventually};
use crate::server::harness::BUSYBOX;

/// A cluster, until it is dropped.
struct Cluster {
    /// Where PostgreSQL's user can reach it.
    directory: tempfile::TempDir,
    port: u16,
}

impl Cluster {
    fn new() -> Self {
        let directory =
            tempfile::Builder::new().prefix("rc-cluster-").tempdir_in("/tmp").expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        Self { directory, port: listener.local_addr().expect("it has one").port() }
    }

    fn call(&self, what: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/cluster/cluster");
        let mut command = Command::new(script);
        command.arg(what).arg(self.directory.path().join("data")).env_remove("REACTORCIDE_STATE");
        command.env("REACTORCIDE_BINARY", env!("CARGO_BIN_EXE_reactorcide"));
        command.env("REACTORCIDE_PORT", self.port.to_string());
        command.output().expect("the script")
    }

    fn well(&self, what: &str) -> String {
        let output = self.call(what);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.call("down");
    }
}

#[test]
fn one_command_starts_it_and_one_ends_it() {
    let cluster = Cluster::new();
    assert!(!cluster.call("status").status.success(), "there is nothing yet");
    cluster.well("up");
    let said = cluster.well("up");
    assert_eq!(said.matches(" runs\n").count(), 5, "what runs is left alone: {said}");

    let project = Project::with_jobs(&format!("    say: {{image: '{BUSYBOX}', command: 'echo heard'}}\n"));
    let token = std::fs::read_to_string(cluster.directory.path().join("data/admin.token")).expect("a token");
    let ask = |server: u16, arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env("REACTORCIDE_SERVER", format!("http://127.0.0.1:{}", cluster.port + server));
        let ended = crate::docker::ended(
            command.env("REACTORCIDE_TOKEN", token.trim()).output().expect("the binary"),
        );
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    };
    ask(0, &["apply", "--auto-approve"]);
    let runs: Vec<String> =
        (0..6).map(|n| ask(n % 2, &["runs", "start", "p/ci"]).trim().to_owned()).collect();
    for run in &runs {
        eventually("it succeeded", || {
            ask(0, &["runs", "show", run, "--json"]).contains(r#""status":"succeeded""#)
        });
        assert_eq!(ask(1, &["jobs", "logs", run, "say"]), "heard\n");
    }
    assert_eq!(ask(1, &["workers", "list"]).matches(" active ").count(), 3);

    // One that is killed is started again, and nothing else.
    let pid = std::fs::read_to_string(cluster.directory.path().join("data/run/server-2.pid")).expect("a pid");
    assert!(Command::new("kill").args(["-KILL", pid.trim()]).status().expect("kill").success());
    eventually("it is gone", || !cluster.call("status").status.success());
    let said = cluster.well("up");
    assert_eq!(said.matches(" runs\n").count(), 4, "{said}");
    ask(1, &["runs", "list"]);

    cluster.well("down");
    assert!(!cluster.call("status").status.success());
}
