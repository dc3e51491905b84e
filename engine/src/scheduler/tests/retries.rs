//! What is tried again, how often, and what never is.

use super::*;

#[test]
fn an_infrastructure_failure_is_tried_again_and_an_exit_is_not() {
    let mut run = Run::new(json!({"a": job(json!({}))}));
    run.queued();
    run.end("a", Some(FailureReason::LostWorker), json!({}));
    assert_eq!(run.queue, [("a".to_owned(), 2, Some(run.now + 1_000))]);
    run.end("a", Some(FailureReason::Provider), json!({}));
    assert_eq!(run.queue[1], ("a".to_owned(), 3, Some(run.now + 2_000)));
    run.end("a", Some(FailureReason::Provider), json!({}));
    assert_eq!((run.queue.len(), run.finished), (2, Some(RunStatus::Failed)));
    let mut run = Run::new(json!({"a": job(json!({}))}));
    run.fail("a");
    assert_eq!(run.finished, Some(RunStatus::Failed));
    let mut run = Run::new(json!({"a": job(json!({"retry": {"max": 1, "on": ["exit"], "delay": "5s"}}))}));
    run.fail("a");
    assert_eq!(run.queue[1], ("a".to_owned(), 2, Some(run.now + 5_000)));
    run.ok("a");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
}

#[test]
fn each_wait_before_a_retry_is_longer_by_the_factor() {
    let retry = json!({"retry": {"max": 3, "on": ["exit"], "delay": "2s", "factor": 3}});
    let mut run = Run::new(json!({ "a": job(retry) }));
    for wait in [2_000, 6_000, 18_000] {
        run.queue.clear();
        run.fail("a");
        assert_eq!(run.queue[0].2, Some(run.now + wait));
    }
    run.queue.clear();
    run.fail("a");
    assert_eq!((run.queue.len(), run.finished), (0, Some(RunStatus::Failed)), "three times beside the first");
}

#[test]
fn a_job_with_secrets_is_not_run_twice_unless_it_says_so() {
    let secret = json!({"secrets": {"KEY": "deploy/key"}});
    let mut run = Run::new(json!({ "a": job(secret) }));
    run.end("a", Some(FailureReason::LostWorker), json!({}));
    assert_eq!(run.finished, Some(RunStatus::Failed));
    let mut run = Run::new(json!({"a": job(json!({"secrets": {"KEY": "deploy/key"}}))}));
    let result = AttemptResult {
        failure: Some(FailureReason::ImagePull),
        exit_code: None,
        message: None,
        outputs: BTreeMap::new(),
        started: false,
        permanent: false,
        usage: None,
    };
    run.send(Event::AttemptFinished { node: "a".into(), attempt: 1, result });
    assert_eq!(run.queue.len(), 2, "what never started may be tried again");
}

#[test]
fn a_job_that_was_stopped_is_not_tried_again() {
    let mut run = Run::new(json!({"a": job(json!({"retry": {"max": 5, "on": ["lost_worker"]}}))}));
    run.send(Event::AttemptStarted { node: "a".into(), attempt: 1 });
    run.send(Event::Stop { node: "a".into(), reason: "enough".into(), force: false });
    run.end("a", Some(FailureReason::LostWorker), json!({}));
    assert_eq!(run.status("a").0, NodeStatus::Cancelled);
}

#[test]
fn a_job_that_takes_three_workers_with_it_is_poisoned() {
    let mut run = Run::new(json!({"a": job(json!({"retry": {"max": 9, "on": ["lost_worker", "exit"]}}))}));
    for failure in [FailureReason::LostWorker, FailureReason::Exit, FailureReason::LostWorker] {
        run.end("a", Some(failure), json!({}));
        assert_eq!(run.status("a").0, NodeStatus::Queued);
    }
    run.end("a", Some(FailureReason::LostWorker), json!({}));
    let node = run.state.node("a").expect("a node");
    assert_eq!((node.status, node.failure), (NodeStatus::Failed, Some(FailureReason::Poisoned)));
    assert!(node.reason.contains("3 workers were lost"), "{}", node.reason);
}

#[test]
fn a_run_is_repeated_whole_or_for_what_did_not_succeed() {
    let jobs = json!({"ok": job(json!({})), "bad": job(json!({"depends_on": ["ok"]})), "after": job(json!({"depends_on": ["bad"]})),
        "m": {"image": "i", "command": "c", "matrix": {"axes": {"of": [1, 2]}}}, "left": job(json!({}))});
    let mut run = Run::with(json!({ "jobs": jobs }), |new| {
        let jobs = ["ok", "bad", "after", "m"].map(str::to_owned).to_vec();
        new.selection = Some(Selection { jobs, follow_needs: false });
        new.vars.insert("first".into(), json!(1));
    });
    let request = json!({"jobs": [{"job_name": "more", "image": "i", "command": "c"},
        {"job_name": "less", "image": "i", "command": "c"}], "vars": {"set": true}});
    run.trigger("ok", request);
    run.end("ok", None, json!({"out": "x"}));
    run.ok("more");
    run.fail("less");
    run.fail("bad");
    run.ok("m[0]");
    run.ok("m[1]");
    assert_eq!(run.finished, Some(RunStatus::Failed));

    let begin = |state: RunState| {
        let mut again =
            Run { state, now: 9_000, queue: Vec::new(), stops: Vec::new(), line: Vec::new(), finished: None };
        again.send(Event::Begin);
        again
    };
    let mut whole = begin(run.state.again("r2".into(), false));
    assert_eq!(whole.queued(), ["m[0]", "m[1]", "ok"]);
    assert_eq!(whole.state.vars()["first"], 1);
    assert!(!whole.state.vars().contains_key("set"));

    let mut rest = begin(run.state.again("r3".into(), true));
    assert_eq!(rest.queued(), ["bad", "less"]);
    assert_eq!(rest.status("ok"), (NodeStatus::Succeeded, "it succeeded in the run r1"));
    assert_eq!(rest.state.node("ok").expect("a node").outputs["out"], "x");
    assert_eq!(rest.state.vars()["set"], true);
    rest.ok("bad");
    rest.ok("less");
    rest.ok("after");
    assert_eq!(rest.finished, Some(RunStatus::Succeeded));
    // Everything of it is new to whoever stores it.
    let mut state = run.state.again("r4".into(), true);
    assert_eq!(state.take_changes().nodes.len(), state.nodes().len());
}
