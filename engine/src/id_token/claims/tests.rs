//! Tests of what tokens say, and of who gets none.

use serde_json::{Value, json};

use super::*;
use crate::plan::tests::resource;

fn assignment(event: Value, profile: Value) -> Assignment {
    let profile = json!({"name": "trusted", "spec": profile});
    serde_json::from_value(json!({
        "run": "r1", "node": "ship[2]", "attempt": 3, "profile": profile, "triggered": false, "depth": 0, "event": event,
        "vars": {}, "needs": {}, "inputs": {}, "at": 0,
        "job": {"image": "i", "command": "c", "deploys_to": "production",
            "id_tokens": {"AWS": {"audience": "sts.amazonaws.com"}, "OTHER": {"audience": "else"}}},
    }))
    .expect("an assignment")
}

struct World {
    assignment: Assignment,
    origins: Origins,
    catalog: Catalog,
    lease_until: Millis,
}

impl World {
    fn new(event: Value) -> Self {
        let assignment = assignment(event, json!({"secrets": "granted"}));
        let origins = crate::artifacts::origins(&assignment.event, "r1", None);
        Self { assignment, origins, catalog: Catalog::default(), lease_until: 2_000_000_000 }
    }

    fn with(mut self, spec: Value) -> Self {
        let resource = resource(Kind::ExecutionProfile, "custom", spec.clone());
        let Spec::ExecutionProfile(spec) = &resource.spec else { unreachable!() };
        self.assignment.profile = Profile { name: "custom".to_owned(), spec: (**spec).clone() };
        self.catalog.insert(resource.address(), resource.into());
        self
    }

    fn ask(&self, audience: &str) -> Result<Claims, Refusal> {
        claims(Asked {
            audience,
            assignment: &self.assignment,
            pipeline: &"Pipeline/web/ci".parse().expect("an address"),
            origins: &self.origins,
            catalog: &self.catalog,
            policy_revision: 7,
            issuer: "https://ci.example.com",
            now: 1_000_000_500,
            lease_until: self.lease_until,
            id: "id".to_owned(),
        })
    }

    fn subject(event: Value) -> String {
        let world = Self::new(event).with(json!({"identity": true}));
        world.ask("else").expect("a token").sub
    }
}

#[test]
fn a_token_says_what_the_job_is() {
    let world = World::new(json!({"type": "push", "branch": "main", "source_origin": "base", "sha": "abc"}));
    let said = serde_json::to_value(world.ask("sts.amazonaws.com").expect("a token")).expect("JSON");
    let expected = json!({
        "iss": "https://ci.example.com", "aud": "sts.amazonaws.com",
        "sub": "project:web:pipeline:ci:job:ship:ref:refs/heads/main",
        "exp": 1_000_600, "nbf": 999_940, "iat": 1_000_000, "jti": "id", "project": "web", "pipeline": "ci", "job": "ship",
        "node": "ship[2]", "run_id": "r1", "attempt": 3, "event": "push", "ref": "refs/heads/main", "sha": "abc",
        "origin": "base", "profile": "trusted", "environment": "production", "policy_revision": 7,
    });
    assert_eq!(said, expected);
}

#[test]
fn a_token_is_never_good_for_longer_than_the_lease() {
    let mut world = World::new(json!({"type": "push", "branch": "main"}));
    world.lease_until = 1_000_060_000;
    assert_eq!(world.ask("else").expect("a token").exp, 1_000_060);
    world.lease_until = 1_000_000_500;
    assert_eq!(world.ask("else"), Err(Refusal::Over));
}

#[test]
fn only_what_is_known_to_be_of_a_branch_has_its_name_in_the_subject() {
    let start = "project:web:pipeline:ci:job:ship:";
    for (event, end) in [
        (json!({"type": "push", "branch": "main"}), "ref:refs/heads/main"),
        (json!({"type": "tag", "tag": "v1"}), "ref:refs/tags/v1"),
        (json!({"type": "push", "branch": "main", "sha": "abc"}), "event:push:origin:unverified"),
        (json!({"type": "push", "branch": "main", "ci_origin": "head"}), "event:push:origin:head"),
        (json!({"type": "pull_request", "branch": "main"}), "event:pull_request:origin:unverified"),
        (
            json!({"type": "pull_request", "branch": "main", "source_origin": "fork"}),
            "event:pull_request:origin:fork",
        ),
        (
            json!({"type": "pull_request", "branch": "main", "source_origin": "base"}),
            "event:pull_request:origin:base",
        ),
        (json!({"type": "manual"}), "event:manual:origin:base"),
        (
            json!({"type": "push", "branch": "a:ref:refs/heads/main %\n"}),
            "ref:refs/heads/a%3Aref%3Arefs/heads/main%20%25%0A",
        ),
    ] {
        assert_eq!(World::subject(event.clone()), format!("{start}{end}"), "{event}");
    }
}

#[test]
fn what_is_not_declared_or_not_allowed_is_refused() {
    let push = || json!({"type": "push", "branch": "main"});
    assert_eq!(World::new(push()).ask("mine"), Err(Refusal::Audience("mine".to_owned())));
    let mut triggered = World::new(push());
    triggered.assignment.triggered = true;
    assert_eq!(triggered.ask("else"), Err(Refusal::Triggered));
    let refused = |name: &str| Err(Refusal::Profile(name.to_owned()));
    assert_eq!(World::new(push()).with(json!({})).ask("else"), refused("custom"));
    let granted = json!({"secrets": "granted", "identity": false});
    assert_eq!(World::new(push()).with(granted).ask("else"), refused("custom"));
    assert!(World::new(push()).with(json!({"identity": true})).ask("else").is_ok());
}

#[test]
fn what_is_applied_now_counts_as_well_as_what_was() {
    let push = || json!({"type": "push", "branch": "main"});
    let mut narrowed = World::new(push()).with(json!({"identity": true}));
    let now = resource(Kind::ExecutionProfile, "custom", json!({}));
    narrowed.catalog.insert(now.address(), now.into());
    assert_eq!(narrowed.ask("else"), Err(Refusal::Profile("custom".to_owned())));
    let mut gone = World::new(push()).with(json!({"identity": true}));
    gone.catalog.clear();
    assert_eq!(gone.ask("else"), Err(Refusal::Profile("custom".to_owned())));
    let bounded = json!({"type": "push", "branch": "main", "ceiling": "untrusted"});
    assert_eq!(World::new(bounded).ask("else"), Err(Refusal::Profile("untrusted".to_owned())));
}

#[test]
fn code_from_elsewhere_has_a_token_only_where_the_profile_says_so() {
    let of = |origin: &str| json!({"type": "pull_request", "branch": "main", "source_origin": origin});
    assert!(World::new(of("head")).ask("else").is_ok());
    for origin in ["fork", "unverified"] {
        let refused = World::new(of(origin)).ask("else").expect_err("no token");
        assert!(matches!(refused, Refusal::Origin { .. }), "{refused}");
        let allowed = World::new(of(origin)).with(json!({"identity": true})).ask("else").expect("a token");
        assert_eq!((allowed.origin.as_str(), allowed.profile.as_str()), (origin, "custom"));
    }
}
