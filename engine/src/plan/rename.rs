//! Renames: which declared resource is an applied one under another name.

use std::collections::{BTreeMap, BTreeSet};

use super::Desired;
use crate::address::Address;
use crate::config::{Kind, Resource};
use crate::store::Snapshot;

/// Renames by new address, and what to tell about those that cannot be.
#[derive(Debug, Default)]
pub(super) struct Renames {
    pub(super) from: BTreeMap<Address, Address>,
    pub(super) hints: Vec<String>,
}

/// Finds the renames that `renamed_from` asks for. What belongs to a renamed project moves with it.
pub(super) fn find(desired: &Desired, snapshot: &Snapshot) -> Renames {
    let mut renames = Renames::default();
    let mut taken = BTreeSet::new();
    // Projects come first in the order of addresses, so that their renames are known to what is in them.
    for (address, resource) in &desired.resources {
        if snapshot.heads.contains_key(address) {
            continue;
        }
        let Some(old) = old_address(address, resource, &renames.from) else { continue };
        let Some(head) = snapshot.heads.get(&old) else { continue };
        if desired.resources.contains_key(&old) {
            if resource.metadata.renamed_from.is_some() {
                renames.hints.push(format!(
                    "{address} is not a rename: {old} is still declared, so it is created beside it"
                ));
            }
        } else if head.owner == desired.owner && taken.insert(old.clone()) {
            renames.from.insert(address.clone(), old);
        }
    }
    renames
}

fn old_address(
    address: &Address,
    resource: &Resource,
    renames: &BTreeMap<Address, Address>,
) -> Option<Address> {
    let old_project = address.project.as_deref().and_then(|project| {
        renames.get(&Address::new(Kind::Project, None, project)).map(|old| old.name.as_str())
    });
    let old_name = resource.metadata.renamed_from.as_deref();
    if old_project.is_none() && old_name.is_none() {
        return None;
    }
    let project = old_project.or(address.project.as_deref());
    Some(Address::new(address.kind, project, old_name.unwrap_or(&address.name)))
}
