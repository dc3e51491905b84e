//! Schedule: starts a pipeline by the clock.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::project::is_false;
use super::value::Duration;

/// Starts a pipeline by the clock. Not in effect yet: waits for the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// The pipeline of the same project.
    pub pipeline: String,
    /// When: five cron fields, or one of `@hourly`, `@daily`, `@weekly`, `@monthly`.
    #[schemars(length(min = 1, max = 128), example = &"0 3 * * 1-5")]
    pub cron: String,
    /// The time zone of the cron fields.
    #[serde(default = "utc")]
    #[schemars(example = &"Europe/Vienna")]
    pub timezone: String,
    /// The branch to run on. Default: the project's default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Inputs of the pipeline.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Value>,
    /// Spread starts by up to this much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// What happens to starts that were missed.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// It starts nothing for now.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspended: bool,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What happens to starts that were missed while no server ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// One start for all that were missed.
    #[default]
    Latest,
    /// None.
    Skip,
    /// Every one.
    All,
}
