//! WorkerPool: a group of workers and who may use it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::Duration;

/// A group of workers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerPoolSpec {
    /// Labels that its workers have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// ExecutionProfiles that may run on it. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Projects that may use it, as globs. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<Vec<String>>,
    /// Workers that may be in it, as globs of their names. Default: all that say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Vec<String>>,
    /// Containers that are started ahead of jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standby: Vec<Standby>,
}

/// Containers of one image that are started ahead of jobs, each for one job alone. A job finds one where its container
/// may be no different: network, limits, user and the like. Those that jobs ask for are started as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standby {
    /// The image.
    pub image: String,
    /// The fewest that wait on each worker.
    #[serde(default)]
    pub min: u32,
    /// The most.
    pub max: u32,
    /// A job that leaves fewer than this many waiting raises how many wait by one. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up_threshold: Option<u32>,
    /// Where more than this many have waited for as long as `idle`, the rest is stopped. Default: `min`. At least
    /// `min` and `scale_up_threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down_threshold: Option<u32>,
    /// How long one waits before it is too many. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
}
