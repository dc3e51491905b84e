//! ExecutionProfile: the most that a job may have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Resources;
use super::project::is_false;
use super::value::Duration;

/// The most that a job may have. A job that asks for more is refused when it is planned.
///
/// Two are built in: `trusted` (secrets that policies grant) and `untrusted` (no secrets). Neither allows
/// root, devices or capabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionProfileSpec {
    /// Which secrets a job may have.
    #[serde(default)]
    pub secrets: ProfileSecrets,
    /// Whether it may have `id_tokens`, by which others can tell who it is. Default: yes where it may have secrets, else no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<bool>,
    /// Whether it may run as root in its container.
    #[serde(default, skip_serializing_if = "is_false")]
    pub root: bool,
    /// WorkerPools that it may run on. Default: all that are open to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
    /// The longest `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timeout: Option<Duration>,
    /// The most `resources`. A job that asks for none gets these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Resources>,
    /// Linux capabilities that it may add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = r"^[A-Z][A-Z_]+$")))]
    pub capabilities: Vec<String>,
    /// Host devices that it may use, as globs of paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Networks that it may have. Default: both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<super::Network>,
    /// Images that it may run, as globs. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Images must be named by digest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub require_digest: bool,
    /// Whether `runner: none` is allowed.
    #[serde(default = "yes")]
    pub bare_images: bool,
}

fn yes() -> bool {
    true
}

impl ExecutionProfileSpec {
    /// Whether a job may have `id_tokens`.
    pub fn allows_identity(&self) -> bool {
        self.identity.unwrap_or(self.secrets == ProfileSecrets::Granted)
    }
}

impl Default for ExecutionProfileSpec {
    fn default() -> Self {
        serde_json::from_str("{}").expect("every field has a default")
    }
}

/// Which secrets a job may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProfileSecrets {
    /// None.
    #[default]
    None,
    /// Those that a SecretPolicy grants.
    Granted,
}
