//! What an event would start, with which secrets, and what is said of the rest.

use serde_json::json;

use super::*;
use crate::plan::tests::resource;

fn world() -> Catalog {
    let image = "debian:12";
    let resources = [
        resource(Kind::Project, "web", json!({})),
        resource(Kind::Project, "api", json!({})),
        resource(Kind::Secret, "deploy", json!({})),
        resource(
            Kind::SecretPolicy,
            "deploy",
            json!({"allow": [{"secrets": ["deploy"], "to": {"project": "web", "jobs": ["ship"]},
                              "when": {"events": ["push"], "branches": ["main"]}}]}),
        ),
        resource(
            Kind::TrustPolicy,
            "forks",
            json!({"projects": ["web"], "rules": [
                {"origins": ["fork"], "actors": {"users": ["mallory"]}, "action": "refuse"},
                {"origins": ["fork"], "action": "run", "profile": "untrusted"},
            ]}),
        ),
        resource(
            Kind::Pipeline,
            "web/ci",
            json!({"triggers": [{"event": "push"}, {"event": "pull_request", "paths": {"include": ["src/**"]}}],
            "jobs": {
                "test": {"image": image, "command": "make"},
                "ship": {"image": image, "command": "make ship", "depends_on": ["test"],
                         "when": "event.branch == \"main\"", "secrets": {"KEY": "deploy"}},
                "sign": {"image": image, "command": "make sign", "secrets": {"KEY": "deploy"},
                         "depends_on": ["test"], "when": "needs.test.outputs.done == \"1\""},
            }}),
        ),
        resource(Kind::Pipeline, "api/ci", json!({"jobs": {"a": {"image": image, "command": "x"}}})),
    ];
    resources.into_iter().map(|resource| (resource.address(), resource.into())).collect()
}

fn explained(occurrence: Value) -> Explanation {
    explain(&world(), &serde_json::from_value(occurrence).expect("an occurrence"))
}

#[test]
fn a_push_to_main_gets_the_secret_where_it_is_granted() {
    let explanation = explained(json!({"project": "web", "type": "push", "branch": "main"}));
    assert_eq!(explanation.trust.action, TrustAction::Run);
    let [pipeline] = explanation.pipelines.as_slice() else { panic!("{:?}", explanation.pipelines) };
    assert_eq!(pipeline.jobs["test"].runs, Runs::Yes);
    assert_eq!(pipeline.jobs["ship"].runs, Runs::Yes);
    assert!(matches!(pipeline.jobs["sign"].runs, Runs::Later { .. }));
    assert!(matches!(&pipeline.jobs["ship"].secrets["Secret/-/deploy"], Access::Granted { grant: 0, .. }));
    assert_eq!(
        pipeline.jobs["sign"].secrets["Secret/-/deploy"],
        Access::Denied { reason: "no policy grants it".to_owned() }
    );
}

#[test]
fn a_fork_runs_under_its_ceiling_and_gets_none() {
    let mut event =
        json!({"project": "web", "type": "pull_request", "branch": "main", "changed_files": ["src/a.rs"]});
    // Nobody said whose it is, and some are refused.
    assert_eq!(explained(event.clone()).trust.action, TrustAction::Refuse);
    event["actor"] = json!({"user": "eve"});
    let explanation = explained(event);
    assert_eq!(explanation.trust.profile.as_deref(), Some("untrusted"));
    let ship = &explanation.pipelines[0].jobs["ship"];
    assert_eq!(ship.profile, "untrusted");
    let reason = "the profile untrusted has no secrets".to_owned();
    assert_eq!(ship.secrets["Secret/-/deploy"], Access::Denied { reason });
}

#[test]
fn what_does_not_start_says_why() {
    let other =
        json!({"project": "web", "type": "pull_request", "branch": "main", "changed_files": ["README.md"]});
    let reasons = &explained(other).pipelines[0].not_started;
    assert_eq!(*reasons, ["pull_request is not push", "none of the changed files counts"]);
    let refused = json!({"project": "web", "type": "pull_request", "branch": "main", "changed_files": ["src/a"],
                         "actor": {"user": "mallory"}});
    assert_eq!(explained(refused).pipelines[0].not_started, ["the trust policy refuses it"]);
    assert_eq!(explained(json!({"project": "none", "type": "push"})).pipelines, []);
}

#[test]
fn another_branch_is_told_which_one_would_do() {
    let explanation = explained(json!({"project": "web", "type": "push", "branch": "next"}));
    let ship = &explanation.pipelines[0].jobs["ship"];
    assert!(matches!(ship.runs, Runs::No { .. }));
    let reason = "SecretPolicy/deploy grants it only on the branches main".to_owned();
    assert_eq!(ship.secrets["Secret/-/deploy"], Access::Denied { reason });
}
