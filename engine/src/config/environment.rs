//! Environment: a set of variables, and the protection of what is deployed to it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EventType;
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
    /// Branches whose commits may be deployed, as globs; nothing that is only proposed for them. Default: all, and none
    /// where there are tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Tags that may be deployed, as globs. Default: all, and none where there are branches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
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

impl Protection {
    /// Whether commits of some branches or tags only may be deployed.
    pub fn is_selective(&self) -> bool {
        !self.branches.is_empty() || !self.tags.is_empty()
    }

    /// Which branches or tags an event must be of; none where nothing of its kind is taken.
    pub fn of_event(&self, event: EventType) -> &[String] {
        if event == EventType::Tag { &self.tags } else { &self.branches }
    }

    /// What it takes, for people, where that is not everything.
    pub fn taken(&self) -> String {
        let list = |what: &str, names: &[String]| {
            (!names.is_empty()).then(|| format!("the {what} {}", names.join(", ")))
        };
        let lists = [list("branches", &self.branches), list("tags", &self.tags)];
        lists.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }
}
