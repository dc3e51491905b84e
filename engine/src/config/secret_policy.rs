//! SecretPolicy: which job may read which secret. What no policy allows is denied.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EventType;

/// Grants secrets to jobs. What no policy grants is denied, and what one denies stays denied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretPolicySpec {
    /// What is granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "grants")]
    pub allow: Vec<Grant>,
    /// What is denied whatever is granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Grant>,
}

/// Some secrets, to some jobs, under some circumstances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The secrets, as globs of their names: `deploy/*`.
    #[schemars(length(min = 1))]
    pub secrets: Vec<String>,
    /// The jobs.
    pub to: Grantee,
    /// The circumstances. Absent means all of them in a denial. In a grant it means any event and branch, but never
    /// code from elsewhere: `origins` is then `[base]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Circumstances>,
}

/// The jobs that a grant speaks of. What is absent matches all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grantee {
    /// The project.
    pub project: String,
    /// The pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// The jobs, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
}

/// Circumstances. What is absent matches all, apart from `origins` of a grant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Circumstances {
    /// Types of events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventType>,
    /// Branches, as globs. For a pull request: the branch that it would be merged into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Tags, as globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where the code under test comes from. Default: `[base]` in a grant, anywhere in a denial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub origins: Vec<Origin>,
    /// ExecutionProfiles that the job may run with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Environments that the job must deploy to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
}

/// Grants in which `origins` is never absent.
fn grants<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Grant>, D::Error> {
    let mut grants = Vec::<Grant>::deserialize(deserializer)?;
    for when in grants.iter_mut().filter_map(|grant| grant.when.as_mut()) {
        if when.origins.is_empty() {
            when.origins.push(Origin::Base);
        }
    }
    Ok(grants)
}

/// Where code comes from, as the server found out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The project's own repository, a commit that its branch already has.
    Base,
    /// The project's own repository, a commit that is only proposed.
    Head,
    /// Another repository.
    Fork,
    /// Nobody could tell.
    Unverified,
}

impl Origin {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Head => "head",
            Self::Fork => "fork",
            Self::Unverified => "unverified",
        }
    }
}
