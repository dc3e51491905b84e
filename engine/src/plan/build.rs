//! Makes a plan: compares what is declared with what is applied, and works out what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::rename::{self, Renames};
use super::{
    Action, ActionKind, Base, Desired, Error, FORMAT_VERSION, Obstacle, Options, Pin, Plan, ReachChange,
    guard,
};
use crate::address::Address;
use crate::canonical;
use crate::config::{ApplyMode, Catalog, DeletionPolicy, Kind, Resource, Spec};
use crate::diff;
use crate::fingerprint::Fingerprint;
use crate::graph::Graph;
use crate::outside::{self, EffectKind, Observation, PlannedEffect, Sight};
use crate::parallel;
use crate::policy;
use crate::reference::{Reference, references};
use crate::store::{Counts, Head, Owner, Snapshot};

/// The plan from a snapshot of applied state to a configuration.
pub fn between(desired: &Desired, snapshot: &Snapshot, options: &Options) -> Result<Plan, Error> {
    let Renames { from: renames, mut hints } = rename::find(desired, snapshot);
    let resources: Vec<_> = desired.resources.iter().collect();
    let edges = parallel::map(&resources, |(_, resource)| references(resource));
    let edges: BTreeMap<&Address, Vec<Reference>> = desired.resources.keys().zip(edges).collect();
    let order = Graph::new(edges.iter().map(|(address, edges)| (*address, edges.clone()))).order();
    let actions = parallel::map(&order, |address| {
        let from = renames.get(address);
        let head = snapshot.heads.get(from.unwrap_or(address));
        action(desired, address, &desired.resources[address], from, head)
    });
    let mut actions = actions.into_iter().collect::<Result<Vec<_>, Error>>()?;
    let deleted = deleted(desired, snapshot, &renames)?;
    let protected = deleted
        .iter()
        .filter(|(_, resource)| resource.metadata.deletion_policy == DeletionPolicy::Protect)
        .map(|(address, _)| address.clone());
    let total = snapshot.heads.values().filter(|head| head.owner == desired.owner).count() as u64;
    let mut obstacles = foreign(desired, snapshot, &renames, &options.take)?;
    obstacles.extend(guard::obstacles(
        protected,
        desired.resources.len() as u64,
        deleted.len() as u64,
        total,
        options.allow_destroy,
    ));
    hints.extend(rename_hints(&actions, &deleted, desired));
    actions.extend(deletions(&deleted));

    let summary = summary_of(&actions);
    let effects = outside::planned(&actions, snapshot, &desired.owner, &options.outside);
    obstacles.extend(taken(&effects, snapshot));
    if summary_of(&actions).total() > 0 {
        obstacles.extend(unmanaged(&desired.owner, snapshot)?);
    }
    hints.extend(unseen(snapshot, &options.outside.observed));
    hints.extend(undeclared(&effects, desired, options));
    let pins = pins(&actions, &effects, &edges, snapshot);
    let consequences = if summary.total() == 0 {
        Consequences::default()
    } else {
        consequences(&actions, snapshot, &options.as_of, &desired.owner, &desired.resources)?
    };
    let mut plan = Plan {
        format_version: FORMAT_VERSION,
        fingerprint: Fingerprint::of_document(""),
        as_of: options.as_of.clone(),
        owner: desired.owner.clone(),
        base: Base { lineage: snapshot.lineage.clone(), serial: snapshot.serial },
        summary,
        actions,
        findings: consequences.findings,
        reach: consequences.reach,
        obstacles,
        hints,
        places: outside::places(&effects, snapshot),
        effects,
        pins,
    };
    plan.fingerprint = fingerprint(&plan);
    Ok(plan)
}

/// What the plan may not do to the resources of other config sets: a project's repository takes nothing from others, and
/// nothing goes that they refer to.
fn foreign(
    desired: &Desired,
    snapshot: &Snapshot,
    renames: &BTreeMap<Address, Address>,
    take: &BTreeSet<Address>,
) -> Result<Vec<Obstacle>, Error> {
    let mut found = Vec::new();
    let gone: BTreeSet<&Address> = renames.values().collect();
    let exists = |address: &Address| {
        desired.resources.contains_key(address)
            || snapshot.heads.get(address).is_some_and(|head| head.owner != desired.owner)
                && !gone.contains(address)
    };
    for (address, head) in snapshot.heads.iter().filter(|(_, head)| head.owner != desired.owner) {
        if desired.resources.contains_key(address) {
            if desired.owner != Owner::Workspace && !take.contains(address) {
                found.push(Obstacle::Owned { address: address.clone(), owner: head.owner.clone() });
            }
            continue;
        }
        for reference in references(&stored(address, head)?) {
            let was = reference.resolve(|candidate| snapshot.heads.contains_key(candidate));
            if let Some(was) = was.filter(|_| reference.resolve(exists).is_none()) {
                found.push(Obstacle::Needed { address: was.clone(), by: address.clone() });
            }
        }
    }
    Ok(found)
}

/// The project whose repository this is, where it may not manage anything.
fn unmanaged(owner: &Owner, snapshot: &Snapshot) -> Result<Option<Obstacle>, Error> {
    let Owner::Project(name) = owner else { return Ok(None) };
    let project = Address::new(Kind::Project, None, name);
    let Some(head) = snapshot.heads.get(&project) else { return Ok(Some(Obstacle::Unmanaged { project })) };
    let manages = match stored(&project, head)?.spec {
        Spec::Project(spec) => spec.config.is_some_and(|config| config.apply != ApplyMode::Never),
        _ => false,
    };
    Ok((!manages).then_some(Obstacle::Unmanaged { project }))
}

fn summary_of(actions: &[Action]) -> Counts {
    let mut summary = Counts::default();
    actions
        .iter()
        .filter_map(|action| action.action.operation())
        .for_each(|operation| summary.add(operation));
    summary
}

/// The objects of other resources that would be adopted.
pub(crate) fn taken(effects: &[PlannedEffect], snapshot: &Snapshot) -> Vec<Obstacle> {
    let adopted = effects.iter().filter(|effect| effect.effect == EffectKind::Adopt);
    let of_another = adopted.filter_map(|effect| {
        let here = snapshot.objects.iter().filter(|object| object.place == effect.place);
        let owners = here.filter_map(|object| snapshot.heads.iter().find(|(_, head)| head.uid == object.uid));
        let by = owners.map(|(by, _)| by).find(|by| **by != effect.address)?;
        Some(Obstacle::Taken { place: effect.place.clone(), by: by.clone() })
    });
    of_another.collect()
}

/// What an adopted object has that is not declared: a change sends what is declared and nothing else.
fn undeclared(effects: &[PlannedEffect], desired: &Desired, options: &Options) -> Vec<String> {
    let adopted = effects.iter().filter(|effect| effect.effect == EffectKind::Adopt);
    let said = adopted.filter(|effect| !effect.differences.is_empty()).filter_map(|effect| {
        let seen = options.outside.adopted.get(&effect.address)?.as_object()?;
        let Spec::WebhookTarget(spec) = &desired.resources.get(&effect.address)?.spec else { return None };
        let more: Vec<&str> =
            seen.keys().filter(|key| !spec.body.contains_key(*key)).map(String::as_str).collect();
        let (address, place) = (&effect.address, &effect.place);
        (!more.is_empty()).then(|| {
            format!(
                "{place} has {} besides; {address} does not declare that, and it may go with the change",
                more.join(", ")
            )
        })
    });
    said.collect()
}

/// What could not be looked at, so that nobody takes silence for a good sign.
fn unseen(snapshot: &Snapshot, observed: &[Observation]) -> Vec<String> {
    let reason = |seen: &Observation| match &seen.sight {
        Sight::Unknown(reason) => {
            let head = snapshot.heads.iter().find(|(_, head)| head.uid == seen.uid);
            head.map(|(address, _)| format!("{address} was not looked at elsewhere: {reason}"))
        }
        _ => None,
    };
    observed.iter().filter_map(reason).collect()
}

/// What follows from a set of actions.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Consequences {
    pub(crate) findings: Vec<policy::Finding>,
    pub(crate) reach: ReachChange,
}

/// Works out what follows from carrying out these actions on a state.
pub(crate) fn consequences(
    actions: &[Action],
    snapshot: &Snapshot,
    as_of: &str,
    owner: &Owner,
    known: &Catalog,
) -> Result<Consequences, Error> {
    let before = applied_beside(snapshot, actions, known)?;
    let after = carried_out(actions, before.clone())?;
    let (old, new) = (policy::reach(&before), policy::reach(&after));
    let mut findings = policy::findings(&before, &after, &old, &new, as_of);
    // What a project's repository accepts does not count: not for its own changes, and not for those of others.
    for finding in &mut findings {
        let subject = &finding.subject;
        let is_written = actions.iter().any(|one| one.address == *subject && one.action != ActionKind::NoOp);
        let head = snapshot.heads.get(subject).map(|head| &head.owner).filter(|_| !is_written);
        if *owner != Owner::Workspace || *head.unwrap_or(owner) != Owner::Workspace {
            finding.acceptance = None;
            finding.expired = false;
        }
    }
    let reach = ReachChange {
        added: new.difference(&old).cloned().collect(),
        removed: old.difference(&new).cloned().collect(),
    };
    Ok(Consequences { findings, reach })
}

/// What other config sets have applied, which one may refer to.
pub fn given(snapshot: &Snapshot, owner: &Owner) -> Result<Catalog, Error> {
    let others = snapshot.heads.iter().filter(|(_, head)| head.owner != *owner);
    others.map(|(address, head)| Ok((address.clone(), stored(address, head)?.into()))).collect()
}

/// What is applied, as resources.
pub fn applied(snapshot: &Snapshot) -> Result<Catalog, Error> {
    applied_beside(snapshot, &[], &Catalog::new())
}

/// What is applied, as resources. What stays as it is was read before, and is not read again.
fn applied_beside(snapshot: &Snapshot, actions: &[Action], known: &Catalog) -> Result<Catalog, Error> {
    let stays = actions.iter().filter(|action| action.action == ActionKind::NoOp);
    let stays: BTreeSet<&Address> = stays.map(|action| &action.address).collect();
    let heads: Vec<_> = snapshot.heads.iter().collect();
    let resources = parallel::map(&heads, |(address, head)| {
        let same = known.get(*address).filter(|_| stays.contains(address));
        same.map_or_else(|| stored(address, head).map(Arc::new), |same| Ok(Arc::clone(same)))
    });
    heads.iter().zip(resources).map(|((address, _), resource)| Ok(((*address).clone(), resource?))).collect()
}

/// What would be applied once a plan is carried out.
pub fn after(plan: &Plan, snapshot: &Snapshot) -> Result<Catalog, Error> {
    carried_out(&plan.actions, applied(snapshot)?)
}

fn carried_out(actions: &[Action], mut after: Catalog) -> Result<Catalog, Error> {
    for action in actions.iter().filter(|action| action.action != ActionKind::NoOp) {
        after.remove(action.from.as_ref().unwrap_or(&action.address));
    }
    for action in actions {
        if let Some(document) = &action.document {
            let resource = canonical::read_document(document)
                .map_err(|source| Error::Stored { address: action.address.clone(), source })?;
            after.insert(action.address.clone(), Arc::new(resource));
        }
    }
    Ok(after)
}

fn stored(address: &Address, head: &Head) -> Result<Resource, Error> {
    head.resource().map_err(|source| Error::Stored { address: address.clone(), source })
}

fn action(
    desired: &Desired,
    address: &Address,
    resource: &Resource,
    from: Option<&Address>,
    head: Option<&Head>,
) -> Result<Action, Error> {
    let document = canonical::document(resource);
    let plain = |kind, differences, document| Action {
        address: address.clone(),
        action: kind,
        from: from.cloned(),
        taken_from: None,
        differences,
        document,
    };
    let Some(head) = head else {
        let differences = diff::between(&Value::Object(serde_json::Map::new()), &body(resource));
        return Ok(plain(ActionKind::Create, differences, Some(document)));
    };
    let same_owner = head.owner == desired.owner;
    if head.fingerprint == Fingerprint::of_document(&document) && same_owner {
        return Ok(plain(ActionKind::NoOp, Vec::new(), None));
    }
    // What an older version wrote may have another fingerprint for the same meaning: compare meanings.
    let old = stored(from.unwrap_or(address), head)?;
    let differences = diff::between(&body(&old), &body(resource));
    let kind = match from {
        Some(_) => ActionKind::Rename,
        None if differences.is_empty() && same_owner => return Ok(plain(ActionKind::NoOp, Vec::new(), None)),
        None => ActionKind::Update,
    };
    let taken_from = (!same_owner).then(|| head.owner.clone());
    Ok(Action { taken_from, ..plain(kind, differences, Some(document)) })
}

/// What differs between two versions of a resource, as plans show it.
pub fn differences(before: Option<&Resource>, after: Option<&Resource>) -> Vec<diff::Difference> {
    let side =
        |resource: Option<&Resource>| resource.map_or_else(|| Value::Object(serde_json::Map::new()), body);
    diff::between(&side(before), &side(after))
}

/// What of a resource is compared: metadata and spec, without what its address already says.
fn body(resource: &Resource) -> Value {
    let mut value = canonical::value(resource);
    if let Some(object) = value.as_object_mut() {
        object.remove("apiVersion");
        object.remove("kind");
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("name");
            metadata.remove("project");
            if metadata.get("deletion_policy").and_then(Value::as_str) == Some("allow") {
                metadata.remove("deletion_policy");
            }
            if metadata.is_empty() {
                object.remove("metadata");
            }
        }
    }
    value
}

/// What is applied for this owner and no longer declared.
fn deleted(
    desired: &Desired,
    snapshot: &Snapshot,
    renames: &BTreeMap<Address, Address>,
) -> Result<Catalog, Error> {
    let renamed: BTreeSet<&Address> = renames.values().collect();
    snapshot
        .heads
        .iter()
        .filter(|(address, head)| {
            head.owner == desired.owner
                && !desired.resources.contains_key(*address)
                && !renamed.contains(address)
        })
        .map(|(address, head)| Ok((address.clone(), Arc::new(stored(address, head)?))))
        .collect()
}

/// Deletes, what refers to others before what it refers to.
fn deletions(deleted: &Catalog) -> Vec<Action> {
    let graph = Graph::new(deleted.iter().map(|(address, resource)| (address, references(resource))));
    let mut order = graph.order();
    order.reverse();
    order
        .into_iter()
        .map(|address| Action {
            differences: diff::between(&body(&deleted[&address]), &Value::Object(serde_json::Map::new())),
            address,
            action: ActionKind::Delete,
            from: None,
            taken_from: None,
            document: None,
        })
        .collect()
}

/// A delete and a create of the same content are probably a rename that was not said.
fn rename_hints(actions: &[Action], deleted: &Catalog, desired: &Desired) -> Vec<String> {
    let mut hints = Vec::new();
    let mut used = BTreeSet::new();
    for action in actions.iter().filter(|action| action.action == ActionKind::Create) {
        let address = &action.address;
        let spec = &desired.resources[address].spec;
        let same = deleted.iter().find(|(old, resource)| {
            old.kind == address.kind
                && old.project == address.project
                && resource.spec == *spec
                && !used.contains(*old)
        });
        if let Some((old, _)) = same {
            used.insert(old);
            hints.push(format!(
                "{old} is deleted and {address} created with the same spec: to rename it and keep its history, add `renamed_from: {}` to the metadata of {address}",
                old.name
            ));
        }
    }
    hints
}

/// The heads that the plan depends on: what it changes, and what the result refers to.
fn pins(
    actions: &[Action],
    effects: &[PlannedEffect],
    edges: &BTreeMap<&Address, Vec<Reference>>,
    snapshot: &Snapshot,
) -> BTreeMap<Address, Option<Pin>> {
    let mut pins = BTreeMap::new();
    let mut pin = |address: &Address| {
        pins.insert(address.clone(), snapshot.heads.get(address).map(Pin::from));
    };
    for action in actions.iter().filter(|action| action.action != ActionKind::NoOp) {
        pin(&action.address);
        action.from.iter().for_each(&mut pin);
        for reference in edges.get(&action.address).into_iter().flatten() {
            reference.candidates.iter().for_each(&mut pin);
        }
    }
    let touched = effects.iter().filter(|effect| effect.effect != EffectKind::Resume);
    touched.map(|effect| &effect.address).for_each(&mut pin);
    pins
}

/// The fingerprint of what a plan does and what follows from it.
pub(crate) fn fingerprint(plan: &Plan) -> Fingerprint {
    let actions: Vec<&Action> = plan.changes().collect();
    let mut content = serde_json::json!({
        "owner": plan.owner,
        "lineage": plan.base.lineage,
        "actions": actions,
        "findings": plan.findings,
        "reach": plan.reach,
        "pins": plan.pins.iter().map(|(address, pin)| (address.to_string(), pin)).collect::<BTreeMap<_, _>>(),
    });
    if !plan.effects.is_empty() {
        content["effects"] = serde_json::json!(plan.effects);
        let places = plan.places.iter().map(|(address, places)| (address.to_string(), places));
        content["places"] = serde_json::json!(places.collect::<BTreeMap<_, _>>());
    }
    let mut text = String::new();
    canonical::write(&content, &mut text);
    Fingerprint::of_plan(&text)
}
