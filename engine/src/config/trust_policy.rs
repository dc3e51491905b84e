//! TrustPolicy: what a pull request may run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EventType, Origin};

/// What an event of some origin may run, and with which authority. The first rule that matches decides.
/// Where none does, a pull request waits for an approval and then runs with the profile `untrusted`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustPolicySpec {
    /// The projects that it speaks of, as globs of their names.
    #[schemars(length(min = 1))]
    pub projects: Vec<String>,
    /// The rules, in order.
    #[schemars(length(min = 1))]
    pub rules: Vec<TrustRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustRule {
    /// Types of events. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventType>,
    /// Where the code comes from. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
    /// Who did it. Default: anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actors: Option<Actors>,
    /// Only events that change one of these files, as globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// What happens.
    #[serde(default)]
    pub action: TrustAction,
    /// The ExecutionProfile that is the ceiling of every job in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Whether the pull request's own configuration may run, under that profile. Not in effect yet: waits for forges, which
    /// it would be fetched from.
    #[serde(default, skip_serializing_if = "super::project::is_false")]
    pub head_configuration: bool,
}

/// Who did something.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Actors {
    /// People, by their name at the forge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Teams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
    /// What they may do in the repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<super::Role>,
    /// Only those, or only not those, whose contribution was merged before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_time: Option<bool>,
}

/// What happens to an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrustAction {
    /// It starts nothing.
    Refuse,
    /// It waits until somebody else approves.
    #[default]
    RequireApproval,
    /// It runs.
    Run,
}
