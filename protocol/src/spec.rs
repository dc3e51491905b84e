//! The job spec: all that a runner needs to run one attempt of one job, sent to it as one line of JSON on
//! its standard input.
//!
//! It is the only place where secret values travel, so it has no `Debug` that prints them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroize;

/// The newest version of the spec format, which this crate reads. A runner refuses a newer one.
///
/// 1: as it was first. 2: secrets as files, and steps that name theirs: who does not know of these would hand out more
/// than was meant.
pub const VERSION: u32 = 2;

/// Where files with secrets are in a container: a file system in memory, which nobody but the job's user can read.
pub const SECRETS_PATH: &str = "/reactorcide-secrets";

/// All that the runner is told. Everything is resolved: no template, no default is left to apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Format version, at most [`VERSION`]: see [`JobSpec::least_version`].
    pub v: u32,
    /// The run it belongs to.
    pub run_id: String,
    /// The job's name in the run, expansion included: `test[0]`.
    pub job: String,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What to run.
    pub work: Work,
    /// The environment of every step, over the image's own.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Secrets: masked in all output, and in the environment of the steps.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// Absolute path of a directory for the files of [`JobSpec::secrets`]; in memory, and the job's user's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_directory: Option<String>,
    /// Values to mask beside those of [`JobSpec::secrets`]. Never put into the environment.
    #[serde(default)]
    pub mask: Vec<Sensitive>,
    /// Absolute path of the directory that the steps start in.
    pub working_dir: String,
    /// Absolute path of the workspace in the container, `/job` unless the job says otherwise.
    pub workspace: String,
    /// How long the whole job may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Time between SIGTERM and SIGKILL, in milliseconds.
    pub grace_ms: u64,
    /// What `when` of a step may refer to, beside the outputs of earlier steps.
    #[serde(default)]
    pub context: Context,
    /// The caps on what the job may trigger.
    #[serde(default)]
    pub trigger_limits: crate::trigger::Limits,
    /// Lines of output that begin with this are requests for jobs, and are not shown. Chosen at random for each
    /// attempt of a job that asks for it; without it no output is ever read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_prefix: Option<Sensitive>,
    /// Absolute path of a directory with `plugin_*.py` of trusted job code, whose hooks are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugins: Option<String>,
    /// Absolute path of a directory that holds the Python package `runnerlib`, for steps to import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python_path: Option<String>,
    /// Whether whoever started the runner answers questions on its standard input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answers: bool,
    /// The worker's socket, where there is one: frames go there and not to standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<crate::link::Control>,
}

impl JobSpec {
    /// The oldest version of the format that says all that this spec says: what an older runner can do, it does.
    pub fn least_version(&self) -> u32 {
        let has_files = self.secrets.iter().any(|secret| secret.file);
        let is_by_name = match &self.work {
            Work::Command(_) => false,
            Work::Steps(steps) => steps.iter().any(|step| !step.secrets.is_empty()),
        };
        if has_files || is_by_name { 2 } else { 1 }
    }
}

/// What the job runs: a single command, or steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// One command; its log belongs to no step.
    Command(Command),
    /// Steps in the order in which they were declared.
    Steps(Vec<StepSpec>),
}

/// A command as text for a shell, or as a program with arguments that no shell sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A script for the shell (`sh -e` unless the step names another).
    Script(String),
    /// A program and its arguments, run as they are: works in an image without a shell.
    Exec(Vec<String>),
}

/// One step.
///
/// Order: a step waits for the steps in `depends_on`. Without `depends_on`, a sequential step waits for all
/// earlier steps, and a parallel step waits for the last sequential step before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Unique in the job.
    pub name: String,
    /// What it runs.
    pub run: Command,
    /// The shell for a script, as program and arguments; the script is appended as the last argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// May run beside its neighbours.
    #[serde(default)]
    pub parallel: bool,
    /// Names of the steps it waits for. `None` means the default order; `Some([])` means no wait at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<Vec<String>>,
    /// A CEL condition; the step is skipped where it is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Whether it runs although an earlier step failed.
    #[serde(default)]
    pub condition: Condition,
    /// Its failure does not fail the job.
    #[serde(default)]
    pub continue_on_error: bool,
    /// How long it may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether it runs again after it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<StepRetry>,
    /// Where it starts; absolute, or below the job's working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Its own environment, over the job's.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The secrets that it gets, by name. Where any step names some, one that does not has none; where none does, each
    /// has all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

impl StepSpec {
    /// The one step of a job that is a single command.
    pub fn of_command(run: Command) -> Self {
        Self {
            name: "command".to_owned(),
            run,
            shell: None,
            parallel: false,
            depends_on: None,
            when: None,
            condition: Condition::AllSuccess,
            continue_on_error: false,
            timeout_ms: None,
            retry: None,
            working_dir: None,
            environment: BTreeMap::new(),
            secrets: Vec::new(),
        }
    }
}

/// When a step that failed runs again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRetry {
    /// How many times at most, beside the first.
    pub max: u32,
    /// The outcomes that count. Empty: every failure but one of configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<crate::frame::JobOutcome>,
    /// Time before the first, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Each further wait is this many times the one before.
    #[serde(default = "one")]
    pub factor: f64,
}

fn one() -> f64 {
    1.0
}

/// The longest wait before a retry.
const MAX_RETRY_WAIT_MS: u64 = 3_600_000;

impl StepRetry {
    /// How long to wait before a step that ran `runs` times and ended so runs again; `None` where it does not.
    pub fn wait_after(&self, runs: u32, outcome: crate::frame::JobOutcome) -> Option<std::time::Duration> {
        use crate::frame::JobOutcome;
        let counts = match outcome {
            JobOutcome::Succeeded | JobOutcome::Cancelled | JobOutcome::Config | JobOutcome::LostWorker => {
                false
            }
            _ => self.on.is_empty() || self.on.contains(&outcome),
        };
        if !counts || runs > self.max {
            return None;
        }
        let factor =
            self.factor.clamp(1.0, 10.0).powi(i32::try_from(runs.saturating_sub(1)).unwrap_or(i32::MAX));
        #[allow(clippy::cast_precision_loss, reason = "a wait need not be exact")]
        let wait = (self.delay_ms as f64 * factor).min(MAX_RETRY_WAIT_MS as f64);
        Some(std::time::Duration::from_secs_f64(wait / 1000.0))
    }
}

/// What the outcome of the dependencies must be for a node (a job or a step) to start. For steps, what those
/// depend on counts too; see [`crate::steps::Steps`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Every dependency succeeded.
    #[default]
    AllSuccess,
    /// At least one dependency failed.
    AnyFailed,
    /// Every dependency has ended, in whatever way.
    Always,
}

/// What a condition may refer to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// The event that started the run.
    #[serde(default)]
    pub event: Value,
    /// The run's variables.
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
    /// Results and outputs of the jobs it depends on: `needs.build.result`, `needs.build.outputs.KEY`.
    #[serde(default)]
    pub needs: BTreeMap<String, Value>,
    /// The pipeline's inputs.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
    /// The item of a job that `for_each` made.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub item: Value,
    /// The cell of a job that a matrix made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matrix: BTreeMap<String, Value>,
}

/// A secret as the runner gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// The environment variable that carries it.
    pub name: String,
    /// Its value.
    pub value: Sensitive,
    /// The variable carries the path of a file with the value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub file: bool,
}

impl Secret {
    /// One whose variable carries the value.
    pub fn in_environment(name: impl Into<String>, value: Sensitive) -> Self {
        Self { name: name.into(), value, file: false }
    }
}

/// A value that does not print itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive(String);

impl Sensitive {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; the one way out.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Nothing of it is left in memory.
impl Drop for Sensitive {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(sensitive)")
    }
}
