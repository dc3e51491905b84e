//! What keeps a plan from being applied: protection, and deletes that look like a mistake.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::outside::Place;
use crate::store::Owner;

/// Something that keeps a plan from being applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Obstacle {
    /// It would delete what state protects.
    Protected {
        /// What is protected.
        address: Address,
    },
    /// It would take what another config set declares.
    Owned {
        /// What.
        address: Address,
        /// Whose it is.
        owner: Owner,
    },
    /// The project does not let its repository manage anything.
    Unmanaged {
        /// The project.
        project: Address,
    },
    /// It would adopt the object of another resource.
    Taken {
        /// The object.
        place: Place,
        /// Whose it is.
        by: Address,
    },
    /// Something of another config set refers to what would be gone.
    Needed {
        /// What would be gone.
        address: Address,
        /// What refers to it.
        by: Address,
    },
    /// It would delete everything, since the configuration declares nothing.
    EmptyConfiguration {
        /// How much it would delete.
        deletes: u64,
    },
    /// It would delete more than is usual.
    ManyDeletes {
        /// How much it would delete.
        deletes: u64,
        /// How much it may without being told.
        limit: u64,
        /// Of how many.
        total: u64,
    },
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protected { address } => write!(f, "{address} is protected and would be deleted"),
            Self::Owned { address, owner } => write!(f, "{address} belongs to {owner}"),
            Self::Unmanaged { project } => {
                write!(f, "{project} does not let its repository manage its pipelines")
            }
            Self::Taken { place, by } => write!(f, "{place} is the object of {by}"),
            Self::Needed { address, by } => write!(f, "{by} refers to {address}, which would be gone"),
            Self::EmptyConfiguration { deletes } => {
                write!(f, "nothing is declared: all of the {deletes} applied resources would be deleted")
            }
            Self::ManyDeletes { deletes, limit, total } => {
                write!(f, "{deletes} of {total} resources would be deleted, more than {limit}")
            }
        }
    }
}

impl Obstacle {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Protected { .. } => {
                "declare it again with `deletion_policy: allow` and apply that first, or keep it"
            }
            Self::Owned { .. } => {
                "remove it there first, give it another name here, or take it over with `reactorcide import`"
            }
            Self::Unmanaged { .. } => {
                "the workspace's configuration lets it: `config: {apply: on_approval}` at the Project"
            }
            Self::Taken { .. } => {
                "remove that resource first with `reactorcide state rm`, which leaves the object as it is"
            }
            Self::Needed { .. } => "it is declared elsewhere: change it there first",
            Self::EmptyConfiguration { .. } => {
                "if everything shall go, give --allow-destroy; else check --config"
            }
            Self::ManyDeletes { .. } => "if they shall all go, give --allow-destroy",
        }
    }
}

/// How many of a config set's resources may be deleted without being told: 5, or a fifth where that is more.
pub fn destroy_limit(total: u64) -> u64 {
    (total / 5).max(5)
}

/// What stands in the way of these deletes.
pub(super) fn obstacles(
    protected: impl IntoIterator<Item = Address>,
    declared: u64,
    deletes: u64,
    total: u64,
    allow_destroy: bool,
) -> Vec<Obstacle> {
    let mut found: Vec<_> = protected.into_iter().map(|address| Obstacle::Protected { address }).collect();
    let limit = destroy_limit(total);
    if allow_destroy || deletes == 0 {
        return found;
    }
    if declared == 0 {
        found.push(Obstacle::EmptyConfiguration { deletes });
    } else if deletes > limit {
        found.push(Obstacle::ManyDeletes { deletes, limit, total });
    }
    found
}
