//! A vault in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Content, KeyId, KeyUse, Place, Resealed, VaultStore, Version, WrappedKey, next_version};
use crate::scheduler::Millis;
use crate::store::{StoreError, Uid};

/// Rows in memory.
#[derive(Debug, Default)]
pub struct MemoryVault {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// The last one is current.
    keys: Vec<WrappedKey>,
    versions: BTreeMap<Place, Version>,
}

impl Rows {
    fn uses(&self, id: &KeyId) -> u64 {
        let sealed = self.versions.values().filter_map(Version::sealed);
        sealed.filter(|sealed| sealed.data_key == *id).count() as u64
    }
}

impl MemoryVault {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl VaultStore for MemoryVault {
    async fn keys(&self) -> Result<Vec<KeyUse>, StoreError> {
        let rows = self.rows();
        let with_use = |key: &WrappedKey| KeyUse { values: rows.uses(&key.id), key: key.clone() };
        Ok(rows.keys.iter().rev().map(with_use).collect())
    }

    async fn add_key(&self, key: &WrappedKey, before: Option<&KeyId>) -> Result<bool, StoreError> {
        let mut rows = self.rows();
        let is_so = rows.keys.last().map(|key| &key.id) == before;
        if is_so {
            rows.keys.push(key.clone());
        }
        Ok(is_so)
    }

    async fn rewrap(&self, key: &WrappedKey, before: &KeyId) -> Result<bool, StoreError> {
        let mut rows = self.rows();
        let found = rows.keys.iter_mut().find(|one| one.id == key.id && one.master == *before);
        Ok(found.map(|one| *one = key.clone()).is_some())
    }

    async fn forget_key(&self, id: &KeyId) -> Result<bool, StoreError> {
        let mut rows = self.rows();
        let is_current = rows.keys.last().is_some_and(|key| key.id == *id);
        if is_current || rows.uses(id) > 0 {
            return Ok(false);
        }
        let before = rows.keys.len();
        rows.keys.retain(|key| key.id != *id);
        Ok(rows.keys.len() < before)
    }

    async fn versions(&self, secret: Option<&Uid>) -> Result<Vec<Version>, StoreError> {
        let rows = self.rows();
        let wanted = |version: &&Version| secret.is_none_or(|secret| version.place.secret == *secret);
        let mut found: Vec<Version> = rows.versions.values().filter(wanted).cloned().collect();
        found.sort_by(|a, b| {
            let order = |one: &Version| (one.place.secret.clone(), one.place.key.clone());
            order(a).cmp(&order(b)).then(b.place.version.cmp(&a.place.version))
        });
        Ok(found)
    }

    async fn sealed_otherwise(&self, current: &KeyId, limit: u32) -> Result<Vec<Version>, StoreError> {
        let rows = self.rows();
        let is_other = |version: &&Version| version.sealed().is_some_and(|one| one.data_key != *current);
        Ok(rows.versions.values().filter(is_other).take(limit as usize).cloned().collect())
    }

    async fn add(&self, version: &Version) -> Result<bool, StoreError> {
        let mut rows = self.rows();
        let place = &version.place;
        let of_secret = rows.versions.values().filter(|one| one.place.secret == place.secret);
        let has_key =
            version.sealed().is_some_and(|sealed| rows.keys.iter().any(|key| key.id == sealed.data_key));
        let is_next = next_version(of_secret, &place.key) == place.version;
        if is_next && has_key {
            rows.versions.insert(place.clone(), version.clone());
        }
        Ok(is_next && has_key)
    }

    async fn reseal(&self, resealed: &[Resealed]) -> Result<u64, StoreError> {
        let mut rows = self.rows();
        let mut count = 0;
        for Resealed { place, before, after } in resealed {
            if let Some(version) = rows.versions.get_mut(place)
                && version.sealed() == Some(before)
            {
                version.content = Content::Sealed(after.clone());
                count += 1;
            }
        }
        Ok(count)
    }

    async fn delete(&self, places: &[Place], at: Millis, by: &str) -> Result<u64, StoreError> {
        let mut rows = self.rows();
        let mut count = 0;
        for place in places {
            if let Some(version) = rows.versions.get_mut(place).filter(|version| version.sealed().is_some()) {
                version.content = Content::Deleted { at, by: by.to_owned() };
                count += 1;
            }
        }
        Ok(count)
    }
}
