//! Pipelines on their way to workflows: templates, presets, parameters and mistakes in these.

use serde_json::json;

use super::*;
use crate::config::{Metadata, Resource};

fn catalog(resources: &[(Kind, Option<&str>, &str, serde_json::Value)]) -> Catalog {
    let resource = |(kind, project, name, spec): &(Kind, Option<&str>, &str, serde_json::Value)| {
        let metadata =
            Metadata { name: (*name).into(), project: project.map(str::to_owned), ..Metadata::default() };
        let spec = Spec::from_value(*kind, spec.clone()).expect("a valid spec");
        let resource = Resource { metadata, spec };
        (resource.address(), resource.into())
    };
    resources.iter().map(resource).collect()
}

fn address() -> Address {
    Address::new(Kind::Pipeline, Some("web"), "ci")
}

fn with(
    jobs: serde_json::Value,
    others: &[(Kind, Option<&str>, &str, serde_json::Value)],
) -> Result<Workflow, Vec<WorkflowError>> {
    let mut all = vec![(Kind::Pipeline, Some("web"), "ci", json!({ "jobs": jobs }))];
    all.extend(others.iter().cloned());
    resolve(&catalog(&all), &address())
}

#[test]
fn a_job_says_its_own_over_what_its_template_says() {
    let template = json!({
        "parameters": {"level": {"default": "1"}, "name": {}},
        "job": {
            "image": "img:${param:level}", "steps": [{"name": "s", "run": "echo ${param:name} $${param:name} ${HOME}"}],
            "environment": {"A": "template", "B": "${param:name}"}, "timeout": "5m", "resources": {"cpu": "1", "memory": "1Gi"},
        },
    });
    let jobs = json!({"a": {
        "template": "t", "parameters": {"name": "x"}, "environment": {"A": "own"}, "resources": {"cpu": "2"},
    }});
    let workflow = with(jobs, &[(Kind::JobTemplate, None, "t", template)]).expect("resolves");
    let job = &workflow.jobs["a"].job;
    assert_eq!(job.image.as_deref(), Some("img:1"));
    assert_eq!(job.environment, BTreeMap::from([("A".into(), "own".into()), ("B".into(), "x".into())]));
    assert_eq!(
        serde_json::to_value(&job.steps[0].run).expect("JSON"),
        json!("echo x $${param:name} ${HOME}")
    );
    assert_eq!(job.timeout.map(|timeout| timeout.to_string()).as_deref(), Some("5m"));
    let resources = job.resources.expect("resources");
    assert_eq!(
        (resources.cpu.map(|cpu| cpu.as_millis()), resources.memory.map(|m| m.as_bytes())),
        (Some(2000), Some(1 << 30))
    );
    assert_eq!(job.template, None);
}

#[test]
fn a_command_of_the_job_replaces_the_steps_of_its_template() {
    let template = json!({"job": {"image": "i", "steps": [{"name": "s", "run": "x"}]}});
    let workflow = with(
        json!({"a": {"template": "t", "command": "mine"}}),
        &[(Kind::JobTemplate, Some("web"), "t", template)],
    )
    .expect("resolves");
    assert!(workflow.jobs["a"].job.steps.is_empty());
}

#[test]
fn wrong_parameters_are_named() {
    let template =
        json!({"parameters": {"level": {"enum": ["1", "2"]}}, "job": {"image": "i", "command": "c"}});
    for (parameters, expected) in [
        (json!({}), "is not set"),
        (json!({"level": "3"}), "must be one of 1, 2, not 3"),
        (json!({"lvel": "1"}), "did you mean level?"),
        (json!({"level": ["1"]}), "must be text"),
    ] {
        let errors = with(
            json!({"a": {"template": "t", "parameters": parameters}}),
            &[(Kind::JobTemplate, None, "t", template.clone())],
        )
        .expect_err("refused");
        assert!(errors[0].message.contains(expected), "{errors:?}");
        assert!(errors[0].pointer.starts_with("/spec/jobs/a/parameters"), "{errors:?}");
    }
}

#[test]
fn templates_are_made_from_templates_but_not_for_ever() {
    let base = json!({"parameters": {"image": {}}, "job": {"image": "${param:image}", "command": "c"}});
    let middle = json!({"job": {"template": "base", "parameters": {"image": "deep"}}});
    let round = json!({"job": {"template": "round"}});
    let others = [
        (Kind::JobTemplate, None, "base", base),
        (Kind::JobTemplate, None, "middle", middle),
        (Kind::JobTemplate, None, "round", round),
    ];
    let workflow = with(json!({"a": {"template": "middle"}}), &others).expect("resolves");
    assert_eq!(workflow.jobs["a"].job.image.as_deref(), Some("deep"));
    assert!(with(json!({"a": {"template": "round"}}), &others).is_err());
}

#[test]
fn presets_come_first_and_the_job_last() {
    let others = [
        (Kind::Environment, None, "one", json!({"variables": {"A": "1", "B": "1", "C": "1", "D": "1"}})),
        (Kind::Environment, Some("web"), "two", json!({"variables": {"B": "2", "C": "2"}})),
        (Kind::Environment, None, "two", json!({"variables": {"D": "not the project's own"}})),
        (Kind::Environment, None, "prod", json!({"variables": {"C": "3"}})),
    ];
    let job = json!({"image": "i", "command": "c", "presets": ["one", "two"], "deploys_to": "prod", "environment": {"E": "5"}});
    let workflow = with(json!({ "a": job }), &others).expect("resolves");
    let values: Vec<&str> = workflow.jobs["a"].job.environment.values().map(String::as_str).collect();
    assert_eq!(values, ["1", "2", "3", "1", "5"]);
}

#[test]
fn a_profile_gives_limits_and_refuses_more() {
    let profile = json!({"max_timeout": "10m", "limits": {"cpu": "2", "memory": "1Gi"}});
    let others = [(Kind::ExecutionProfile, None, "small", profile)];
    let job = |extra: serde_json::Value| {
        let mut job = json!({"image": "i", "command": "c", "profile": "small"});
        job.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
        with(json!({ "a": job }), &others)
    };
    let limited = job(json!({})).expect("resolves");
    assert_eq!(limited.jobs["a"].job.timeout.map(|t| t.to_string()).as_deref(), Some("10m"));
    assert_eq!(
        limited.jobs["a"].job.resources.and_then(|r| r.memory).map(|m| m.to_string()).as_deref(),
        Some("1Gi")
    );
    for extra in [
        json!({"timeout": "11m"}),
        json!({"resources": {"memory": "2Gi"}}),
        json!({"run_as": "root"}),
        json!({"run_as": "0:0"}),
        json!({"capabilities": ["NET_RAW"]}),
        json!({"devices": ["/dev/kvm"]}),
    ] {
        assert!(job(extra.clone()).is_err(), "{extra}");
    }
}

#[test]
fn a_matrix_is_expanded_in_a_fixed_order() {
    let matrix = serde_json::from_value(json!({
        "axes": {"os": ["a", "b"], "level": [1, 2]},
        "exclude": [{"os": "b", "level": 1}],
        "include": [{"os": "c", "level": 9}],
    }))
    .expect("a matrix");
    let instances = expand_matrix(&matrix).expect("expands");
    let shown: Vec<String> = instances
        .iter()
        .map(|i| format!("{}{}", i.environment["MATRIX_OS"], i.environment["MATRIX_LEVEL"]))
        .collect();
    assert_eq!(shown, ["a1", "a2", "b2", "c9"]);
    let job: Job =
        serde_json::from_value(json!({"image": "x:${matrix:os}", "command": "echo ${matrix:level}"}))
            .expect("a job");
    let replaced = replace_matrix(&job, &instances[2].matrix).expect("a job");
    assert_eq!(
        (replaced.image.as_deref(), serde_json::to_value(&replaced.command).expect("JSON")),
        (Some("x:b"), json!("echo 2"))
    );
}

fn problems(jobs: serde_json::Value) -> Vec<String> {
    analyse(&with(jobs, &[]).expect("resolves")).into_iter().map(|problem| problem.pointer).collect()
}

fn job(extra: serde_json::Value) -> serde_json::Value {
    let mut job = json!({"image": "i", "command": "c"});
    job.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
    job
}

#[test]
fn jobs_that_can_never_run_are_named() {
    let a = || job(json!({}));
    let cleanup = || job(json!({"depends_on": ["a"], "condition": "any_failed"}));
    // It needs the success of `a` and of what runs only after the failure of `a`.
    let direct = json!({"a": a(), "cleanup": cleanup(), "c": job(json!({"depends_on": ["a", "cleanup"]}))});
    assert_eq!(problems(direct), ["/spec/jobs/c/depends_on"]);
    // The same through a chain.
    let chain = json!({"a": a(), "b": job(json!({"depends_on": ["a"]})), "cleanup": cleanup(),
        "d": job(json!({"depends_on": ["cleanup"]})), "e": job(json!({"depends_on": ["b", "d"]}))});
    assert_eq!(problems(chain), ["/spec/jobs/e/depends_on"]);
    // Either of two failures means that `a` failed, since the cleanup runs only then.
    let opposite = json!({"a": a(), "cleanup": cleanup(), "ok": job(json!({"depends_on": ["a", "cleanup"], "condition": "any_failed"})),
        "never": job(json!({"depends_on": ["ok", "a"]}))});
    assert_eq!(problems(opposite), ["/spec/jobs/never/depends_on"]);
    let twice = json!({"a": a(), "b": job(json!({"depends_on": ["a"]})), "c": cleanup(),
        "both": job(json!({"depends_on": ["b", "c"], "condition": "all_success"}))});
    assert_eq!(problems(twice), ["/spec/jobs/both/depends_on"]);
}

#[test]
fn jobs_that_only_look_so_are_not_named() {
    let a = || job(json!({}));
    // `always` needs nothing of what it waits for.
    let always = json!({"a": a(), "tidy": job(json!({"depends_on": ["a"], "condition": "always"})),
        "c": job(json!({"depends_on": ["a", "tidy"]}))});
    assert_eq!(problems(always), Vec::<String>::new());
    // One of two failed: not necessarily the one whose success is needed.
    let either = json!({"a": a(), "b": a(), "cleanup": job(json!({"depends_on": ["a", "b"], "condition": "any_failed"})),
        "c": job(json!({"depends_on": ["a", "cleanup"]}))});
    assert_eq!(problems(either), Vec::<String>::new());
    // It runs whenever something failed, and that may be the cleanup itself.
    let report = json!({"a": a(), "cleanup": job(json!({"depends_on": ["a"], "condition": "any_failed"})),
        "report": job(json!({"depends_on": ["a", "cleanup"], "condition": "any_failed"}))});
    assert_eq!(problems(report), Vec::<String>::new());
    // After a cancel `tidy` runs although `b` never started, so the success of `a` is not certain.
    let cancelled = json!({"a": a(), "b": job(json!({"depends_on": ["a"]})),
        "tidy": job(json!({"depends_on": ["b"], "condition": "any_failed", "on_cancel": true})),
        "late": job(json!({"depends_on": ["a"], "condition": "any_failed", "on_cancel": true})),
        "c": job(json!({"depends_on": ["tidy", "late"], "on_cancel": true}))});
    assert_eq!(problems(cancelled), Vec::<String>::new());
    // Not always false: the event decides.
    let when = json!({"a": job(json!({"when": "event.type == \"push\" || false"}))});
    assert_eq!(problems(when), Vec::<String>::new());
}

#[test]
fn expansions_beyond_the_limit_are_named() {
    let values: Vec<u32> = (0..20).collect();
    let large = json!({"a": job(json!({"matrix": {"axes": {"x": values, "y": values}}}))});
    assert_eq!(problems(large), ["/spec/jobs/a/matrix"]);
    let empty = json!({"a": job(json!({"matrix": {"axes": {"x": []}}}))});
    assert_eq!(problems(empty), ["/spec/jobs/a/matrix"]);
}

#[test]
fn what_a_template_asks_for_is_held_to_the_profile_too() {
    let template = json!({"parameters": {"image": {}}, "job": {"image": "${param:image}", "command": "c"}});
    let profile = json!({"images": ["debian:*"], "bare_images": false});
    let others = [(Kind::JobTemplate, None, "t", template), (Kind::ExecutionProfile, None, "p", profile)];
    let job = |image: &str, runner: &str| json!({"a": {"template": "t", "profile": "p", "parameters": {"image": image}, "runner": runner}});
    assert!(with(job("debian:12", "injected"), &others).is_ok());
    for (image, runner, pointer) in
        [("evil:1", "injected", "/spec/jobs/a/image"), ("debian:12", "none", "/spec/jobs/a/runner")]
    {
        let errors = with(job(image, runner), &others).expect_err("is refused");
        assert_eq!((errors[0].code, errors[0].pointer.as_str()), ("RC1061", pointer));
    }
}

#[test]
fn one_deployment_at_a_time_is_a_group() {
    let jobs = json!({"a": {"image": "i", "command": "c", "deploys_to": "production"}});
    for (project, group) in [(None, "environment production"), (Some("web"), "environment web/production")] {
        let environment =
            (Kind::Environment, project, "production", json!({"protection": {"exclusive": true}}));
        let workflow = with(jobs.clone(), &[environment]).expect("resolves");
        let concurrency = workflow.jobs["a"].job.concurrency.as_ref().expect("a group");
        assert_eq!((concurrency.group.as_str(), concurrency.limit), (group, 1));
        assert!(workflow.jobs["a"].protection.is_some());
    }
}
