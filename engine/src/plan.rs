//! Plan: what it would take to get from applied state to a configuration, and what follows from it.
//!
//! A plan is a value made from values: the same configuration, state and date give the same bytes, whatever
//! the order of files or keys. It holds no time but `as_of`, and no id that does not exist yet.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::canonical::ReadDocumentError;
use crate::config::Catalog;
use crate::diff::Difference;
use crate::fingerprint::Fingerprint;
use crate::outside::{Place, PlannedEffect, Wishes};
use crate::policy::{Finding, ReachRow};
use crate::store::{Counts, Head, Operation, Owner, Uid};

mod build;
mod guard;
pub mod lines;
mod markdown;
mod rename;
mod saved;
mod target;
mod value;

#[cfg(test)]
pub(crate) use build::fingerprint;
pub use build::{after, applied, between, differences, given};
pub(crate) use build::{consequences, taken};
pub use guard::{Obstacle, destroy_limit};
pub use markdown::{LIMIT as MARKDOWN_LIMIT, markdown};
pub use saved::{SavedPlanError, read_saved, to_saved};
pub use target::{TargetError, dangling, targeted};

/// The version of the plan's JSON.
pub const FORMAT_VERSION: u32 = 1;

/// What somebody wants the state to be.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The config set that says so.
    pub owner: Owner,
    /// Its resources.
    pub resources: Catalog,
}

/// What a plan depends on beside configuration and state.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The date on which it is made, `YYYY-MM-DD`.
    pub as_of: String,
    /// Many deletes are meant.
    pub allow_destroy: bool,
    /// What another config set owns, and this one shall own from now on.
    pub take: BTreeSet<Address>,
    /// What was seen elsewhere, and what shall become of it.
    pub outside: Wishes,
}

/// What would happen, and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Version of this format.
    pub format_version: u32,
    /// Over what is done and what follows: not over `as_of`, `base`, and what stays as it is.
    pub fingerprint: Fingerprint,
    /// The date on which it was made.
    pub as_of: String,
    /// The config set that it is for.
    pub owner: Owner,
    /// The state that it was made from.
    pub base: Base,
    /// How many of each.
    pub summary: Counts,
    /// What would be done, in order: what is referred to before what refers to it, deletes last and the
    /// other way round. What stays is listed too, as `no_op`.
    pub actions: Vec<Action>,
    /// The consequences that somebody should accept knowingly.
    pub findings: Vec<Finding>,
    /// What jobs could reach which secrets only afterwards, and only before.
    pub reach: ReachChange,
    /// What would be done elsewhere: to objects behind other systems' APIs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<PlannedEffect>,
    /// What keeps it from being applied.
    pub obstacles: Vec<Obstacle>,
    /// What the author may want to know.
    pub hints: Vec<String>,
    /// The resources that it changes or refers to, as they were. It applies only while they still are.
    pub pins: BTreeMap<Address, Option<Pin>>,
    /// Where the objects of those were for which it does something elsewhere. It applies only while they still are there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<Address, BTreeSet<Place>>,
}

/// The state that a plan was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Base {
    /// Its workspace; absent where nothing was ever applied.
    pub lineage: Option<crate::store::Lineage>,
    /// Its serial.
    pub serial: u64,
}

/// A resource's head, as far as a plan depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pin {
    /// Who it is.
    pub uid: Uid,
    /// Its generation.
    pub generation: u64,
    /// Its content.
    pub fingerprint: Fingerprint,
}

impl From<&Head> for Pin {
    fn from(head: &Head) -> Self {
        Self { uid: head.uid.clone(), generation: head.generation, fingerprint: head.fingerprint }
    }
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// The resource; for a rename by its new name.
    pub address: Address,
    /// What happens.
    pub action: ActionKind,
    /// Its address before a rename.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Address>,
    /// Its owner before, where another takes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<Owner>,
    /// What differs, by pointers into the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// The canonical document afterwards; absent for a delete and a no-op.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// It comes to be.
    Create,
    /// Its content or owner changes.
    Update,
    /// Its name changes, and perhaps its content.
    Rename,
    /// It goes.
    Delete,
    /// It stays as it is.
    NoOp,
}

impl ActionKind {
    /// What is written for it; nothing for a no-op.
    pub fn operation(self) -> Option<Operation> {
        Some(match self {
            Self::Create => Operation::Create,
            Self::Update => Operation::Update,
            Self::Rename => Operation::Rename,
            Self::Delete => Operation::Delete,
            Self::NoOp => return None,
        })
    }
}

/// How reach changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReachChange {
    /// What can be reached only afterwards.
    pub added: BTreeSet<ReachRow>,
    /// What could be reached only before.
    pub removed: BTreeSet<ReachRow>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state holds what this version cannot read.
    #[error("{address} in the applied state cannot be read")]
    Stored {
        /// Which resource.
        address: Address,
        /// Why.
        #[source]
        source: ReadDocumentError,
    },
}

impl Plan {
    /// Whether applying it would change anything, here or elsewhere.
    pub fn has_changes(&self) -> bool {
        self.summary.total() > 0 || !self.effects.is_empty()
    }

    /// Whether its fingerprint is that of what it does and what follows.
    pub fn is_whole(&self) -> bool {
        build::fingerprint(self) == self.fingerprint
    }

    /// What would be done, without what stays.
    pub fn changes(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter().filter(|action| action.action != ActionKind::NoOp)
    }
}

#[cfg(test)]
pub(crate) mod tests;
