//! What keeps a run or a job back: approvals, a place in a group, what an environment demands.

use serde_json::json;

use super::*;
use crate::scheduler::Gate;

fn admission() -> crate::scheduler::Admission {
    crate::scheduler::Admission {
        author: "mallory".into(),
        pushed_by: String::new(),
        reason: "nobody knows them".into(),
        number: 12,
        head: "a".into(),
        base: "b".into(),
        profile: None,
        policy: "1".into(),
    }
}

fn protection(spec: serde_json::Value) -> Option<crate::config::Protection> {
    serde_json::from_value(spec).expect("a protection")
}

/// A run of `deploy` after `build`, where `deploy` goes to a place with this protection.
fn deploying(spec: serde_json::Value, event: serde_json::Value) -> Run {
    let jobs =
        json!({"build": job(json!({})), "deploy": job(json!({"depends_on": ["build"], "on_cancel": true}))});
    Run::with(json!({ "jobs": jobs }), |new| {
        new.workflow.jobs.get_mut("deploy").expect("a job").protection = protection(spec);
        new.event = event;
    })
}

#[test]
fn a_run_begins_once_it_is_approved_and_its_group_has_a_place() {
    let spec = json!({
        "concurrency": {"group": "deploy ${event:branch}", "mode": "queue"},
        "jobs": {"a": job(json!({}))},
    });
    let mut run = Run::with(spec, |_| {});
    assert_eq!((run.state.status(), run.state.gate()), (RunStatus::Waiting, Some(Gate::Place)));
    assert_eq!(std::mem::take(&mut run.line), ["web: deploy main"]);
    run.state.admission = Some(admission());
    run.state = run.state.again("r2".into(), false);
    run.send(Event::Begin);
    assert_eq!(run.state.gate(), Some(Gate::Approval));
    // Neither a place nor the beginning lets it in.
    run.send(Event::Admit);
    run.send(Event::Begin);
    assert!(run.queued().is_empty() && run.line.is_empty());
    run.send(Event::Approve { node: None, by: "user:ada".into() });
    assert_eq!((run.state.gate(), run.state.approved_by()), (Some(Gate::Place), Some("user:ada")));
    assert_eq!(run.line, ["web: deploy main"]);
    run.send(Event::Approve { node: None, by: "user:bob".into() });
    assert_eq!(run.state.approved_by(), Some("user:ada"));
    assert!(run.queued().is_empty());
    run.send(Event::Admit);
    assert_eq!((run.queued(), run.state.status()), (vec!["a".to_owned()], RunStatus::Running));
    run.ok("a");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
}

#[test]
fn what_nobody_let_begin_has_nothing_to_clean_up() {
    let jobs = json!({"a": job(json!({})), "tidy": job(json!({"condition": "always", "on_cancel": true}))});
    let mut run = Run::new(jobs);
    run.queued();
    run.state.admission = Some(admission());
    run.state = run.state.again("r2".into(), false);
    run.send(Event::Begin);
    run.send(Event::Cancel { reason: "no".into(), force: false });
    assert_eq!((run.finished, run.queued().len()), (Some(RunStatus::Cancelled), 0));
}

#[test]
fn a_job_deploys_once_it_is_approved_and_has_waited() {
    let spec = json!({"approvers": ["ada", "team:ops"], "wait": "5m"});
    let mut run = deploying(spec, json!({"type": "push", "branch": "main"}));
    run.queued();
    run.ok("build");
    assert_eq!(run.status("deploy"), (NodeStatus::Waiting, "it waits for an approval of ada or team:ops"));
    assert_eq!(run.state.approvers_of("deploy"), Some(&["ada".to_owned(), "team:ops".to_owned()][..]));
    assert_eq!(run.state.approvers_of("build"), None);
    run.send(Event::Approve { node: Some("build".into()), by: "user:ada".into() });
    run.send(Event::Approve { node: None, by: "user:ada".into() });
    assert!(run.queue.is_empty() && run.finished.is_none());
    // A run that is read back waits as it did.
    let head = run.state.take_changes();
    let stored = crate::scheduler::Stored {
        definition: run.state.definition(),
        head: head.head.expect("a new run has one"),
        nodes: run.state.nodes().to_vec(),
    };
    assert_eq!(RunState::restore(stored).expect("a run").held().collect::<Vec<_>>(), ["deploy"]);
    run.send(Event::Approve { node: Some("deploy".into()), by: "user:ada".into() });
    let (node, attempt, not_before) = run.queue.pop().expect("it may start");
    assert_eq!((node.as_str(), attempt, not_before), ("deploy", 1, Some(run.now + 300_000)));
    run.ok("deploy");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
}

#[test]
fn a_job_that_waits_for_an_approval_is_cancelled_with_its_run() {
    let event = json!({"type": "push", "branch": "main"});
    let mut run = deploying(json!({"approvers": ["ada"]}), event);
    run.queued();
    run.ok("build");
    run.send(Event::Cancel { reason: "no".into(), force: false });
    assert_eq!(run.finished, Some(RunStatus::Cancelled));
    assert!(run.queued().is_empty());
}

#[test]
fn an_environment_takes_only_commits_of_its_branches() {
    let deployed = |event: serde_json::Value| {
        let mut run = deploying(json!({"branches": ["main", "release/*"]}), event);
        run.ok("build");
        run.status("deploy").0
    };
    let sha = "a".repeat(40);
    assert_eq!(deployed(json!({"type": "push", "branch": "release/1"})), NodeStatus::Queued);
    assert_eq!(
        deployed(json!({"type": "push", "branch": "main", "sha": sha, "source_origin": "base"})),
        NodeStatus::Queued
    );
    for refused in [
        json!({"type": "push", "branch": "topic"}),
        json!({"type": "tag", "tag": "v1"}),
        json!({"type": "manual", "branch": "main", "sha": sha}),
        json!({"type": "pull_request", "branch": "main", "number": 12, "source_origin": "head"}),
        json!({"type": "pull_request", "branch": "main", "number": 12, "source_origin": "fork"}),
    ] {
        assert_eq!(deployed(refused.clone()), NodeStatus::Failed, "{refused}");
    }
    let released = |event: serde_json::Value| {
        let mut run = deploying(json!({"tags": ["v*"]}), event);
        run.ok("build");
        run.status("deploy").0
    };
    assert_eq!(released(json!({"type": "tag", "tag": "v1"})), NodeStatus::Queued);
    for refused in [
        json!({"type": "tag", "tag": "nightly"}),
        json!({"type": "push", "branch": "v1"}),
        json!({"type": "tag", "tag": "v1", "source_origin": "fork"}),
    ] {
        assert_eq!(released(refused.clone()), NodeStatus::Failed, "{refused}");
    }
}
