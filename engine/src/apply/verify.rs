//! Whether a plan that somebody else made says what is so: it is made again from nothing but what it would write, and
//! held against itself.
//!
//! Who plans on another machine sends the whole plan, since what was shown is what is applied. But a plan is text, and
//! what it says of findings, reach and protection must not be believed: it is worked out anew, from the state as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Refusal, found, stale};
use crate::address::Address;
use crate::canonical;
use crate::config::Catalog;
use crate::diagnostic::Severity;
use crate::outside::{EffectKind, Observation, Place, PlannedEffect, Sight};
use crate::plan::{self, Action, Desired, Options, Plan};
use crate::read::{Budget, Context, InputFile, read_in};
use crate::store::Snapshot;

/// Refuses a plan that does not follow from the state as it is, whoever made it. `today` is `YYYY-MM-DD`.
pub fn verify(plan: &Plan, now: &Snapshot, today: &str) -> Result<(), Refusal> {
    if !plan.is_whole() {
        return Err(untrue("its fingerprint is another"));
    }
    if !plan.obstacles.is_empty() {
        return Err(Refusal::Obstacles(plan.obstacles.clone()));
    }
    if plan.base.lineage.is_some() && plan.base.lineage != now.lineage {
        return Err(Refusal::OtherWorkspace);
    }
    if plan.pins.iter().any(|(address, pin)| found(now, address) != *pin) {
        return Err(stale(plan, now));
    }
    let ended = |finding: &&crate::policy::Finding| {
        !finding.expired && finding.acceptance.as_ref().is_some_and(|one| one.until.as_str() < today)
    };
    if let Some(finding) = plan.findings.iter().find(ended) {
        return Err(Refusal::Expired { finding: format!("{} {}", finding.code, finding.subject) });
    }
    let again = again(plan, now)?;
    if !again.obstacles.is_empty() {
        return Err(Refusal::Obstacles(again.obstacles));
    }
    if by_address(plan) != by_address(&again) || plan.summary != again.summary {
        return Err(untrue("what it would write is not what its documents say"));
    }
    if plan.pins.keys().ne(again.pins.keys()) {
        return Err(untrue("it leaves out what it depends on"));
    }
    if again.findings != plan.findings || again.reach != plan.reach {
        let new = again.findings.iter().filter(|finding| !plan.findings.contains(finding));
        let new = new.map(|finding| format!("{} {}", finding.code, finding.message)).collect();
        return Err(Refusal::Consequences { new });
    }
    if lasting(&plan.effects) != lasting(&again.effects) {
        return Err(Refusal::Consequences { new: Vec::new() });
    }
    Ok(())
}

fn untrue(what: &str) -> Refusal {
    Refusal::Untrue { what: what.to_owned() }
}

fn by_address(plan: &Plan) -> BTreeMap<&Address, &Action> {
    plan.changes().map(|action| (&action.address, action)).collect()
}

/// The effects that a commit takes from a plan. What is removed it finds by itself, and what was owed before may have
/// been carried out since.
fn lasting(effects: &[PlannedEffect]) -> BTreeSet<(&Address, &'static str, &Place)> {
    let word = |effect: EffectKind| match effect {
        EffectKind::Create => Some("create"),
        EffectKind::Replace => Some("replace"),
        EffectKind::Heal => Some("heal"),
        EffectKind::Adopt => Some("adopt"),
        EffectKind::Forget => Some("forget"),
        EffectKind::Remove | EffectKind::Resume => None,
    };
    effects.iter().filter_map(|one| Some((&one.address, word(one.effect)?, &one.place))).collect()
}

/// The plan, made again from the state and from the documents that it would write.
fn again(plan: &Plan, now: &Snapshot) -> Result<Plan, Refusal> {
    let unreadable = |error: &dyn std::fmt::Display| Refusal::Unreadable(error.to_string());
    let touched: BTreeSet<&Address> =
        plan.changes().flat_map(|action| action.from.iter().chain([&action.address])).collect();
    let mut rest = Catalog::new();
    let mut own = Catalog::new();
    for (address, head) in now.heads.iter().filter(|(address, _)| !touched.contains(address)) {
        let resource = std::sync::Arc::new(head.resource().map_err(|error| unreadable(&error))?);
        if head.owner == plan.owner {
            own.insert(address.clone(), resource.clone());
        }
        rest.insert(address.clone(), resource);
    }
    own.extend(written(plan, rest)?);
    let desired = Desired { owner: plan.owner.clone(), resources: own };
    let mut options = Options { as_of: plan.as_of.clone(), allow_destroy: true, ..Options::default() };
    options.take =
        plan.changes().filter(|one| one.taken_from.is_some()).map(|one| one.address.clone()).collect();
    for effect in &plan.effects {
        match effect.effect {
            EffectKind::Heal => {
                let head = now.heads.get(&effect.address);
                let head = head.ok_or_else(|| untrue("it heals what is not applied"))?;
                let (uid, place) = (head.uid.clone(), effect.place.clone());
                options.outside.observed.push(Observation { uid, place, sight: Sight::Absent });
            }
            EffectKind::Adopt => {
                options.outside.adopt.insert(effect.address.clone(), effect.place.id.clone());
            }
            EffectKind::Forget => {
                options.outside.forget.insert(effect.address.clone());
            }
            EffectKind::Create | EffectKind::Replace | EffectKind::Remove | EffectKind::Resume => {}
        }
    }
    plan::between(&desired, now, &options).map_err(|error| unreadable(&error))
}

/// What a plan would write, read as any configuration is: against the schemas, and the rules across documents.
fn written(plan: &Plan, rest: Catalog) -> Result<Catalog, Refusal> {
    let mut files = Vec::new();
    for action in plan.changes() {
        let Some(document) = &action.document else { continue };
        let mut value: Value =
            serde_json::from_str(document).map_err(|_| untrue("one of its documents is no JSON"))?;
        let renamed = action.from.as_ref().filter(|from| from.name != action.address.name);
        if let (Some(from), Some(metadata)) =
            (renamed, value.get_mut("metadata").and_then(Value::as_object_mut))
        {
            metadata.insert("renamed_from".to_owned(), json!(from.name));
        }
        let mut text = String::new();
        canonical::write(&value, &mut text);
        files.push(InputFile { path: action.address.to_string(), bytes: printable(&text).into_bytes() });
    }
    if files.is_empty() {
        return Ok(Catalog::new());
    }
    let reading = read_in(files, &Budget::default(), Context { given: rest, owner: plan.owner.clone() });
    if let Some(error) = reading.diagnostics.iter().find(|one| one.severity == Severity::Error) {
        return Err(Refusal::Invalid { code: error.code.to_owned(), what: error.message.clone() });
    }
    let read = reading.configuration.into_catalog();
    let named: BTreeSet<&Address> =
        plan.changes().filter(|action| action.document.is_some()).map(|action| &action.address).collect();
    if named.into_iter().ne(read.keys()) {
        return Err(untrue("its documents have other addresses than it says"));
    }
    Ok(read)
}

/// JSON that is YAML too, which has fewer characters that stand for themselves.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(printable, "\\u{:04x}", u32::from(one));
            }
            one => printable.push(one),
        }
    }
    printable
}

#[cfg(test)]
mod tests;
