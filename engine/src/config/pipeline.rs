//! Pipeline: a workflow of jobs, its inputs and variables, and the events that start it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Concurrency, Job};

/// A workflow: a graph of jobs, and the events that start it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// The events that start it. Without any it runs only by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    /// The run's variables and their first values. Conditions see them as `vars`, and `${var:NAME}` puts one
    /// into an image or an environment value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// What whoever starts the run may set (`--input NAME=VALUE`). Conditions see them as `inputs`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Parameter>,
    /// How many runs of one group go on at once. `${event:branch}` (or `tag`, `sha`, `number`) in the group's name is what
    /// the event says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// The jobs, by name.
    #[schemars(length(min = 1, max = 1000), extend("propertyNames" = {"pattern": r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$", "maxLength": 100}))]
    pub jobs: BTreeMap<String, Job>,
}

/// One event that starts a pipeline, narrowed by what the event is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// The type of event.
    pub event: EventType,
    /// Branches, as globs in which `*` stops at `/` and `**` does not; `!` in front excludes. For a pull
    /// request this is the branch that it would be merged into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Tags, as globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Files: the event starts the pipeline only if it changed one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Paths>,
    /// For pull requests: what was done to it. Default: opened, reopened, synchronize.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<PullRequestAction>,
}

/// The types of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// Commits arrived on a branch.
    Push,
    /// A pull request was opened or changed.
    PullRequest,
    /// A tag was created.
    Tag,
    /// A Schedule fired.
    Schedule,
    /// A person started it.
    Manual,
    /// A program started it by the API.
    Api,
    /// A signed webhook that is no forge's.
    Webhook,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Push, Self::PullRequest, Self::Tag, Self::Schedule, Self::Manual, Self::Api, Self::Webhook];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::PullRequest => "pull_request",
            Self::Tag => "tag",
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Api => "api",
            Self::Webhook => "webhook",
        }
    }
}

/// What was done to a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PullRequestAction {
    /// It was opened.
    Opened,
    /// It was opened again.
    Reopened,
    /// New commits were pushed to it.
    Synchronize,
    /// A label was added.
    Labeled,
    /// It is no longer a draft.
    ReadyForReview,
    /// It was closed, merged or not.
    Closed,
}

/// Which changed files count: those that match one of `include` and none of `exclude`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Globs of files that count. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Globs of files that do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// A named value that somebody may set: an input of a pipeline, a parameter of a template.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The type of its value.
    #[serde(default, rename = "type")]
    pub value_type: ParameterType,
    /// The value where nobody sets one. Without a default it must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The only values it may have.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Value>,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParameterType {
    /// Text.
    #[default]
    String,
    /// A number.
    Number,
    /// true or false.
    Boolean,
    /// A list of values.
    List,
}
