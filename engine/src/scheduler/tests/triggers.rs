//! What a running job may add to its run, once, and with no more authority than its own.

use super::*;

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
fn a_triggered_job_deploys_nothing() {
    let mut run = Run::with(json!({"jobs": {"a": job(json!({}))}}), |new| {
        let template = json!({"job": {"image": "i", "command": "c", "deploys_to": "production"}});
        let template = serde_json::from_value(template).expect("a template");
        new.workflow.templates.insert("deployer".to_owned(), template);
    });
    run.trigger("a", json!({"jobs": [{"job_name": "x", "template": "deployer"}]}));
    run.ok("a");
    assert_eq!(run.state.nodes().len(), 1);
    assert!(run.status("a").1.contains("would deploy to \"production\""), "{:?}", run.status("a"));
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
fn the_next_attempt_is_not_blamed_for_what_the_one_before_asked() {
    let mut run = Run::new(json!({"a": job(json!({}))}));
    run.trigger("a", json!({"jobs": [{"job_name": "x"}]}));
    run.end("a", Some(FailureReason::LostWorker), json!({}));
    run.ok("a");
    assert_eq!(run.finished, Some(RunStatus::Succeeded));
}
