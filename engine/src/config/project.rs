//! Project: a repository, its trusted job code, and who may manage its pipelines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::Duration;

/// A project: where its code is and who may manage its pipelines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// Where the code under test comes from. Jobs check it out at the event's commit into `/job/src`. A local run
    /// copies the tree that is here instead, unless `--checkout` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Where trusted job code comes from, apart from the code under test: into `/job/ci`, read-only to steps.
    /// A local run may put a directory in its place with `--ci-dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_source: Option<Source>,
    /// What the project's own repository may manage: its Pipelines, JobTemplates and Schedules. Without it, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ProjectConfig>,
    /// The ExecutionProfile of jobs that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_profile: Option<String>,
    /// A signed webhook by which other systems start its pipelines, at `/api/v1/hooks/PROJECT` of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<ProjectWebhook>,
    /// The share of this project between projects that wait for the same workers: one of weight 2 gets twice as many
    /// jobs as one of weight 1.
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
    /// URL of a git repository: https, http, ssh, or `user@host:path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"https://example.com/acme/web.git")]
    pub git: Option<String>,
    /// A directory of the machine that runs `reactorcide run`; only for local runs. What git ignores stays behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub copy: Option<String>,
    /// URL of a tar archive, plain or compressed with gzip, xz or zstd. Where everything lies in one directory, what
    /// is in that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub tarball: Option<String>,
    /// URL of a Mercurial repository. Needs `hg` where the worker runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub hg: Option<String>,
    /// URL of a directory in a Subversion repository. Needs `svn` where the worker runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub svn: Option<String>,
    /// `true`: no code at all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub none: bool,
    /// Branch, tag, commit or whole ref (`refs/pull/7/head`) to check out; for Subversion a revision number. Default:
    /// the event's commit for the project's code, else what the repository itself checks out.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"main")]
    pub reference: Option<String>,
    /// The branch that counts as the project's main line: what jobs of it keep, jobs of every branch may take. Of a
    /// source that is no project's: what is checked out where nothing else is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"main")]
    pub default_branch: Option<String>,
    /// In job code: the script that a job runs which says nothing else, below the checkout. `.py` is run by `python3`,
    /// `.sh` by `sh`, anything else by its `#!` line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"pipelines/test.py")]
    pub path: Option<String>,
    /// Check out submodules too, and theirs. The credentials go along only to the same host.
    #[serde(default, skip_serializing_if = "is_false")]
    pub submodules: bool,
    /// The only hosts that submodules are fetched from, besides that of the repository itself. Default: any; none for the
    /// code of a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &["git.example.com"])]
    pub submodule_hosts: Option<Vec<String>>,
    /// How many commits of history to fetch; 0 means all. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// SHA-256 of the archive, in hex. An archive that is another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub checksum: Option<String>,
    /// The Secret that holds the credentials to fetch it with: a token, `USER:PASSWORD` or an SSH private key. Steps
    /// never see it.
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
    /// Who applies it: a person, or a push to the default branch by itself.
    #[serde(default)]
    pub apply: ApplyMode,
    /// How long a plan that waits for approval stays valid. Not in effect yet: waits for forges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_expires: Option<Duration>,
}

/// A signed webhook of a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectWebhook {
    /// The Secret that both sides sign with, as `NAME`. The server finds its value where an `env` or `file` Secret says.
    #[schemars(length(min = 1, max = 256))]
    pub secret: String,
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
    /// Nobody: the repository's configuration is planned and shown only.
    Never,
}
