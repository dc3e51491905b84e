//! Specs that are none.

use std::io::Write;

use reactorcide_protocol::frame::JobOutcome;
use rstest::rstest;

use crate::support::Runner;

#[rstest]
#[case::nothing("", "no job spec on standard input")]
#[case::blank("\n", "no job spec on standard input")]
#[case::garbage("hello\n", "the job spec is not valid: Syntax error at column 1")]
#[case::cut("{\"v\": 1", "the job spec is not valid: Eof error at column 7")]
#[case::newer(
    "{\"v\": 3, \"new\": true}\n",
    "the job spec has version 3, this runner knows 2: it is too old"
)]
#[case::incomplete(
    "{\"v\": 1, \"secret\": \"hunter22\"}\n",
    "the job spec is not valid: Data error at column 30"
)]
fn refused(#[case] text: &str, #[case] message: &str) {
    let mut runner = Runner::spawn(&[]);
    runner.stdin.write_all(text.as_bytes()).unwrap();
    drop(std::mem::replace(&mut runner.stdin, closed()));
    let done = runner.finish();
    assert_eq!(done.code, Some(64));
    assert_eq!((done.result().outcome, done.result().reason.as_deref()), (JobOutcome::Config, Some(message)));
    assert_eq!(done.errors, format!("reactorcide-runner: {message}\n"));
    assert!(!done.everything().contains("hunter22"));
}

/// Any input that is not the runner's.
fn closed() -> std::process::ChildStdin {
    let mut child =
        std::process::Command::new("true").stdin(std::process::Stdio::piped()).spawn().expect("a process");
    let stdin = child.stdin.take().expect("piped");
    child.wait().expect("a child");
    stdin
}

#[test]
fn the_end_of_standard_input_means_nothing() {
    let job = crate::support::script("until test -e go; do :; done; echo went");
    let mut runner = job.start();
    drop(std::mem::replace(&mut runner.stdin, closed()));
    std::fs::write(job.path("go"), "").unwrap();
    assert_eq!(runner.finish().printed(), "went\n");
}

#[test]
fn usage() {
    let run = |arguments: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_reactorcide-runner"))
            .args(arguments)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    assert_eq!(run(&["--version"]), (Some(0), format!("reactorcide-runner {}\n", env!("CARGO_PKG_VERSION"))));
    assert!(run(&["--help"]).1.contains("cleanup [PATH"));
    assert_eq!(run(&["frobnicate"]).0, Some(64));
}

#[test]
fn cleanup_empties_directories_and_follows_no_link() {
    let directory = tempfile::tempdir().unwrap();
    let (work, kept) = (directory.path().join("work"), directory.path().join("kept"));
    std::fs::create_dir_all(work.join("a/b")).unwrap();
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("file"), "x").unwrap();
    std::fs::write(work.join("a/b/file"), "x").unwrap();
    std::os::unix::fs::symlink(&kept, work.join("link")).unwrap();
    std::os::unix::fs::symlink(&kept, directory.path().join("linked")).unwrap();
    let cleanup = |path: &std::path::Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_reactorcide-runner"));
        command.arg("cleanup").arg(path).output().unwrap().status.code()
    };
    assert_eq!(cleanup(&work), Some(0));
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
    assert_eq!(cleanup(&directory.path().join("linked")), Some(1));
    assert_eq!(cleanup(&directory.path().join("missing")), Some(0));
    assert!(kept.join("file").exists());
}
