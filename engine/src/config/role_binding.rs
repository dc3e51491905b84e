//! RoleBinding: who may do what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gives a role on a project, or on the workspace, to people, teams and service accounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleBindingSpec {
    /// The role.
    pub role: Role,
    /// The project. Absent means the workspace with all its projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Who gets it: `user:NAME`, `team:NAME` or `service:NAME`. `token:NAME` is the tokens of the service account
    /// NAME, and so the same as `service:NAME`.
    #[schemars(length(min = 1), inner(regex(pattern = r"^(user|team|service|token):[^\s:]+$")))]
    pub subjects: Vec<String>,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See everything but secrets.
    Read,
    /// Start, cancel and retry runs.
    Write,
    /// Change the configuration and who may do what.
    Admin,
}
