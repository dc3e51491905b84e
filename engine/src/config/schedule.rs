//! Schedule: starts a pipeline by the clock.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::project::is_false;
use super::value::Duration;

/// Starts a pipeline by the clock of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// The pipeline of the same project.
    pub pipeline: String,
    /// When: five cron fields, or one of `@hourly`, `@daily`, `@weekly`, `@monthly`. A time that a clock skips when it is
    /// set forward is made up for right after; one that comes twice when it is set back starts once, unless the hour is a
    /// wildcard.
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
    /// Variables over those that the pipeline declares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// Starts come later by up to this much, so that schedules of one time do not start at once. By how much is the
    /// same every time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// What happens to starts that were missed while no server ran.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// With `catch_up: all`: at most so many, the newest ones.
    #[serde(default = "catch_up_limit", skip_serializing_if = "is_catch_up_limit")]
    #[schemars(range(min = 1, max = 100))]
    pub catch_up_limit: u32,
    /// A start that is later than this is missed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_deadline: Option<Duration>,
    /// What happens at a start while a run of this schedule goes on.
    #[serde(default, skip_serializing_if = "Overlap::is_default")]
    pub overlap: Overlap,
    /// It starts nothing before this day of its time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), example = &"2026-01-31")]
    pub not_before: Option<String>,
    /// It starts nothing after this day of its time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), example = &"2026-12-31")]
    pub not_after: Option<String>,
    /// It starts nothing for now. What falls into this time is not caught up.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspended: bool,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn catch_up_limit() -> u32 {
    10
}

fn is_catch_up_limit(limit: &u32) -> bool {
    *limit == catch_up_limit()
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

/// What happens at a start while a run of the same schedule goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Both go on.
    #[default]
    Allow,
    /// The start is left out.
    Skip,
    /// The run that goes on is cancelled.
    CancelRunning,
}

impl Overlap {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
