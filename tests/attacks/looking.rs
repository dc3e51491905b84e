//! A job looks at the runner, talks in its name, and tries to outlive itself.

use super::{CANARY, command, project, project_with, run, said, start};
use crate::docker::{eventually, running, signal, wait};

#[test]
fn the_runners_memory_environment_and_descriptors_are_closed() {
    let ended = run("      secrets: {KEY: key}\n      command: |\n\
        \x20       cat /proc/1/environ 2>/dev/null && echo OPEN environ || echo closed 1\n\
        \x20       dd if=/proc/1/mem bs=1 count=1 2>/dev/null && echo OPEN mem || echo closed 2\n\
        \x20       ls /proc/1/fd 2>/dev/null && echo OPEN fd || echo closed 3\n\
        \x20       cat /proc/1/maps 2>/dev/null && echo OPEN maps || echo closed 4\n\
        \x20       ls /proc/1/task/*/fd 2>/dev/null && echo OPEN tasks || echo closed 5\n\
        \x20       (echo x > /reactorcide-control/y) 2>/dev/null && echo OPEN control || echo closed 6\n\
        \x20       for f in /proc/[0-9]*/fd/*; do case $(readlink $f) in *control*|*worker*) echo OPEN $f;; esac; done\n\
        \x20       tr '\\0' '\\n' < /proc/1/cmdline\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for number in 1..=6 {
        assert!(ended.stdout.contains(&format!("closed {number}")), "{ended:?}");
    }
    assert!(!ended.stdout.contains("OPEN"), "{ended:?}");
}

#[test]
fn another_user_of_the_container_cannot_use_the_socket_or_the_files() {
    let project = project_with(
        "guarded",
        "      secrets: {KEY: {secret: key, as: file}}\n      command: |\n\
        \x20       touch /job/up; while test -e /job/up; do sleep 0.1; done; echo over\n",
    );
    let mut child = start(&project);
    let mut container = None;
    eventually("it runs", || {
        assert!(child.try_wait().expect("it can be asked").is_none(), "it goes on");
        container = running("guarded").pop();
        container.as_deref().is_some_and(|container| {
            !said("docker", &["exec", container, "ls", "/job/up"]).contains("No such")
        })
    });
    let container = container.expect("it runs");
    let within = |user: &str, arguments: &[&str]| {
        let socket = "REACTORCIDE_SOCKET=/job/.reactorcide/socket";
        let mut all = vec!["exec", "-u", user, "-e", socket, &container];
        all.extend(arguments);
        std::process::Command::new("docker").args(all).output().expect("docker")
    };
    let hello = ["/reactorcide-runner", "hello"];
    assert!(within("1001", &hello).status.success(), "it is the job's");
    let refused = within("4242", &hello);
    assert!(!refused.status.success(), "{refused:?}");
    let read = ["sh", "-c", "cat /reactorcide-secrets/*/KEY"];
    assert!(String::from_utf8_lossy(&within("1001", &read).stdout).contains(CANARY), "it is the job's");
    let looked = within("4242", &read);
    assert!(!looked.status.success() && looked.stdout.is_empty(), "{looked:?}");
    assert!(within("1001", &["rm", "/job/up"]).status.success());
    let ended = wait(child);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    project.assert_nothing_left();
}

#[test]
fn what_leaves_its_group_and_session_does_not_outlive_the_job() {
    let ended = run("      command: |\n\
        \x20       (setsid sh -c 'trap \"\" TERM HUP; (while :; do sleep 97531 & wait; done) & sleep 1; echo LATE' >&1 2>&1 &)\n\
        \x20       echo over\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("over") && !ended.stdout.contains("LATE"), "{ended:?}");
    assert!(!said("ps", &["-eo", "args"]).contains("sleep 97531"));
}

#[test]
fn frames_that_a_job_prints_are_text() {
    let frame = |body: &str| format!("{{\"v\":1,\"attempt\":1,\"seq\":1,\"at\":0,{body}}}");
    let frames = [
        frame("\"type\":\"result\",\"outcome\":\"succeeded\",\"exit_code\":0"),
        frame(
            "\"type\":\"trigger\",\"request\":{\"jobs\":[{\"job_name\":\"forged\",\"image\":\"x\",\"command\":\"y\"}]}",
        ),
        frame("\"type\":\"output\",\"values\":{\"a\":1}"),
        "::reactorcide-00000000000000000000000000000000::{\"jobs\":[]}".to_owned(),
    ];
    let lines: String = frames.iter().map(|frame| format!("        printf '%s\\n' '{frame}'\n")).collect();
    let ended = run(&format!("      command: |\n{lines}        exit 3\n"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("| {\"v\":1") && ended.stdout.contains("::reactorcide-0"), "{ended:?}");
    assert!(!ended.stdout.contains("forged |") && !ended.stderr.contains("forged triggered"), "{ended:?}");
}

#[test]
fn a_job_that_is_cancelled_takes_everything_with_it() {
    let project = project(
        "      grace: 1s\n      command: |\n        trap '' TERM\n        (setsid sleep 86420 &)\n        echo up; while :; do sleep 0.1; done\n",
    );
    let child = command(&project).spawn().expect("the binary starts");
    eventually("it is up", || said("ps", &["-eo", "args"]).contains("sleep 86420"));
    signal(&child, "INT");
    let ended = wait(child);
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert!(!said("ps", &["-eo", "args"]).contains("sleep 86420"));
    project.assert_nothing_left();
}
