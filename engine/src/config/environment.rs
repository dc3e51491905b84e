//! Environment: a set of variables, and the protection of what is deployed to it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::project::is_false;
use super::value::Duration;

/// A set of variables that jobs take by `presets`, and the protection that jobs obey by `deploys_to`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSpec {
    /// The variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {"pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub variables: BTreeMap<String, String>,
    /// What must hold before a job deploys to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
}

/// What must hold before a job deploys to an environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// Branches whose commits may be deployed, as globs; nothing that is only proposed for them. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// People or teams (`team:NAME`), one of whom must approve: neither the author nor who started the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// Time to wait first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
    /// One deployment at a time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exclusive: bool,
}
