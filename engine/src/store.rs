//! Where applied state lives: the trait of the database, and the values that cross it.
//!
//! A store holds one workspace: for each resource a *head* (its newest revision), every *revision* it ever
//! had, and the *changes* (one an apply) that made them. Ids and times come from the caller.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::apply::Refusal;
use crate::canonical::{self, ReadDocumentError};
use crate::config::Resource;
use crate::fingerprint::Fingerprint;
use crate::outside::{Object, Outward, Owed};

pub mod conformance;
mod memory;

pub use memory::MemoryStore;

/// Makes a newtype of a text that names one thing.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// Names a workspace for ever: two state files of one lineage are versions of one thing.
    Lineage
}
id! {
    /// Names a resource for ever, whatever it is called.
    Uid
}
id! {
    /// Names one change.
    ChangeId
}

/// The config set that a resource belongs to. Deletes stay within one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Owner {
    /// The workspace's own configuration.
    #[default]
    Workspace,
    /// The configuration in a project's repository.
    Project(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workspace => f.write_str("workspace"),
            Self::Project(name) => write!(f, "project:{name}"),
        }
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

impl TryFrom<String> for Owner {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_prefix("project:") {
            Some(name) => Ok(Self::Project(name.to_owned())),
            None if text == "workspace" => Ok(Self::Workspace),
            None => Err(format!("{text:?} is not an owner")),
        }
    }
}

/// The newest revision of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Who it is, through renames.
    pub uid: Uid,
    /// Counts its revisions, from 1.
    pub generation: u64,
    /// Of its content.
    pub fingerprint: Fingerprint,
    /// Whose it is.
    pub owner: Owner,
    /// Its canonical document. Read lazily: a plan that changes nothing never needs it.
    pub document: String,
}

impl Head {
    /// The resource.
    pub fn resource(&self) -> Result<Resource, ReadDocumentError> {
        canonical::read_document(&self.document)
    }
}

/// The whole applied state, as one read saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The workspace; absent while nothing was ever applied.
    pub lineage: Option<Lineage>,
    /// Counts changes.
    pub serial: u64,
    /// The heads.
    pub heads: BTreeMap<Address, Head>,
    /// The objects elsewhere that are ours.
    pub objects: Vec<Object>,
    /// What is still to be done elsewhere, oldest first.
    pub owed: Vec<Owed>,
}

/// What happened to a resource in one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// It came to be.
    Create,
    /// Its content or owner changed.
    Update,
    /// It got another address, and perhaps other content.
    Rename,
    /// It is gone; the revision holds its last content.
    Delete,
}

impl Operation {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Rename => "rename",
            Self::Delete => "delete",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Create, Self::Update, Self::Rename, Self::Delete].into_iter().find(|op| op.as_str() == text)
    }
}

/// One revision to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What happens.
    pub operation: Operation,
    /// Its address afterwards; for a delete the one it had.
    pub address: Address,
    /// The new head; for a delete the last one, with the generation that the delete makes.
    pub head: Head,
}

/// How many resources a change touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Created.
    pub create: u64,
    /// Updated.
    pub update: u64,
    /// Renamed.
    pub rename: u64,
    /// Deleted.
    pub delete: u64,
}

impl Counts {
    /// Counts one operation.
    pub fn add(&mut self, operation: Operation) {
        *match operation {
            Operation::Create => &mut self.create,
            Operation::Update => &mut self.update,
            Operation::Rename => &mut self.rename,
            Operation::Delete => &mut self.delete,
        } += 1;
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.create + self.update + self.rename + self.delete
    }
}

/// Who changes the state, when, and why: what the caller says about a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// Who, such as `user:ada`.
    pub actor: String,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The version-control commit that the configuration came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// One apply, as history keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its id.
    pub id: ChangeId,
    /// The serial that it made.
    pub serial: u64,
    /// When, in milliseconds since 1970 UTC.
    pub at: u64,
    /// Who and why.
    #[serde(flatten)]
    pub author: Author,
    /// The plan that it applied.
    pub plan: Fingerprint,
    /// What it touched.
    pub counts: Counts,
}

/// One version of one resource, as history keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The change that made it.
    pub change: ChangeId,
    /// What it did.
    pub operation: Operation,
    /// The address that it had then.
    pub address: Address,
    /// The version.
    pub head: Head,
}

/// What was forgotten of the history, or shall be: what no change after `until` needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// When, in milliseconds since 1970 UTC.
    pub at: u64,
    /// Who said so.
    pub actor: String,
    /// The last change whose outcome can be told by what is left. Those before it cannot.
    pub until: u64,
    /// How many changes it removed.
    pub changes: u64,
    /// How many revisions it removed.
    pub revisions: u64,
}

/// All that one commit writes. A store writes all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The change. Its serial is the snapshot's plus one.
    pub change: Change,
    /// The revisions.
    pub writes: Vec<Write>,
    /// What follows elsewhere.
    pub outward: Outward,
}

/// Why a store could not do what it was asked. The state is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else is writing, and did not end in time.
    #[error("{location}: another apply has held the state for more than {} s", waited.as_secs())]
    Busy {
        /// Where the state is.
        location: String,
        /// How long this one waited.
        waited: std::time::Duration,
    },
    /// What is there is not our state.
    #[error("{location} is not a Reactorcide state: {what}")]
    Foreign {
        /// Where the state is.
        location: String,
        /// What it is instead.
        what: String,
    },
    /// A newer version wrote it.
    #[error("{location} has state format {found}; this version reads up to {known}")]
    Newer {
        /// Where the state is.
        location: String,
        /// Its format.
        found: i64,
        /// The newest that we read.
        known: i64,
    },
    /// It is damaged.
    #[error("{location} is damaged: {what}")]
    Corrupt {
        /// Where the state is.
        location: String,
        /// What is wrong.
        what: String,
    },
    /// It may not be read or written.
    #[error("{location} cannot be {attempt}: {what}")]
    Access {
        /// Where the state is.
        location: String,
        /// `read`, `written`, `created`.
        attempt: &'static str,
        /// What stands in the way.
        what: String,
    },
    /// The server does not answer, or does so no more.
    #[error("{location} cannot be reached: {what}")]
    Unreachable {
        /// Where the state is.
        location: String,
        /// What was seen.
        what: String,
    },
    /// The server refuses this user.
    #[error("{location} cannot be used: {what}")]
    Denied {
        /// Where the state is.
        location: String,
        /// What the server says.
        what: String,
    },
    /// The disk or its file system failed.
    #[error("{location} cannot be {attempt}: {what}")]
    Broken {
        /// Where the state is.
        location: String,
        /// `read`, `written`, `created`.
        attempt: &'static str,
        /// What failed.
        what: String,
    },
    /// There is no room.
    #[error("{location} cannot be written: the disk is full")]
    Full {
        /// Where the state is.
        location: String,
    },
    /// What was asked for was forgotten.
    #[error(
        "what was applied at change {serial} was forgotten: the history was compacted up to change {until}"
    )]
    Compacted {
        /// What was asked for.
        serial: u64,
        /// The first that can be told.
        until: u64,
    },
    /// Anything else that the database says.
    #[error("{location}: {attempt} failed")]
    Backend {
        /// Where the state is.
        location: String,
        /// What was attempted.
        attempt: &'static str,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Busy { .. } => "wait for the other apply to end and try again; nothing was changed",
            Self::Foreign { .. } => "name another place with --state sqlite:PATH, or move that file away",
            Self::Newer { .. } => "use the version of reactorcide that wrote it, or a newer one",
            Self::Corrupt { .. } => {
                "restore the file from a backup; `sqlite3 FILE .recover` may save what is in it"
            }
            Self::Access { .. } => {
                "give yourself the right to read and write that directory, or name another place with --state sqlite:PATH"
            }
            Self::Unreachable { .. } => {
                "see whether the server runs and lets you in; `reactorcide plan` then shows what is still to do"
            }
            Self::Denied { .. } => {
                "check the user, the password (PGPASSWORD or ~/.pgpass), the database, and that the user may make a schema in it"
            }
            Self::Broken { .. } => {
                "the disk may be full or broken: look at its free space and the system's log; then `reactorcide plan` shows what is still to do"
            }
            Self::Full { .. } => "free some space and try again; nothing was changed",
            Self::Compacted { .. } => "`reactorcide history` lists the changes that can be told",
            Self::Backend { .. } => return None,
        })
    }
}

/// Why a commit did not happen. The state is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The decision was not to.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Decides inside the transaction what to write, from the state as it is then.
pub type Decide<'a> = Box<dyn FnOnce(&Snapshot) -> Result<Commit, Refusal> + Send + 'a>;

/// A database that holds one workspace's state.
///
/// # Contract
/// - `snapshot` sees one moment: all of a commit or nothing of it. It waits for no writer.
/// - What a commit owes to the outside is written with it; [`crate::outside::Ledger`] is how it is carried out.
/// - `commit` calls `decide` once, inside a transaction that excludes every other commit, with the state as
///   it is in that transaction; then it writes all of what was decided, durably, or nothing. Commits follow
///   one another; one that must wait longer than the store's deadline ends with [`StoreError::Busy`].
/// - Revisions and changes are never changed, and removed by `compact` alone, which changes nothing that is applied and
///   nothing that [`Store::at`] tells of later changes.
/// - What does not exist is `None` or empty, never an error.
#[async_trait]
pub trait Store: Send + Sync {
    /// The state as it is now.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// Changes the state, or not, as `decide` says.
    async fn commit(&self, decide: Decide<'_>) -> Result<Change, CommitError>;

    /// The newest changes, newest first; of one resource only where `address` says which.
    async fn history(&self, address: Option<&Address>, limit: u32) -> Result<Vec<Change>, StoreError>;

    /// One change and what it wrote, by address. `id` may be the first digits of an id if they name one only.
    async fn change(&self, id: &str) -> Result<Option<(Change, Vec<Revision>)>, StoreError>;

    /// Forgets what no change after `compaction.until` needs, and returns how much that was.
    async fn compact(&self, compaction: &Compaction) -> Result<Compaction, StoreError>;

    /// What was forgotten, newest first.
    async fn compactions(&self) -> Result<Vec<Compaction>, StoreError>;

    /// Every revision of every resource that ever had this address, oldest first.
    async fn revisions(&self, address: &Address) -> Result<Vec<Revision>, StoreError>;

    /// The state as the change of that serial left it, told again from the history.
    async fn at(&self, serial: u64) -> Result<Snapshot, StoreError> {
        let until = self.compactions().await?.iter().map(|one| one.until).max().unwrap_or_default();
        if serial < until {
            return Err(StoreError::Compacted { serial, until });
        }
        let lineage = self.snapshot().await?.lineage;
        let mut changes = self.history(None, u32::MAX).await?;
        changes.retain(|change| change.serial <= serial);
        changes.reverse();
        let mut alive: BTreeMap<Uid, (Address, Head)> = BTreeMap::new();
        for change in changes {
            for revision in self.change(&change.id.0).await?.into_iter().flat_map(|(_, revisions)| revisions)
            {
                let uid = revision.head.uid.clone();
                if revision.operation == Operation::Delete {
                    alive.remove(&uid);
                } else {
                    alive.insert(uid, (revision.address, revision.head));
                }
            }
        }
        Ok(Snapshot { lineage, serial, heads: alive.into_values().collect(), ..Snapshot::default() })
    }
}
