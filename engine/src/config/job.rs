//! Job: one container, and everything that may be said about it.

use std::collections::BTreeMap;

use reactorcide_protocol::spec::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::project::is_false;
use super::value::Duration;
use super::{
    Artifacts, Cache, CommandLine, Concurrency, ForEach, IdToken, KubernetesOptions, Matrix, Mount, Network,
    Resources, Retry, RunAs, RunnerMode, SecretUse, Source, Step, TriggersAllowed,
};

/// One container in a workflow. It has a `command` or `steps`, or takes them from a `template`.
///
/// `${param:NAME}` (in a template) and `${matrix:AXIS}` are replaced in every text of a job; `${var:NAME}` in
/// `image` and in values of `environment`; `${secret:PATH:KEY}` in values of `environment`. Write `$${` for a
/// literal `${`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What it is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), example = &"debian:bookworm-slim")]
    pub image: Option<String>,
    /// The one command of the job: text for a shell, or a list of a program and its arguments that no shell
    /// sees. Either this or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandLine>,
    /// The steps of the job. Either this or `command`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub steps: Vec<Step>,
    /// The JobTemplate to make it from. What the job says itself stands over what the template says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The values of the template's parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// Environment variables of every step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {"pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub environment: BTreeMap<String, String>,
    /// Environments whose variables the job takes; a later one stands over an earlier one, and the job's own
    /// `environment` over both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<String>,
    /// The Environment that the job deploys to, whose protection it obeys and whose variables it takes.
    /// Protection is not in effect yet: waits for approvals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploys_to: Option<String>,
    /// Secrets, by the environment variable that carries them: `DEPLOY_KEY: deploy/production`, or with a key
    /// of the secret: `deploy/production:token`. With `{secret: deploy/production:token, as: file}` the variable
    /// carries the path of a file with the value. A SecretPolicy must grant them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {"pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub secrets: BTreeMap<String, SecretUse>,
    /// Tokens by which the job proves to others what it is, by the environment variable that carries each. The profile
    /// must allow it. A local run has none to give.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {"pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}, "maxProperties" = 20))]
    pub id_tokens: BTreeMap<String, IdToken>,
    /// Accepts that the container engine's API can see the job's secrets, which `runner: none` cannot avoid.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secrets_visible_to_engine: bool,
    /// The jobs it waits for, by name.
    #[serde(default, alias = "needs", skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What the outcome of the jobs it waits for must be.
    #[serde(default)]
    pub condition: Condition,
    /// A CEL condition over `event`, `vars`, `needs`, `inputs`, `env`; the job is skipped where it is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), example = &"event.type == \"push\"")]
    pub when: Option<String>,
    /// One job an item: a list, or a CEL expression that gives one when the job is ready. The jobs are called
    /// `NAME[0]`, `NAME[1]`, and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// The environment variable that carries the item. Default: `ITEM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub item_var: Option<String>,
    /// One job for each combination of values; each is in the environment as `MATRIX_AXIS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
    /// Where the code under test comes from: into `src` of the workspace. Default: the project's, at the event's commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Where trusted job code comes from: into `ci` of the workspace, read-only. Default: the project's. With `path`, a
    /// job without command and steps runs that script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_source: Option<Source>,
    /// Where steps start: absolute, or below the workspace. Default: `src` where there is source, else the
    /// workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub working_dir: Option<String>,
    /// Where the workspace appears in the container.
    #[serde(default)]
    pub mount: Mount,
    /// The user in the container. `root` needs a profile that allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<RunAs>,
    /// Whether our runner is put into the container.
    #[serde(default)]
    pub runner: RunnerMode,
    /// The ExecutionProfile: the most that the job may have. Default: the project's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Labels that a worker must have, `NAME=VALUE`. A local run takes every job.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runs_on: BTreeMap<String, String>,
    /// Higher goes first in the queue. Default: 10 for a push, 5 for a pull request, 0 else.
    /// What waits passes what is more urgent in the end: a point is worth a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -100, max = 100))]
    pub priority: Option<i32>,
    /// How long one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Time between asking the job to stop (SIGTERM) and killing it.
    #[serde(default = "default_grace")]
    pub grace: Duration,
    /// Which failures are tried again, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How many jobs of one group go on at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// What the container may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The container's network.
    #[serde(default)]
    pub network: Network,
    /// The image's file system is read-only; the workspace and `/tmp` stay writable.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Host devices, as absolute paths below `/dev`. The profile must allow each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = r"^/dev(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$")))]
    pub devices: Vec<String>,
    /// Linux capabilities beyond none, such as `NET_RAW`. The profile must allow each. They serve root alone: the
    /// processes of another user get none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = r"^[A-Z][A-Z_]+$")))]
    pub capabilities: Vec<String>,
    /// Files to keep for later jobs and people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
    /// Directories to keep from one run to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// What the job may trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers_allowed: Option<TriggersAllowed>,
    /// It starts even after the run was cancelled: for cleaning up.
    #[serde(default, skip_serializing_if = "is_false")]
    pub on_cancel: bool,
    /// Kubernetes' own options. Not in effect yet: waits for the Kubernetes provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesOptions>,
}

impl Job {
    /// A job that says nothing: every field at its default.
    pub fn default_said() -> Self {
        Self { grace: DEFAULT_GRACE, ..Self::default() }
    }
}

/// The grace time of a job that names none.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

fn default_grace() -> Duration {
    DEFAULT_GRACE
}
