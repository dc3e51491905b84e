//! Which steps run, and when.

use reactorcide_protocol::frame::Body;
use rstest::rstest;
use serde_json::json;

use crate::support::{run, script, steps};

#[test]
fn a_single_command_has_no_step_frames() {
    let done = script("echo hello; echo oops >&2").finish();
    assert_eq!((done.printed().as_str(), done.code), ("hello\n", Some(0)));
    assert_eq!(done.summary(), "succeeded 0 -");
    assert!(done.steps().is_empty());
    assert!(matches!(done.frames[0].body, Body::Started { .. }));
    assert!(done.frames.iter().all(|frame| frame.attempt == 3));
}

#[test]
fn steps_run_in_order_and_stop_at_a_failure() {
    let mut always = run("echo clean");
    always["condition"] = json!("always");
    let done =
        steps(&[("a", run("echo one")), ("b", run("exit 3")), ("c", run("echo three")), ("d", always)])
            .finish();
    assert_eq!(done.steps(), ["a succeeded", "b failed", "c skipped", "d succeeded"]);
    assert_eq!(done.reason_of("c").unwrap(), r#"step "b" failed"#);
    assert_eq!(done.stdout("d"), "clean\n");
    assert_eq!(done.summary(), r#"exit 3 step "b" exited with code 3"#);
    assert_eq!(done.code, Some(3));
}

#[test]
fn parallel_steps_run_at_the_same_time() {
    // Each waits for the other; one after the other they would never end.
    let wait = |own: &str, other: &str| json!({"run": {"script": format!("touch {own}; until test -e {other}; do :; done")}, "parallel": true, "timeout_ms": 20000});
    let done = steps(&[("a", wait("x", "y")), ("b", wait("y", "x")), ("c", run("echo after"))]).finish();
    assert_eq!(done.summary(), "succeeded 0 -");
    assert_eq!(done.steps()[2], "c succeeded");
}

#[test]
fn continue_on_error_does_not_fail_the_job() {
    let mut tolerated = run("exit 1");
    tolerated["continue_on_error"] = json!(true);
    let done = steps(&[("a", tolerated), ("b", run("true"))]).finish();
    assert_eq!(done.steps(), ["a failed", "b succeeded"]);
    assert_eq!((done.summary().as_str(), done.code), ("succeeded 0 -", Some(0)));
}

#[rstest]
#[case("event.type == 'push' && env.MODE == 'fast'", "b succeeded", None)]
#[case("event.type == 'tag'", "b skipped", Some("its condition is false: event.type == 'tag'"))]
#[case("steps.a.outputs.answer == '42' && steps.a.outcome == 'succeeded'", "b succeeded", None)]
#[case("has(steps.c)", "b skipped", Some("its condition is false: has(steps.c)"))]
#[case(
    "vars.x",
    "b failed",
    Some(r#"the condition of step "b" cannot be evaluated: no such key: vars.x (at character 1)"#)
)]
#[case(
    "event.type ==",
    "b failed",
    Some(
        r#"the condition of step "b" cannot be evaluated: the expression ends too early (at character 14)"#
    )
)]
fn conditions(#[case] when: &str, #[case] outcome: &str, #[case] reason: Option<&str>) {
    let mut second = run("true");
    second["when"] = json!(when);
    let done = steps(&[("a", run("echo answer=42 >> $REACTORCIDE_OUTPUT")), ("b", second)])
        .with("context", json!({"event": {"type": "push"}, "vars": {}}))
        .with("environment", json!({"MODE": "fast"}))
        .finish();
    assert_eq!(done.steps(), ["a succeeded", outcome]);
    assert_eq!(done.reason_of("b").as_deref(), reason);
    assert_eq!(done.code, Some(if outcome.ends_with("failed") { 78 } else { 0 }));
}

#[test]
fn a_condition_that_would_take_for_ever_is_refused() {
    let mut step = run("true");
    step["when"] = json!(format!("['aaaaaaaaaaaaaaaa']{}.size() > 0", ".map(x,x+x)".repeat(60)));
    let done = steps(&[("a", step)]).finish();
    assert!(done.reason_of("a").unwrap().contains("too much work"));
    assert_eq!(done.code, Some(78));
}

#[test]
fn impossible_steps_are_a_configuration_error() {
    let mut waits = run("true");
    waits["depends_on"] = json!(["b"]);
    let done = steps(&[("a", waits), ("b", run("true"))]).finish();
    assert_eq!(done.summary(), "config - steps wait for each other: a -> b -> a");
    assert_eq!(done.code, Some(78));
}
