//! Each finding appears for the change that it is about, and for no other.

#![allow(clippy::needless_pass_by_value, reason = "specs are written in place")]

use serde_json::json;

use super::*;
use crate::config::{Kind, Resource};
use crate::plan::tests::{applied, desired, plan, resource};

fn codes(before: Vec<Resource>, after: Vec<Resource>) -> Vec<String> {
    let plan = plan(&desired(after), &applied(before));
    plan.findings.into_iter().map(|finding| finding.code).collect()
}

/// A project whose pipeline reaches a secret on a push to main, with an image that cannot move.
fn world() -> BTreeMap<&'static str, Resource> {
    BTreeMap::from([
        ("project", resource(Kind::Project, "web", json!({}))),
        ("secret", resource(Kind::Secret, "deploy/key", json!({}))),
        ("pipeline", pipeline(json!([{"event": "push", "branches": ["main"]}]), "make")),
        ("policy", policy(json!({"events": ["push"], "branches": ["main"], "origins": ["base"]}))),
    ])
}

fn pipeline(triggers: serde_json::Value, command: &str) -> Resource {
    let image = format!("debian@sha256:{}", "0".repeat(64));
    let job = json!({"image": image, "command": command, "secrets": {"KEY": "deploy/key"}});
    resource(Kind::Pipeline, "web/ci", json!({"triggers": triggers, "jobs": {"deploy": job}}))
}

fn policy(when: serde_json::Value) -> Resource {
    let allow = json!([{"secrets": ["deploy/*"], "to": {"project": "web"}, "when": when}]);
    resource(Kind::SecretPolicy, "deploy", json!({"allow": allow}))
}

/// Lets pull requests run with the profiles that jobs have.
fn trusting() -> Resource {
    let rules = json!([{"events": ["pull_request"], "action": "require_approval"}]);
    resource(Kind::TrustPolicy, "everybody", json!({"projects": ["*"], "rules": rules}))
}

fn all(world: &BTreeMap<&'static str, Resource>) -> Vec<Resource> {
    world.values().cloned().collect()
}

/// The codes of a change of one resource of the world.
fn changed(name: &'static str, resource: Resource) -> Vec<String> {
    let mut after = world();
    after.insert(name, resource);
    codes(all(&world()), all(&after))
}

#[test]
fn each_code_is_documented() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let index = std::fs::read_to_string(docs.join("findings.md")).expect("docs/findings.md");
    for (code, severity, _) in CODES {
        let page = std::fs::read_to_string(docs.join(format!("findings/{code}.md"))).expect(code);
        for part in ["What it says", "Why it matters", "How to fix it", "How to accept it"] {
            assert!(page.contains(&format!("\n## {part}\n")), "docs/findings/{code}.md does not say: {part}");
        }
        assert!(page.to_lowercase().contains(&format!("\n*{}.*", severity.as_str())), "{code}: its weight");
        let row = format!("\n| [{code}](findings/{code}.md) | {} |", severity.as_str());
        assert!(index.contains(&row), "docs/findings.md does not list {code}");
    }
    let pages = std::fs::read_dir(docs.join("findings")).expect("pages").count();
    assert_eq!(pages, CODES.len(), "a page is of no finding");
}

#[test]
fn a_first_apply_shows_what_can_be_reached() {
    assert_eq!(codes(vec![], all(&world())), ["RX101"]);
}

#[test]
fn a_grant_to_another_event_branch_or_origin_is_found() {
    for when in [
        json!({"events": ["push", "manual"], "branches": ["main"]}),
        json!({"events": ["push"], "branches": ["main"], "origins": ["base", "unverified"]}),
    ] {
        assert_eq!(changed("policy", policy(when.clone())), ["RX101"], "{when}");
    }
    // The trigger and the grant both bound the branches.
    assert_eq!(changed("policy", policy(json!({"events": ["push"]}))), Vec::<String>::new());
    let wide = pipeline(json!([{"event": "push"}]), "make");
    assert_eq!(changed("pipeline", wide), Vec::<String>::new());
    let pull = pipeline(json!([{"event": "push", "branches": ["main"]}, {"event": "pull_request"}]), "make");
    assert_eq!(changed("pipeline", pull), Vec::<String>::new(), "no grant speaks of pull requests");
}

#[test]
fn fork_code_that_reaches_a_secret_is_found() {
    let mut before = world();
    before.insert("pipeline", pipeline(json!([{"event": "pull_request"}]), "make"));
    let mut after = before.clone();
    after.insert("policy", policy(json!({"events": ["pull_request"], "origins": ["fork"]})));
    // Nobody lets it run with a profile that has secrets.
    assert_eq!(codes(all(&before), all(&after)), [""; 0]);
    before.insert("trust", trusting());
    let mut both = after.clone();
    both.insert("trust", trusting());
    assert_eq!(codes(all(&before), all(&both)), ["RX101"]);
    assert_eq!(codes(all(&after), all(&both)), ["RX101", "RX102"]);
}

#[test]
fn a_profile_without_secrets_reaches_nothing_and_widening_it_is_found() {
    let mut before = world();
    before.insert("project", resource(Kind::Project, "web", json!({"default_profile": "untrusted"})));
    assert_eq!(codes(vec![], all(&before)), Vec::<String>::new());
    let mut after = before.clone();
    after.insert("profile", resource(Kind::ExecutionProfile, "untrusted", json!({"secrets": "granted"})));
    assert_eq!(codes(all(&before), all(&after)), ["RX101", "RX102"]);
}

/// Whether the job reaches its secret by any event, when a grant says this.
fn reaches(to: serde_json::Value, secrets: serde_json::Value, when: serde_json::Value) -> bool {
    let mut world = world();
    world.insert("environment", resource(Kind::Environment, "production", json!({})));
    world.insert("trust", trusting());
    let image = format!("debian@sha256:{}", "0".repeat(64));
    let job =
        json!({"image": image, "command": "x", "secrets": {"KEY": "deploy/key"}, "deploys_to": "production"});
    let triggers = json!([{"event": "push", "branches": ["main"]}, {"event": "tag", "tags": ["v*"]}, {"event": "pull_request"}]);
    world.insert(
        "pipeline",
        resource(Kind::Pipeline, "web/ci", json!({"triggers": triggers, "jobs": {"deploy": job}})),
    );
    let allow = json!([{"secrets": secrets, "to": to, "when": when}]);
    world.insert("policy", resource(Kind::SecretPolicy, "deploy", json!({"allow": allow})));
    let catalog = world.into_values().map(|resource| (resource.address(), resource.into())).collect();
    !crate::policy::reach::reach(&catalog).is_empty()
}

#[test]
fn a_grant_speaks_of_some_jobs_only() {
    let reaches = |to, secrets| reaches(to, secrets, json!({}));
    let every = || json!({"project": "web", "pipeline": "ci", "jobs": ["build", "deploy"]});
    assert!(
        reaches(every(), json!(["deploy/*"])) && reaches(json!({"project": "web"}), json!(["deploy/key"]))
    );
    for other in [
        json!({"project": "site"}),
        json!({"project": "web", "pipeline": "release"}),
        json!({"project": "web", "jobs": ["build"]}),
    ] {
        assert!(!reaches(other.clone(), json!(["deploy/*"])), "{other}");
    }
    assert!(!reaches(every(), json!(["other/*", "deploy"])));
}

#[test]
fn a_grant_speaks_of_some_circumstances_only() {
    for (when, expected) in [
        (json!({"events": ["push"]}), true),
        (json!({"events": ["schedule"]}), false),
        (json!({"events": ["push"], "branches": ["ma*"]}), true),
        (json!({"events": ["push"], "branches": ["release"]}), false),
        (json!({"events": ["tag"], "tags": ["v1"]}), true),
        (json!({"events": ["tag"], "tags": ["w1"]}), false),
        (json!({"events": ["tag"], "branches": ["main"]}), false),
        (json!({"events": ["pull_request"], "origins": ["head"]}), true),
        (json!({"events": ["pull_request"]}), false),
        (json!({"profiles": ["trusted"]}), true),
        (json!({"profiles": ["untrusted"]}), false),
        (json!({"environments": ["production"]}), true),
        (json!({"environments": ["staging"]}), false),
    ] {
        let found = reaches(json!({"project": "web"}), json!(["deploy/*"]), when.clone());
        assert_eq!(found, expected, "{when}");
    }
}

#[test]
fn a_denial_takes_reach_away_and_its_loss_is_found() {
    let mut before = world();
    let allow = json!([{"secrets": ["deploy/*"], "to": {"project": "web"}}]);
    let deny = json!([{"secrets": ["deploy/key"], "to": {"project": "web"}}]);
    before.insert("policy", resource(Kind::SecretPolicy, "deploy", json!({"allow": allow, "deny": deny})));
    assert_eq!(codes(vec![], all(&before)), Vec::<String>::new());
    assert_eq!(codes(all(&before), all(&world())), ["RX101", "RX103"]);
}

#[test]
fn a_denial_that_names_no_origin_denies_all_of_them() {
    let mut world = world();
    world.insert("trust", trusting());
    let policy = |events: serde_json::Value| {
        let everywhere = json!({"events": ["pull_request"], "origins": ["base", "head", "fork"]});
        resource(
            Kind::SecretPolicy,
            "deploy",
            json!({"allow": [{"secrets": ["deploy/*"], "to": {"project": "web"}, "when": everywhere}],
                   "deny": [{"secrets": ["deploy/*"], "to": {"project": "web"}, "when": {"events": events}}]}),
        )
    };
    world.insert("pipeline", pipeline(json!([{"event": "pull_request"}]), "make"));
    world.insert("policy", policy(json!(["push"])));
    assert!(codes(vec![], all(&world)).contains(&"RX101".to_owned()));
    world.insert("policy", policy(json!(["pull_request"])));
    assert!(!codes(vec![], all(&world)).contains(&"RX101".to_owned()));
}

#[test]
fn changed_or_movable_code_beside_a_secret_is_found() {
    let push = json!([{"event": "push", "branches": ["main"]}]);
    assert_eq!(changed("pipeline", pipeline(push, "make evil")), ["RX106"]);
    let movable = json!({"ci_source": {"git": "https://example.com/ci.git", "ref": "main"}});
    assert_eq!(changed("project", resource(Kind::Project, "web", movable)), ["RX106"]);
}

#[test]
fn a_secret_taken_from_a_template_counts() {
    let mut world = world();
    let job = json!({"image": "debian:12", "command": "x", "environment": {"KEY": "${secret:deploy/key}"}});
    world.insert("template", resource(Kind::JobTemplate, "t", json!({"job": job})));
    let uses = json!({"triggers": [{"event": "push"}], "jobs": {"deploy": {"template": "t"}}});
    world.insert("pipeline", resource(Kind::Pipeline, "web/ci", uses));
    assert_eq!(codes(vec![], all(&world)), ["RX101", "RX106"]);
}

#[test]
fn a_secret_deleted_while_granted_is_found() {
    let job = json!({"image": "debian:12", "command": "x"});
    let mut after = world();
    after.insert("pipeline", resource(Kind::Pipeline, "web/ci", json!({"jobs": {"deploy": job}})));
    after.remove("secret");
    assert_eq!(codes(all(&world()), all(&after)), ["RX201"]);
}

#[test]
fn lost_protection_is_found() {
    let with = |spec| vec![resource(Kind::Environment, "production", spec)];
    let protected = json!({"protection": {"branches": ["main"], "approvers": ["team:ops"], "wait": "10m"}});
    for weaker in [
        json!({}),
        json!({"protection": {"branches": ["main", "dev"], "approvers": ["team:ops"], "wait": "10m"}}),
        json!({"protection": {"branches": ["main"], "wait": "10m"}}),
        json!({"protection": {"branches": ["main"], "approvers": ["team:ops"], "wait": "1m"}}),
    ] {
        assert_eq!(codes(with(protected.clone()), with(weaker.clone())), ["RX103"], "{weaker}");
        assert_eq!(codes(with(weaker), with(protected.clone())), Vec::<String>::new());
    }
    let mut kept = with(protected);
    kept[0].metadata.deletion_policy = DeletionPolicy::Protect;
    let mut free = kept.clone();
    free[0].metadata.deletion_policy = DeletionPolicy::Allow;
    assert_eq!(codes(kept, free), ["RX103"]);
}

#[test]
fn an_opened_pool_is_found() {
    let with = |spec| vec![resource(Kind::WorkerPool, "big", spec)];
    let closed = json!({"profiles": ["trusted"]});
    assert_eq!(codes(with(closed.clone()), with(json!({}))), ["RX104"]);
    assert_eq!(codes(with(closed.clone()), with(json!({"profiles": ["trusted", "untrusted"]}))), ["RX104"]);
    assert_eq!(codes(with(json!({})), with(closed)), Vec::<String>::new());
}

#[test]
fn a_trust_rule_that_lets_more_run_is_found() {
    let with = |rules| vec![resource(Kind::TrustPolicy, "t", json!({"projects": ["*"], "rules": rules}))];
    let held = json!([{"events": ["pull_request"], "origins": ["fork"], "action": "require_approval"}]);
    let open = json!([{"events": ["pull_request"], "origins": ["fork"], "action": "run"}]);
    assert_eq!(codes(with(held.clone()), with(open)), ["RX102"]);
    assert_eq!(codes(with(held.clone()), with(held)), Vec::<String>::new());
}

#[test]
fn what_untrusted_code_hands_to_a_job_with_a_secret_is_found() {
    let wide = policy(json!({"events": ["push", "pull_request"], "origins": ["base", "head"]}));
    let pipeline = |depends_on: serde_json::Value, source: serde_json::Value| {
        let image = format!("debian@sha256:{}", "0".repeat(64));
        let mut test = json!({"image": image, "command": "make"});
        if !source.is_null() {
            test["source"] = source;
        }
        let job = json!({"image": image, "command": "x", "secrets": {"KEY": "deploy/key"}, "depends_on": depends_on});
        let between =
            json!({"image": image, "command": "x", "depends_on": ["test"], "source": {"none": true}});
        let jobs = json!({"test": test, "between": between, "deploy": job});
        resource(
            Kind::Pipeline,
            "web/ci",
            json!({"triggers": [{"event": "push"}, {"event": "pull_request"}], "jobs": jobs}),
        )
    };
    let with = |pipeline: Resource, policy: Resource| {
        let mut world = world();
        world.insert("pipeline", pipeline);
        world.insert("policy", policy);
        world.insert("trust", trusting());
        all(&world)
    };
    let none = || serde_json::Value::Null;
    let found = |depends_on, source| {
        codes(vec![], with(pipeline(depends_on, source), wide.clone())).contains(&"RX105".to_owned())
    };
    assert!(!found(json!([]), none()));
    assert!(found(json!(["test"]), none()));
    assert!(found(json!(["between"]), none()), "through a job between");
    assert!(!found(json!(["test"]), json!({"none": true})), "without code there is nothing to hand on");
    let pushes = policy(json!({"events": ["push"], "branches": ["main"]}));
    let trusted = codes(vec![], with(pipeline(json!(["test"]), none()), pushes));
    assert!(!trusted.contains(&"RX105".to_owned()), "code of a branch was accepted: {trusted:?}");
    let before = with(pipeline(json!(["test"]), none()), wide.clone());
    let mut after = before.clone();
    after.push(resource(Kind::Project, "other", json!({})));
    assert_eq!(codes(before, after), Vec::<String>::new(), "what was so before is no finding");
}

#[test]
fn a_secret_that_is_sent_to_another_system_is_found() {
    let target = |name: &str, url: &str| {
        resource(Kind::WebhookTarget, name, json!({"url": url, "token": "hooks/token", "body": {}}))
    };
    let with = |url: &str| vec![target("hook", url)];
    let known = || with("https://a.example/one");
    assert_eq!(codes(vec![], known()), ["RX107"]);
    assert_eq!(codes(known(), with("https://b.example/one")), ["RX107"]);
    assert_eq!(codes(known(), with("https://a.example:8443/one")), ["RX107"]);
    assert_eq!(codes(known(), with("https://a.example/two")), Vec::<String>::new());
    assert_eq!(codes(known(), vec![target("other", "https://a.example")]), Vec::<String>::new());
    let open = resource(Kind::WebhookTarget, "hook", json!({"url": "https://a.example"}));
    assert_eq!(codes(vec![], vec![open]), Vec::<String>::new());
}

#[test]
fn a_repository_that_may_manage_more_is_found() {
    let with = |config: serde_json::Value| vec![resource(Kind::Project, "web", json!({"config": config}))];
    let nothing = || vec![resource(Kind::Project, "web", json!({}))];
    let (never, asked, alone) = (json!({"apply": "never"}), json!({}), json!({"apply": "on_merge"}));
    for (before, after, expected) in [
        (nothing(), with(asked.clone()), true),
        (with(never.clone()), with(alone.clone()), true),
        (with(asked.clone()), with(alone.clone()), true),
        (with(alone.clone()), with(asked.clone()), false),
        (nothing(), with(never), false),
        (vec![], with(alone), false),
    ] {
        assert_eq!(codes(before, after), if expected { vec!["RX102"] } else { vec![] });
    }
}
