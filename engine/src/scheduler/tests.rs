//! A run step by step: what an event makes of it, and what is asked for then.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::address::Address;
use crate::config::{Catalog, FailureReason, Kind, Metadata, Resource, Spec};
use crate::protocol::trigger::TriggerRequest;
use crate::workflow;

/// A run and what a test does to it.
struct Run {
    state: RunState,
    now: Millis,
    queue: Vec<(String, u32, Option<Millis>)>,
    stops: Vec<(String, bool)>,
    finished: Option<RunStatus>,
}

impl Run {
    fn new(jobs: Value) -> Self {
        Self::with(json!({ "jobs": jobs }), |_| {})
    }

    fn with(spec: Value, change: impl FnOnce(&mut NewRun)) -> Self {
        let metadata = Metadata { name: "ci".into(), project: Some("web".into()), ..Metadata::default() };
        let spec = Spec::from_value(Kind::Pipeline, spec).expect("a valid spec");
        let template = json!({"parameters": {"x": {"default": "d"}}, "job": {"image": "t", "command": "echo ${param:x}"}});
        let template = Spec::from_value(Kind::JobTemplate, template).expect("a valid spec");
        let other = Metadata { name: "made".into(), ..Metadata::default() };
        let resources = [Resource { metadata, spec }, Resource { metadata: other, spec: template }];
        let catalog: Catalog =
            resources.into_iter().map(|resource| (resource.address(), resource.into())).collect();
        let address = Address::new(Kind::Pipeline, Some("web"), "ci");
        let workflow = workflow::resolve(&catalog, &address).expect("resolves");
        let mut new = NewRun {
            id: "r1".into(),
            workflow,
            event: json!({"type": "push", "branch": "main"}),
            vars: BTreeMap::new(),
            inputs: BTreeMap::new(),
            selection: None,
        };
        change(&mut new);
        let mut run = Self {
            state: RunState::new(new),
            now: 1_000,
            queue: Vec::new(),
            stops: Vec::new(),
            finished: None,
        };
        run.send(Event::Begin);
        run
    }

    fn send(&mut self, event: Event) {
        self.now += 1;
        for command in step(&mut self.state, event, self.now) {
            match command {
                Command::Enqueue { node, attempt, not_before } => {
                    self.queue.push((node, attempt, not_before))
                }
                Command::Stop { node, force, .. } => self.stops.push((node, force)),
                Command::Finish(status) => self.finished = Some(status),
                Command::Record(transition) => assert!(!transition.reason.is_empty(), "{transition:?}"),
            }
        }
    }

    fn queued(&mut self) -> Vec<String> {
        std::mem::take(&mut self.queue).into_iter().map(|(node, ..)| node).collect()
    }

    fn end(&mut self, node: &str, failure: Option<FailureReason>, outputs: Value) {
        let attempt = self.state.node(node).expect("a node").attempt;
        self.send(Event::AttemptStarted { node: node.into(), attempt });
        let outputs = serde_json::from_value(outputs).expect("a map");
        let exit_code = Some(i32::from(failure.is_some()));
        let result = AttemptResult {
            failure,
            exit_code,
            message: None,
            outputs,
            started: true,
            permanent: false,
            usage: None,
        };
        self.send(Event::AttemptFinished { node: node.into(), attempt, result });
    }

    fn ok(&mut self, node: &str) {
        self.end(node, None, json!({}));
    }

    fn fail(&mut self, node: &str) {
        self.end(node, Some(FailureReason::Exit), json!({}));
    }

    fn trigger(&mut self, node: &str, request: Value) {
        let request: TriggerRequest = serde_json::from_value(request).expect("a request");
        self.send(Event::AttemptStarted { node: node.into(), attempt: 1 });
        self.send(Event::Triggered { node: node.into(), attempt: 1, ordinal: 0, request });
    }

    fn status(&self, node: &str) -> (NodeStatus, &str) {
        let node = self.state.node(node).unwrap_or_else(|| panic!("no node {node}"));
        (node.status, &node.reason)
    }
}

fn job(extra: Value) -> Value {
    let mut job = json!({"image": "i", "command": "c"});
    job.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
    job
}

#[test]
fn ready_jobs_run_side_by_side_and_their_dependents_after_them() {
    let mut run = Run::new(
        json!({"a": job(json!({})), "b": job(json!({})), "c": job(json!({"depends_on": ["a", "b"]}))}),
    );
    assert_eq!(run.queued(), ["a", "b"]);
    run.ok("a");
    assert!(run.queued().is_empty());
    run.ok("b");
    assert_eq!(run.queued(), ["c"]);
    run.ok("c");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
}

#[test]
fn a_failure_skips_what_needs_success_and_starts_what_waits_for_failure() {
    let mut run = Run::new(json!({
        "a": job(json!({})),
        "next": job(json!({"depends_on": ["a"]})),
        "later": job(json!({"depends_on": ["next"]})),
        "cleanup": job(json!({"depends_on": ["a"], "condition": "any_failed"})),
        "report": job(json!({"depends_on": ["later"], "condition": "always"})),
    }));
    run.queued();
    run.fail("a");
    assert_eq!(run.queued(), ["cleanup", "report"]);
    assert_eq!(run.status("next"), (NodeStatus::Skipped, "a failed"));
    assert_eq!(run.status("later"), (NodeStatus::Skipped, "next was skipped"));
    run.ok("cleanup");
    run.ok("report");
    assert_eq!(run.finished, Some(RunStatus::Failed));
}

#[test]
fn when_decides_with_what_came_of_the_needs() {
    let mut run = Run::new(json!({
        "a": job(json!({})),
        "yes": job(json!({"depends_on": ["a"], "when": "needs.a.outputs.go == '1' && event.branch == 'main'"})),
        "no": job(json!({"depends_on": ["a"], "when": "needs.a.outputs.go == '2'"})),
        "bad": job(json!({"depends_on": ["a"], "when": "needs.a.outputs.missing == '2'"})),
    }));
    run.queued();
    run.end("a", None, json!({"go": "1"}));
    assert_eq!(run.queued(), ["yes"]);
    assert_eq!(run.status("no"), (NodeStatus::Skipped, "when is false: needs.a.outputs.go == '2'"));
    assert_eq!(run.status("bad").0, NodeStatus::Failed);
    run.ok("yes");
    assert_eq!(run.finished, Some(RunStatus::Failed));
}

#[test]
fn variables_and_inputs_reach_conditions_and_environments() {
    let spec = json!({
        "vars": {"channel": "stable"},
        "inputs": {"really": {"type": "boolean", "default": false}},
        "jobs": {
            "seen": job(json!({"when": "vars.channel == 'stable' && inputs.really", "environment": {"C": "${var:channel}"}})),
            "not": job(json!({"when": "!inputs.really"})),
        },
    });
    let mut run = Run::with(spec, |new| drop(new.inputs.insert("really".into(), json!(true))));
    assert_eq!(run.queued(), ["seen"]);
    let assignment = assignment(&run.state, "seen", 0).expect("a node").expect("a job");
    assert_eq!(assignment.job.environment["C"], "stable");
    assert_eq!((&assignment.inputs["really"], &assignment.vars["channel"]), (&json!(true), &json!("stable")));
    assert_eq!(run.status("not").0, NodeStatus::Skipped);
}

#[test]
fn needs_means_depends_on_for_jobs_and_for_steps() {
    let steps = json!({"image": "i", "needs": ["a"], "steps": [
        {"name": "one", "run": "x", "parallel": true}, {"name": "two", "run": "x", "parallel": true, "needs": ["one"]},
    ]});
    let mut run = Run::new(json!({"a": job(json!({})), "b": steps}));
    assert_eq!(run.queued(), ["a"]);
    run.ok("a");
    assert_eq!(run.queued(), ["b"]);
    let assignment = assignment(&run.state, "b", 0).expect("a node").expect("a job");
    assert_eq!(assignment.job.steps[1].depends_on, Some(vec!["one".to_owned()]));
}

#[test]
fn a_job_is_expanded_and_its_dependents_wait_for_every_part() {
    let mut run = Run::new(json!({
        "find": job(json!({})),
        "m": job(json!({"matrix": {"axes": {"os": ["x", "y"]}}})),
        "each": job(json!({"depends_on": ["find"], "for_each": "needs.find.outputs.list", "item_var": "T"})),
        "none": job(json!({"for_each": []})),
        "all": job(json!({"depends_on": ["m", "each", "none"]})),
    }));
    assert_eq!(run.queued(), ["find", "m[0]", "m[1]"]);
    assert_eq!(run.status("none"), (NodeStatus::Succeeded, "there is no item"));
    run.end("find", None, json!({"list": "[\"p\", {\"q\": 1}]"}));
    assert_eq!(run.queued(), ["each[0]", "each[1]"]);
    let part = assignment(&run.state, "each[1]", 0).expect("a node").expect("a job");
    assert_eq!(part.job.environment["T"], "{\"q\":1}");
    let part = assignment(&run.state, "m[1]", 0).expect("a node").expect("a job");
    assert_eq!(part.job.environment["MATRIX_OS"], "y");
    for node in ["m[0]", "m[1]", "each[0]"] {
        run.ok(node);
    }
    assert!(run.queued().is_empty());
    run.ok("each[1]");
    assert_eq!(run.queued(), ["all"]);
    run.ok("all");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
    assert!(run.state.rows().iter().all(|row| row.name != "m"));
}

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
fn a_trigger_adds_jobs_once_whatever_the_attempt() {
    let request = json!({"operation_id": "op", "jobs": [
        {"job_name": "extra", "command": "echo", "depends_on": ["b"]},
        {"job_name": "made", "template": "made", "parameters": {"x": "y"}, "depends_on": ["extra"]},
    ], "vars": {"k": "v"}});
    let mut run = Run::new(json!({"a": job(json!({})), "b": job(json!({}))}));
    run.queued();
    run.trigger("a", request.clone());
    run.trigger("a", request.clone());
    assert_eq!(run.state.nodes().len(), 4);
    assert_eq!(run.state.vars()["k"], "v");
    run.end("a", Some(FailureReason::LostWorker), json!({}));
    let again: TriggerRequest = serde_json::from_value(request).expect("a request");
    run.send(Event::AttemptStarted { node: "a".into(), attempt: 2 });
    run.send(Event::Triggered { node: "a".into(), attempt: 2, ordinal: 0, request: again });
    assert_eq!(run.state.nodes().len(), 4);
    run.queued();
    run.ok("a");
    run.ok("b");
    assert_eq!(run.queued(), ["extra"]);
    let extra = assignment(&run.state, "extra", 0).expect("a node").expect("a job");
    assert_eq!(extra.job.image.as_deref(), Some("i"), "the image of who asked");
    run.ok("extra");
    assert_eq!(run.queued(), ["made"]);
    run.ok("made");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
}

#[test]
fn a_trigger_that_is_refused_fails_the_job_that_asked() {
    let long: Vec<Value> = (0..101).map(|n| json!({"job_name": format!("n{n}"), "command": "c"})).collect();
    for (request, why) in [
        (
            json!({"jobs": [{"job_name": "b", "command": "other"}]}),
            "the pipeline declares another job called \"b\"",
        ),
        (json!({"jobs": [{"job_name": "x"}]}), "gives it nothing to run"),
        (
            json!({"jobs": [{"job_name": "x", "command": "c", "env": {"LD_PRELOAD": "y"}}]}),
            "must not set the variable LD_PRELOAD",
        ),
        (
            json!({"jobs": [{"job_name": "x", "command": "c", "for_each": ["y"], "item_var": "LD_PRELOAD"}]}),
            "must not set the variable LD_PRELOAD",
        ),
        (json!({"jobs": [{"job_name": "x", "command": "c", "depends_on": ["x"]}]}), "would wait for itself"),
        (
            json!({"jobs": [{"job_name": "x", "command": "c", "depends_on": ["y"]}, {"job_name": "y", "command": "c", "depends_on": ["x"]}]}),
            "would wait for itself",
        ),
        (json!({"jobs": [{"job_name": "../x", "command": "c"}]}), "not a valid name"),
        (json!({"jobs": [{"job_name": "x", "template": "nowhere"}]}), "there is no JobTemplate"),
        (json!({"jobs": long}), "may trigger 100 jobs at most"),
    ] {
        let mut run = Run::new(json!({"a": job(json!({})), "b": job(json!({}))}));
        run.trigger("a", request);
        assert_eq!(run.state.nodes().len(), 2, "{why}");
        run.ok("a");
        let (status, reason) = run.status("a");
        assert_eq!(status, NodeStatus::Failed);
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn an_unknown_name_is_waited_for_only_while_somebody_may_still_trigger_it() {
    let mut run = Run::new(json!({"a": job(json!({})), "b": job(json!({}))}));
    run.trigger("a", json!({"jobs": [{"job_name": "x", "command": "c", "depends_on": ["later"]}]}));
    run.ok("a");
    assert_eq!(run.status("x").0, NodeStatus::Waiting);
    run.trigger("b", json!({"jobs": [{"job_name": "later", "command": "c"}]}));
    run.ok("b");
    run.ok("later");
    assert_eq!(run.status("x").0, NodeStatus::Queued);
    run.ok("x");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
    let mut run = Run::new(json!({"a": job(json!({}))}));
    run.trigger("a", json!({"jobs": [{"job_name": "x", "command": "c", "depends_on": ["never"]}]}));
    run.ok("a");
    assert_eq!(run.status("x").0, NodeStatus::Failed);
    assert!(run.status("x").1.contains("never"), "{:?}", run.status("x"));
    assert_eq!(run.finished, Some(RunStatus::Failed));
}

#[test]
fn a_variable_with_two_values_is_refused_by_name() {
    let mut run = Run::new(json!({"a": job(json!({})), "b": job(json!({}))}));
    run.trigger("a", json!({"vars": {"k": 1}}));
    run.trigger("b", json!({"vars": {"k": 1}}));
    run.ok("b");
    assert_eq!(run.status("b").0, NodeStatus::Succeeded, "the same value twice is fine");
    let mut run = Run::new(json!({"a": job(json!({})), "b": job(json!({}))}));
    run.trigger("a", json!({"vars": {"k": 1}}));
    run.trigger("b", json!({"vars": {"k": 2}}));
    run.ok("b");
    let refused = r#"a trigger was refused: the variable "k" was set to another value by "a""#;
    assert_eq!(run.status("b"), (NodeStatus::Failed, refused));
}

#[test]
fn what_a_job_hands_on_cannot_name_a_secret() {
    let each = json!({"depends_on": ["find"], "for_each": "needs.find.outputs.list", "environment": {"V": "${var:v}"}});
    let mut run = Run::new(json!({"find": job(json!({})), "each": job(each)}));
    run.trigger("find", json!({"vars": {"v": "${secret:deploy/key}"}}));
    run.end("find", None, json!({"list": "[\"${secret:deploy/key}\"]"}));
    let part = assignment(&run.state, "each[0]", 0).expect("a node").expect("a job");
    for variable in ["ITEM", "V"] {
        let value = &part.job.environment[variable];
        assert_eq!(crate::placeholder::find(value), [], "{variable}");
        assert_eq!(crate::placeholder::unescape(value), "${secret:deploy/key}");
    }
}

#[test]
fn a_declared_job_that_was_left_out_joins_as_it_is_declared() {
    let spec = json!({"jobs": {
        "a": job(json!({})), "b": job(json!({})),
        "deploy": job(json!({"depends_on": ["b"], "condition": "any_failed"})),
    }});
    let mut run = Run::with(spec, |new| {
        new.selection = Some(Selection { jobs: vec!["a".into(), "b".into()], follow_needs: false });
    });
    let wanted = json!({"jobs": [{"job_name": "deploy", "env": {"K": "${secret:x}"}, "depends_on": ["a"]}]});
    run.trigger("a", wanted.clone());
    run.trigger("b", wanted);
    run.trigger("b", json!({"operation_id": "other", "jobs": [{"job_name": "deploy", "env": {"K": "2"}}]}));
    run.queued();
    run.ok("a");
    assert_eq!(run.status("deploy").0, NodeStatus::Waiting, "its own dependency stands");
    run.ok("b");
    assert!(run.status("b").1.contains("is in the run already, with another environment"));
    assert_eq!(run.queued(), ["deploy"], "its own condition stands");
    let assignment = assignment(&run.state, "deploy", 0).expect("a node").expect("a job");
    assert_eq!(assignment.job.environment["K"], "$${secret:x}");
}

#[test]
fn a_trigger_does_not_say_where_a_job_with_secrets_sends_them() {
    for trusted in [
        json!({"secrets": {"KEY": "deploy/key"}}),
        json!({"environment": {"URL": "https://u:${secret:deploy/key:token}@h"}}),
    ] {
        let spec = json!({"jobs": {"a": job(json!({})), "deploy": job(trusted)}});
        let mut run = Run::with(spec, |new| {
            new.selection = Some(Selection { jobs: vec!["a".into()], follow_needs: false });
        });
        let wanted = json!({"jobs": [{"job_name": "deploy", "env": {"TARGET": "https://elsewhere"}}]});
        run.trigger("a", wanted);
        run.ok("a");
        assert_eq!(run.state.nodes().len(), 1);
        let (status, reason) = run.status("a");
        assert_eq!(status, NodeStatus::Failed);
        assert!(reason.contains("cannot set its environment"), "{reason}");
    }
}

#[test]
fn what_a_triggered_job_may_trigger_is_not_more_than_who_asked_for_it() {
    let allowed = json!({"network": "none", "triggers_allowed": {"depth": 2, "count": 1, "images": ["i"]}});
    let mut run = Run::new(json!({"a": job(allowed)}));
    run.trigger("a", json!({"jobs": [{"job_name": "child", "command": "c"}]}));
    run.ok("a");
    let child = assignment(&run.state, "child", 0).expect("a node").expect("a job").job;
    assert_eq!(child.network, crate::config::Network::None);
    run.trigger("child", json!({"jobs": [{"job_name": "x", "image": "other", "command": "c"}]}));
    run.ok("child");
    assert!(
        run.status("child").1.contains("may not trigger jobs of the image \"other\""),
        "{:?}",
        run.status("child")
    );
    let mut run = Run::new(json!({"a": job(json!({"triggers_allowed": {"depth": 1}}))}));
    run.trigger("a", json!({"jobs": [{"job_name": "child", "command": "c"}]}));
    run.trigger("child", json!({"jobs": [{"job_name": "grandchild", "command": "c"}]}));
    run.ok("child");
    assert!(run.status("child").1.contains("may be triggered 1 deep at most"));
}

#[test]
fn what_a_job_may_trigger_is_what_it_says() {
    let allowed = json!({"count": 2, "templates": ["ma*"], "images": ["img:*", "t"]});
    for (requests, refused) in [
        (
            json!([{"job_name": "x", "image": "img:1", "command": "c"}, {"job_name": "y", "template": "made"}]),
            None,
        ),
        (
            json!([{"job_name": "x", "image": "other", "command": "c"}]),
            Some("may not trigger jobs of the image"),
        ),
        (
            json!([{"job_name": "x", "image": "img:1", "command": "c"}, {"job_name": "y", "image": "img:1", "command": "c"},
                {"job_name": "z", "image": "img:1", "command": "c"}]),
            Some("may trigger 2 jobs at most"),
        ),
    ] {
        let mut run = Run::new(json!({"a": job(json!({"triggers_allowed": allowed}))}));
        run.trigger("a", json!({"jobs": requests}));
        run.ok("a");
        let (_, reason) = run.status("a");
        match refused {
            None => assert_eq!(run.state.nodes().len(), 3, "{reason}"),
            Some(words) => assert!(reason.contains(words), "{reason}"),
        }
    }
    let mut run = Run::new(json!({"a": job(json!({"triggers_allowed": {"templates": ["other-*"]}}))}));
    run.trigger("a", json!({"jobs": [{"job_name": "y", "template": "made"}]}));
    run.ok("a");
    assert!(run.status("a").1.contains("may not trigger jobs from the template"), "{:?}", run.status("a"));
}

#[test]
fn a_circle_through_what_is_in_the_run_is_named_whole() {
    let mut run = Run::new(json!({"a": job(json!({})), "b": job(json!({}))}));
    run.trigger("a", json!({"jobs": [{"job_name": "x", "command": "c", "depends_on": ["y"]}]}));
    run.trigger(
        "b",
        json!({"jobs": [
            {"job_name": "w", "command": "c", "depends_on": ["x", "a"]},
            {"job_name": "y", "command": "c", "depends_on": ["w", "x"]},
        ]}),
    );
    run.ok("b");
    let reason = run.status("b").1;
    assert!(reason.ends_with("would wait for itself: w -> x -> y -> w"), "{reason}");
    assert_eq!(run.state.nodes().len(), 3);
}

#[test]
fn a_part_of_a_job_can_be_waited_for_before_it_is_there() {
    let each = json!({"depends_on": ["find"], "for_each": [1, 2]});
    let mut run = Run::new(json!({"find": job(json!({})), "each": job(each)}));
    run.trigger("find", json!({"jobs": [{"job_name": "x", "command": "c", "depends_on": ["each[1]"]}]}));
    run.queued();
    run.ok("find");
    assert_eq!(run.queued(), ["each[0]", "each[1]"]);
    run.ok("each[1]");
    assert_eq!(run.queued(), ["x"]);
}

#[test]
fn the_next_attempt_is_not_blamed_for_what_the_one_before_asked() {
    let mut run = Run::new(json!({"a": job(json!({}))}));
    run.trigger("a", json!({"jobs": [{"job_name": "x"}]}));
    run.end("a", Some(FailureReason::LostWorker), json!({}));
    run.ok("a");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
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
fn a_selection_runs_a_part() {
    let spec = || json!({"jobs": {"a": job(json!({})), "b": job(json!({"depends_on": ["a"]})), "c": job(json!({}))}});
    let select = |follow_needs| {
        move |new: &mut NewRun| new.selection = Some(Selection { jobs: vec!["b".into()], follow_needs })
    };
    assert_eq!(Run::with(spec(), select(false)).queued(), ["b"]);
    assert_eq!(Run::with(spec(), select(true)).queued(), ["a"]);
}

#[test]
fn a_stored_run_goes_on_as_it_was() {
    let mut run = Run::new(json!({"a": job(json!({})), "b": job(json!({"depends_on": ["a"]}))}));
    let Changes { head, nodes } = run.state.take_changes();
    let stored = Stored {
        definition: run.state.definition(),
        head: head.expect("a new run has one"),
        nodes: nodes.into_iter().map(|(_, node)| node).collect(),
    };
    run.state = RunState::restore(stored).expect("a run");
    run.ok("a");
    let changed = run.state.take_changes();
    assert_eq!(changed.head, None);
    assert_eq!(changed.nodes.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
    run.ok("b");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
}

#[test]
fn a_profile_judges_the_image_that_variables_and_a_matrix_made() {
    let jobs = json!({"a": {"image": "${var:image}", "command": "c"},
        "b": {"image": "${matrix:of}", "command": "c", "matrix": {"axes": {"of": ["debian:12", "evil:1"]}}}});
    let spec = json!({"jobs": jobs, "vars": {"image": "evil:1"}});
    let mut run = Run::with(spec, |new| {
        for declaration in new.workflow.jobs.values_mut() {
            declaration.profile.spec.images = vec!["debian:*".to_owned()];
        }
    });
    run.queued();
    let why = |state: &RunState, name: &str| assignment(state, name, 1).expect("a node").map(|a| a.job.image);
    let refusal = Err("the profile \"trusted\" does not allow the image evil:1".to_owned());
    assert_eq!(why(&run.state, "a"), refusal);
    assert_eq!(why(&run.state, "b[0]"), Ok(Some("debian:12".to_owned())));
    assert_eq!(why(&run.state, "b[1]"), refusal);
}

#[test]
fn a_variable_does_not_decide_what_a_list_of_images_lets_through() {
    let caps = json!({"triggers_allowed": {"images": ["*"]}});
    let mut run = Run::new(json!({"a": job(caps)}));
    run.trigger("a", json!({"jobs": [{"job_name": "x", "image": "${var:y}", "command": "c"}]}));
    run.ok("a");
    let (status, reason) = run.status("a");
    assert_eq!(status, NodeStatus::Failed);
    assert!(reason.contains("a triggered job's image has no placeholder"), "{reason}");
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
        let mut again = Run { state, now: 9_000, queue: Vec::new(), stops: Vec::new(), finished: None };
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
