//! What is told of secrets and keys.

use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::scheduler::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A secret, and what is there of its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRow {
    /// Its address.
    pub address: String,
    /// Its project, where it has one.
    #[serde(default)]
    pub project: Option<String>,
    /// Its name.
    pub name: String,
    /// Where its value comes from: `vault`, `env`, `file` or `hashicorp_vault`.
    pub source: String,
    /// Where it is there.
    #[serde(default)]
    pub location: Option<String>,
    /// Its keys.
    pub values: Vec<SecretValueRow>,
}

/// A key of a secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretValueRow {
    /// The key.
    pub key: String,
    /// The current version. Absent: it has no value in our vault.
    #[serde(default)]
    pub version: Option<u64>,
    /// How many versions there are.
    pub versions: u64,
    /// When the current one was set, in milliseconds since 1970.
    #[serde(default)]
    pub set_at: Option<Millis>,
    /// By whom.
    #[serde(default)]
    pub set_by: Option<String>,
}

/// A version of a secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretVersionRow {
    /// The key.
    pub key: String,
    /// Its number, from 1.
    pub version: u64,
    /// `current`, `old` or `deleted`.
    pub status: String,
    /// Equal where two versions have the same value and are sealed with the same data key; it tells nothing else.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// The data key that it is sealed with.
    #[serde(default)]
    pub data_key: Option<String>,
    /// Who set it.
    pub actor: String,
    /// When, in milliseconds since 1970.
    pub created_at: Millis,
    /// When it was deleted.
    #[serde(default)]
    pub deleted_at: Option<Millis>,
    /// By whom.
    #[serde(default)]
    pub deleted_by: Option<String>,
}

/// Whether a job would get a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestedSecret {
    /// The secret.
    pub secret: String,
    /// The pipeline.
    pub pipeline: String,
    /// The job.
    pub job: String,
    /// The profile that it runs with.
    pub profile: String,
    /// Whether policies give it.
    pub granted: bool,
    /// The policy that does.
    #[serde(default)]
    pub policy: Option<String>,
    /// Which of its grants, from 1.
    #[serde(default)]
    pub grant: Option<u64>,
    /// Why not.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether the job asks for it; what is not asked for is not given.
    pub asked: bool,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevealedSecret {
    /// The key.
    pub key: String,
    /// The version.
    pub version: u64,
    /// The value.
    #[schemars(with = "String")]
    pub value: Sensitive,
}

/// The keys of the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeys {
    /// Master keys: those that were given, and those that are needed.
    pub masters: Vec<MasterKeyRow>,
    /// Data keys, the current one first.
    pub keys: Vec<SecretKeyRow>,
}

/// A master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MasterKeyRow {
    /// Its id, which follows from the key.
    pub id: String,
    /// Whether new data keys are wrapped with it.
    pub first: bool,
    /// Whether it was given to this process.
    pub given: bool,
    /// How many data keys are wrapped with it.
    pub wraps: u64,
}

/// A data key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRow {
    /// Its id.
    pub id: String,
    /// The master key that wraps it.
    pub master: String,
    /// Whether new values are sealed with it.
    pub current: bool,
    /// How many values are sealed with it.
    pub values: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_at: Millis,
}

/// What a rotation of keys did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotatedKey {
    /// The new data key.
    pub id: String,
    /// The master key that wraps it.
    pub master: String,
    /// How many older data keys got that master key.
    pub rewrapped: u64,
    /// How many values were sealed anew.
    pub resealed: u64,
    /// Values that do not open and so stay as they are.
    pub damaged: Vec<String>,
}
