//! What a plan writes on a state that moved since, and when it is refused.

use serde_json::json;

use super::*;
use crate::config::{Kind, Resource};
use crate::plan::tests::{applied, desired, plan, resource};
use crate::store::{Lineage, MemoryStore, Store};

fn project(name: &str, weight: u32) -> Resource {
    resource(Kind::Project, name, json!({"weight": weight}))
}

fn decided(plan: &Plan, now: &Snapshot) -> Result<Commit, Refusal> {
    let mut count = 0;
    let mut uids = move || {
        count += 1;
        Uid(format!("new-{count}"))
    };
    let author = Author { actor: "user:ada".into(), message: None, commit: None };
    decide(plan, now, Stamp { id: ChangeId("change".into()), at: 1, author, uids: &mut uids })
}

#[test]
fn a_plan_is_carried_out_as_it_was_shown() {
    let before = applied([project("a", 1), project("b", 1)]);
    let mut c = project("c", 1);
    c.metadata.renamed_from = Some("b".into());
    let shown = plan(&desired([project("a", 2), c, project("d", 1)]), &before);
    let commit = decided(&shown, &before).expect("a commit");
    let writes: Vec<_> = commit
        .writes
        .iter()
        .map(|write| {
            (write.operation, write.address.name.as_str(), write.head.uid.0.as_str(), write.head.generation)
        })
        .collect();
    assert_eq!(
        writes,
        [
            (Operation::Rename, "c", "uid of Project/b", 2),
            (Operation::Update, "a", "uid of Project/a", 2),
            (Operation::Create, "d", "new-1", 1),
        ]
    );
    assert_eq!((commit.change.serial, commit.change.counts), (2, shown.summary));
}

#[test]
fn what_moved_since_makes_it_stale() {
    let before = applied([project("a", 1)]);
    let shown = plan(&desired([project("a", 2)]), &before);
    let mut now = applied([project("a", 3)]);
    now.serial = 2;
    now.heads.values_mut().for_each(|head| head.generation = 2);
    let Err(Refusal::Stale { moved }) = decided(&shown, &now) else { panic!("stale") };
    assert_eq!(moved.len(), 1);
    assert_eq!(moved[0].found.as_ref().map(|pin| pin.generation), Some(2));
}

#[test]
fn what_somebody_else_created_meanwhile_is_not_overwritten() {
    let shown = plan(&desired([project("a", 2)]), &Snapshot::default());
    assert!(matches!(decided(&shown, &applied([project("a", 1)])), Err(Refusal::Stale { .. })));
}

#[test]
fn an_unrelated_change_does_not() {
    let before = applied([project("a", 1), project("b", 1)]);
    let shown = plan(&desired([project("a", 2), project("b", 1)]), &before);
    let mut now = applied([project("a", 1), project("b", 5)]);
    now.serial = 9;
    assert_eq!(decided(&shown, &now).expect("a commit").change.serial, 10);
}

#[test]
fn two_plans_that_widen_only_together_are_refused() {
    let web = || resource(Kind::Project, "web", json!({}));
    let secret = || resource(Kind::Secret, "key", json!({}));
    let job = |secrets: serde_json::Value| {
        resource(
            Kind::Pipeline,
            "web/ci",
            json!({"jobs": {"a": {"image": "i", "command": "c", "secrets": secrets}}}),
        )
    };
    let policy = || {
        let allow = json!([{"secrets": ["key"], "to": {"project": "web"}}]);
        resource(Kind::SecretPolicy, "p", json!({"allow": allow}))
    };
    let before = applied([web(), secret(), job(json!({}))]);
    // Alone, asking without a grant and granting what nobody asks for give nothing.
    let asks = plan(&desired([web(), secret(), job(json!({"KEY": "key"}))]), &before);
    assert!(asks.reach.added.is_empty());
    let mut granted = applied([web(), secret(), job(json!({})), policy()]);
    granted.serial = 2;
    let Err(Refusal::Consequences { new }) = decided(&asks, &granted) else { panic!("refused") };
    assert!(new.iter().any(|finding| finding.starts_with("RX101")), "{new:?}");
}

#[test]
fn what_somebody_refers_to_meanwhile_is_not_deleted() {
    let before = applied([project("a", 1), project("b", 1)]);
    let shown = plan(&desired([project("a", 1)]), &before);
    let ci = resource(Kind::Pipeline, "b/ci", json!({"jobs": {"a": {"image": "i", "command": "c"}}}));
    let mut now = applied([project("a", 1), project("b", 1), ci]);
    now.serial = 2;
    assert!(matches!(decided(&shown, &now), Err(Refusal::Dangling { .. })));
}

#[test]
fn another_workspace_is_refused() {
    let shown = plan(&desired([project("a", 2)]), &applied([project("a", 1)]));
    let mut other = applied([project("a", 1)]);
    other.lineage = Some(Lineage("other".into()));
    assert_eq!(decided(&shown, &other), Err(Refusal::OtherWorkspace));
}

#[tokio::test]
async fn applied_twice_is_applied_once() {
    let store = MemoryStore::new(Lineage("lineage".into()));
    let wanted = desired([project("a", 1), project("b", 2)]);
    let shown = plan(&wanted, &store.snapshot().await.expect("a snapshot"));
    store.commit(Box::new(|now| decided(&shown, now))).await.expect("a commit");
    assert!(!plan(&wanted, &store.snapshot().await.expect("a snapshot")).has_changes());
    let again = store.commit(Box::new(|now| decided(&shown, now))).await;
    assert!(again.is_err(), "the same plan a second time is stale");
}
