//! Whose a job's files are, and what it takes from which jobs.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::address::Address;
use crate::config::Kind;
use crate::scheduler::{AttemptResult, Event, NewRun, step};
use crate::workflow::{Declaration, Workflow};

fn run(event: Value, jobs: Value) -> RunState {
    let profile: crate::workflow::Profile =
        serde_json::from_value(json!({"name": "trusted", "spec": {"secrets": "granted"}}))
            .expect("a profile");
    let jobs: BTreeMap<String, crate::config::Job> = serde_json::from_value(jobs).expect("jobs");
    let declaration = |job| Declaration::new(job, profile.clone());
    let workflow = Workflow {
        address: Address::new(Kind::Pipeline, Some("web"), "ci"),
        vars: BTreeMap::new(),
        inputs: BTreeMap::new(),
        concurrency: None,
        jobs: jobs.into_iter().map(|(name, job)| (name, declaration(job))).collect(),
        templates: BTreeMap::new(),
    };
    let mut state = RunState::new(NewRun {
        id: "r".to_owned(),
        workflow,
        event,
        vars: BTreeMap::new(),
        inputs: BTreeMap::new(),
        selection: None,
    });
    step(&mut state, Event::Begin, 1_000);
    state
}

fn end(state: &mut RunState, node: &str, at: Millis) {
    step(state, Event::AttemptStarted { node: node.to_owned(), attempt: 1 }, at);
    let result = AttemptResult {
        failure: None,
        exit_code: Some(0),
        message: None,
        outputs: BTreeMap::new(),
        started: true,
        permanent: false,
        usage: None,
    };
    step(state, Event::AttemptFinished { node: node.to_owned(), attempt: 1, result }, at);
}

#[test]
fn only_what_is_fetched_by_its_name_from_the_project_is_its_own() {
    let of = |event: Value| {
        let Origins { source, reference, .. } = origins(&event, "r", Some("main"));
        (source, reference)
    };
    let (base, unverified) = (Origin::Base, Origin::Unverified);
    assert_eq!(of(json!({"type": "manual"})), (base, "main".to_owned()));
    assert_eq!(of(json!({"type": "push", "branch": "next", "sha": ""})), (base, "next".to_owned()));
    assert_eq!(of(json!({"type": "tag", "branch": "main", "tag": "v1"})), (base, "tags/v1".to_owned()));
    // A repository gives out the commits of its forks as well.
    assert_eq!(
        of(json!({"type": "api", "branch": "main", "sha": "abc"})),
        (unverified, "commit/abc".to_owned())
    );
    assert_eq!(of(json!({"type": "pull_request", "branch": "main"})), (unverified, "run/r".to_owned()));
    assert_eq!(
        of(json!({"type": "pull_request", "branch": "main", "number": 0})),
        (unverified, "run/r".to_owned())
    );
    let pull =
        json!({"type": "pull_request", "branch": "main", "sha": "abc", "number": 7, "source_origin": "fork"});
    assert_eq!(of(pull), (Origin::Fork, "pull/7".to_owned()));
    let push = json!({"type": "push", "branch": "main", "sha": "abc", "source_origin": "base"});
    assert_eq!(of(push), (base, "main".to_owned()));
    assert_eq!(
        of(json!({"type": "manual", "source_origin": "mine"})).0,
        base,
        "a word that is none says nothing"
    );
}

#[test]
fn trust_needs_both_origins_and_projects_are_apart() {
    let jobs = || json!({"a": {"image": "i", "command": "c"}});
    let made = |event| producer(&run(event, jobs()), "a", Some("main")).expect("a job");
    let own = made(json!({"type": "push", "branch": "main"}));
    assert!(own.trusted && own.secretless);
    assert_eq!(own.namespace.project, "web");
    assert!(!made(json!({"type": "push", "branch": "main", "ci_origin": "head"})).trusted);
    assert!(!made(json!({"type": "pull_request"})).trusted);
    let mut state = run(json!({"type": "manual"}), jobs());
    state.workflow.address = Address::new(Kind::Pipeline, None, "ci");
    assert_eq!(producer(&state, "a", None).expect("a job").namespace.project, "-/ci");
    assert_eq!(producer(&state, "b", None), None);
}

#[test]
fn a_secret_taints_all_that_takes_what_its_job_made() {
    let state = run(
        json!({"type": "manual"}),
        json!({
            "clean": {"image": "i", "command": "c", "environment": {"A": "$${secret:k}"}},
            "key": {"image": "i", "command": "c", "depends_on": ["clean"], "environment": {"A": "${secret:k}"}},
            "next": {"image": "i", "command": "c", "depends_on": ["key"]},
            "last": {"image": "i", "command": "c", "depends_on": ["next", "clean"]},
            "named": {"image": "i", "command": "c", "secrets": {"K": "k"}},
            "beside": {"image": "i", "command": "c", "depends_on": ["clean"]},
        }),
    );
    let is_free = |name| producer(&state, name, None).expect("a job").secretless;
    let free: Vec<_> = ["clean", "key", "next", "last", "named", "beside"].map(is_free).into();
    assert_eq!(free, [true, false, false, false, false, true]);
}

#[test]
fn a_job_takes_what_it_names_with_all_parts_of_it() {
    let mut state = run(
        json!({"type": "manual"}),
        json!({
            "one": {"image": "i", "command": "c"},
            "many": {"image": "i", "command": "c", "depends_on": ["one"], "for_each": [1, 2]},
            "last": {"image": "i", "command": "c", "depends_on": ["many"]},
        }),
    );
    let taken = |state: &RunState, name| {
        let taken = taken(state, name, 1_000).into_iter();
        taken.map(|one| (one.node, one.attempt, one.earlier)).collect::<Vec<_>>()
    };
    end(&mut state, "one", 2_000);
    assert_eq!(taken(&state, "many[1]"), [("one".to_owned(), 1, false)]);
    end(&mut state, "many[0]", 3_000);
    end(&mut state, "many[1]", 3_000);
    assert_eq!(
        taken(&state, "last"),
        [("many[0]".to_owned(), 1, false), ("many[1]".to_owned(), 1, false)],
        "and nothing of what those took"
    );
    let again = state.again("r2".to_owned(), true);
    let earlier = super::taken(&again, "last", 9_000);
    assert!(earlier.iter().all(|one| one.earlier) && earlier.len() == 2);
}
