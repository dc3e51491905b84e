//! Secret: that a secret exists and where its value comes from. Never a value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares that a secret exists, and where its value comes from. It never holds a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSpec {
    /// Where its value comes from.
    #[serde(default)]
    pub source: SecretSource,
    /// The keys that its value has.
    #[serde(default = "default_keys")]
    #[schemars(length(min = 1), inner(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.-]*$")))]
    pub keys: Vec<String>,
    /// For `env`: the variable. For `file`: the path. For `hashicorp_vault`: the path in its KV store [default: the name].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub location: Option<String>,
}

fn default_keys() -> Vec<String> {
    vec!["value".to_owned()]
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// Our own vault: `reactorcide secret set` gives it its value.
    #[default]
    Vault,
    /// An environment variable of the machine that runs the job; only for local runs.
    Env,
    /// A file of the machine that runs the job; only for local runs.
    File,
    /// A KV version 2 store of HashiCorp Vault, which the server asks when a job needs it.
    HashicorpVault,
}
