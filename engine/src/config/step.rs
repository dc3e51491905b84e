//! Step: one command in a job.

use std::collections::BTreeMap;

use reactorcide_protocol::spec::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::project::is_false;
use super::value::Duration;
use super::{CommandLine, Retry};

/// One command in a job. All steps of a job share its container and workspace.
///
/// Without `depends_on`, a step waits for all steps before it, and a parallel step for the last step before
/// it that is not parallel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name, unique in the job.
    #[schemars(regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"), length(max = 100))]
    pub name: String,
    /// What it runs: text for a shell, or a list of a program and its arguments that no shell sees.
    pub run: CommandLine,
    /// The shell for text, as program and arguments; the text becomes the last argument. Default: `sh -e -c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub shell: Option<Vec<String>>,
    /// May run beside its neighbours that are parallel too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parallel: bool,
    /// The steps it waits for, by name.
    #[serde(default, alias = "needs", skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<Vec<String>>,
    /// What the outcome of the steps before it must be.
    #[serde(default)]
    pub condition: Condition,
    /// A CEL condition over `event`, `vars`, `needs`, `inputs`, `env`; the step is skipped where it is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub when: Option<String>,
    /// Its failure does not fail the job.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continue_on_error: bool,
    /// How long it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Whether to run it again after it failed, in the same container. `on` may name exit, timeout, oom and no_space;
    /// default: all of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Where it starts: absolute, or below the job's working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub working_dir: Option<String>,
    /// Its own environment, over the job's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {"pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub environment: BTreeMap<String, String>,
    /// The secrets and identity tokens that it gets, by the job's variables that carry them. Where any step of a job says
    /// this, a step that does not has none; where no step does, each has all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub secrets: Vec<String>,
}
