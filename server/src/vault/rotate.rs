//! New keys for old: while values are sealed anew one batch after another, old and new ones can all be read.

use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::Lineage;
use reactorcide_engine::vault::{DataKey, KeyId, Resealed, Version, WrappedKey, open, seal};

use super::{Vault, VaultError, nonce};

/// Values that are sealed anew in one transaction.
const BATCH: u32 = 200;

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The new data key.
    pub key: KeyId,
    /// The master key that wraps it.
    pub master: KeyId,
    /// Older data keys that got another master key.
    pub rewrapped: u64,
    /// Values that were sealed anew.
    pub resealed: u64,
    /// Values that do not open, and so stay as they are.
    pub damaged: Vec<String>,
}

/// What was retired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retired {
    /// A data key: nothing can be opened with it any more.
    Data(KeyId),
    /// A master key: nothing needs it, and it may be taken from the settings.
    Master(KeyId),
}

impl Vault {
    /// Makes a new data key, wraps all of them with the first master key, and seals every value anew. Killed anywhere, every
    /// value can still be read, and another rotation goes on.
    pub async fn rotate(&self, workspace: &Lineage, now: Millis) -> Result<Rotated, VaultError> {
        let master = self.masters.first().ok_or(VaultError::NoMaster)?;
        let before = self.store.keys().await?;
        // What cannot be opened is found before anything is changed.
        for one in &before {
            self.unwrap(workspace, &one.key)?;
        }
        let mut rewrapped = 0;
        for one in before.iter().filter(|one| one.key.master != *master.id()) {
            let key = self.unwrap(workspace, &one.key)?;
            let wrapped =
                WrappedKey { created_at: one.key.created_at, ..master.wrap(workspace, &key, nonce()?, now) };
            rewrapped += u64::from(self.store.rewrap(&wrapped, &one.key.master).await?);
        }
        let (key, wrapped) = self.new_key(workspace, now)?;
        if !self.store.add_key(&wrapped, before.first().map(|one| &one.key.id)).await? {
            return Err(VaultError::Busy("the data key".to_owned()));
        }
        let (resealed, damaged) = self.reseal(workspace, &key).await?;
        Ok(Rotated { key: key.id().clone(), master: master.id().clone(), rewrapped, resealed, damaged })
    }

    async fn reseal(&self, workspace: &Lineage, key: &DataKey) -> Result<(u64, Vec<String>), VaultError> {
        let (mut count, mut limit) = (0, BATCH);
        loop {
            let newest = self.store.keys().await?.into_iter().next();
            if newest.is_some_and(|one| one.key.id != *key.id()) {
                return Err(VaultError::Busy("the data key".to_owned()));
            }
            let versions = self.store.sealed_otherwise(key.id(), limit).await?;
            let (mut resealed, mut damaged) = (Vec::new(), Vec::new());
            for version in &versions {
                match self.sealed_with(workspace, key, version).await {
                    Ok(one) => resealed.extend(one),
                    Err(VaultError::Damaged { what }) => damaged.push(what),
                    // Somebody else was there first.
                    Err(VaultError::NoKey(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            count += self.store.reseal(&resealed).await?;
            if versions.len() < limit as usize && resealed.is_empty() {
                return Ok((count, damaged));
            }
            // Those that do not open come again each time, and must not hide the rest.
            limit = BATCH + u32::try_from(damaged.len()).unwrap_or(u32::MAX - BATCH);
        }
    }

    async fn sealed_with(
        &self,
        workspace: &Lineage,
        key: &DataKey,
        version: &Version,
    ) -> Result<Option<Resealed>, VaultError> {
        let Some(before) = version.sealed() else { return Ok(None) };
        let old = self.data_key(workspace, &before.data_key).await?;
        let what = || format!("version {} of {}", version.place.version, version.address);
        let value = open(workspace, &old, version).ok_or_else(|| VaultError::Damaged { what: what() })?;
        let after = seal(workspace, key, &version.place, &version.address, nonce()?, &value);
        Ok(Some(Resealed { place: version.place.clone(), before: before.clone(), after }))
    }

    /// Forgets a data key that no value uses, or says that no data key needs a master key any more.
    pub async fn retire(&self, id: &str) -> Result<Retired, VaultError> {
        let id = KeyId(id.to_owned());
        let keys = self.store.keys().await?;
        let in_use = |why: String| VaultError::InUse { id: id.clone(), why };
        if self.masters.iter().any(|master| *master.id() == id) || keys.iter().any(|one| one.key.master == id)
        {
            let wrapped: Vec<&str> =
                keys.iter().filter(|one| one.key.master == id).map(|one| one.key.id.0.as_str()).collect();
            if !wrapped.is_empty() {
                return Err(in_use(format!("it wraps {}", wrapped.join(", "))));
            }
            if self.masters.first().is_some_and(|first| *first.id() == id) {
                return Err(in_use("new data keys are wrapped with it".to_owned()));
            }
            return Ok(Retired::Master(id));
        }
        let found =
            keys.iter().position(|one| one.key.id == id).ok_or_else(|| VaultError::NoKey(id.to_string()))?;
        if found == 0 {
            return Err(in_use("new values are sealed with it".to_owned()));
        }
        if keys[found].values > 0 {
            return Err(in_use(format!("{} values are sealed with it", keys[found].values)));
        }
        if self.store.forget_key(&id).await? {
            self.opened.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
            return Ok(Retired::Data(id));
        }
        Err(in_use("a value was sealed with it just now".to_owned()))
    }
}
