//! Nothing is left behind, and nothing that is left holds the job up.

use std::time::{Duration, Instant};

use crate::support::{eventually, lives, run, script, steps};

#[test]
fn a_background_process_does_not_hold_the_job_up_and_is_killed_at_its_end() {
    let job = steps(&[
        ("a", run("sleep 1000 & echo $! > pid; echo started")),
        ("b", run("kill -0 $(cat pid) && echo lives")),
    ]);
    let begun = Instant::now();
    let done = job.finish();
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(done.steps(), ["a succeeded", "b succeeded"]);
    assert_eq!(done.stdout("b"), "lives\n");
    assert!(!lives(&job.path("pid")));
}

#[test]
fn a_daemon_that_left_its_group_and_session_is_killed() {
    let job = script(
        "setsid sh -c 'echo $$ > pid; (trap \"\" TERM HUP; sleep 1000 & wait) & wait' & until test -s pid; do :; done",
    );
    let done = job.finish();
    assert_eq!(done.code, Some(0));
    eventually("the daemon is gone", || !lives(&job.path("pid")));
}

#[test]
fn output_of_a_background_process_goes_on_after_its_step() {
    let done = steps(&[
        ("a", run("(until test -e go; do :; done; echo late; touch done) &")),
        ("b", run("touch go; until test -e done; do :; done")),
    ])
    .finish();
    assert_eq!(done.steps(), ["a succeeded", "b succeeded"]);
    assert_eq!(done.stdout("a"), "late\n");
}

#[test]
fn orphans_are_reaped_while_the_job_runs() {
    let done = script(
        "for i in 1 2 3 4 5; do (sh -c 'exit 0' &) ; done; \
         until ! cat /proc/[0-9]*/stat 2>/dev/null | grep -q \") Z $PPID \"; do :; done; echo clean",
    )
    .finish();
    assert_eq!(done.printed(), "clean\n");
}

#[test]
fn a_background_process_that_never_stops_printing_does_not_hold_its_step_up() {
    let job = steps(&[
        ("a", run("yes > /dev/stdout & echo $! > pid")),
        ("b", run("kill $(cat pid); echo ended it")),
    ]);
    let done = job.with("timeout_ms", serde_json::json!(20_000)).finish();
    assert_eq!(done.steps(), ["a succeeded", "b succeeded"]);
    assert_eq!(done.stdout("b"), "ended it\n");
}
