//! What plans say of a change, and the values that other tests make plans from.

use serde_json::{Value, json};

use super::*;
use crate::canonical;
use crate::config::{Kind, Metadata, Resource, Spec};
use crate::store::{Lineage, Snapshot};

/// A resource from its kind, `project/name` or `name`, and spec.
pub(crate) fn resource(kind: Kind, name: &str, spec: Value) -> Resource {
    let (project, name) = match name.split_once('/') {
        Some((project, name)) if kind.scope() == crate::config::Scope::Project => {
            (Some(project.to_owned()), name)
        }
        _ => (None, name),
    };
    Resource {
        metadata: Metadata { name: name.to_owned(), project, ..Metadata::default() },
        spec: Spec::from_value(kind, spec).expect("a valid spec"),
    }
}

pub(crate) fn desired(resources: impl IntoIterator<Item = Resource>) -> Desired {
    let resources = resources.into_iter().map(|resource| (resource.address(), resource.into())).collect();
    Desired { owner: Owner::Workspace, resources }
}

/// The state in which these resources are applied.
pub(crate) fn applied(resources: impl IntoIterator<Item = Resource>) -> Snapshot {
    let heads = resources
        .into_iter()
        .map(|resource| {
            let document = canonical::document(&resource);
            let head = Head {
                uid: Uid(format!("uid of {}", resource.address())),
                generation: 1,
                fingerprint: Fingerprint::of_document(&document),
                owner: Owner::Workspace,
                document,
            };
            (resource.address(), head)
        })
        .collect();
    Snapshot { lineage: Some(Lineage("lineage".into())), serial: 1, heads, ..Snapshot::default() }
}

pub(crate) fn plan(desired: &Desired, snapshot: &Snapshot) -> Plan {
    let options = Options { as_of: "2026-11-20".into(), allow_destroy: false, ..Options::default() };
    between(desired, snapshot, &options).expect("a plan")
}

fn web() -> Resource {
    resource(Kind::Project, "web", json!({}))
}

fn ci(command: &str) -> Resource {
    resource(Kind::Pipeline, "web/ci", json!({"jobs": {"test": {"image": "rust:1", "command": command}}}))
}

fn done(plan: &Plan) -> Vec<(ActionKind, String)> {
    plan.actions.iter().map(|action| (action.action, action.address.to_string())).collect()
}

#[test]
fn what_is_referred_to_is_created_first() {
    let plan = plan(&desired([ci("x"), web()]), &Snapshot::default());
    assert_eq!(
        done(&plan),
        [(ActionKind::Create, "Project/web".into()), (ActionKind::Create, "Pipeline/web/ci".into())]
    );
    assert_eq!(plan.summary, Counts { create: 2, ..Counts::default() });
    assert_eq!(plan.pins.values().filter(|pin| pin.is_some()).count(), 0);
}

#[test]
fn what_is_applied_already_is_no_change() {
    let plan = plan(&desired([ci("x"), web()]), &applied([web(), ci("x")]));
    assert!(!plan.has_changes());
    assert!(plan.actions.iter().all(|action| action.action == ActionKind::NoOp));
}

#[test]
fn an_update_says_what_differs() {
    let plan = plan(&desired([ci("new"), web()]), &applied([web(), ci("old")]));
    let [update] = plan.changes().collect::<Vec<_>>()[..] else { panic!("{plan:?}") };
    assert_eq!(update.action, ActionKind::Update);
    let pointers: Vec<_> = update.differences.iter().map(|difference| difference.pointer.as_str()).collect();
    assert_eq!(pointers, ["/spec/jobs/test/command"]);
    assert_eq!(plan.pins.len(), 2, "itself and the project that it refers to");
}

#[test]
fn words_for_people_are_kept_and_a_change_of_them_is_shown() {
    let ci = |words: &str| {
        let spec = json!({
            "inputs": {"really": {"default": "no", "description": words}},
            "jobs": {"test": {"image": "rust:1", "command": "x", "description": words}},
        });
        let mut resource = resource(Kind::Pipeline, "web/ci", spec);
        resource.metadata.description = Some(words.to_owned());
        resource.metadata.labels.insert("team".to_owned(), words.to_owned());
        resource
    };
    let plan = plan(&desired([ci("new"), web()]), &applied([web(), ci("old")]));
    let [update] = plan.changes().collect::<Vec<_>>()[..] else { panic!("{plan:?}") };
    let pointers: Vec<_> = update.differences.iter().map(|difference| difference.pointer.as_str()).collect();
    let expected = [
        "/metadata/description",
        "/metadata/labels/team",
        "/spec/inputs/really/description",
        "/spec/jobs/test/description",
    ];
    assert_eq!(pointers, expected);
}

#[test]
fn deletes_go_the_other_way_round() {
    let keep = resource(Kind::Project, "keep", json!({}));
    let plan = plan(&desired([keep.clone()]), &applied([keep, web(), ci("x")]));
    assert_eq!(
        done(&plan),
        [
            (ActionKind::NoOp, "Project/keep".into()),
            (ActionKind::Delete, "Pipeline/web/ci".into()),
            (ActionKind::Delete, "Project/web".into()),
        ]
    );
}

#[test]
fn what_is_protected_in_state_is_not_deleted() {
    let keep = resource(Kind::Project, "keep", json!({}));
    let mut protected = web();
    protected.metadata.deletion_policy = crate::config::DeletionPolicy::Protect;
    let plan = plan(&desired([keep.clone()]), &applied([keep, protected.clone()]));
    assert_eq!(plan.obstacles, [Obstacle::Protected { address: protected.address() }]);
}

#[test]
fn many_deletes_must_be_meant() {
    let projects = |n: usize| (0..n).map(|n| resource(Kind::Project, &format!("p{n}"), json!({})));
    let obstacles = |keep: usize, of: usize, allow_destroy: bool| {
        let options = Options { as_of: String::new(), allow_destroy, ..Options::default() };
        between(&desired(projects(keep)), &applied(projects(of)), &options).expect("a plan").obstacles
    };
    assert_eq!(obstacles(5, 10, false), []);
    assert_eq!(obstacles(4, 10, false), [Obstacle::ManyDeletes { deletes: 6, limit: 5, total: 10 }]);
    assert_eq!(obstacles(80, 100, false), []);
    assert_eq!(obstacles(79, 100, false), [Obstacle::ManyDeletes { deletes: 21, limit: 20, total: 100 }]);
    assert_eq!(obstacles(0, 1, false), [Obstacle::EmptyConfiguration { deletes: 1 }]);
    assert_eq!(obstacles(0, 100, true), []);
    assert_eq!(obstacles(0, 0, false), []);
}

#[test]
fn a_rename_keeps_who_it_is() {
    let mut renamed =
        resource(Kind::Pipeline, "web/cd", json!({"jobs": {"test": {"image": "rust:1", "command": "x"}}}));
    let old = applied([web(), ci("x")]);
    let unsaid = plan(&desired([renamed.clone(), web()]), &old);
    assert_eq!((unsaid.summary.create, unsaid.summary.delete), (1, 1));
    assert!(
        unsaid.hints[0].contains("add `renamed_from: ci` to the metadata of Pipeline/web/cd"),
        "{:?}",
        unsaid.hints
    );

    renamed.metadata.renamed_from = Some("ci".into());
    let said = plan(&desired([renamed.clone(), web()]), &old);
    assert_eq!(said.summary, Counts { rename: 1, ..Counts::default() });
    let again = plan(&desired([renamed.clone(), web()]), &applied([web(), renamed]));
    assert!(!again.has_changes(), "the line may stay once it was applied");
}

#[test]
fn what_is_in_a_renamed_project_moves_with_it() {
    let mut site = resource(Kind::Project, "site", json!({}));
    site.metadata.renamed_from = Some("web".into());
    let moved =
        resource(Kind::Pipeline, "site/ci", json!({"jobs": {"test": {"image": "rust:1", "command": "x"}}}));
    let plan = plan(&desired([site, moved]), &applied([web(), ci("x")]));
    assert_eq!(plan.summary, Counts { rename: 2, ..Counts::default() });
}

#[test]
fn another_owners_resources_are_not_deleted_and_taking_one_over_is_shown() {
    let mut state = applied([web(), ci("x")]);
    for head in state.heads.values_mut() {
        head.owner = Owner::Project("web".into());
    }
    let plan = plan(&desired([web()]), &state);
    let [update] = plan.changes().collect::<Vec<_>>()[..] else { panic!("{plan:?}") };
    assert_eq!(
        (update.action, &update.taken_from),
        (ActionKind::Update, &Some(Owner::Project("web".into())))
    );
}

#[test]
fn a_fingerprint_is_over_what_is_done_and_not_over_the_day_or_serial() {
    let wanted = desired([ci("new"), web()]);
    let mut state = applied([web(), ci("old")]);
    let first = plan(&wanted, &state);
    state.serial = 7;
    let options = Options { as_of: "2027-01-01".into(), allow_destroy: true, ..Options::default() };
    let later = between(&wanted, &state, &options).expect("a plan");
    assert_eq!(first.fingerprint, later.fingerprint);
    assert_ne!(first.fingerprint, plan(&desired([ci("newer"), web()]), &state).fingerprint);
}

#[test]
fn the_same_inputs_give_the_same_bytes_and_they_read_back() {
    let resources: Vec<_> = (0..40)
        .flat_map(|n| {
            let job =
                json!({"jobs": {"a": {"image": "i", "command": "c", "template": format!("t{}", n / 2)}}});
            [
                resource(Kind::Project, &format!("p{n}"), json!({})),
                resource(Kind::Pipeline, &format!("p{n}/ci"), job),
                resource(Kind::JobTemplate, &format!("t{n}"), json!({"job": {"image": "i"}})),
            ]
        })
        .collect();
    let state = applied(resources.iter().take(30).cloned());
    let expected = serde_json::to_string(&plan(&desired(resources.clone()), &state)).expect("JSON");
    for seed in 0..20 {
        let mut shuffled = resources.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let bytes = serde_json::to_string(&plan(&desired(shuffled), &state)).expect("JSON");
        assert_eq!(bytes, expected, "seed {seed}");
    }
    let again: Plan = serde_json::from_str(&expected).expect("reads back");
    assert_eq!(serde_json::to_string(&again).expect("JSON"), expected);
}

#[test]
fn what_a_repository_accepts_counts_for_nobody() {
    let image = format!("debian@sha256:{}", "0".repeat(64));
    let job = json!({"image": image, "command": "x", "secrets": {"KEY": "key"}});
    let spec = json!({"triggers": [{"event": "push", "branches": ["main"]}], "jobs": {"a": job}});
    let mut pipeline = resource(Kind::Pipeline, "web/ci", spec);
    pipeline.metadata.accept = vec![crate::config::Acceptance {
        finding: "RX101".into(),
        reason: "me".into(),
        until: "2999-01-01".into(),
    }];
    let base = || vec![resource(Kind::Project, "web", json!({})), resource(Kind::Secret, "key", json!({}))];
    let grant =
        json!({"allow": [{"secrets": ["key"], "to": {"project": "web"}, "when": {"events": ["push"]}}]});
    let policy = || resource(Kind::SecretPolicy, "p", grant.clone());
    let open = |desired: &Desired, before: &Snapshot| {
        let plan = plan(desired, before);
        assert!(plan.findings.iter().any(|finding| finding.code == "RX101"), "{:?}", plan.findings);
        plan.findings.iter().any(|finding| finding.code == "RX101" && finding.is_open())
    };
    // The repository brings the job that reaches the secret.
    let mut repository = desired(vec![pipeline.clone()]);
    repository.owner = Owner::Project("web".into());
    let mut before = base();
    before.push(policy());
    assert!(open(&repository, &applied(before)));
    // The workspace grants it the secret afterwards.
    let mut before = base();
    before.push(pipeline.clone());
    let mut snapshot = applied(before);
    snapshot.heads.get_mut(&pipeline.address()).unwrap().owner = Owner::Project("web".into());
    let mut after = base();
    after.push(policy());
    assert!(open(&desired(after), &snapshot));
    // The workspace's own word counts.
    let mut after = base();
    after.extend([policy(), pipeline]);
    assert!(!open(&desired(after), &applied(base())));
}
