//! Timeouts and requests to stop.

use std::time::{Duration, Instant};

use reactorcide_protocol::frame::Body;
use serde_json::json;

use crate::support::{lives, run, script, steps};

#[test]
fn a_step_out_of_time_fails_and_the_job_goes_on_where_it_may() {
    let mut slow = run("sleep 1000");
    slow["timeout_ms"] = json!(200);
    let mut always = run("echo clean");
    always["condition"] = json!("always");
    let done = steps(&[("a", slow), ("b", run("true")), ("c", always)]).finish();
    assert_eq!(done.steps(), ["a failed", "b skipped", "c succeeded"]);
    assert_eq!(done.summary(), r#"timeout - step "a" ran out of time (200ms)"#);
    assert_eq!(done.code, Some(124));
}

#[test]
fn a_job_out_of_time_starts_nothing_more() {
    let mut always = run("echo clean");
    always["condition"] = json!("always");
    let done = steps(&[("a", run("sleep 1000")), ("b", always)]).with("timeout_ms", json!(200)).finish();
    assert_eq!(done.steps(), ["b skipped", "a cancelled"]);
    assert_eq!(
        (done.summary().as_str(), done.code),
        ("timeout - the job ran out of time (200ms)", Some(124))
    );
}

#[test]
fn a_step_that_ignores_sigterm_is_killed_after_the_grace_time() {
    let mut stubborn = run("trap '' TERM; echo $$ > pid; while :; do sleep 0.1 || :; done");
    stubborn["timeout_ms"] = json!(300);
    let job = steps(&[("a", stubborn)]);
    let begun = Instant::now();
    let done = job.finish();
    assert!(begun.elapsed() >= Duration::from_millis(600));
    assert_eq!(done.code, Some(124));
    assert!(!lives(&job.path("pid")));
}

#[test]
fn sigterm_is_forwarded_and_a_step_may_clean_up() {
    let job = steps(&[
        ("a", run("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05 || :; done")),
        ("b", run("true")),
    ])
    .with("grace_ms", json!(20_000));
    let mut runner = job.start();
    runner.read_until_printed("ready");
    runner.signal("-TERM");
    let done = runner.finish();
    assert_eq!(done.stdout("a"), "ready\nbye\n");
    // A process that ends at once may be seen with the signal, or after it.
    let mut ends = done.steps();
    ends.sort();
    assert_eq!(ends, ["a cancelled", "b skipped"]);
    assert_eq!((done.summary().as_str(), done.code), ("cancelled - the job was cancelled", Some(143)));
}

#[test]
fn a_second_signal_kills_at_once() {
    let job = script("trap '' TERM INT; echo ready; while :; do sleep 0.05 || :; done")
        .with("grace_ms", json!(600_000));
    let mut runner = job.start();
    runner.read_until_printed("ready");
    runner.signal("-INT");
    runner.read_until(|frame| matches!(&frame.body, Body::Log { data, .. } if data.bytes().starts_with(b"the job was cancelled")));
    runner.signal("-TERM");
    let done = runner.finish();
    assert_eq!(done.code, Some(143));
}

#[test]
fn parallel_steps_are_all_stopped() {
    let step = || json!({"run": {"script": "echo ready; sleep 1000"}, "parallel": true});
    let job = steps(&[("a", step()), ("b", step()), ("c", step())]);
    let mut runner = job.start();
    let mut ready = 0;
    while ready < 3 {
        runner.read_until(|frame| matches!(frame.body, Body::Log { .. }));
        ready += 1;
    }
    runner.signal("-TERM");
    let done = runner.finish();
    assert_eq!(done.steps().iter().filter(|step| step.ends_with("cancelled")).count(), 3);
}

#[test]
fn a_runner_that_waits_for_its_spec_can_be_stopped() {
    let mut runner = crate::support::Runner::spawn(&[]);
    let status = format!("/proc/{}/status", runner.child.id());
    // Once it catches SIGTERM (bit 14), it is ready.
    crate::support::eventually("it listens to signals", || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
        u64::from_str_radix(caught, 16).unwrap() & 1 << 14 != 0
    });
    runner.signal("-TERM");
    assert_eq!(runner.child.wait().unwrap().code(), Some(143));
}
