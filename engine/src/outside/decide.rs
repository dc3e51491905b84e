//! What to do outside: what a plan would, which tasks can be carried out now, and what one takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    EffectKind, Goal, Object, Observation, Owed, Place, PlannedEffect, Precondition, Seen, Sight, body_of,
    compare, target_of,
};
use crate::address::Address;
use crate::config::{Kind, WebhookTargetSpec};
use crate::plan::{Action, ActionKind};
use crate::store::{Head, Owner, Snapshot, Uid};

/// What somebody asked for beside the configuration.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// What was seen of the objects that are ours.
    pub observed: Vec<Observation>,
    /// The object, by its id, that a resource shall have from now on.
    pub adopt: BTreeMap<Address, String>,
    /// What is in the place of an adopted object.
    pub adopted: BTreeMap<Address, Value>,
    /// Resources whose objects shall stay although they go.
    pub forget: BTreeSet<Address>,
}

/// What a plan does outside, in the order of its actions; then what is to be healed, and what is owed from before.
pub fn planned(
    actions: &[Action],
    snapshot: &Snapshot,
    owner: &Owner,
    wishes: &Wishes,
) -> Vec<PlannedEffect> {
    let mut effects = Vec::new();
    let mut touched: BTreeSet<&Uid> = BTreeSet::new();
    for action in actions {
        let was = action.from.as_ref().unwrap_or(&action.address);
        let head = snapshot.heads.get(was);
        if action.address.kind != Kind::WebhookTarget {
            continue;
        }
        let before = head.and_then(|head| target_of(&head.document));
        let after = action.document.as_deref().and_then(target_of);
        let of_action = of_action(action, head, before.as_ref(), after.as_ref(), snapshot, wishes);
        if !of_action.is_empty() {
            touched.extend(head.map(|head| &head.uid));
        }
        effects.extend(of_action);
    }
    effects.extend(heals(snapshot, owner, &touched, &wishes.observed));
    let again: BTreeSet<Place> = effects.iter().map(|effect| effect.place.clone()).collect();
    let deleted = actions.iter().filter(|action| action.action == ActionKind::Delete);
    let deleted: BTreeSet<&Uid> =
        deleted.filter_map(|action| Some(&snapshot.heads.get(&action.address)?.uid)).collect();
    let still = |owed: &&Owed| {
        let is_void = deleted.contains(&owed.uid) || touched.contains(&owed.uid);
        !again.contains(&owed.place) && (owed.goal == Goal::Remove || !is_void)
    };
    effects.extend(snapshot.owed.iter().filter(still).map(|owed| PlannedEffect {
        address: owed.address.clone(),
        effect: if wishes.forget.contains(&owed.address) { EffectKind::Forget } else { EffectKind::Resume },
        place: owed.place.clone(),
        differences: Vec::new(),
    }));
    effects
}

/// Where the objects are of the resources for which something is done, but for what is being removed: that has gone by the
/// time that a plan is applied, or not, and makes no difference.
pub fn places(effects: &[PlannedEffect], snapshot: &Snapshot) -> BTreeMap<Address, BTreeSet<Place>> {
    let touched = effects.iter().filter(|effect| effect.effect != EffectKind::Resume);
    let of = |effect: &PlannedEffect| {
        let head = snapshot.heads.get(&effect.address)?;
        let objects =
            snapshot.objects.iter().filter(|object| object.uid == head.uid && !is_going(object, snapshot));
        Some((effect.address.clone(), objects.map(|object| object.place.clone()).collect()))
    };
    touched.filter_map(of).collect()
}

/// Whether an object's removal is owed: it is not its resource's any more.
pub fn is_going(object: &Object, snapshot: &Snapshot) -> bool {
    let is_it = |owed: &&Owed| owed.place == object.place && owed.uid == object.uid;
    snapshot.owed.iter().find(is_it).is_some_and(|owed| owed.goal == Goal::Remove)
}

fn of_action(
    action: &Action,
    head: Option<&Head>,
    before: Option<&WebhookTargetSpec>,
    after: Option<&WebhookTargetSpec>,
    snapshot: &Snapshot,
    wishes: &Wishes,
) -> Vec<PlannedEffect> {
    let address = &action.address;
    let effect =
        |effect, place| PlannedEffect { address: address.clone(), effect, place, differences: Vec::new() };
    let objects = snapshot.objects.iter().filter(|object| head.is_some_and(|head| head.uid == object.uid));
    // What is being removed is not what a change is about, unless its resource goes or adopts it again.
    let objects = objects.filter(|object| action.action == ActionKind::Delete || !is_going(object, snapshot));
    if action.action == ActionKind::Delete {
        let kind = if wishes.forget.contains(address) { EffectKind::Forget } else { EffectKind::Remove };
        return objects
            .filter(|object| object.begun)
            .map(|object| effect(kind, object.place.clone()))
            .collect();
    }
    // What stays as it is may still be adopted.
    let declared = match (after, before) {
        (Some(after), _) => after,
        (None, Some(before)) if action.action == ActionKind::NoOp => before,
        _ => return Vec::new(),
    };
    if let Some(id) = wishes.adopt.get(address) {
        let place = Place::new(&declared.url, id);
        let differences =
            wishes.adopted.get(address).map_or_else(Vec::new, |seen| compare(seen, &body_of(declared), None));
        let mut effects = vec![PlannedEffect { differences, ..effect(EffectKind::Adopt, place.clone()) }];
        let left = objects.filter(|object| object.begun && object.place != place);
        effects.extend(left.map(|object| effect(EffectKind::Remove, object.place.clone())));
        return effects;
    }
    if action.action == ActionKind::NoOp {
        return Vec::new();
    }
    let collection = Place::new(&declared.url, "");
    let (here, elsewhere): (Vec<&Object>, Vec<&Object>) =
        objects.partition(|object| object.place.collection == collection.collection);
    let is_owed = |place: &Place| snapshot.owed.iter().any(|owed| owed.place == *place);
    let mut effects = Vec::new();
    match here.first().map(|object| &object.place) {
        None => effects.push(effect(EffectKind::Create, collection)),
        // What was tried in vain is tried with what is said by now: another token, a longer time.
        Some(place) if before.is_none_or(|before| before.body != declared.body) || is_owed(place) => {
            effects.push(effect(EffectKind::Replace, place.clone()));
        }
        Some(_) => {}
    }
    let left = elsewhere.into_iter().filter(|object| object.begun);
    effects.extend(left.map(|object| effect(EffectKind::Remove, object.place.clone())));
    effects
}

/// What others changed or deleted, of what this plan leaves as it is.
fn heals(
    snapshot: &Snapshot,
    owner: &Owner,
    touched: &BTreeSet<&Uid>,
    observed: &[Observation],
) -> Vec<PlannedEffect> {
    let mut effects = Vec::new();
    let targets = snapshot.heads.iter().filter(|(address, _)| address.kind == Kind::WebhookTarget);
    for (address, head) in targets {
        if head.owner != *owner || touched.contains(&head.uid) {
            continue;
        }
        for seen in observed.iter().filter(|seen| seen.uid == head.uid) {
            let differences = match drifted(snapshot, seen) {
                Drift::None => continue,
                Drift::Changed(differences) => differences,
                Drift::Gone => Vec::new(),
            };
            effects.push(PlannedEffect {
                address: address.clone(),
                effect: EffectKind::Heal,
                place: seen.place.clone(),
                differences,
            });
        }
    }
    effects
}

/// What others did to an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Drift {
    /// Nothing that is known.
    None,
    /// From what is there to what was applied.
    Changed(Vec<crate::diff::Difference>),
    /// It is gone.
    Gone,
}

/// What others did to an object that was looked at. What is owed for it comes first: until then it is not theirs.
pub fn drifted(snapshot: &Snapshot, seen: &Observation) -> Drift {
    let is_it = |place: &Place, uid: &Uid| *place == seen.place && *uid == seen.uid;
    if snapshot.owed.iter().any(|owed| is_it(&owed.place, &owed.uid)) {
        return Drift::None;
    }
    let object = snapshot.objects.iter().find(|object| is_it(&object.place, &object.uid));
    let Some(applied) = object.and_then(|object| object.applied.as_deref()).and_then(target_of) else {
        return Drift::None;
    };
    match &seen.sight {
        Sight::Same | Sight::Unknown(_) => Drift::None,
        Sight::Absent => Drift::Gone,
        Sight::Present(body) => {
            let applied = body_of(&applied);
            match compare(body, &applied, Some(&applied)) {
                differences if differences.is_empty() => Drift::None,
                differences => Drift::Changed(differences),
            }
        }
    }
}

/// The tasks that wait for no other: an object comes after those that it depends on, goes before them, and goes from its
/// old place once it is in the new one.
pub fn ready(owed: &[Owed]) -> Vec<&Owed> {
    let specs: Vec<Option<WebhookTargetSpec>> = owed.iter().map(|owed| target_of(&owed.document)).collect();
    let depends = |index: usize, on: &Address| {
        let names = specs[index].iter().flat_map(|spec| &spec.depends_on);
        names.into_iter().any(|name| *on == Address::new(on.kind, None, name))
    };
    let waits = |index: usize| {
        let task = &owed[index];
        owed.iter().enumerate().any(|(other, before)| match (task.goal, before.goal) {
            _ if other == index => false,
            (Goal::Put, Goal::Put) => depends(index, &before.address),
            (Goal::Put, Goal::Remove) => false,
            (Goal::Remove, Goal::Remove) => depends(other, &task.address) && task.address != before.address,
            (Goal::Remove, Goal::Put) => before.uid == task.uid,
        })
    };
    let free: Vec<&Owed> = (0..owed.len()).filter(|index| !waits(*index)).map(|index| &owed[index]).collect();
    // Documents of different times may wait for each other in a circle: then the oldest begins.
    if free.is_empty() { owed.iter().take(1).collect() } else { free }
}

/// What a task takes, once somebody has looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It is as it shall be.
    Nothing,
    /// The object is to be made.
    Create,
    /// It is to be made another.
    Replace(Precondition),
    /// It is to be deleted.
    Remove,
}

impl Act {
    /// As the journal has it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Create => "create",
            Self::Replace(_) => "replace",
            Self::Remove => "remove",
        }
    }
}

/// What a task takes. `last` is what was declared when the object was last made what it is.
pub fn act(goal: Goal, wanted: &Value, last: Option<&Value>, seen: Option<&Seen>) -> Act {
    match (goal, seen) {
        (Goal::Remove, None) => Act::Nothing,
        (Goal::Remove, Some(_)) => Act::Remove,
        (Goal::Put, None) => Act::Create,
        (Goal::Put, Some(seen)) if compare(&seen.body, wanted, last).is_empty() => Act::Nothing,
        (Goal::Put, Some(seen)) => {
            Act::Replace(seen.version.clone().map_or(Precondition::None, Precondition::Version))
        }
    }
}
