//! Steps that run again.

use serde_json::{Value, json};

use crate::support::{Finished, run, steps};

fn flaky(max: u32, more: Value) -> Value {
    let mut step = json!({"run": {"script": "echo x >> runs; echo run $(wc -l < runs); echo n=$(wc -l < runs) > $REACTORCIDE_OUTPUT; test $(wc -l < runs) -ge 3"},
        "retry": {"max": max}});
    for (key, value) in more.as_object().into_iter().flatten() {
        step[key] = value.clone();
    }
    step
}

fn said(done: &Finished, step: &str) -> String {
    String::from_utf8(done.bytes(Some(step), reactorcide_protocol::frame::Stream::System)).expect("text")
}

#[test]
fn a_step_runs_again_until_it_succeeds() {
    let done = steps(&[
        ("a", flaky(5, json!({}))),
        ("b", json!({"run": {"script": "true"}, "when": "steps.a.outputs.n == '3'"})),
    ])
    .finish();
    assert_eq!(done.steps(), ["a succeeded", "b succeeded"]);
    assert_eq!(done.stdout("a"), "run 1\nrun 2\nrun 3\n");
    assert_eq!(
        said(&done, "a"),
        "step \"a\" exited with code 1; retry 1 of 5 in 0ns\nstep \"a\" exited with code 1; retry 2 of 5 in 0ns\n"
    );
}

#[test]
fn only_so_often_and_only_for_what_was_said() {
    let done = steps(&[("a", flaky(1, json!({})))]).finish();
    assert_eq!(done.summary(), "exit 1 step \"a\" exited with code 1");
    assert_eq!(done.stdout("a"), "run 1\nrun 2\n");
    let other = json!({"retry": {"max": 5, "on": ["timeout"]}});
    assert_eq!(steps(&[("a", flaky(5, other))]).finish().stdout("a"), "run 1\n");
    let missing = json!({"run": {"exec": ["/nowhere"]}, "retry": {"max": 5}});
    assert_eq!(
        steps(&[("a", missing)]).finish().result().outcome,
        reactorcide_protocol::frame::JobOutcome::Config
    );
}

#[test]
fn a_timeout_counts_for_each_run() {
    let step = json!({"run": {"script": "echo x >> runs; test $(wc -l < runs) -ge 2 || sleep 60"}, "timeout_ms": 200, "retry": {"max": 1}});
    let done = steps(&[("a", step)]).finish();
    assert_eq!(done.steps(), ["a succeeded"]);
}

#[test]
fn a_stop_while_it_waits_ends_it() {
    let slow = json!({"run": {"script": "echo x >> runs; false"}, "retry": {"max": 5, "delay_ms": 600_000}});
    let job = steps(&[("a", slow), ("b", run("true"))]);
    let mut runner = job.start();
    runner.read_until_printed("retry 1 of 5");
    runner.signal("-TERM");
    let done = runner.finish();
    let mut ends = done.steps();
    ends.sort();
    assert_eq!(ends, ["a cancelled", "b skipped"]);
    assert_eq!(done.code, Some(143));
}
