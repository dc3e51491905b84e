//! What passes, and what somebody who changes a plan cannot get through.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::config::{Kind, Resource};
use crate::plan::tests::{applied, desired, plan, resource};
use crate::store::{Lineage, Owner};

const TODAY: &str = "2026-11-21";

fn web(weight: u32) -> Resource {
    resource(Kind::Project, "web", json!({"weight": weight}))
}

fn pipeline(secrets: Value) -> Resource {
    let job = json!({"image": "i", "command": "c\u{85}\u{1f600}", "secrets": secrets});
    resource(Kind::Pipeline, "web/ci", json!({"jobs": {"a": job}}))
}

/// A workspace with a secret that a policy grants, and a plan by which a job asks for it.
fn widening() -> (Snapshot, Plan) {
    let allow = json!([{"secrets": ["key"], "to": {"project": "web"}}]);
    let policy = || resource(Kind::SecretPolicy, "p", json!({"allow": allow.clone()}));
    let secret = || resource(Kind::Secret, "key", json!({}));
    let before = applied([web(1), secret(), policy(), pipeline(json!({}))]);
    let after = desired([web(1), secret(), policy(), pipeline(json!({"KEY": "key"}))]);
    let shown = plan(&after, &before);
    assert!(!shown.findings.is_empty());
    (before, shown)
}

#[test]
fn a_plan_as_it_was_made_passes_on_a_newer_state_too() {
    let (mut now, shown) = widening();
    assert_eq!(verify(&shown, &now, TODAY), Ok(()));
    now.serial += 5;
    assert_eq!(verify(&shown, &now, TODAY), Ok(()));
}

#[test]
fn creates_renames_and_deletes_pass() {
    let before = applied([web(1), resource(Kind::Project, "old", json!({})), pipeline(json!({}))]);
    let mut new = resource(Kind::Project, "new", json!({"weight": 4}));
    new.metadata.renamed_from = Some("old".into());
    let more = resource(Kind::Project, "more", json!({}));
    let shown = plan(&desired([web(3), new, more]), &before);
    assert_eq!(shown.summary.total(), 4, "{:?}", shown.summary);
    assert_eq!(verify(&shown, &before, TODAY), Ok(()));
    let first = plan(&desired([web(3)]), &Snapshot::default());
    assert_eq!(verify(&first, &Snapshot::default(), TODAY), Ok(()));
}

#[rstest]
#[case::findings_left_out(|plan: &mut Plan| plan.findings.clear())]
#[case::reach_left_out(|plan: &mut Plan| plan.reach = Default::default())]
#[case::differences_left_out(|plan: &mut Plan| {
    plan.actions.iter_mut().for_each(|action| action.differences.clear());
})]
#[case::pins_left_out(|plan: &mut Plan| plan.pins.clear())]
#[case::counted_wrongly(|plan: &mut Plan| plan.summary.update = 0)]
#[case::another_document(|plan: &mut Plan| {
    let action = plan.actions.iter_mut().find(|action| action.document.is_some()).expect("a change");
    action.document = action.document.take().map(|text| text.replace(r#""image":"i""#, r#""image":"evil""#));
})]
#[case::a_document_of_another_address(|plan: &mut Plan| {
    let action = plan.actions.iter_mut().find(|action| action.document.is_some()).expect("a change");
    action.document = action.document.take().map(|text| text.replace(r#""name":"ci""#, r#""name":"cd""#));
})]
#[case::a_document_that_is_not_valid(|plan: &mut Plan| {
    let action = plan.actions.iter_mut().find(|action| action.document.is_some()).expect("a change");
    action.document = action.document.take().map(|text| text.replace(r#""name":"ci""#, r#""name":"C I""#));
})]
#[case::an_object_that_nobody_declares(|plan: &mut Plan| plan.effects.push(PlannedEffect {
    address: Address::new(Kind::Pipeline, Some("web"), "ci"),
    effect: EffectKind::Create,
    place: Place::new("https://example.com/x", ""),
    differences: Vec::new(),
}))]
#[case::healed_what_is_whole(|plan: &mut Plan| plan.effects.push(PlannedEffect {
    address: Address::new(Kind::Pipeline, Some("web"), "ci"),
    effect: EffectKind::Heal,
    place: Place::new("https://example.com/x", "1"),
    differences: Vec::new(),
}))]
fn what_was_changed_in_a_plan_is_refused(#[case] change: fn(&mut Plan)) {
    let (now, mut shown) = widening();
    change(&mut shown);
    shown.fingerprint = crate::plan::fingerprint(&shown);
    let refused = verify(&shown, &now, TODAY).expect_err("it is refused");
    assert!(
        matches!(refused, Refusal::Untrue { .. } | Refusal::Invalid { .. } | Refusal::Consequences { .. }),
        "{refused:?}"
    );
}

#[test]
fn a_project_writes_nothing_but_its_own_kinds() {
    let config = json!({"config": {"path": ".reactorcide", "apply": "on_merge"}});
    let before = applied([resource(Kind::Project, "web", config)]);
    let policy = resource(Kind::SecretPolicy, "p", json!({"allow": []}));
    let mut shown = plan(&desired([resource(Kind::Project, "web", json!({})), policy]), &before);
    shown.owner = Owner::Project("web".into());
    shown.actions.retain(|action| action.address.kind == Kind::SecretPolicy);
    shown.summary = Default::default();
    shown.summary.create = 1;
    shown.fingerprint = crate::plan::fingerprint(&shown);
    assert!(matches!(verify(&shown, &before, TODAY), Err(Refusal::Invalid { .. })));
}

#[test]
fn what_is_protected_stays_whatever_a_plan_says() {
    let mut kept = web(1);
    kept.metadata.deletion_policy = crate::config::DeletionPolicy::Protect;
    let before = applied([kept, resource(Kind::Project, "b", json!({}))]);
    let mut shown = plan(&desired([resource(Kind::Project, "b", json!({}))]), &before);
    assert!(matches!(verify(&shown, &before, TODAY), Err(Refusal::Obstacles(_))));
    shown.obstacles.clear();
    assert!(matches!(verify(&shown, &before, TODAY), Err(Refusal::Obstacles(_))));
}

#[test]
fn what_was_changed_after_its_fingerprint_was_made_is_refused() {
    let (now, mut shown) = widening();
    shown.findings.clear();
    let refused = verify(&shown, &now, TODAY);
    assert_eq!(refused, Err(Refusal::Untrue { what: "its fingerprint is another".into() }));
}

#[test]
fn what_moved_and_what_is_of_another_workspace_is_refused() {
    let before = applied([web(1)]);
    let shown = plan(&desired([web(2)]), &before);
    let moved = applied([web(9)]);
    assert!(matches!(verify(&shown, &moved, TODAY), Err(Refusal::Stale { .. })));
    let other = Snapshot { lineage: Some(Lineage("other".into())), ..before };
    assert_eq!(verify(&shown, &other, TODAY), Err(Refusal::OtherWorkspace));
}
