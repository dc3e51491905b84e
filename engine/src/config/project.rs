//! Project: a repository, its trusted job code, and who may manage its pipelines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::Duration;

/// A project: where its code is and who may manage its pipelines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// Where the code under test comes from. Jobs check it out at the event's commit into `/job/src`.
    /// Not in effect yet: waits for checkouts; a local run copies `--source-dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Where trusted job code comes from, apart from the code under test: into `/job/ci`, read-only to steps.
    /// Not in effect yet: waits for checkouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_source: Option<Source>,
    /// Whether the project's own repository may declare Pipelines, JobTemplates and Schedules. Not in effect
    /// yet: waits for the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ProjectConfig>,
    /// The ExecutionProfile of jobs that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_profile: Option<String>,
    /// The share of this project between projects that wait for the same workers. Not in effect yet: waits for
    /// the queue.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// Where code comes from: exactly one of `git`, `copy`, `tarball`, `hg`, `svn` and `none`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// URL of a git repository. Not in effect yet: waits for checkouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"https://example.com/acme/web.git")]
    pub git: Option<String>,
    /// A directory of the machine that runs `reactorcide run`; only for local runs. Not in effect yet: waits for
    /// checkouts; `--source-dir` names one for all jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub copy: Option<String>,
    /// URL of an archive: `.tar`, `.tar.gz`, `.tar.xz` or `.tar.zst`. Not in effect yet: waits for checkouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub tarball: Option<String>,
    /// URL of a Mercurial repository. Not in effect yet: waits for checkouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub hg: Option<String>,
    /// URL of a Subversion repository. Not in effect yet: waits for checkouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub svn: Option<String>,
    /// `true`: no code at all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub none: bool,
    /// Branch, tag or commit to check out. Default: the event's commit for the code under test, the default
    /// branch for job code. Not in effect yet: waits for checkouts.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"main")]
    pub reference: Option<String>,
    /// The branch that counts as the project's main line. Not in effect yet: waits for the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"main")]
    pub default_branch: Option<String>,
    /// In job code: the script that is the job, below the checkout. Not in effect yet: waits for checkouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"pipelines/test.py")]
    pub path: Option<String>,
    /// Check out submodules too. Not in effect yet: waits for checkouts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub submodules: bool,
    /// How many commits of history to fetch; 0 means all. Not in effect yet: waits for checkouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// SHA-256 of the archive, in hex. Not in effect yet: waits for checkouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub checksum: Option<String>,
    /// The Secret that holds the credentials to fetch it with. Steps never see it. Not in effect yet: waits for
    /// checkouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}

/// What the project's own repository may manage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectConfig {
    /// The directory in the repository that holds the configuration.
    #[serde(default = "default_config_path")]
    #[schemars(length(min = 1))]
    pub path: String,
    /// When a push to the default branch applies it.
    #[serde(default)]
    pub apply: ApplyMode,
    /// How long a plan that waits for approval stays valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_expires: Option<Duration>,
}

fn default_config_path() -> String {
    ".reactorcide".to_owned()
}

/// When a project's own configuration is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplyMode {
    /// Only after somebody approved the plan.
    #[default]
    OnApproval,
    /// On a push to the default branch, where no finding forbids it.
    OnMerge,
    /// Never: the repository's configuration is planned and shown only.
    Never,
}
