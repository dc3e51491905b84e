//! Apply: carries out a plan that was shown, on the state as it is inside the transaction, or refuses.
//!
//! Nothing is planned again. A change of anything that the plan touches or refers to makes it stale; a
//! change elsewhere does not, unless the consequences are no longer those that were shown.

use std::collections::BTreeSet;

use crate::address::Address;
use crate::config::Catalog;
use crate::fingerprint::Fingerprint;
use crate::outside;
use crate::plan::{self, ActionKind, Obstacle, Pin, Plan};
use crate::reference::references;
use crate::store::{Author, Change, ChangeId, Commit, Head, Operation, Snapshot, Uid, Write};

mod verify;

pub use verify::verify;

/// What the caller gives to a commit: who and why, and ids and time, which are not made here.
pub struct Stamp<'a> {
    /// The change's id.
    pub id: ChangeId,
    /// The time, in milliseconds since 1970 UTC.
    pub at: u64,
    /// Who and why.
    pub author: Author,
    /// Makes the uids of new resources.
    pub uids: &'a mut (dyn FnMut() -> Uid + Send),
}

/// One resource that is no longer as the plan saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub address: Address,
    /// As the plan saw it.
    pub planned: Option<Pin>,
    /// As it is.
    pub found: Option<Pin>,
}

/// Why a plan is not applied. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What it touches or refers to has changed since.
    #[error("the plan is stale: {} changed since it was made", listed(moved))]
    Stale {
        /// What.
        moved: Vec<Moved>,
    },
    /// It was made for another workspace.
    #[error("the plan was made for another workspace")]
    OtherWorkspace,
    /// What follows from it is no longer what was shown.
    #[error("the plan is stale: its consequences are no longer those that were shown")]
    Consequences {
        /// The codes and subjects of findings that are new.
        new: Vec<String>,
    },
    /// It would delete or rename what others refer to by now.
    #[error("the plan is stale: {from} refers to {to} by now, which would be gone")]
    Dangling {
        /// Who refers.
        from: Address,
        /// To what.
        to: Address,
    },
    /// It is not the plan that was expected.
    #[error("the plan is {found}, not the expected {expected}")]
    Unexpected {
        /// The fingerprint that was asked for.
        expected: String,
        /// The plan's.
        found: Fingerprint,
    },
    /// Something keeps it from being applied.
    #[error("the plan is refused: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Obstacles(Vec<Obstacle>),
    /// The state holds what this version cannot read.
    #[error("the applied state cannot be read: {0}")]
    Unreadable(String),
    /// It is not what comes of what it would write: somebody changed it, or another version made it.
    #[error("the plan does not hold: {what}")]
    Untrue {
        /// What is wrong.
        what: String,
    },
    /// What it would write is no valid configuration.
    #[error("the plan would write what is not valid: {what} ({code})")]
    Invalid {
        /// The code of the error.
        code: String,
        /// What is wrong.
        what: String,
    },
    /// A finding was accepted until a day that is over.
    #[error("the acceptance of {finding} has ended since the plan was made")]
    Expired {
        /// The finding's code and its subject.
        finding: String,
    },
}

fn listed(moved: &[Moved]) -> String {
    let names: Vec<_> = moved.iter().take(3).map(|moved| moved.address.to_string()).collect();
    let more = moved.len().saturating_sub(3);
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}

/// Decides what to write, from the state as it is now.
pub fn decide(plan: &Plan, now: &Snapshot, stamp: Stamp<'_>) -> Result<Commit, Refusal> {
    if !plan.obstacles.is_empty() {
        return Err(Refusal::Obstacles(plan.obstacles.clone()));
    }
    if plan.base.lineage.is_some() && plan.base.lineage != now.lineage {
        return Err(Refusal::OtherWorkspace);
    }
    if plan.base.serial != now.serial {
        recheck(plan, now)?;
    }
    let Stamp { id, at, author, uids } = stamp;
    let mut writes = Vec::new();
    for action in plan.changes() {
        let operation = action.action.operation().expect("changes leave out what stays");
        let before = now.heads.get(action.from.as_ref().unwrap_or(&action.address));
        let head = match (action.action, before, &action.document) {
            (ActionKind::Delete, Some(before), _) => {
                Head { generation: before.generation + 1, ..before.clone() }
            }
            (_, before, Some(document)) => Head {
                uid: before.map_or_else(&mut *uids, |head| head.uid.clone()),
                generation: before.map_or(1, |head| head.generation + 1),
                fingerprint: Fingerprint::of_document(document),
                owner: plan.owner.clone(),
                document: document.clone(),
            },
            (_, _, None) => return Err(stale(plan, now)),
        };
        writes.push(Write { operation, address: action.address.clone(), head });
    }
    // Addresses must be free before others take them.
    writes.sort_by_key(|write| match write.operation {
        Operation::Delete => 0,
        Operation::Rename => 1,
        Operation::Create | Operation::Update => 2,
    });
    let change =
        Change { id, serial: now.serial + 1, at, author, plan: plan.fingerprint, counts: plan.summary };
    let outward = outside::outward(&plan.effects, &writes, now, change.serial);
    Ok(Commit { change, writes, outward })
}

/// Others have applied something since: checks that the plan still means what was shown.
fn recheck(plan: &Plan, now: &Snapshot) -> Result<(), Refusal> {
    if plan.pins.iter().any(|(address, pin)| found(now, address) != *pin) {
        return Err(stale(plan, now));
    }
    let places = outside::places(&plan.effects, now);
    if let Some(address) =
        plan.places.keys().find(|address| places.get(*address) != plan.places.get(*address))
    {
        let pin = found(now, address);
        let moved = vec![Moved { address: address.clone(), planned: pin.clone(), found: pin }];
        return Err(Refusal::Stale { moved });
    }
    let taken = plan::taken(&plan.effects, now);
    if !taken.is_empty() {
        return Err(Refusal::Obstacles(taken));
    }
    dangling(plan, now)?;
    if plan.summary.total() == 0 {
        return Ok(());
    }
    let consequences = plan::consequences(&plan.actions, now, &plan.as_of, &plan.owner, &Catalog::new())
        .map_err(|error| Refusal::Unreadable(error.to_string()))?;
    if consequences.findings != plan.findings || consequences.reach != plan.reach {
        let new = consequences
            .findings
            .iter()
            .filter(|finding| !plan.findings.contains(finding))
            .map(|finding| format!("{} {}", finding.code, finding.message))
            .collect();
        return Err(Refusal::Consequences { new });
    }
    Ok(())
}

/// Checks that nothing that others refer to goes away: they may have come since the plan was made.
fn dangling(plan: &Plan, now: &Snapshot) -> Result<(), Refusal> {
    let gone = |action: &plan::Action| match action.action {
        ActionKind::Delete => Some(action.address.clone()),
        ActionKind::Rename => action.from.clone(),
        _ => None,
    };
    let gone: BTreeSet<Address> = plan.changes().filter_map(gone).collect();
    if gone.is_empty() {
        return Ok(());
    }
    let put: BTreeSet<&Address> =
        plan.changes().filter(|action| action.document.is_some()).map(|action| &action.address).collect();
    let exists = |address: &Address| {
        put.contains(address) || now.heads.contains_key(address) && !gone.contains(address)
    };
    for (address, head) in &now.heads {
        if gone.contains(address) || put.contains(address) {
            continue;
        }
        let resource = head.resource().map_err(|error| Refusal::Unreadable(error.to_string()))?;
        for reference in references(&resource) {
            if reference.resolve(exists).is_none()
                && let Some(to) = reference.candidates.iter().find(|candidate| gone.contains(candidate))
            {
                return Err(Refusal::Dangling { from: address.clone(), to: to.clone() });
            }
        }
    }
    Ok(())
}

fn found(now: &Snapshot, address: &Address) -> Option<Pin> {
    now.heads.get(address).map(Pin::from)
}

fn stale(plan: &Plan, now: &Snapshot) -> Refusal {
    Refusal::Stale { moved: moved(plan, now) }
}

/// What a plan touches or refers to, and is no longer as the plan saw it.
pub fn moved(plan: &Plan, now: &Snapshot) -> Vec<Moved> {
    plan.pins
        .iter()
        .map(|(address, planned)| Moved {
            address: address.clone(),
            planned: planned.clone(),
            found: found(now, address),
        })
        .filter(|moved| moved.planned != moved.found)
        .collect()
}

#[cfg(test)]
mod tests;
