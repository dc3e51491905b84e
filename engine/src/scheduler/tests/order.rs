//! What starts when, with which values.

use super::*;

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
