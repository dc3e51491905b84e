//! What a commit writes down about the outside: the effects that its plan showed, as tasks.

use std::collections::{BTreeMap, BTreeSet};

use super::is_going;
use super::{EffectKind, Goal, Object, Outward, Owed, Place, PlannedEffect, TaskId, target_of};
use crate::address::Address;
use crate::store::{Head, Operation, Snapshot, Uid, Write};

/// What a commit with these writes says about the outside.
///
/// An object of a resource that goes, or that moves to another place, is removed wherever it is by now, unless that is
/// owed already; where nothing was ever tried there is nothing to remove.
pub fn outward(effects: &[PlannedEffect], writes: &[Write], now: &Snapshot, serial: u64) -> Outward {
    let written: BTreeMap<&Address, &Write> = writes.iter().map(|write| (&write.address, write)).collect();
    let head_of =
        |address: &Address| written.get(address).map(|write| &write.head).or_else(|| now.heads.get(address));
    let mut tasks = Tasks { serial, owed: Vec::new() };
    let mut kept: BTreeMap<&Uid, Place> = BTreeMap::new();
    for effect in effects.iter().filter(|effect| puts(effect.effect)) {
        let Some(head) = head_of(&effect.address) else { continue };
        let place = match effect.place.id.as_str() {
            // Two addresses may lead to one system: what is made at the new one must not be what goes at the old one.
            "" if now.objects.iter().any(|object| object.uid == head.uid) => {
                Place::new(&effect.place.collection, &format!("{}-{serial}", head.uid))
            }
            "" => Place::new(&effect.place.collection, &head.uid.0),
            _ => effect.place.clone(),
        };
        kept.insert(&head.uid, place.clone());
        tasks.add(Goal::Put, &effect.address, &head.uid, place, head.document.clone());
    }
    let deleted: BTreeMap<&Uid, &Write> = writes
        .iter()
        .filter(|write| write.operation == Operation::Delete)
        .map(|write| (&write.head.uid, write))
        .collect();
    let forget = |place: &Place| {
        effects.iter().any(|effect| effect.effect == EffectKind::Forget && effect.place == *place)
    };
    let mut forgotten = Vec::new();
    let mut seen = BTreeSet::new();
    for object in &now.objects {
        let goes = deleted.contains_key(&object.uid)
            || kept.get(&object.uid).is_some_and(|place| *place != object.place);
        if forget(&object.place) || goes && !object.begun {
            forgotten.push((object.uid.clone(), object.place.clone()));
        } else if goes && !is_going(object, now) && seen.insert(&object.place) {
            let before = now.heads.iter().find(|(_, head)| head.uid == object.uid);
            let Some((address, head)) = before else { continue };
            tasks.add(Goal::Remove, address, &object.uid, object.place.clone(), key_to(object, head));
        }
    }
    Outward { owed: tasks.owed, forgotten }
}

fn puts(effect: EffectKind) -> bool {
    matches!(effect, EffectKind::Create | EffectKind::Replace | EffectKind::Heal | EffectKind::Adopt)
}

/// The document that says how to get at an object: the newest that names its collection.
fn key_to(object: &Object, head: &Head) -> String {
    let names_it = target_of(&head.document)
        .is_some_and(|spec| Place::new(&spec.url, "").collection == object.place.collection);
    let applied = object.applied.as_ref().filter(|_| !names_it);
    applied.unwrap_or(&head.document).clone()
}

struct Tasks {
    serial: u64,
    owed: Vec<Owed>,
}

impl Tasks {
    fn add(&mut self, goal: Goal, address: &Address, uid: &Uid, place: Place, document: String) {
        let ordinal = u32::try_from(self.owed.len()).unwrap_or(u32::MAX);
        let id = TaskId { serial: self.serial, ordinal };
        self.owed.push(Owed { id, uid: uid.clone(), address: address.clone(), place, goal, document });
    }
}
