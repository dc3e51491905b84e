//! The types of a job's fields.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::{Cpu, Duration, Size};

/// A command: text for a shell, or a program and its arguments that no shell sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CommandLine {
    /// Text for a shell; works in an image that has one.
    Script(#[schemars(length(min = 1))] String),
    /// A program and its arguments; works in any image.
    Exec(#[schemars(length(min = 1))] Vec<String>),
}

/// The items of a `for_each`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ForEach {
    /// A CEL expression that gives a list, such as `needs.discover.outputs.targets`.
    Expression(#[schemars(length(min = 1, max = 1024))] String),
    /// The items themselves.
    Items(#[schemars(length(max = 1000))] Vec<Value>),
}

/// Axes and their values; one job for each combination.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// The values of each axis.
    #[schemars(length(min = 1, max = 10), extend("propertyNames" = {"pattern": r"^[a-z][a-z0-9_]*$"}))]
    pub axes: BTreeMap<String, Vec<Value>>,
    /// Combinations to leave out: each names the value of some axes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<BTreeMap<String, Value>>,
    /// Combinations to add: each names the value of every axis.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<BTreeMap<String, Value>>,
}

/// An absolute path in the container where the workspace appears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Mount(#[schemars(regex(pattern = r"^(/\.?[A-Za-z0-9_-][A-Za-z0-9._-]*)+$"))] pub String);

impl Default for Mount {
    fn default() -> Self {
        Self("/job".to_owned())
    }
}

/// The user in the container: `root`, or a numeric user id with an optional group id, `1001` or `1001:1001`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RunAs {
    /// A user id.
    Id(#[schemars(range(min = 0, max = 4_294_967_294_u64))] u32),
    /// `root`, or `UID:GID`.
    Text(#[schemars(regex(pattern = r"^(root|[0-9]{1,10}(:[0-9]{1,10})?)$"))] String),
}

/// Whether our runner is put into the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunnerMode {
    /// Our runner is the container's first process: steps, outputs, triggers, masking inside.
    #[default]
    Injected,
    /// The image and its command run untouched. No steps, no triggers; masking happens outside.
    None,
}

/// The reasons for which a job can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The command exited with a code other than 0.
    Exit,
    /// It took longer than its `timeout`.
    Timeout,
    /// It used more memory than it may.
    Oom,
    /// It was cancelled.
    Cancelled,
    /// The image could not be had.
    ImagePull,
    /// The worker vanished.
    LostWorker,
    /// The machine's owner took the container away.
    Evicted,
    /// It used more disk than it may, or the disk was full.
    NoSpace,
    /// The runner in the container died without a result.
    RunnerDied,
    /// What was asked cannot be run.
    Config,
    /// The code could not be fetched.
    Source,
    /// An artifact could not be stored or fetched.
    Artifact,
    /// The container engine failed.
    Provider,
    /// A policy forbids it.
    Denied,
    /// It crashed its workers too often.
    Poisoned,
}

/// Which failures are tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How many times at most, beside the first attempt.
    #[schemars(range(min = 0, max = 10))]
    pub max: u32,
    /// The failures that count. Default: lost_worker, evicted, image_pull, provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<FailureReason>,
    /// Time before the first retry.
    #[serde(default = "default_retry_delay")]
    pub delay: Duration,
    /// Each further wait is this many times the one before.
    #[serde(default = "default_retry_factor")]
    #[schemars(range(min = 1, max = 10))]
    pub factor: f64,
}

fn default_retry_delay() -> Duration {
    Duration::from_secs(1)
}

fn default_retry_factor() -> f64 {
    2.0
}

/// How many of one group go on at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// The group's name. All that name it share the limit.
    #[schemars(length(min = 1, max = 128))]
    pub group: String,
    /// How many at once.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10000))]
    pub limit: u32,
    /// What happens to one that finds no room.
    #[serde(default)]
    pub mode: ConcurrencyMode,
}

fn one() -> u32 {
    1
}

/// What happens to one that finds no room in its group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConcurrencyMode {
    /// It waits its turn.
    #[default]
    Queue,
    /// It replaces those that wait.
    ReplacePending,
    /// It cancels those that run.
    CancelRunning,
}

/// What a container may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory; beyond it the kernel kills the job (`oom`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Disk, the workspace and what is written into the image together; beyond it the job is killed
    /// (`no_space`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pids: Option<u32>,
}

/// The container's network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A network of its own with a way out.
    #[default]
    Isolated,
    /// No network but loopback.
    None,
}

/// Files to keep for later jobs and people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifacts {
    /// Globs below the working directory.
    #[schemars(length(min = 1))]
    pub paths: Vec<String>,
    /// How long they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Duration>,
    /// Keep them when the job fails too.
    #[serde(default, skip_serializing_if = "super::project::is_false")]
    pub on_failure: bool,
}

/// Directories to keep from one run to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// What the content depends on; `${hash:FILE}` stands for a file's hash.
    #[schemars(length(min = 1))]
    pub key: String,
    /// Directories below the working directory.
    #[schemars(length(min = 1))]
    pub paths: Vec<String>,
    /// Prefixes of keys to fall back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restore_keys: Vec<String>,
}

/// What a job may trigger. Nothing beyond the defaults where it is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggersAllowed {
    /// Jobs in all.
    #[serde(default = "default_trigger_count")]
    #[schemars(range(min = 0, max = 1000))]
    pub count: u32,
    /// How many triggers deep.
    #[serde(default = "default_trigger_depth")]
    #[schemars(range(min = 0, max = 10))]
    pub depth: u32,
    /// JobTemplates that triggered jobs may be made from, as globs. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<Vec<String>>,
    /// Images that triggered jobs may run, as globs. Default: all that the profile allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<String>>,
    /// Also take requests from lines of standard output that begin with `$REACTORCIDE_TRIGGER_PREFIX`, which is random
    /// for each attempt. Without it no output is ever read as a request.
    #[serde(default, skip_serializing_if = "super::project::is_false")]
    pub stdout: bool,
}

impl Default for TriggersAllowed {
    fn default() -> Self {
        Self {
            count: default_trigger_count(),
            depth: default_trigger_depth(),
            templates: None,
            images: None,
            stdout: false,
        }
    }
}

fn default_trigger_count() -> u32 {
    100
}

fn default_trigger_depth() -> u32 {
    3
}

/// Kubernetes' own options, in Kubernetes' own words and types.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesOptions {
    /// Containers that run beside the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sidecars: Vec<serde_json::Map<String, Value>>,
    /// Containers that run before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<serde_json::Map<String, Value>>,
    /// Volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<serde_json::Map<String, Value>>,
    /// Where the volumes appear in the job's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<serde_json::Map<String, Value>>,
    /// Which nodes it prefers or needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<serde_json::Map<String, Value>>,
    /// Taints that it tolerates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<serde_json::Map<String, Value>>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// The service account of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}
