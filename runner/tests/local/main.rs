//! The commands that run a job where the runner is, on this machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

/// A directory to work in, with a repository of two branches.
struct Place {
    directory: TempDir,
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().expect("a directory") };
        let repo = place.path("repo");
        fs::create_dir(&repo).expect("a directory");
        git(&repo, &["init", "--quiet", "-b", "main"]);
        place.commit("file", "main");
        git(&repo, &["checkout", "--quiet", "-b", "feature"]);
        place.commit("file", "feature");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn commit(&self, file: &str, content: &str) {
        let repo = self.path("repo");
        fs::write(repo.join(file), content).expect("a file");
        git(&repo, &["add", "-A"]);
        git(&repo, &["commit", "--quiet", "-m", content]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reactorcide-runner"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the runner runs")
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_job_runs_with_its_source_and_says_what_follows() {
    let place = Place::new();
    let command = "cat file; echo; $REACTORCIDE_RUNNER trigger deploy --env T=x --depends-on job; $REACTORCIDE_RUNNER trigger other --image i --command 'echo it'; $REACTORCIDE_RUNNER next e2e --reason 'tests passed'";
    let output = place.run(&[
        "run",
        "--on-host",
        "--git-url",
        "repo",
        "--git-ref",
        "feature",
        "--job-command",
        command,
    ]);
    assert_eq!(out(&output), "feature\n", "{}", err(&output));
    assert_eq!(output.status.code(), Some(0));
    let said = err(&output);
    let list = "📋 Next jobs to run:\n  → deploy (waiting on: job - all complete)\n  → other\n  → e2e (tests passed)\n\nRun the next job:\n  $ reactorcide run PIPELINE --job deploy\n  $ reactorcide run --image i --job-command 'echo it'\n  $ reactorcide run PIPELINE --job e2e\n";
    assert!(said.contains("✓ Job: job (success)") && said.ends_with(list), "{said}");
    assert!(place.path("job/src/file").exists(), "the workspace is ./job");
    assert!(!place.path("job/.reactorcide").exists());
}

#[test]
fn a_job_file_is_run_and_arguments_go_over_it() {
    let place = Place::new();
    fs::write(
        place.path("job.yaml"),
        "job_command: \"echo $NODE_ENV $API_KEY; pwd; exit 3\"\ncode_dir: /job/src\njob_env: {NODE_ENV: test}\ngit: {url: repo, ref: main}\nsecrets:\n  - {name: API_KEY, value: secret123}\n",
    )
    .expect("a file");
    let output = place.run(&["run-job", "job.yaml", "--on-host"]);
    let workspace = place.path("job/src").canonicalize().expect("a directory");
    assert_eq!(out(&output), format!("test ***\n{}\n", workspace.display()));
    assert_eq!(output.status.code(), Some(3));
    let output = place.run(&["run-job", "job.yaml", "--on-host", "--job-command", "cat file"]);
    assert_eq!(out(&output), "main");
    let output = place
        .command(&["run-job", "job.yaml", "--on-host"])
        .env("REACTORCIDE_TIMEOUT", "1")
        .arg("--job-command")
        .arg("sleep 60")
        .output();
    assert_eq!(
        output.expect("it runs").status.code(),
        Some(124),
        "a variable counts where nothing else says it"
    );
}

#[test]
fn steps_have_their_own_lines() {
    let place = Place::new();
    fs::write(place.path("job.yaml"), "steps:\n- {name: a, run: 'echo one; echo two >&2'}\n- {name: b, run: ['false'], depends_on: [a]}\n- {name: c, run: echo never}\n").expect("a file");
    let output = place.run(&["run-job", "job.yaml", "--on-host"]);
    assert_eq!(out(&output), "a | one\n");
    let said = err(&output);
    assert!(
        said.contains("a | two\n")
            && said.contains("✗ Step: b (failed")
            && said.contains("- Step: c (skipped"),
        "{said}"
    );
    assert!(said.contains("✗ Job: job (failed): step \"b\" exited with code 1"), "{said}");
    let frames = place.run(&["run-job", "job.yaml", "--on-host", "--format", "json"]);
    let last = out(&frames).lines().last().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert_eq!(last.expect("a frame")["type"], "result");
}

#[test]
fn every_value_is_shown_with_where_it_came_from_and_no_secret() {
    let place = Place::new();
    let output = place
        .command(&[
            "config",
            "--job-command",
            "x",
            "--job-env",
            "API_TOKEN=t0ken-value,MODE=fast",
            "--source-url",
            "https://me:pa55@example.com/x",
            "--format",
            "json",
        ])
        .env("REACTORCIDE_CODE_DIR", "src/sub")
        .output()
        .expect("it runs");
    let shown: Value = serde_json::from_str(&out(&output)).expect("JSON");
    assert_eq!(shown["config"]["job_command"]["origin"]["argument"], "--job-command");
    assert_eq!(shown["config"]["code_dir"]["origin"]["environment"], "REACTORCIDE_CODE_DIR");
    assert_eq!(shown["config"]["job_dir"]["origin"], "default");
    assert_eq!(shown["config"]["job_env.API_TOKEN"]["value"], "***");
    assert_eq!(shown["config"]["job_env.MODE"]["value"], "fast");
    assert!(!out(&output).contains("pa55") && !out(&output).contains("t0ken"), "{}", out(&output));
    let dry = place.run(&["run", "--dry-run", "--job-command", "make it", "--secret", "TOKEN=env:HOME"]);
    assert_eq!(dry.status.code(), Some(64), "a variable that is not set is said at once");
    let dry = place.run(&["run", "--dry-run", "--job-command", "make it"]);
    assert!(
        out(&dry).contains("sh -e -c 'make it'") && out(&dry).contains("Nothing was run."),
        "{}",
        out(&dry)
    );
}

#[rstest]
#[case(&["run", "--on-host"], "there is nothing to run", 78)]
#[case(&["run", "--on-host", "--job-command", "x", "--code-dir", "../.."], "is not a path inside", 78)]
#[case(&["run", "--on-host", "--job-command", "x", "--code-dir", "/etc"], "is not inside", 78)]
#[case(&["run", "--on-host", "--job-command", "x", "--job-env", "missing.env"], "does not exist", 78)]
#[case(&["run", "--on-host", "--job-command", "x", "--git-url", "--upload-pack=id"], "begins with a dash", 78)]
#[case(&["run", "--on-host", "--job-command", "x", "--git-url", "ext::id"], "the transport", 78)]
#[case(&["run", "--on-host", "--job-command", "x", "--git-url", "repo", "--git-ref=-x"], "begins with a dash", 78)]
#[case(&["run", "--on-host", "--job-command", "x", "--git-url", "repo", "--git-ref", "nope"], "there is no nope in", 1)]
#[case(&["run", "--on-host", "--job-command", "x", "--source-type", "cvs", "--source-url", "x"], "there is no source type", 78)]
#[case(&["run", "--image", "x"], "`reactorcide run --image IMAGE`", 64)]
#[case(&["run", "--nonsense"], "--nonsense", 64)]
#[case(&["run-job"], "say which", 64)]
#[case(&["run-job", "missing.yaml"], "cannot be read", 64)]
#[case(&["checkout"], "there is no source", 64)]
#[case(&["checkout", "--source-type", "tarball", "--source-url", "https://example.com/x.tgz"], "looks up no host names", 78)]
#[case(&["git", "files-changed"], "say since when", 64)]
#[case(&["git", "files-changed", "--since", "--output=x"], "begins with a dash", 64)]
#[case(&["git", "info", "-C", "/"], "not a git repository", 1)]
fn mistakes_are_explained(#[case] arguments: &[&str], #[case] message: &str, #[case] code: i32) {
    let place = Place::new();
    let output = place.run(arguments);
    assert!(err(&output).contains(message), "{}", err(&output));
    assert_eq!(output.status.code(), Some(code), "{}", err(&output));
}

#[test]
fn a_file_of_variables_is_no_way_out_of_the_workspace() {
    let place = Place::new();
    fs::create_dir(place.path("job")).expect("a directory");
    fs::write(place.path("job/job.env"), "A=from-file\nB=\"quoted\"\n").expect("a file");
    let output = place.run(&["run", "--on-host", "--job-command", "echo $A $B", "--job-env", "job.env"]);
    assert_eq!(out(&output), "from-file quoted\n", "{}", err(&output));
    symlink("/etc/passwd", place.path("job/link.env")).expect("a link");
    let output = place.run(&["run", "--on-host", "--job-command", "x", "--job-env", "link.env"]);
    assert!(err(&output).contains("it is a symbolic link"), "{}", err(&output));
}

#[test]
fn workspaces_are_filled_and_emptied() {
    let place = Place::new();
    fs::write(place.path("repo/.gitignore"), "built\n").expect("a file");
    fs::write(place.path("repo/built"), "").expect("a file");
    symlink("/etc", place.path("repo/link")).expect("a link");
    let output = place.run(&["copy", "repo", "--job-dir", &place.path("w").display().to_string()]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(
        place.path("w/src/file").exists()
            && !place.path("w/src/built").exists()
            && !place.path("w/src/.git").exists()
    );
    assert_eq!(fs::read_link(place.path("w/src/link")).expect("a link"), Path::new("/etc"));
    let job_dir = place.path("w").display().to_string();
    let output = place.run(&["checkout", "--git-url", "repo", "--git-ref", "main", "--job-dir", &job_dir]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(fs::read_to_string(place.path("w/src/file")).expect("a file"), "main");
    assert!(!place.path("w/src/link").exists(), "what was there is gone");
    assert!(place.run(&["cleanup", "--job-dir", &job_dir]).status.success());
    assert_eq!(fs::read_dir(place.path("w")).expect("a directory").count(), 0);
    let home = place.directory.path().display().to_string();
    let output = place.run(&["cleanup", "--job-dir", &home]);
    assert_eq!(output.status.code(), Some(64), "what is no workspace is not emptied");
    assert!(place.path("repo/file").exists());
}

#[test]
fn mercurial_and_subversion_are_fetched_with_their_tools() {
    let place = Place::new();
    let run = |program: &str, arguments: &[&str], at: &str| {
        let status = Command::new(program)
            .args(arguments)
            .current_dir(place.path(at))
            .env("HGUSER", "t")
            .env("HGRCPATH", "/dev/null")
            .status();
        assert!(status.expect("it runs").success());
    };
    run("hg", &["init", "hgrepo"], "");
    fs::write(place.path("hgrepo/file"), "from hg").expect("a file");
    run("hg", &["commit", "-q", "-A", "-m", "x"], "hgrepo");
    run("svnadmin", &["create", "svnrepo"], "");
    let url = format!("file://{}", place.path("svnrepo").display());
    fs::create_dir(place.path("import")).expect("a directory");
    fs::write(place.path("import/file"), "from svn").expect("a file");
    run("svn", &["import", "-q", "-m", "x", "import", &format!("{url}/trunk")], "");
    for (kind, url) in [("hg", place.path("hgrepo").display().to_string()), ("svn", format!("{url}/trunk"))] {
        let output = place.run(&[
            "run",
            "--on-host",
            "--source-type",
            kind,
            "--source-url",
            &url,
            "--job-command",
            "cat file",
        ]);
        assert_eq!(out(&output), format!("from {kind}"), "{}", err(&output));
    }
    let output = place
        .command(&["checkout", "--source-type", "svn", "--source-url", &url])
        .env("PATH", "/nowhere")
        .output();
    assert!(err(&output.expect("it runs")).contains("svn is not installed here"));
}

#[test]
fn repositories_are_asked() {
    let place = Place::new();
    place.commit("new ä", "more");
    fs::write(place.path("repo/untracked"), "").expect("a file");
    let info: Value =
        serde_json::from_str(&out(&place.run(&["git", "info", "-C", "repo", "--format", "json"])))
            .expect("JSON");
    assert_eq!(
        (&info["branch"], &info["dirty"], &info["subject"]),
        (&"feature".into(), &true.into(), &"more".into())
    );
    let changed = place.run(&["git", "files-changed", "-C", "repo", "--since", "main"]);
    assert_eq!(out(&changed), "file\nnew ä\nuntracked\n", "{}", err(&changed));
    let changed = place.run(&["git", "files-changed", "-C", "repo", "--since", "HEAD~1", "--format", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&out(&changed)).expect("JSON"),
        serde_json::json!(["new ä", "untracked"])
    );
    assert_eq!(out(&place.run(&["git", "commits", "-C", "repo", "--since", "main"])).lines().count(), 2);
    git(&place.path("repo"), &["tag", "v1"]);
    assert_eq!(out(&place.run(&["git", "tags", "-C", "repo"])), "v1\n");
}

#[test]
fn a_signal_ends_the_job_and_not_only_the_command() {
    let place = Place::new();
    let mut child = place
        .command(&[
            "run",
            "--on-host",
            "--job-command",
            "trap 'echo ended; exit 1' TERM; touch ready; sleep 60 & wait",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let begun = std::time::Instant::now();
    while !place.path("job/ready").exists() {
        assert!(begun.elapsed().as_secs() < 30, "the job does not begin");
        std::thread::yield_now();
    }
    assert!(
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs").success()
    );
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(143));
    let mut printed = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().expect("piped"), &mut printed).expect("text");
    assert_eq!(printed, "ended\n");
}

#[test]
fn somebodys_own_directory_is_not_taken_for_a_workspace() {
    let place = Place::new();
    fs::create_dir_all(place.path("job/src")).expect("a directory");
    fs::write(place.path("job/src/precious"), "").expect("a file");
    let output = place.run(&["run", "--on-host", "--git-url", "repo", "--job-command", "true"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(err(&output).contains("is there already, and not in a workspace of ours"), "{}", err(&output));
    assert!(place.path("job/src/precious").exists());
    let output = place.run(&[
        "run",
        "--on-host",
        "--git-url",
        "repo",
        "--job-dir",
        &place.path("w").display().to_string(),
        "--job-command",
        "true",
    ]);
    assert!(output.status.success(), "{}", err(&output));
}
