//! What plans do elsewhere, on a workspace in memory whose tasks are done when a test says so.

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::*;
use crate::apply::{Refusal, Stamp, decide};
use crate::config::Kind;
use crate::plan::tests::{desired, resource};
use crate::plan::{self, Desired, Options, Plan};
use crate::store::{Author, ChangeId, CommitError, Lineage, MemoryStore, Owner, Snapshot, Store};

const HOOKS: &str = "https://hooks.example.com/objects";

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory does not keep anybody waiting")
}

fn target(name: &str, spec: Value) -> crate::config::Resource {
    resource(Kind::WebhookTarget, name, spec)
}

fn address(name: &str) -> Address {
    Address::new(Kind::WebhookTarget, None, name)
}

/// A workspace in memory whose plans are applied, and whose tasks are done when it is told so.
struct World {
    store: MemoryStore,
    numbers: u32,
}

impl World {
    fn new() -> Self {
        Self { store: MemoryStore::new(Lineage("l".into())), numbers: 0 }
    }

    fn snapshot(&self) -> Snapshot {
        now(self.store.snapshot()).expect("a snapshot")
    }

    fn plan(&self, desired: &Desired, outside: Wishes) -> Plan {
        let options =
            Options { as_of: "2026-01-01".into(), allow_destroy: true, outside, ..Options::default() };
        plan::between(desired, &self.snapshot(), &options).expect("a plan")
    }

    fn apply(&mut self, plan: &Plan) {
        self.numbers += 1;
        let number = self.numbers;
        let mut uids = 0;
        let mut uid = || {
            uids += 1;
            Uid(format!("u{number}-{uids}"))
        };
        let author = Author { actor: "user:test".into(), message: None, commit: None };
        let stamp = Stamp { id: ChangeId(format!("c{number}")), at: 1, author, uids: &mut uid };
        now(self.store.commit(Box::new(|now| decide(plan, now, stamp)))).expect("a commit");
    }

    fn try_apply(&self, plan: &Plan) -> Result<crate::store::Change, CommitError> {
        let author = Author { actor: "user:test".into(), message: None, commit: None };
        let mut uids = || Uid("never".into());
        let stamp = Stamp { id: ChangeId("never".into()), at: 1, author, uids: &mut uids };
        now(self.store.commit(Box::new(|now| decide(plan, now, stamp))))
    }

    fn lease(&self) -> Lease {
        match now(self.store.acquire("me", Duration::ZERO, &|_| false)).expect("an answer") {
            Acquired::Ours(lease) => lease,
            Acquired::Held { holder, .. } => panic!("{holder} has it"),
        }
    }

    /// Says of the tasks that an effect was tried, or that all is done.
    fn write(&self, entry: &Entry) {
        let lease = self.lease();
        for owed in self.snapshot().owed {
            now(self.store.write(&lease, owed.id, 1, entry)).expect("it is ours");
        }
    }

    fn owed(&self) -> Vec<String> {
        let owed = self.snapshot().owed.into_iter();
        owed.map(|owed| format!("{} {}", owed.goal.as_str(), owed.place)).collect()
    }
}

fn effects(plan: &Plan) -> Vec<String> {
    plan.effects.iter().map(|effect| format!("{:?} {}", effect.effect, effect.place)).collect()
}

/// A workspace with one object that is where it shall be.
fn settled(spec: Value) -> World {
    let mut world = World::new();
    let plan = world.plan(&desired(vec![target("a", spec)]), Wishes::default());
    assert_eq!(effects(&plan), [format!("Create {HOOKS}")]);
    world.apply(&plan);
    assert_eq!(world.owed(), [format!("put {HOOKS}/u1-1")]);
    world.write(&Entry::Begun("create".into()));
    world.write(&Entry::Done);
    assert_eq!(world.owed(), [""; 0]);
    world
}

#[test]
fn only_what_changes_the_object_is_sent() {
    let spec = json!({"url": HOOKS, "body": {"x": 1}});
    let mut world = settled(spec.clone());
    assert!(!world.plan(&desired(vec![target("a", spec)]), Wishes::default()).has_changes());
    let slower = json!({"url": format!("{HOOKS}/"), "body": {"x": 1}, "timeout": "3s"});
    let plan = world.plan(&desired(vec![target("a", slower)]), Wishes::default());
    assert_eq!((plan.summary.update, effects(&plan)), (1, vec![]));
    let other = json!({"url": HOOKS, "body": {"x": 2}});
    let plan = world.plan(&desired(vec![target("a", other.clone())]), Wishes::default());
    assert_eq!(effects(&plan), [format!("Replace {HOOKS}/u1-1")]);
    world.apply(&plan);
    // What is owed is no secret, and what was tried in vain is tried with what is said by then.
    let plan = world.plan(&desired(vec![target("a", other)]), Wishes::default());
    assert_eq!(effects(&plan), [format!("Resume {HOOKS}/u1-1")]);
    assert!(plan.has_changes());
    let patient = json!({"url": HOOKS, "body": {"x": 2}, "timeout": "30s"});
    let plan = world.plan(&desired(vec![target("a", patient)]), Wishes::default());
    assert_eq!(effects(&plan), [format!("Replace {HOOKS}/u1-1")]);
    world.apply(&plan);
    assert_eq!(world.owed(), [format!("put {HOOKS}/u1-1")]);
    assert!(world.snapshot().owed[0].document.contains("30s"));
}

#[test]
fn an_object_moves_by_being_made_there_and_then_removed_here() {
    let mut world = settled(json!({"url": HOOKS}));
    let there = json!({"url": "https://other.example.com"});
    let plan = world.plan(&desired(vec![target("a", there)]), Wishes::default());
    assert_eq!(
        effects(&plan),
        ["Create https://other.example.com".to_owned(), format!("Remove {HOOKS}/u1-1")]
    );
    world.apply(&plan);
    let owed = world.snapshot().owed;
    assert_eq!(ready(&owed).iter().map(|task| task.goal).collect::<Vec<_>>(), [Goal::Put]);
    assert!(owed[1].document.contains(HOOKS), "it says how to get at the old place");
    // The new place was a mistake, and nothing was ever there: back again, and nothing is left of it.
    let plan = world.plan(&desired(vec![target("a", json!({"url": HOOKS}))]), Wishes::default());
    assert_eq!(effects(&plan), [format!("Create {HOOKS}"), format!("Resume {HOOKS}/u1-1")]);
    world.apply(&plan);
    assert_eq!(world.owed(), [format!("remove {HOOKS}/u1-1"), format!("put {HOOKS}/u1-1-3")]);
    assert_eq!(world.snapshot().objects.len(), 2);
}

#[test]
fn what_goes_is_removed_or_forgotten() {
    let world = settled(json!({"url": HOOKS}));
    let plan = world.plan(&desired(vec![]), Wishes::default());
    assert_eq!(effects(&plan), [format!("Remove {HOOKS}/u1-1")]);
    let forget = Wishes { forget: [address("a")].into(), ..Wishes::default() };
    let plan = world.plan(&desired(vec![]), forget.clone());
    assert_eq!(effects(&plan), [format!("Forget {HOOKS}/u1-1")]);
    let mut world = world;
    world.apply(&plan);
    assert!(world.snapshot().objects.is_empty() && world.owed().is_empty());

    // Also what cannot be removed, since the other system is gone for good.
    let mut world = settled(json!({"url": HOOKS}));
    world.apply(&world.plan(&desired(vec![]), Wishes::default()));
    let plan = world.plan(&desired(vec![]), forget);
    assert_eq!(effects(&plan), [format!("Forget {HOOKS}/u1-1")]);
    world.apply(&plan);
    assert!(world.snapshot().objects.is_empty() && world.owed().is_empty());
}

#[test]
fn what_was_never_tried_needs_no_removal() {
    let mut world = World::new();
    let there = desired(vec![target("a", json!({"url": HOOKS}))]);
    world.apply(&world.plan(&there, Wishes::default()));
    let plan = world.plan(&desired(vec![]), Wishes::default());
    assert_eq!(effects(&plan), [""; 0]);
    world.apply(&plan);
    assert!(world.snapshot().objects.is_empty() && world.owed().is_empty());
    // If it was tried meanwhile, it is removed although the plan did not know.
    let mut world = World::new();
    world.apply(&world.plan(&there, Wishes::default()));
    let plan = world.plan(&desired(vec![]), Wishes::default());
    world.write(&Entry::Begun("create".into()));
    world.apply(&plan);
    assert_eq!(world.owed(), [format!("remove {HOOKS}/u1-1")]);
}

#[test]
fn what_others_did_is_healed_by_a_plan() {
    let spec = json!({"url": HOOKS, "body": {"x": 1}});
    let mut world = settled(spec.clone());
    let place = Place::new(HOOKS, "u1-1");
    let observed = |sight| Wishes {
        observed: vec![Observation { uid: Uid("u1-1".into()), place: place.clone(), sight }],
        ..Wishes::default()
    };
    let same = desired(vec![target("a", spec)]);
    for sight in [Sight::Present(json!({"x": 1, "id": 9})), Sight::Unknown("no answer".into())] {
        assert!(!world.plan(&same, observed(sight)).has_changes());
    }
    let gone = world.plan(&same, observed(Sight::Absent));
    assert_eq!(effects(&gone), [format!("Heal {HOOKS}/u1-1")]);
    let changed = world.plan(&same, observed(Sight::Present(json!({"x": 3}))));
    assert_eq!(changed.effects[0].differences[0].before, Some(json!(3)));
    assert_ne!(changed.fingerprint, gone.fingerprint, "what is seen is part of what is reviewed");
    world.apply(&changed);
    assert_eq!(world.owed(), [format!("put {HOOKS}/u1-1")]);
    assert_eq!(effects(&world.plan(&same, observed(Sight::Absent))), [format!("Resume {HOOKS}/u1-1")]);
    // A project's repository heals only what is its own.
    let project = Desired { owner: Owner::Project("web".into()), ..Desired::default() };
    world.write(&Entry::Done);
    assert_eq!(effects(&world.plan(&project, observed(Sight::Absent))), [""; 0]);
}

#[test]
fn what_others_made_is_adopted() {
    let mut world = World::new();
    let a = desired(vec![target("a", json!({"url": HOOKS, "body": {"x": 1}}))]);
    let wishes = Wishes {
        adopt: [(address("a"), "42".to_owned())].into(),
        adopted: [(address("a"), json!({"x": 2, "y": 1}))].into(),
        ..Wishes::default()
    };
    let plan = world.plan(&a, wishes.clone());
    assert_eq!(effects(&plan), [format!("Adopt {HOOKS}/42")]);
    assert_eq!(plan.effects[0].differences.len(), 1, "what is not declared is left alone");
    world.apply(&plan);
    assert_eq!(world.owed(), [format!("put {HOOKS}/42")]);
    // Another object instead of the one that it has.
    let mut world = settled(json!({"url": HOOKS, "body": {"x": 1}}));
    let plan = world.plan(&a, wishes);
    assert_eq!(effects(&plan), [format!("Adopt {HOOKS}/42"), format!("Remove {HOOKS}/u1-1")]);
    world.apply(&plan);
    assert_eq!(world.owed(), [format!("put {HOOKS}/42"), format!("remove {HOOKS}/u1-1")]);
}

#[test]
fn objects_wait_for_those_that_they_depend_on() {
    let mut world = World::new();
    let (a, b) = (json!({"url": HOOKS}), json!({"url": HOOKS, "depends_on": ["a"]}));
    world.apply(&world.plan(&desired(vec![target("a", a), target("b", b)]), Wishes::default()));
    let names = |world: &World| -> Vec<String> {
        ready(&world.snapshot().owed).iter().map(|task| task.address.name.clone()).collect()
    };
    assert_eq!(names(&world), ["a"]);
    world.write(&Entry::Begun("create".into()));
    world.write(&Entry::Done);
    world.apply(&world.plan(&desired(vec![]), Wishes::default()));
    assert_eq!((world.owed().len(), names(&world)), (2, vec!["b".to_owned()]));
}

#[test]
fn a_token_goes_only_where_nobody_can_listen() {
    for url in ["https://a.example", "http://localhost:80/x", "http://127.0.0.1", "http://[::1]:8/x"] {
        assert!(keeps_a_token(url), "{url}");
    }
    for url in
        ["http://a.example", "http://localhost.example.com", "http://10.0.0.1:8080/x", "http://127.1.example"]
    {
        assert!(!keeps_a_token(url), "{url}");
    }
}

/// A world in which the object that resource `a` had is being removed, and it has adopted 42 instead.
fn adopted_instead() -> World {
    let mut world = settled(json!({"url": HOOKS, "body": {"x": 1}}));
    let wishes = Wishes { adopt: [(address("a"), "42".to_owned())].into(), ..Wishes::default() };
    world.apply(&world.plan(&desired(vec![target("a", json!({"url": HOOKS, "body": {"x": 1}}))]), wishes));
    assert_eq!(world.owed(), [format!("put {HOOKS}/42"), format!("remove {HOOKS}/u1-1")]);
    let lease = world.lease();
    let put = world.snapshot().owed[0].id;
    now(world.store.write(&lease, put, 1, &Entry::Done)).expect("it is ours");
    world
}

#[test]
fn what_is_being_removed_is_not_what_a_change_is_about() {
    let mut world = adopted_instead();
    let plan =
        world.plan(&desired(vec![target("a", json!({"url": HOOKS, "body": {"x": 2}}))]), Wishes::default());
    assert_eq!(effects(&plan), [format!("Replace {HOOKS}/42"), format!("Resume {HOOKS}/u1-1")]);
    world.apply(&plan);
    assert_eq!(world.owed(), [format!("remove {HOOKS}/u1-1"), format!("put {HOOKS}/42")]);
}

#[test]
fn a_plan_from_before_an_adoption_is_stale() {
    let mut world = settled(json!({"url": HOOKS, "body": {"x": 1}}));
    let old =
        world.plan(&desired(vec![target("a", json!({"url": HOOKS, "body": {"x": 2}}))]), Wishes::default());
    let wishes = Wishes { adopt: [(address("a"), "42".to_owned())].into(), ..Wishes::default() };
    world.apply(&world.plan(&desired(vec![target("a", json!({"url": HOOKS, "body": {"x": 1}}))]), wishes));
    let refused = world.try_apply(&old);
    assert!(matches!(refused, Err(CommitError::Refused(Refusal::Stale { .. }))), "{refused:?}");
}

#[test]
fn an_object_has_one_owner() {
    let mut world = settled(json!({"url": HOOKS}));
    world.apply(&world.plan(&desired(vec![]), Wishes::default()));
    // Its removal is still owed when one resource takes it, and then another wants it too.
    let adopt =
        |name: &str| Wishes { adopt: [(address(name), "u1-1".to_owned())].into(), ..Wishes::default() };
    let (b, c) = (target("b", json!({"url": HOOKS})), target("c", json!({"url": HOOKS})));
    let both = world.plan(&desired(vec![c.clone()]), adopt("c"));
    world.apply(&world.plan(&desired(vec![b.clone()]), adopt("b")));
    assert_eq!(world.owed(), [format!("put {HOOKS}/u1-1")]);
    assert_eq!(world.snapshot().objects.len(), 1);
    let plan = world.plan(&desired(vec![b, c]), adopt("c"));
    assert!(matches!(plan.obstacles[..], [crate::plan::Obstacle::Taken { .. }]), "{:?}", plan.obstacles);
    let refused = world.try_apply(&both);
    assert!(matches!(refused, Err(CommitError::Refused(Refusal::Obstacles(_)))), "{refused:?}");
}

#[test]
fn what_is_owed_keeps_its_own_key() {
    let with = |url: &str, token: &str, value: u32| {
        desired(vec![
            target("a", json!({"url": url, "token": token, "body": {"x": value}})),
            resource(Kind::Secret, "one", json!({})),
            resource(Kind::Secret, "two", json!({})),
        ])
    };
    let mut world = World::new();
    world.apply(&world.plan(&with(HOOKS, "one", 1), Wishes::default()));
    world.write(&Entry::Begun("create".into()));
    for value in [1, 2, 3] {
        world.apply(&world.plan(&with("https://two.example.com", "two", value), Wishes::default()));
        let owed = world.snapshot().owed;
        let removal = owed.iter().find(|owed| owed.goal == Goal::Remove).expect("it is owed");
        assert!(removal.document.contains(r#""token":"one""#), "{}", removal.document);
        assert_eq!(owed.len(), 2);
    }
}

#[test]
fn removals_that_wait_for_each_other_do_not_wait_for_ever() {
    let mut world = World::new();
    let pair = |first: Value, second: Value| desired(vec![target("a", first), target("b", second)]);
    let (alone, on) =
        (|url: &str| json!({"url": url}), |url: &str, name: &str| json!({"url": url, "depends_on": [name]}));
    world.apply(&world.plan(&pair(on(HOOKS, "b"), alone(HOOKS)), Wishes::default()));
    world.write(&Entry::Begun("create".into()));
    let there = "https://two.example.com";
    world.apply(&world.plan(&pair(alone(there), on(there, "a")), Wishes::default()));
    world.write(&Entry::Begun("create".into()));
    world.apply(&world.plan(&desired(vec![]), Wishes::default()));
    let mut owed = world.snapshot().owed;
    while !owed.is_empty() {
        let free: Vec<TaskId> = ready(&owed).iter().map(|task| task.id).collect();
        assert!(!free.is_empty(), "{owed:?}");
        owed.retain(|task| !free.contains(&task.id));
    }
}
