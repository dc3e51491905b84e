//! The vault at work: values are sealed with the workspace's data key and opened again, and keys are rotated.

mod deliver;
mod manage;
mod master;
mod rotate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use reactorcide_engine::address::Address;
use reactorcide_engine::protocol::mask::{self, MaskError};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::{Lineage, StoreError, Uid};
use reactorcide_engine::vault::{
    Content, DataKey, ExternalError, ExternalSecrets, KEY, KeyId, KeyUse, MasterKey, NONCE, Nonce, Place,
    VaultStore, Version, WrappedKey, current, next_version, open, seal,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use deliver::{Deliverer, Machine};
pub use manage::{ManageError, Manager, SetValue, TestAs};
pub use master::{MasterError, MasterSource, beside};
pub use rotate::{Retired, Rotated};

/// How often a value is sealed anew because others were faster.
const TRIES: u32 = 20;

/// The vault of a workspace. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    store: Arc<dyn VaultStore>,
    masters: Arc<[MasterKey]>,
    external: Option<Arc<dyn ExternalSecrets>>,
    /// Data keys that were opened already.
    opened: Arc<Mutex<BTreeMap<KeyId, DataKey>>>,
}

/// A secret, as its values are kept: who it is, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The workspace.
    pub workspace: Lineage,
    /// Who it is.
    pub uid: Uid,
    /// What it is called.
    pub address: Address,
}

/// Who sets a value, and when.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Who.
    pub actor: &'a str,
    /// When.
    pub now: Millis,
    /// The request, where it may come twice.
    pub request: Option<&'a str>,
}

/// Why the vault did not do it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The rows cannot be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to wrap a data key with.
    #[error("the vault has no master key")]
    NoMaster,
    /// A data key cannot be opened.
    #[error("the data key {key} is wrapped by the master key {master}, which was not given")]
    Locked {
        /// The data key.
        key: KeyId,
        /// Its master key.
        master: KeyId,
    },
    /// What is stored is not what was written.
    #[error("{what} does not open: the row was changed, or comes from somewhere else")]
    Damaged {
        /// What it is.
        what: String,
    },
    /// The value cannot be a secret.
    #[error("the value cannot be used: {0}")]
    Value(#[from] MaskError),
    /// Others were faster, again and again.
    #[error("others change {0} at the same time")]
    Busy(String),
    /// A key is needed.
    #[error("{id} is needed: {why}")]
    InUse {
        /// The key.
        id: KeyId,
        /// By what.
        why: String,
    },
    /// A request came twice, and says something else.
    #[error("a request with this Idempotency-Key has set another value")]
    Reused,
    /// There is no such key.
    #[error("there is no key {0}")]
    NoKey(String),
    /// Another system keeps the secret, and did not give it.
    #[error(transparent)]
    External(#[from] ExternalError),
    /// No other system is known.
    #[error("the secret is kept in HashiCorp Vault, and nobody said where that is")]
    NoExternal,
    /// The system has no randomness to give.
    #[error("no random number can be had: {0}")]
    Random(String),
}

impl VaultError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoMaster => Some(
                "give one with --master-key file:PATH, env:NAME or command:PROGRAM; `openssl rand -base64 32` makes one",
            ),
            Self::Locked { .. } => Some("give that one too: --master-key may be given several times"),
            Self::Damaged { .. } => {
                Some("`reactorcide audit verify` says what else was changed; set the value anew")
            }
            Self::Busy(_) => Some("try again"),
            Self::NoExternal => Some("start the server with --vault-address URL and --vault-token file:PATH"),
            Self::InUse { .. } => Some("`reactorcide secret-key rotate` seals everything with a new key"),
            _ => None,
        }
    }
}

impl Vault {
    /// A vault over rows. The first of the master keys wraps new data keys, all of them open old ones.
    pub fn new(store: Arc<dyn VaultStore>, masters: Vec<MasterKey>) -> Self {
        Self { store, masters: masters.into(), external: None, opened: Arc::default() }
    }

    /// The same that asks another system for secrets which are kept there.
    #[must_use]
    pub fn with_external(self, external: Option<Arc<dyn ExternalSecrets>>) -> Self {
        Self { external, ..self }
    }

    /// The master keys, the one that wraps first.
    pub fn masters(&self) -> impl Iterator<Item = &KeyId> {
        self.masters.iter().map(MasterKey::id)
    }

    /// All data keys, the current one first.
    pub async fn keys(&self) -> Result<Vec<KeyUse>, VaultError> {
        Ok(self.store.keys().await?)
    }

    /// The versions of a secret; of all, where none is named.
    pub async fn versions(&self, secret: Option<&Uid>) -> Result<Vec<Version>, VaultError> {
        Ok(self.store.versions(secret).await?)
    }

    /// Sets a value: a new version, which is then the current one.
    pub async fn set(
        &self,
        secret: &Secret,
        key: &str,
        value: &Sensitive,
        by: &Setting<'_>,
    ) -> Result<Version, VaultError> {
        mask::check(value.expose().as_bytes())?;
        for _ in 0..TRIES {
            let data_key = self.current_key(&secret.workspace, by.now).await?;
            let versions = self.store.versions(Some(&secret.uid)).await?;
            let earlier =
                versions.iter().find(|one| one.request.is_some() && one.request.as_deref() == by.request);
            if let Some(earlier) = earlier {
                return self.again(&secret.workspace, earlier, key, value).await;
            }
            let place = Place {
                secret: secret.uid.clone(),
                key: key.to_owned(),
                version: next_version(&versions, key),
            };
            let sealed =
                seal(&secret.workspace, &data_key, &place, &secret.address, nonce()?, value.expose());
            let version = Version {
                place,
                address: secret.address.clone(),
                actor: by.actor.to_owned(),
                created_at: by.now,
                request: by.request.map(str::to_owned),
                content: Content::Sealed(sealed),
            };
            if self.store.add(&version).await? {
                return Ok(version);
            }
        }
        Err(VaultError::Busy(secret.address.to_string()))
    }

    /// What a request that came before has set, where this one says the same.
    async fn again(
        &self,
        workspace: &Lineage,
        earlier: &Version,
        key: &str,
        value: &Sensitive,
    ) -> Result<Version, VaultError> {
        let is_same = match earlier.sealed() {
            Some(_) => is_equal(&self.open(workspace, earlier).await?, value),
            None => true,
        };
        if earlier.place.key == key && is_same { Ok(earlier.clone()) } else { Err(VaultError::Reused) }
    }

    /// The current value of a key, and its version. `None` where none was set, or all were deleted.
    pub async fn value(
        &self,
        workspace: &Lineage,
        secret: &Uid,
        key: &str,
    ) -> Result<Option<(u64, Sensitive)>, VaultError> {
        let mut gone = VaultError::Busy(format!("the values of {secret}"));
        // A value that is sealed anew while it is read is read again. A key that is never there was taken away.
        for _ in 0..TRIES {
            let versions = self.store.versions(Some(secret)).await?;
            let Some(version) = current(&versions, key) else { return Ok(None) };
            match self.open(workspace, version).await {
                Ok(value) => return Ok(Some((version.place.version, value))),
                Err(error @ VaultError::NoKey(_)) => gone = error,
                Err(error) => return Err(error),
            }
        }
        Err(gone)
    }

    /// Opens a version.
    pub async fn open(&self, workspace: &Lineage, version: &Version) -> Result<Sensitive, VaultError> {
        let what = || format!("version {} of {}", version.place.version, version.address);
        let sealed = version.sealed().ok_or_else(|| VaultError::NoKey(what()))?;
        let key = self.data_key(workspace, &sealed.data_key).await?;
        let value = open(workspace, &key, version).ok_or_else(|| VaultError::Damaged { what: what() })?;
        Ok(Sensitive::new(value.as_str()))
    }

    /// Deletes versions: these numbers of a key, or everything. Returns how many there were.
    pub async fn delete(
        &self,
        secret: &Uid,
        only: impl Fn(&Place) -> bool,
        actor: &str,
        now: Millis,
    ) -> Result<u64, VaultError> {
        let versions = self.store.versions(Some(secret)).await?;
        let live = versions.into_iter().filter(|version| version.sealed().is_some());
        let places: Vec<Place> = live.map(|version| version.place).filter(|place| only(place)).collect();
        Ok(self.store.delete(&places, now, actor).await?)
    }

    /// What another system has at a location.
    pub async fn external(&self, location: &str) -> Result<BTreeMap<String, Sensitive>, VaultError> {
        let external = self.external.as_ref().ok_or(VaultError::NoExternal)?;
        Ok(external.read(location).await?)
    }

    /// The data key that seals now; made where there is none.
    async fn current_key(&self, workspace: &Lineage, now: Millis) -> Result<DataKey, VaultError> {
        loop {
            let keys = self.store.keys().await?;
            if let Some(first) = keys.first() {
                return self.unwrap(workspace, &first.key);
            }
            let (key, wrapped) = self.new_key(workspace, now)?;
            if self.store.add_key(&wrapped, None).await? {
                return Ok(key);
            }
        }
    }

    /// A new data key, wrapped by the first master key.
    fn new_key(&self, workspace: &Lineage, now: Millis) -> Result<(DataKey, WrappedKey), VaultError> {
        let master = self.masters.first().ok_or(VaultError::NoMaster)?;
        let mut secret = Zeroizing::new([0; KEY]);
        getrandom::fill(secret.as_mut_slice()).map_err(|error| VaultError::Random(error.to_string()))?;
        let key = DataKey::new(secret);
        let wrapped = master.wrap(workspace, &key, nonce()?, now);
        Ok((key, wrapped))
    }

    /// The data key of a name.
    async fn data_key(&self, workspace: &Lineage, id: &KeyId) -> Result<DataKey, VaultError> {
        let known = self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let keys = self.store.keys().await?;
        let found = keys.into_iter().find(|one| one.key.id == *id);
        let found = found.ok_or_else(|| VaultError::NoKey(id.to_string()))?;
        self.unwrap(workspace, &found.key)
    }

    fn unwrap(&self, workspace: &Lineage, wrapped: &WrappedKey) -> Result<DataKey, VaultError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = opened.get(&wrapped.id) {
            return Ok(key.clone());
        }
        if self.masters.is_empty() {
            return Err(VaultError::NoMaster);
        }
        let master = self.masters.iter().find(|master| *master.id() == wrapped.master);
        let locked = || VaultError::Locked { key: wrapped.id.clone(), master: wrapped.master.clone() };
        let key = master.ok_or_else(locked)?.unwrap(workspace, wrapped);
        let key = key.ok_or_else(|| VaultError::Damaged { what: format!("the data key {}", wrapped.id) })?;
        opened.insert(wrapped.id.clone(), key.clone());
        Ok(key)
    }
}

/// Whether two values are the same, in a time that does not tell where they differ.
pub(crate) fn is_equal(one: &Sensitive, other: &Sensitive) -> bool {
    one.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
}

fn nonce() -> Result<Nonce, VaultError> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|error| VaultError::Random(error.to_string()))?;
    Ok(nonce)
}

#[cfg(test)]
mod tests;
