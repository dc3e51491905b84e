//! A run or a job that is stopped, and what still happens then.

use super::*;

#[test]
fn what_is_over_changes_nothing() {
    let mut run = Run::new(json!({"a": job(json!({})), "b": job(json!({"depends_on": ["a"]}))}));
    run.end("a", Some(FailureReason::LostWorker), json!({}));
    let before = run.state.clone();
    let stale = AttemptResult {
        failure: None,
        exit_code: Some(0),
        message: None,
        outputs: BTreeMap::new(),
        started: true,
        permanent: false,
        usage: None,
    };
    run.send(Event::AttemptFinished { node: "a".into(), attempt: 1, result: stale.clone() });
    run.send(Event::AttemptFinished { node: "nobody".into(), attempt: 1, result: stale });
    run.send(Event::Begin);
    assert_eq!(run.state, before);
}

#[test]
fn cancelling_stops_what_runs_and_lets_cleanup_start() {
    let mut run = Run::new(json!({
        "a": job(json!({})),
        "b": job(json!({"depends_on": ["a"]})),
        "tidy": job(json!({"depends_on": ["a", "b"], "condition": "always", "on_cancel": true})),
        "queued": job(json!({})),
    }));
    run.queued();
    run.send(Event::AttemptStarted { node: "a".into(), attempt: 1 });
    run.send(Event::Cancel { reason: "somebody stopped it".into(), force: false });
    assert_eq!(run.stops, [("a".to_owned(), false), ("queued".to_owned(), false)]);
    assert_eq!(run.status("b"), (NodeStatus::Cancelled, "somebody stopped it"));
    run.end("a", Some(FailureReason::Cancelled), json!({}));
    assert_eq!(run.queued(), ["tidy"]);
    run.send(Event::AttemptStarted { node: "tidy".into(), attempt: 1 });
    run.send(Event::Cancel { reason: "at once".into(), force: true });
    assert_eq!(run.stops.last(), Some(&("tidy".to_owned(), true)));
    run.end("tidy", Some(FailureReason::Cancelled), json!({}));
    assert_eq!(run.finished, Some(RunStatus::Cancelled));
}

#[test]
fn a_run_with_a_job_that_was_stopped_alone_did_not_succeed() {
    let mut run = Run::new(json!({"a": job(json!({})), "b": job(json!({"depends_on": ["a"]}))}));
    run.end("a", Some(FailureReason::Cancelled), json!({}));
    assert_eq!(run.status("b"), (NodeStatus::Skipped, "a was cancelled"));
    assert_eq!(run.finished, Some(RunStatus::Cancelled));
}

#[test]
fn who_cleans_up_sees_what_the_failed_job_handed_on() {
    let when = json!({"depends_on": ["a"], "condition": "any_failed", "when": "needs.a.outputs.id == '7'"});
    let mut run = Run::new(json!({"a": job(json!({})), "tidy": job(when)}));
    run.queued();
    run.end("a", Some(FailureReason::Exit), json!({"id": "7"}));
    assert_eq!(run.queued(), ["tidy"]);
}

#[test]
fn one_job_is_stopped_and_the_others_go_on() {
    let jobs = json!({"a": job(json!({})), "b": job(json!({"depends_on": ["a"]})), "c": job(json!({})),
        "m": {"image": "i", "command": "c", "matrix": {"axes": {"of": [1, 2]}}}});
    let mut run = Run::new(jobs);
    assert_eq!(run.queued(), ["a", "c", "m[0]", "m[1]"]);
    let stop = |node: &str, force| Event::Stop { node: node.into(), reason: "ada said so".into(), force };
    // Queued: it never starts. Running: it is asked, and its own word for its end does not count.
    run.send(stop("a", false));
    assert_eq!(run.status("a").0, NodeStatus::Cancelled);
    assert_eq!(run.status("b").0, NodeStatus::Skipped);
    run.send(Event::AttemptStarted { node: "c".into(), attempt: 1 });
    run.stops.clear();
    run.send(stop("c", false));
    run.send(stop("c", true));
    assert_eq!(run.stops, [("c".to_owned(), false), ("c".to_owned(), true)]);
    run.end("c", Some(FailureReason::Cancelled), json!({}));
    assert_eq!(run.state.node("c").expect("a node").reason, "ada said so");
    // Of what was expanded, every part.
    run.send(stop("m", false));
    assert_eq!(run.status("m").0, NodeStatus::Cancelled);
    assert_eq!(run.finished, Some(RunStatus::Cancelled));
}

#[test]
fn what_nobody_can_go_on_with_has_failed() {
    let jobs = json!({"a": job(json!({"retry": {"max": 5, "on": ["lost_worker"]}})), "b": job(json!({"depends_on": ["a"]})),
        "c": {"image": "i", "command": "c", "matrix": {"axes": {"of": [1, 2]}}}});
    let mut run = Run::new(jobs);
    run.send(Event::AttemptStarted { node: "a".into(), attempt: 1 });
    run.queued();
    run.send(Event::Abandon { reason: "its process was killed".into() });
    assert_eq!(run.status("a"), (NodeStatus::Failed, "its process was killed"));
    assert_eq!(run.status("b").0, NodeStatus::Cancelled);
    assert_eq!(run.status("c").0, NodeStatus::Cancelled);
    assert_eq!((run.finished, run.queued().len()), (Some(RunStatus::Failed), 0));
}
