//! The vault: values of secrets, sealed so that the database alone gives nothing away.
//!
//! A *data key* of the workspace seals values; it stands beside them, wrapped by a *master key* that is never there. Each
//! value is bound to its workspace, secret, key and version: a row that somebody copies or swaps does not open.
//! [`MasterKey`], [`seal`] and [`open`] are pure; randomness and time are arguments. Rows are behind [`VaultStore`].

pub mod conformance;
mod external;
mod key;
mod memory;
mod sealed;

pub use external::{ExternalError, ExternalSecrets};
pub use key::{DataKey, KEY, KeyError, KeyId, MasterKey, NONCE, Nonce, WrappedKey};
pub use memory::MemoryVault;
pub use sealed::{Content, Place, Sealed, Version, open, read_nonce, seal};

use async_trait::async_trait;

use crate::scheduler::Millis;
use crate::store::{StoreError, Uid};

/// Keeps data keys and versions of values. Any number of servers use it at once; what a method has returned from survives
/// the process.
#[async_trait]
pub trait VaultStore: Send + Sync {
    /// All data keys, the current one first, each with how many values are sealed with it.
    async fn keys(&self) -> Result<Vec<KeyUse>, StoreError>;

    /// Makes a data key the current one. Nothing happens, and the answer is no, unless `before` is the current one until
    /// then (`None`: there is none), so that of two who do it at once one does it.
    async fn add_key(&self, key: &WrappedKey, before: Option<&KeyId>) -> Result<bool, StoreError>;

    /// Stores a data key wrapped by another master key. No, where it is not wrapped by `before` any more.
    async fn rewrap(&self, key: &WrappedKey, before: &KeyId) -> Result<bool, StoreError>;

    /// Forgets a data key. No, where it is the current one, or a value is sealed with it.
    async fn forget_key(&self, id: &KeyId) -> Result<bool, StoreError>;

    /// The versions of a secret, by key, the newest first; of all secrets, where none is named.
    async fn versions(&self, secret: Option<&Uid>) -> Result<Vec<Version>, StoreError>;

    /// Versions that are sealed with another data key than this, at most `limit`.
    async fn sealed_otherwise(&self, current: &KeyId, limit: u32) -> Result<Vec<Version>, StoreError>;

    /// Adds a version. No, where its number is not one more than the highest of its key, or its data key is gone: look again
    /// and seal again.
    async fn add(&self, version: &Version) -> Result<bool, StoreError>;

    /// Stores values sealed anew; each only where it is still sealed as `before` says. Returns how many were.
    async fn reseal(&self, resealed: &[Resealed]) -> Result<u64, StoreError>;

    /// Leaves of versions only that they were. Returns how many were there. The highest version of a key that is left is
    /// then current; numbers are never given twice.
    async fn delete(&self, places: &[Place], at: Millis, by: &str) -> Result<u64, StoreError>;
}

/// A data key, and how much it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key: WrappedKey,
    /// How many values are sealed with it.
    pub values: u64,
}

/// A value that is sealed anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// Which.
    pub place: Place,
    /// How it was sealed.
    pub before: Sealed,
    /// How it is now.
    pub after: Sealed,
}

/// The current version of a key: the highest that is not deleted.
pub fn current<'a>(versions: impl IntoIterator<Item = &'a Version>, key: &str) -> Option<&'a Version> {
    let live = versions.into_iter().filter(|version| version.place.key == key && version.sealed().is_some());
    live.max_by_key(|version| version.place.version)
}

/// The number of the next version of a key.
pub fn next_version<'a>(versions: impl IntoIterator<Item = &'a Version>, key: &str) -> u64 {
    let numbers = versions.into_iter().filter(|version| version.place.key == key);
    numbers.map(|version| version.place.version).max().unwrap_or(0) + 1
}

#[cfg(test)]
mod tests;
