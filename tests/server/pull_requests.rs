//! `examples/fork-pull-requests` as its README tells it: a push deploys with the secret, a fork's pull request runs the trusted
//! pipeline on its own code without it, and one of somebody new waits for an approval.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rstest::rstest;

use crate::docker::{Place, eventually};
use crate::server::harness::{Serving, Site};

/// What the forge signs its events with.
pub const WEB_HOOK: &str = "hook-5f0c1d7e93ab42d8";
const TOKEN: &str = "token-91c7ee04b2d65fa8";

/// The example's forge, as a process.
pub struct Forge {
    root: std::path::PathBuf,
    /// Where it serves.
    pub port: String,
    child: Child,
}

impl Drop for Forge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script() -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fork-pull-requests/forge.py"));
    command.env("WEB_HOOK", WEB_HOOK).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
}

impl Forge {
    pub fn start(root: &Path) -> Self {
        let made = script().arg("init").arg(root).output().expect("python3: ./dev setup");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut child =
            script().arg("serve").arg(root).arg("0").stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its address");
        let port = line.trim().rsplit(':').next().expect("a port").to_owned();
        Self { root: root.to_owned(), port, child }
    }

    /// Tells the server what happened; the run that came of it.
    pub fn tells(&self, server: &Serving, what: &str, more: &[&str]) -> String {
        let told = script().args([what, &server.url]).arg(&self.root).arg(&self.port).args(more).output();
        let told = told.expect("python3");
        let shown = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.status.success(), "{shown}");
        let runs = String::from_utf8(told.stdout).expect("text");
        assert_eq!(runs.lines().count(), 1, "{runs} {shown}");
        runs.trim().to_owned()
    }

    /// Adds a commit with these files to a branch of a repository.
    pub fn commits(&self, repository: &str, branch: &str, files: &[(&str, &str)]) {
        let work = self.root.join("work").join(repository);
        for (path, content) in files {
            std::fs::write(work.join(path), content).expect("a file");
        }
        let target = format!("HEAD:refs/heads/{branch}");
        for arguments in [
            &["add", "-A"][..],
            &["commit", "--quiet", "-m", "a change"],
            &["push", "--quiet", "origin", &target],
        ] {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=A", "-c", "user.email=a@example.com"]).args(arguments);
            let done = git.current_dir(&work).env("GIT_CONFIG_GLOBAL", "/dev/null").output().expect("git");
            assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
    }

    /// The commit that a branch of a repository has.
    pub fn tip(&self, repository: &str, branch: &str) -> String {
        let output = Command::new("git")
            .args(["-c", "safe.directory=*", "-C"])
            .arg(self.root.join(repository))
            .args(["rev-parse", branch])
            .output()
            .expect("git");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }
}

/// Gives a secret its value.
pub fn set(site: &Site, server: &Serving, name: &str, value: &str) {
    let mut command = site.asking(&server.url, &site.token, &["secret", "set", name, "--from-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    writeln!(child.stdin.take().expect("it is piped"), "{value}").expect("it is written");
    assert!(child.wait().expect("it ends").success(), "{name}");
}

/// The logs of both jobs of a run that has ended well.
fn logs(site: &Site, server: &Serving, run: &str) -> (String, String) {
    let ended = || !matches!(site.run(server, run)["status"].as_str(), Some("running" | "waiting"));
    eventually("it has ended", ended);
    let why = site.say(server, &["runs", "why", run]);
    assert_eq!(site.run(server, run)["status"], "succeeded", "{why}");
    let log = |job: &str| site.say(server, &["jobs", "logs", run, job]);
    (log("test"), log("deploy"))
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn outsiders_run_the_trusted_pipeline_and_reach_no_secret(#[case] place: Place) {
    let directory = tempfile::tempdir().expect("a directory");
    let forge = Forge::start(&directory.path().join("forge"));
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fork-pull-requests/.reactorcide/all.yaml");
    let configuration = std::fs::read_to_string(example).expect("the example").replace("8418", &forge.port);
    let project = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n";
    let mut site = Site::with_files(&[(".reactorcide/all.yaml", project)], place);
    site.project.write(".reactorcide/all.yaml", &configuration);
    let applied = site.project.execute(&["apply", "--auto-approve", "--accept-findings"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let key = site.project.path().join("master-key");
    std::fs::write(&key, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").expect("a key");
    let source = format!("file:{}", key.display());
    let server = site.server(&["--master-key", &source]);
    let _worker = site.worker(&server, &[]);
    set(&site, &server, "web-hook", WEB_HOOK);
    set(&site, &server, "deploy/production", TOKEN);

    let pushed = forge.tells(&server, "push", &[]);
    let (test, deploy) = logs(&site, &server, &pushed);
    assert!(test.contains("testing 1") && test.contains("the token is <not here>"), "{test}");
    assert!(deploy.contains("deploying 1 with ***"), "{deploy}");

    // The fork's own policy and pipeline are files like any other.
    let proposed = forge.tells(&server, "pull-request", &["12"]);
    let (test, deploy) = logs(&site, &server, &proposed);
    assert!(test.contains("testing mallory's") && test.contains("kind: SecretPolicy"), "{test}");
    assert!(test.contains("the token is <not here>"), "{test}");
    assert!(deploy.contains("nothing to deploy with"), "{deploy}");
    for log in [&test, &deploy] {
        assert!(!log.contains(TOKEN) && !log.contains("***"), "{log}");
    }

    let waits = forge.tells(&server, "pull-request", &["13", "--first-time"]);
    let shown = site.say(&server, &["runs", "show", &waits]);
    assert!(
        shown.contains("approval: TrustPolicy/outsiders, rule 1") && shown.contains("mallory"),
        "{shown}"
    );
    let head = forge.tip("mallory/web.git", "main");
    let of_another = ["approve", "--project", "web", "--pull-request", "13", "--head", &"0".repeat(40)];
    assert!(site.ask(&server, &of_another).code != Some(0));
    let approved =
        site.say(&server, &["approve", "--project", "web", "--pull-request", "13", "--head", &head]);
    assert!(approved.contains(&waits), "{approved}");
    let (test, _) = logs(&site, &server, &waits);
    assert!(test.contains("testing mallory's"), "{test}");
    let again = site.ask(&server, &["approve", &waits]);
    assert!(again.code != Some(0) && again.stderr.contains("nothing of the run waits"), "{again:?}");
}
