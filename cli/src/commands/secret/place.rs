//! Where secrets are: in the vault of a state on this machine, or behind a server that decides who may.

use std::sync::Arc;

use reactorcide_engine::address::Address;
use reactorcide_server::Current;
use reactorcide_server::api::{
    DeletedValues, RetiredKey, RevealSecret, RevealedSecret, RotatedKey, SecretKeys, SecretRow,
    SecretVersionRow, TestedSecret,
};
use reactorcide_server::vault::{ManageError, Manager, SetValue, TestAs, VaultError};

use crate::client::Client;
use crate::commands::runs::escape;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::vault::{Make, VaultArgs};
use crate::{applied, commit, workspace};

/// Secrets of a workspace.
pub enum Secrets {
    /// On this machine.
    Local(Box<Manager>),
    /// Behind a server.
    Server(Client),
}

impl Secrets {
    /// Those that the settings name.
    pub async fn open(settings: &Settings, vault: &VaultArgs, make: Make) -> Result<Self, Failure> {
        if workspace::server(settings).await?.is_some() {
            return Ok(Self::Server(Client::needed(settings)?));
        }
        let nothing = || Failure::new("nothing is applied here").hint("`reactorcide apply` first");
        let found = applied::open(settings).await?.ok_or_else(nothing)?;
        let snapshot = found.store.snapshot().await.map_err(applied::store_failure)?;
        Ok(Self::Local(Box::new(Manager {
            vault: vault.open(settings, &found.state, make)?,
            current: Arc::new(Current::of(&snapshot)),
            audit: found.state.audit(),
            actor: commit::actor(),
            request: None,
        })))
    }

    /// The address of what is meant.
    pub async fn find(&self, name: &str) -> Result<String, Failure> {
        match self {
            Self::Local(manager) => Ok(address(manager, name)?.to_string()),
            Self::Server(client) => {
                // The server's answer says what is wrong with the name.
                let path = format!("/secrets/{}/versions", escape(name));
                let _: Vec<SecretVersionRow> = client.all(&path, &[], 1).await?;
                Ok(name.to_owned())
            }
        }
    }

    /// Secrets with what is there of their values.
    pub async fn list(&self, project: Option<&str>) -> Result<Vec<SecretRow>, Failure> {
        match self {
            Self::Local(manager) => manager.list(project).await.map_err(failure),
            Self::Server(client) => {
                let query: Vec<_> =
                    project.map(|project| ("project", project.to_owned())).into_iter().collect();
                client.all("/secrets", &query, usize::MAX).await
            }
        }
    }

    /// The versions of a secret.
    pub async fn versions(&self, name: &str) -> Result<Vec<SecretVersionRow>, Failure> {
        match self {
            Self::Local(manager) => manager.versions(&address(manager, name)?).await.map_err(failure),
            Self::Server(client) => {
                client.all(&format!("/secrets/{}/versions", escape(name)), &[], usize::MAX).await
            }
        }
    }

    /// Sets a value.
    pub async fn set(&self, name: &str, wanted: &SetValue) -> Result<SecretVersionRow, Failure> {
        match self {
            Self::Local(manager) => {
                manager.set(&address(manager, name)?, wanted, None).await.map_err(failure)
            }
            Self::Server(client) => client.post(&format!("/secrets/{}/versions", escape(name)), wanted).await,
        }
    }

    /// Deletes values, and says how many.
    pub async fn delete(
        &self,
        name: &str,
        key: Option<&str>,
        version: Option<u64>,
        only_old: bool,
    ) -> Result<u64, Failure> {
        match self {
            Self::Local(manager) => {
                let address = address(manager, name)?;
                manager.delete(&address, key, version, only_old).await.map_err(failure)
            }
            Self::Server(client) => {
                let mut query = Vec::new();
                query.extend(key.map(|key| ("key", key.to_owned())));
                query.extend(version.map(|version| ("version", version.to_string())));
                query.extend(only_old.then(|| ("old", "true".to_owned())));
                let path = format!("/secrets/{}/versions", escape(name));
                let deleted: DeletedValues = client.remove(&path, &query).await?;
                Ok(deleted.deleted)
            }
        }
    }

    /// Whether a job would get a secret.
    pub async fn test(&self, name: &str, wanted: &TestAs) -> Result<TestedSecret, Failure> {
        match self {
            Self::Local(manager) => manager.test(&address(manager, name)?, wanted).map_err(failure),
            Self::Server(client) => client.post(&format!("/secrets/{}/test", escape(name)), wanted).await,
        }
    }

    /// Reads a value.
    pub async fn reveal(
        &self,
        name: &str,
        key: Option<&str>,
        version: Option<u64>,
    ) -> Result<RevealedSecret, Failure> {
        match self {
            Self::Local(manager) => {
                manager.reveal(&address(manager, name)?, key, version).await.map_err(failure)
            }
            Self::Server(client) => {
                let body = RevealSecret { key: key.map(str::to_owned), version };
                client.post(&format!("/secrets/{}/reveal", escape(name)), &body).await
            }
        }
    }

    /// The keys of the vault.
    pub async fn keys(&self) -> Result<SecretKeys, Failure> {
        match self {
            Self::Local(manager) => manager.keys().await.map_err(failure),
            Self::Server(client) => client.get("/secret-keys", &[]).await,
        }
    }

    /// Makes a new data key, and seals every value with it.
    pub async fn rotate_keys(&self) -> Result<RotatedKey, Failure> {
        match self {
            Self::Local(manager) => manager.rotate_keys().await.map_err(failure),
            Self::Server(client) => {
                client.post("/secret-keys/rotate", &serde_json::Map::<String, serde_json::Value>::new()).await
            }
        }
    }

    /// Forgets a key.
    pub async fn retire_key(&self, id: &str) -> Result<RetiredKey, Failure> {
        match self {
            Self::Local(manager) => manager.retire_key(id).await.map(RetiredKey::from).map_err(failure),
            Self::Server(client) => client.remove(&format!("/secret-keys/{}", escape(id)), &[]).await,
        }
    }
}

fn address(manager: &Manager, name: &str) -> Result<Address, Failure> {
    manager.find(name).map_err(failure)
}

/// What it means that something was not done.
#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub fn failure(error: ManageError) -> Failure {
    let mut failure = Failure::new(error.to_string());
    failure.hint = error.hint();
    match error {
        ManageError::Vault(VaultError::Store(error)) | ManageError::Store(error) => {
            applied::store_failure(error)
        }
        ManageError::Vault(VaultError::InUse { .. }) => failure.exit(Exit::NotAccepted),
        _ => failure,
    }
}
