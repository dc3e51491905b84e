//! What people do with secrets: list them, set and delete values, ask who would get one, rotate keys. The same over HTTP and
//! on a state of this machine; whether somebody may is decided before.

use std::sync::Arc;

use reactorcide_engine::address::Address;
use reactorcide_engine::audit::{AuditLog, Draft, Outcome};
use reactorcide_engine::config::{EventType, Kind, Origin, SecretSource, SecretSpec};
use reactorcide_engine::policy::{Access, Situation, would_get};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::store::{StoreError, Uid};
use reactorcide_engine::suggest::nearest;
use reactorcide_engine::vault::{Version, current};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Retired, Secret, Setting, Vault, VaultError, is_equal};
use crate::api::{
    MasterKeyRow, RevealedSecret, RotatedKey, SecretKeyRow, SecretKeys, SecretRow, SecretValueRow,
    SecretVersionRow, TestedSecret,
};
use crate::applied::Current;
use crate::conductor::now;

/// Does what people want done with secrets.
#[derive(Clone)]
pub struct Manager {
    /// The vault.
    pub vault: Vault,
    /// What is applied.
    pub current: Arc<Current>,
    /// Where it is written down.
    pub audit: Arc<dyn AuditLog>,
    /// Who wants it.
    pub actor: String,
    /// The request that it belongs to.
    pub request: Option<String>,
}

/// A value that is to be set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetValue {
    /// Which key; not needed where the secret has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The value, of at least 4 bytes: what is shorter could not be masked. It is never shown again, except by `reveal`.
    #[schemars(with = "String", length(min = 1))]
    pub value: Sensitive,
    /// It replaces a value that is there: refused where there is none, or the same.
    #[serde(default)]
    pub rotate: bool,
}

/// Whom to ask for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestAs {
    /// The job: PROJECT/PIPELINE/JOB.
    pub job: String,
    /// The event.
    #[serde(default = "push")]
    pub event: EventType,
    /// Its branch; for a pull request the one that it would be merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Its tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Where the code comes from.
    #[serde(default = "base")]
    pub origin: Origin,
    /// The profile that bounds the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

fn push() -> EventType {
    EventType::Push
}

fn base() -> Origin {
    Origin::Base
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// There is no such thing.
    #[error("{message}")]
    Missing {
        /// What.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It cannot be done so.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The vault did not do it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ManageError {
    fn missing(message: String, hint: Option<String>) -> Self {
        Self::Missing { message, hint }
    }

    fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: Some(hint.into()) }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { hint, .. } | Self::Refused { hint, .. } => hint.clone(),
            Self::Vault(error) => error.hint().map(str::to_owned),
            Self::Store(error) => error.hint().map(str::to_owned),
        }
    }
}

impl Manager {
    /// The secret that somebody means: by its address, its name, or PROJECT/NAME.
    pub fn find(&self, text: &str) -> Result<Address, ManageError> {
        let is_secret = |address: &&Address| address.kind == Kind::Secret;
        let secrets: Vec<&Address> = self.current.catalog.keys().filter(is_secret).collect();
        let short = |address: &Address| match &address.project {
            Some(project) => format!("{project}/{}", address.name),
            None => address.name.clone(),
        };
        let means = |address: &&&Address| address.to_string() == text || short(address) == text;
        match secrets.iter().filter(means).collect::<Vec<_>>().as_slice() {
            [one] => Ok((**one).clone()),
            [] => {
                let names: Vec<String> = secrets.iter().map(|address| short(address)).collect();
                let near = nearest(text, names.iter().map(String::as_str));
                let hint = match near {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!(
                        "declare it first: `kind: Secret` with `metadata: {{name: {text}}}`, then `reactorcide apply`"
                    ),
                };
                Err(ManageError::missing(format!("no secret {text:?} is applied"), Some(hint)))
            }
            many => {
                let names: Vec<String> = many.iter().map(ToString::to_string).collect();
                Err(ManageError::refused(
                    format!("{text:?} means several secrets"),
                    format!("say which: {}", names.join(" or ")),
                ))
            }
        }
    }

    /// Secrets with what is there of their values; those of a project, where one is named.
    pub async fn list(&self, project: Option<&str>) -> Result<Vec<SecretRow>, ManageError> {
        let versions = self.vault.versions(None).await?;
        let addresses = self.current.catalog.keys().filter(|address| address.kind == Kind::Secret);
        let wanted = addresses.filter(|address| project.is_none() || address.project.as_deref() == project);
        Ok(wanted.filter_map(|address| self.row(address, &versions)).collect())
    }

    fn row(&self, address: &Address, versions: &[Version]) -> Option<SecretRow> {
        let (uid, spec) = self.current.secret(address)?;
        let own: Vec<&Version> = versions.iter().filter(|version| version.place.secret == *uid).collect();
        let value = |key: &String| {
            let newest = current(own.iter().copied(), key);
            let of_key = own.iter().filter(|version| version.place.key == *key && version.sealed().is_some());
            SecretValueRow {
                key: key.clone(),
                version: newest.map(|version| version.place.version),
                versions: of_key.count() as u64,
                set_at: newest.map(|version| version.created_at),
                set_by: newest.map(|version| version.actor.clone()),
            }
        };
        Some(SecretRow {
            address: address.to_string(),
            project: address.project.clone(),
            name: address.name.clone(),
            source: source_word(spec.source).to_owned(),
            location: spec.location.clone(),
            values: spec.keys.iter().map(value).collect(),
        })
    }

    /// The versions of a secret, by key, the newest first.
    pub async fn versions(&self, address: &Address) -> Result<Vec<SecretVersionRow>, ManageError> {
        let (uid, _) = self.applied(address)?;
        let versions = self.vault.versions(Some(uid)).await?;
        Ok(versions.iter().map(|version| row_of(version, &versions)).collect())
    }

    fn applied(&self, address: &Address) -> Result<(&Uid, &SecretSpec), ManageError> {
        let missing = || ManageError::missing(format!("{address} is not applied"), None);
        self.current.secret(address).ok_or_else(missing)
    }

    /// The secret as its values are kept, if our vault is where they are.
    fn kept(&self, address: &Address) -> Result<(Secret, &SecretSpec), ManageError> {
        let (uid, spec) = self.applied(address)?;
        if spec.source != SecretSource::Vault {
            return Err(ManageError::refused(
                format!("the value of {address} comes from {}", source_word(spec.source)),
                "values are set where they are kept; with `source: vault` that is here",
            ));
        }
        let workspace = self.current.lineage.clone().ok_or_else(|| {
            ManageError::missing(
                "nothing is applied".to_owned(),
                Some("`reactorcide apply` first".to_owned()),
            )
        })?;
        Ok((Secret { workspace, uid: uid.clone(), address: address.clone() }, spec))
    }

    fn key(address: &Address, spec: &SecretSpec, key: Option<&str>) -> Result<String, ManageError> {
        match (key, spec.keys.as_slice()) {
            (Some(key), keys) if keys.iter().any(|one| one == key) => Ok(key.to_owned()),
            (None, [only]) => Ok(only.clone()),
            (None, keys) if keys.iter().any(|one| one == "value") => Ok("value".to_owned()),
            (Some(key), keys) => {
                let near = nearest(key, keys.iter().map(String::as_str));
                let hint = match near {
                    Some(near) => format!("did you mean {near}? Its keys are {}", keys.join(", ")),
                    None => format!("its keys are {}", keys.join(", ")),
                };
                Err(ManageError::refused(format!("{address} has no key {key:?}"), hint))
            }
            (None, keys) => Err(ManageError::refused(
                format!("{address} has several keys"),
                format!("say which: {}", keys.join(", ")),
            )),
        }
    }

    /// Sets a value, which is from then on the current one. `request` makes it one value however often it comes.
    pub async fn set(
        &self,
        address: &Address,
        wanted: &SetValue,
        request: Option<&str>,
    ) -> Result<SecretVersionRow, ManageError> {
        let (secret, spec) = self.kept(address)?;
        let key = Self::key(address, spec, wanted.key.as_deref())?;
        if wanted.rotate {
            let known = self.vault.versions(Some(&secret.uid)).await?;
            let is_again = request.is_some() && known.iter().any(|one| one.request.as_deref() == request);
            let now = self.vault.value(&secret.workspace, &secret.uid, &key).await?;
            let Some((_, now)) = now else {
                return Err(ManageError::refused(
                    format!("{address} has no value to rotate"),
                    "`reactorcide secret set` gives it its first",
                ));
            };
            if is_equal(&now, &wanted.value) && !is_again {
                return Err(ManageError::refused(
                    "the new value is the one that it has",
                    "make a new one first",
                ));
            }
        }
        let by = Setting { actor: &self.actor, now: now(), request };
        let version = self.vault.set(&secret, &key, &wanted.value, &by).await?;
        let detail = json!({"key": key, "version": version.place.version});
        let action = if wanted.rotate { "secrets.rotate" } else { "secrets.set" };
        self.note(action, &address.to_string(), detail).await?;
        let versions = self.vault.versions(Some(&secret.uid)).await?;
        Ok(row_of(&version, &versions))
    }

    /// Deletes the values of a key or of all, one version or all, or all but the current ones. Returns how many there were.
    pub async fn delete(
        &self,
        address: &Address,
        key: Option<&str>,
        version: Option<u64>,
        only_old: bool,
    ) -> Result<u64, ManageError> {
        let (uid, spec) = self.applied(address)?;
        let uid = uid.clone();
        // A key may have been taken out of the declaration since.
        let versions = self.vault.versions(Some(&uid)).await?;
        let key = match (key, version) {
            (Some(key), _) if versions.iter().any(|one| one.place.key == key) => Some(key.to_owned()),
            (None, None) => None,
            (key, _) => Some(Self::key(address, spec, key)?),
        };
        let newest = |of: &str| current(&versions, of).map(|version| version.place.version);
        let is_meant = |place: &reactorcide_engine::vault::Place| {
            key.as_ref().is_none_or(|key| place.key == *key)
                && version.is_none_or(|version| place.version == version)
                && !(only_old && newest(&place.key).is_none_or(|newest| place.version >= newest))
        };
        let gone: Vec<Value> = versions
            .iter()
            .filter(|one| one.sealed().is_some() && is_meant(&one.place))
            .map(|one| json!({"key": one.place.key, "version": one.place.version}))
            .collect();
        if gone.is_empty() && version.is_some() {
            return Err(ManageError::missing(format!("{address} has no such version"), None));
        }
        let count = self.vault.delete(&uid, is_meant, &self.actor, now()).await?;
        self.note("secrets.delete", &address.to_string(), json!({ "deleted": gone })).await?;
        Ok(count)
    }

    /// Reads a value. That it was read is written down before anybody sees it.
    pub async fn reveal(
        &self,
        address: &Address,
        key: Option<&str>,
        version: Option<u64>,
    ) -> Result<RevealedSecret, ManageError> {
        let (secret, spec) = self.kept(address)?;
        let key = Self::key(address, spec, key)?;
        let versions = self.vault.versions(Some(&secret.uid)).await?;
        let found = match version {
            None => current(&versions, &key),
            Some(number) => versions.iter().find(|one| one.place.key == key && one.place.version == number),
        };
        let found = found.filter(|one| one.sealed().is_some());
        let found =
            found.ok_or_else(|| ManageError::missing(format!("{address} has no such value"), None))?;
        let value = self.vault.open(&secret.workspace, found).await?;
        let version = found.place.version;
        self.note("secrets.reveal", &address.to_string(), json!({"key": key, "version": version})).await?;
        Ok(RevealedSecret { key, version, value })
    }

    /// Whether a job would get a secret, through what, or why not.
    pub fn test(&self, address: &Address, wanted: &TestAs) -> Result<TestedSecret, ManageError> {
        let parts: Vec<&str> = wanted.job.splitn(3, '/').collect();
        let [project, pipeline, job] = parts.as_slice() else {
            return Err(ManageError::refused(
                format!("{:?} names no job", wanted.job),
                "a job is PROJECT/PIPELINE/JOB",
            ));
        };
        let pipeline = Address::new(Kind::Pipeline, Some(project), pipeline);
        let situation = Situation {
            event: wanted.event,
            branch: wanted.branch.as_deref().unwrap_or_default(),
            tag: wanted.tag.as_deref().unwrap_or_default(),
            origin: wanted.origin,
            ceiling: wanted.profile.as_deref(),
        };
        let tested = would_get(&self.current.catalog, &pipeline, job, address, &situation);
        let tested = tested.ok_or_else(|| {
            ManageError::missing(
                format!("there is no job {:?}", wanted.job),
                Some("`reactorcide show` lists what is applied".to_owned()),
            )
        })?;
        let (granted, policy, grant, reason) = match tested.access {
            Access::Granted { policy, grant } => {
                (true, Some(policy.to_string()), Some(grant as u64 + 1), None)
            }
            Access::Denied { reason } => (false, None, None, Some(reason)),
        };
        Ok(TestedSecret {
            secret: address.to_string(),
            pipeline: pipeline.to_string(),
            job: (*job).to_owned(),
            profile: tested.profile,
            granted,
            policy,
            grant,
            reason,
            asked: tested.is_asked,
        })
    }

    /// Data keys and master keys.
    pub async fn keys(&self) -> Result<SecretKeys, ManageError> {
        let keys = self.vault.keys().await?;
        let given: Vec<String> = self.vault.masters().map(ToString::to_string).collect();
        let mut ids = given.clone();
        for one in &keys {
            let id = one.key.master.to_string();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let masters = ids
            .into_iter()
            .map(|id| MasterKeyRow {
                first: given.first() == Some(&id),
                given: given.contains(&id),
                wraps: keys.iter().filter(|one| one.key.master.0 == id).count() as u64,
                id,
            })
            .collect();
        let row = |(index, one): (usize, &reactorcide_engine::vault::KeyUse)| SecretKeyRow {
            id: one.key.id.to_string(),
            master: one.key.master.to_string(),
            current: index == 0,
            values: one.values,
            created_at: one.key.created_at,
        };
        Ok(SecretKeys { masters, keys: keys.iter().enumerate().map(row).collect() })
    }

    /// Makes a new data key and seals every value with it.
    pub async fn rotate_keys(&self) -> Result<RotatedKey, ManageError> {
        let workspace = self.current.lineage.as_ref().ok_or_else(|| {
            ManageError::missing(
                "nothing is applied".to_owned(),
                Some("`reactorcide apply` first".to_owned()),
            )
        })?;
        let rotated = self.vault.rotate(workspace, now()).await?;
        let row = RotatedKey {
            id: rotated.key.to_string(),
            master: rotated.master.to_string(),
            rewrapped: rotated.rewrapped,
            resealed: rotated.resealed,
            damaged: rotated.damaged,
        };
        self.note("secrets.keys.rotate", &row.id, json!({"master": row.master, "resealed": row.resealed}))
            .await?;
        Ok(row)
    }

    /// Forgets a data key, or says that a master key is not needed.
    pub async fn retire_key(&self, id: &str) -> Result<Retired, ManageError> {
        let retired = self.vault.retire(id).await?;
        self.note("secrets.keys.retire", id, Value::Null).await?;
        Ok(retired)
    }

    async fn note(&self, action: &str, target: &str, detail: Value) -> Result<(), StoreError> {
        let draft = Draft {
            at: now(),
            actor: self.actor.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            outcome: Outcome::Done,
            detail: detail.into(),
            request: self.request.clone(),
        };
        self.audit.append(&[draft]).await.map(|_| ())
    }
}

fn row_of(version: &Version, all: &[Version]) -> SecretVersionRow {
    let newest = current(all, &version.place.key).map(|newest| newest.place.version);
    let (status, deleted_at, deleted_by) = match &version.content {
        reactorcide_engine::vault::Content::Deleted { at, by } => ("deleted", Some(*at), Some(by.clone())),
        _ if newest.is_none_or(|newest| version.place.version >= newest) => ("current", None, None),
        _ => ("old", None, None),
    };
    SecretVersionRow {
        key: version.place.key.clone(),
        version: version.place.version,
        status: status.to_owned(),
        fingerprint: version.sealed().map(|sealed| sealed.fingerprint.clone()),
        data_key: version.sealed().map(|sealed| sealed.data_key.to_string()),
        actor: version.actor.clone(),
        created_at: version.created_at,
        deleted_at,
        deleted_by,
    }
}

fn source_word(source: SecretSource) -> &'static str {
    match source {
        SecretSource::Vault => "vault",
        SecretSource::Env => "env",
        SecretSource::File => "file",
        SecretSource::HashicorpVault => "hashicorp_vault",
    }
}
