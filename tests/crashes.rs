//! An apply that is killed, or whose disk is full or broken, at any of its writes: the old state or the new one, never
//! a mix, and the next apply comes through. The system calls are made to fail by `strace`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use rstest::rstest;

use crate::docker::{Ended, Project, ended};

const JOB: &str = "    build: {image: 'debian:12', command: make}\n";
const LATER: &str = "    build: {image: 'debian:12', command: make all}\n    check: {image: 'debian:12', command: make check}\n";

/// The files of a state.
const STATE: [&str; 6] =
    ["", "/state.db", "/state.db-wal", "/state.db-shm", "/state.db-journal", "/.gitignore"];

/// No apply writes more often than this in one thread.
const MOST: usize = 400;

/// What was there before.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Applied,
}

/// A project whose apply would change something.
fn project(before: Before) -> Project {
    let project = Project::with_jobs(JOB);
    if before == Before::Applied {
        assert_eq!(project.execute(&["apply", "--auto-approve"]).code, Some(0));
        let text = std::fs::read_to_string(project.path().join(".reactorcide/ci.yaml")).expect("the file");
        project.write(".reactorcide/ci.yaml", &text.replace(JOB, LATER));
    }
    project
}

/// An apply in which a system call on the state is tampered with, and whether it came to that.
pub fn tampered(project: &Project, call: &str, fault: &str) -> (Ended, bool) {
    tampered_on(project, call, fault, true)
}

/// The same on any file or socket, or on the state's alone.
pub fn tampered_on(project: &Project, call: &str, fault: &str, on_state: bool) -> (Ended, bool) {
    let apply = project.command(&["apply", "--auto-approve"]);
    let log = project.path().join("strace.log");
    let mut command = Command::new("strace");
    command
        .arg("-f")
        .arg("-o")
        .arg(&log)
        .arg(format!("--trace={call}"))
        .arg(format!("--inject={call}:{fault}"));
    let names: &[&str] = if on_state { &STATE } else { &[] };
    for name in names {
        command.arg("-P").arg(format!("{}/.reactorcide-state{name}", directory(project).display()));
    }
    command.arg(apply.get_program()).args(apply.get_args()).current_dir(project.path()).env_clear();
    command.envs(apply.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = ended(command.output().expect("strace is there: ./dev setup"));
    let log = std::fs::read_to_string(log).expect("what strace saw");
    (ended, log.contains("INJECTED") || log.contains("killed by SIGKILL"))
}

fn directory(project: &Project) -> PathBuf {
    project.path().canonicalize().expect("the directory")
}

/// All that is applied, by address with its content, and how many changes led there.
fn applied(project: &Project) -> String {
    let list = project.execute(&["state", "list", "--json"]);
    assert_eq!(list.code, Some(0), "{list:?}");
    let list: serde_json::Value = serde_json::from_str(&list.stdout).expect("JSON");
    let mut text = format!("serial {}", list["serial"]);
    for one in list["resources"].as_array().expect("resources") {
        let _ = write!(text, "; {} {} {}", one["address"], one["generation"], one["fingerprint"]);
    }
    let history = project.execute(&["history", "--json"]);
    let history: serde_json::Value = serde_json::from_str(&history.stdout).expect("JSON");
    let _ = write!(text, "; {} changes", history["changes"].as_array().expect("changes").len());
    text
}

/// Old or new, whole, and the next apply leads to the new.
fn assert_recovers(project: &Project, what: &str, old: &str, new: &str) {
    let now = applied(project);
    assert!(now == old || now == new, "{what}: neither the old state nor the new one\n{now}\n{old}\n{new}");
    let again = project.execute(&["apply", "--auto-approve"]);
    assert_eq!(again.code, Some(0), "{what}: {again:?}");
    assert_eq!(applied(project), new, "{what}");
    let check = Command::new("sqlite3")
        .arg(directory(project).join(".reactorcide-state/state.db"))
        .arg("pragma integrity_check")
        .output()
        .expect("sqlite3 is there: ./dev setup");
    assert_eq!(String::from_utf8_lossy(&check.stdout).trim(), "ok", "{what}");
}

/// The state before and after an apply that nothing disturbs.
fn old_and_new(before: Before) -> (String, String) {
    let project = project(before);
    let old = applied(&project);
    assert_eq!(project.execute(&["apply", "--auto-approve"]).code, Some(0));
    (old, applied(&project))
}

#[rstest]
#[case(Before::Nothing, "pwrite64")]
#[case(Before::Nothing, "fsync")]
#[case(Before::Nothing, "openat")]
#[case(Before::Nothing, "write")]
#[case(Before::Nothing, "unlink")]
#[case(Before::Applied, "pwrite64")]
#[case(Before::Applied, "fsync")]
#[case(Before::Applied, "ftruncate")]
#[case(Before::Applied, "unlink")]
fn killed_at_every_write(#[case] before: Before, #[case] call: &str) {
    let (old, new) = old_and_new(before);
    let mut seen = 0;
    for number in 1..MOST {
        let project = project(before);
        let (ended, came) = tampered(&project, call, &format!("signal=KILL:when={number}"));
        if !came {
            assert_eq!(ended.code, Some(0), "{ended:?}");
            break;
        }
        seen += 1;
        assert_recovers(&project, &format!("killed at {call} {number}"), &old, &new);
    }
    assert!((1..MOST - 1).contains(&seen), "{seen} times {call}");
}

#[rstest]
#[case(Before::Nothing, "pwrite64", "ENOSPC")]
#[case(Before::Nothing, "fsync", "EIO")]
#[case(Before::Nothing, "write", "ENOSPC")]
#[case(Before::Applied, "pwrite64", "ENOSPC")]
#[case(Before::Applied, "pwrite64", "EIO")]
#[case(Before::Applied, "fsync", "EIO")]
#[case(Before::Applied, "ftruncate", "ENOSPC")]
fn the_disk_fails_from_any_write_on(#[case] before: Before, #[case] call: &str, #[case] error: &str) {
    let (old, new) = old_and_new(before);
    let mut seen = 0;
    for number in 1..MOST {
        let project = project(before);
        let (ended, came) = tampered(&project, call, &format!("error={error}:when={number}+"));
        if !came {
            assert_eq!(ended.code, Some(0), "{ended:?}");
            break;
        }
        seen += 1;
        let what = format!("{error} from {call} {number} on");
        // What was promised was kept, and what was not was said.
        let now = applied(&project);
        match ended.code {
            Some(0) => assert_eq!(now, new, "{what}: {ended:?}"),
            Some(1) => {
                assert!(
                    ended.stderr.contains("error: ") && ended.stderr.contains("hint: "),
                    "{what}: {ended:?}"
                );
                if ended.stderr.contains("nothing was changed") {
                    assert_eq!(now, old, "{what}: {ended:?}");
                }
                let words = ["the disk is full", "No space left", "the disk may be full"];
                assert!(words.iter().any(|word| ended.stderr.contains(word)), "{what}: {ended:?}");
            }
            _ => panic!("{what}: {ended:?}"),
        }
        assert_recovers(&project, &what, &old, &new);
    }
    assert!((1..MOST - 1).contains(&seen), "{seen} times {call}");
}
