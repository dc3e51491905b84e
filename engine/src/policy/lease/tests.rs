//! The decision on each fact that it depends on, one at a time.

use serde_json::{Value, json};

use super::*;
use crate::config::Kind;
use crate::plan::tests::resource;
use crate::scheduler::{Event, NewRun};
use crate::workflow;

/// What is applied, with a job `deploy` that asks for `deploy/key`, and a policy that grants it on pushes to main.
fn catalog(change: impl FnOnce(&mut Vec<(Kind, &'static str, Value)>)) -> Catalog {
    let job = json!({"image": "i", "command": "c", "secrets": {"KEY": "deploy/key"}, "triggers_allowed": {"count": 5, "depth": 2, "images": ["*"]}});
    let grant = json!({"secrets": ["deploy/*"], "to": {"project": "web", "pipeline": "ci", "jobs": ["deploy"]},
        "when": {"events": ["push"], "branches": ["main"]}});
    let mut resources = vec![
        (Kind::Project, "web", json!({})),
        (Kind::Secret, "deploy/key", json!({})),
        (Kind::SecretPolicy, "p", json!({"allow": [grant]})),
        (
            Kind::Pipeline,
            "web/ci",
            json!({"triggers": [{"event": "push"}, {"event": "pull_request"}],
            "jobs": {"deploy": job, "other": {"image": "i", "command": "c"}}}),
        ),
    ];
    change(&mut resources);
    resources
        .into_iter()
        .map(|(kind, name, spec)| resource(kind, name, spec))
        .map(|resource| (resource.address(), resource.into()))
        .collect()
}

fn usual() -> Catalog {
    catalog(|_| {})
}

fn pipeline() -> Address {
    Address::new(Kind::Pipeline, Some("web"), "ci")
}

fn run(catalog: &Catalog, event: Value) -> RunState {
    let workflow = workflow::resolve(catalog, &pipeline()).expect("it resolves");
    let mut state = RunState::new(NewRun {
        id: "r".into(),
        workflow,
        event,
        vars: BTreeMap::new(),
        inputs: BTreeMap::new(),
        selection: None,
    });
    crate::scheduler::step(&mut state, Event::Begin, 1);
    state
}

fn push() -> Value {
    json!({"type": "push", "branch": "main"})
}

/// What becomes of the job's secret under what is applied now.
fn decision(now: &Catalog, state: &RunState) -> Result<Address, String> {
    let node = state.node("deploy").expect("a node");
    let job = state.workflow.jobs["deploy"].job.clone();
    let decided = decide_lease(now, state, node, &job);
    assert_eq!(decided.len(), 1);
    match &decided[0].access {
        Access::Granted { policy, .. } => Ok(policy.clone()),
        Access::Denied { reason } => {
            assert!(refusal(&decided).expect("a refusal").contains(reason));
            Err(reason.clone())
        }
    }
}

fn of_event(event: Value) -> Result<Address, String> {
    decision(&usual(), &run(&usual(), event))
}

#[test]
fn the_grant_that_speaks_of_it_gives_it() {
    assert_eq!(of_event(push()), Ok(Address::new(Kind::SecretPolicy, None, "p")));
    let state = run(&usual(), push());
    let decided =
        decide_lease(&usual(), &state, state.node("deploy").unwrap(), &state.workflow.jobs["deploy"].job);
    assert_eq!(decided[0].key, "value");
    assert_eq!(refusal(&decided), None);
}

#[test]
fn another_event_branch_or_origin_is_denied_and_says_which_would_do() {
    let cases = [
        (json!({"type": "manual", "branch": "main"}), "only on push"),
        (json!({"type": "push", "branch": "next"}), "only on the branches main"),
        (
            json!({"type": "pull_request", "branch": "main", "number": 1}),
            "no pull_request of code from unverified runs unbounded",
        ),
        (json!({"type": "push", "branch": "main", "sha": "abc"}), "only to code from base"),
        (json!({"type": "push", "branch": "main", "source_origin": "fork"}), "only to code from base"),
        (json!({"type": "push", "branch": "main", "ci_origin": "head"}), "only to code from base"),
        (json!({"type": "nonsense", "branch": "main"}), "what kind of event"),
        (json!({"branch": "main"}), "what kind of event"),
        (json!({"type": "push", "branch": "main", "ceiling": "untrusted"}), "untrusted has no secrets"),
        (json!({"type": "push", "branch": "main", "ceiling": "unknown"}), "unknown has no secrets"),
    ];
    for (event, reason) in cases {
        let denied = of_event(event.clone()).expect_err("a denial");
        assert!(denied.contains(reason), "{event}: {denied}");
    }
    for event in [
        json!({"type": "push", "branch": "main", "sha": "abc", "source_origin": "base"}),
        json!({"type": "push", "branch": "main", "source_origin": "base", "ci_origin": "base"}),
    ] {
        assert!(of_event(event.clone()).is_ok(), "{event}");
    }
}

#[test]
fn a_run_whose_bound_no_trust_policy_sets_any_more_gets_nothing() {
    let bounding = |profile: &str| {
        let rules = json!([{"events": ["push"], "action": "run", "profile": profile}]);
        catalog(|resources| {
            resources.push((Kind::ExecutionProfile, "checks", json!({"secrets": "granted"})));
            resources.push((Kind::TrustPolicy, "t", json!({"projects": ["web"], "rules": rules})));
        })
    };
    let of = |ceiling: Value| run(&usual(), json!({"type": "push", "branch": "main", "ceiling": ceiling}));
    assert!(decision(&bounding("trusted"), &of(json!("trusted"))).is_ok());
    for (now, ceiling) in [("trusted", Value::Null), ("checks", Value::Null), ("checks", json!("trusted"))] {
        let denied = decision(&bounding(now), &of(ceiling.clone())).expect_err("a denial");
        assert!(denied.contains("as trust policies are now"), "{now} {ceiling}: {denied}");
    }
}

#[test]
fn a_protected_environment_gets_what_its_branches_have() {
    let protected = |branches: Value| {
        catalog(|resources| {
            let protection = json!({"protection": {"branches": branches}});
            resources.push((Kind::Environment, "production", protection));
            resources[3].2["jobs"]["deploy"]["deploys_to"] = json!("production");
        })
    };
    let state = run(&protected(json!(["main"])), push());
    assert!(decision(&protected(json!(["main"])), &state).is_ok());
    let denied = decision(&protected(json!(["release/*"])), &state).expect_err("a denial");
    assert!(denied.contains("only commits of the branches release/*"), "{denied}");
}

#[test]
fn both_origins_must_be_granted() {
    let grants_forks = catalog(|resources| {
        resources[2].2["allow"][0]["when"]["origins"] = json!(["fork"]);
    });
    let of = |source: &str, ci: &str| {
        let event = json!({"type": "push", "branch": "main", "source_origin": source, "ci_origin": ci});
        decision(&grants_forks, &run(&grants_forks, event)).is_ok()
    };
    assert!(of("fork", "base") && of("base", "fork") && of("fork", "fork"));
    assert!(!of("head", "fork") && !of("fork", "unverified") && !of("base", "base"));
}

#[test]
fn what_is_applied_now_decides_whatever_the_run_began_with() {
    let state = run(&usual(), push());
    let no_policy = catalog(|resources| drop(resources.remove(2)));
    assert_eq!(decision(&no_policy, &state), Err("no policy grants it".to_owned()));
    let other_job = catalog(|resources| {
        resources[3].2["jobs"]["deploy"]["secrets"] = json!({});
    });
    assert!(decision(&other_job, &state).expect_err("a denial").contains("does not name it"));
    let no_job = catalog(|resources| {
        resources[3].2["jobs"].as_object_mut().unwrap().remove("deploy");
    });
    assert!(decision(&no_job, &state).expect_err("a denial").contains("no job \"deploy\""));
    let no_pipeline = catalog(|resources| drop(resources.remove(3)));
    assert!(decision(&no_pipeline, &state).expect_err("a denial").contains("not applied any more"));
    let no_secret = catalog(|resources| drop(resources.remove(1)));
    assert!(
        decision(&no_secret, &state).expect_err("a denial").contains("no secret \"deploy/key\" is applied")
    );
    let denies = catalog(|resources| {
        let denial = json!({"secrets": ["**"], "to": {"project": "web"}});
        resources.push((Kind::SecretPolicy, "no", json!({"deny": [denial]})));
    });
    assert_eq!(decision(&denies, &state), Err("SecretPolicy/no denies it".to_owned()));
}

#[test]
fn a_profile_without_secrets_then_or_now_is_enough_to_deny() {
    let with = |secrets: &'static str| {
        catalog(|resources| {
            resources.push((Kind::ExecutionProfile, "deployer", json!({"secrets": secrets})));
            resources[3].2["jobs"]["deploy"]["profile"] = json!("deployer");
        })
    };
    let (granted, none) = (with("granted"), with("none"));
    assert!(decision(&granted, &run(&granted, push())).is_ok());
    let mut began_without = run(&granted, push());
    let declaration = began_without.workflow.jobs.get_mut("deploy").expect("a job");
    declaration.profile.spec.secrets = ProfileSecrets::None;
    let then = decision(&granted, &began_without).expect_err("a denial");
    assert!(then.contains("had no secrets when the run began"), "{then}");
    let now = decision(&none, &run(&granted, push())).expect_err("a denial");
    assert!(now.contains("the profile deployer has no secrets"), "{now}");
}

#[test]
fn a_projects_own_secret_comes_before_the_workspaces() {
    let of_project = |project: &str| {
        let mut resource = resource(Kind::Secret, "deploy/key", json!({}));
        resource.metadata.project = Some(project.to_owned());
        (resource.address(), resource.into())
    };
    let mut own = usual();
    own.extend([of_project("web")]);
    let state = run(&own, push());
    let decided =
        decide_lease(&own, &state, state.node("deploy").unwrap(), &state.workflow.jobs["deploy"].job);
    assert_eq!(decided[0].secret.as_ref().map(ToString::to_string).as_deref(), Some("Secret/web/deploy/key"));
    // Another project's is none of ours.
    let mut others = catalog(|resources| drop(resources.remove(1)));
    others.extend([of_project("api")]);
    assert!(decision(&others, &run(&usual(), push())).expect_err("a denial").contains("no secret"));
}

#[test]
fn a_name_means_one_key() {
    let keys = |keys: Value, name: &str| {
        let catalog = catalog(|resources| resources[1].2 = json!({"keys": keys}));
        secret_key(&catalog, &Address::new(Kind::Secret, None, "deploy/key"), name)
    };
    assert_eq!(keys(json!(["token"]), "deploy/key"), Ok("token".to_owned()));
    assert_eq!(keys(json!(["user", "value"]), "deploy/key"), Ok("value".to_owned()));
    assert_eq!(keys(json!(["user", "token"]), "deploy/key:user"), Ok("user".to_owned()));
    assert!(keys(json!(["user", "token"]), "deploy/key").is_err());
    assert!(keys(json!(["user"]), "deploy/key:token").is_err());
}

#[test]
fn a_job_that_another_asked_for_gets_none_and_its_code_is_fetched_as_its_parents() {
    let catalog = usual();
    let mut state = run(&catalog, push());
    let started = Event::AttemptStarted { node: "deploy".into(), attempt: 1 };
    crate::scheduler::step(&mut state, started, 2);
    let request = serde_json::from_value(json!({"jobs": [{"name": "made", "image": "i", "command": "c"}]}));
    let request = request.expect("a request");
    let event = Event::Triggered { node: "deploy".into(), attempt: 1, ordinal: 0, request };
    crate::scheduler::step(&mut state, event, 3);
    let node = state.node("made").expect("it was made");
    let job = serde_json::from_value(json!({"image": "i", "command": "c", "secrets": {"K": "deploy/key"},
        "source": {"git": "https://h/x", "credentials": "deploy/key"}}));
    let decided = decide_lease(&catalog, &state, node, &job.expect("a job"));
    let of = |purpose| &decided.iter().find(|one| one.asked.purpose == purpose).expect("asked").access;
    assert!(matches!(of(Purpose::Job), Access::Denied { reason } if reason.contains("triggered")));
    assert!(matches!(of(Purpose::Source), Access::Granted { .. }));
}

#[test]
fn every_place_that_names_a_secret_is_asked_for() {
    let job = json!({"image": "i", "secrets": {"A": "one"}, "environment": {"B": "x${secret:two:key}"},
        "steps": [{"name": "s", "run": "c", "environment": {"C": "${secret:three}"}}],
        "source": {"git": "https://h/x", "credentials": "four"}});
    let asked = secrets_asked(&serde_json::from_value(job).expect("a job"));
    let names: Vec<_> = asked.iter().map(|asked| (asked.name.as_str(), asked.purpose)).collect();
    let expected = [
        ("four", Purpose::Source),
        ("one", Purpose::Job),
        ("three", Purpose::Job),
        ("two:key", Purpose::Job),
    ];
    assert_eq!(names, expected);
}
