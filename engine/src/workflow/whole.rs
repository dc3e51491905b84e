//! What a job must have in the end, and what it cannot have together, whether it says so itself, its template does,
//! or a running job asked for it.

use crate::config::{Delivery, Job, RunAs, RunnerMode};
use crate::placeholder;
use crate::protocol::control::TOKEN_VARIABLE;
use crate::protocol::spec::SECRETS_PATH;

/// Something that keeps a job from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortcoming {
    /// A stable code.
    pub code: &'static str,
    /// A pointer below the job; empty for the job as a whole.
    pub field: String,
    /// The other field that it is about.
    pub other: Option<&'static str>,
    /// What is wrong.
    pub message: &'static str,
    /// What to do.
    pub hint: &'static str,
}

pub(crate) const NOTHING_TO_RUN: &str = "there is nothing to run";

/// What is missing in a job that is made from nothing else any more.
pub(crate) fn missing(job: &Job) -> Vec<Shortcoming> {
    let shortcoming =
        |message, hint| Shortcoming { code: "RC1030", field: String::new(), other: None, message, hint };
    let mut found = Vec::new();
    // The trusted code may be the job itself.
    let has_script = job.ci_source.as_ref().is_some_and(|source| source.path.is_some());
    if job.command.is_none() && job.steps.is_empty() && job.runner == RunnerMode::Injected && !has_script {
        found.push(shortcoming(NOTHING_TO_RUN, "give it a command, steps or a template that has them"));
    }
    if job.image.is_none() {
        found.push(shortcoming("there is no image", "name the container image that it runs in"));
    }
    found
}

fn leads_outside(path: &str) -> bool {
    path.starts_with('/') || path.split('/').any(|part| part == "..")
}

/// What contradicts itself in a job.
pub(crate) fn contradictions(job: &Job) -> Vec<Shortcoming> {
    let mut found = Vec::new();
    let mut refuse = |code, field: &str, other, message, hint| {
        found.push(Shortcoming { code, field: field.to_owned(), other, message, hint });
    };
    if job.command.is_some() && !job.steps.is_empty() {
        refuse("RC1030", "command", Some("steps"), "there are both command and steps", "keep one of the two");
    }
    if job.runner == RunnerMode::None && !job.steps.is_empty() {
        let message = "runner: none has no steps: nothing in the container would run them";
        refuse("RC1032", "runner", Some("steps"), message, "use command");
    }
    if job.ci_source.as_ref().and_then(|source| source.path.as_deref()).is_some_and(leads_outside) {
        let message = "the script would lie outside of the trusted code";
        refuse("RC1031", "ci_source/path", None, message, "write a path below it, without `..`");
    }
    if job.runner == RunnerMode::None && !job.id_tokens.is_empty() {
        let message =
            "identity tokens with runner: none could only travel through the container engine's API";
        refuse("RC1032", "id_tokens", Some("runner"), message, "leave runner out");
    }
    if job.runner == RunnerMode::None
        && let Some(field) = file_fields(job).into_iter().next()
    {
        let message = "nothing in a container with runner: none writes files with secrets";
        refuse("RC1032", &field, Some("runner"), message, "leave `as: file` out, or runner");
    }
    let secrets = secret_fields(job);
    if job.runner == RunnerMode::None && !job.secrets_visible_to_engine {
        let message =
            "secrets with runner: none can only travel through the container engine's API, which shows them";
        let hint = "say `secrets_visible_to_engine: true` to accept that, or leave runner out";
        for field in &secrets {
            refuse("RC1032", field, Some("runner"), message, hint);
        }
    }
    if let Some(index) = job.capabilities.iter().position(|name| name == "SYS_PTRACE")
        && !secrets.is_empty()
    {
        let message =
            "a job with secrets must not have SYS_PTRACE: any of its processes could read them from another";
        let hint = "trace in a job that has no secrets";
        refuse("RC1039", &format!("capabilities/{index}"), None, message, hint);
    }
    if RESERVED.iter().any(|place| is_at_or_below(&job.mount.0, place)) {
        let message = "the workspace cannot appear there: that is the kernel's or the runner's";
        refuse("RC1031", "mount", None, message, "leave it at /job, or name a place of your own");
    }
    if job.run_as.as_ref().is_some_and(|run_as| !is_user(run_as)) {
        let message = "there is no such user id or group id: the highest is 4294967294";
        refuse("RC1031", "run_as", None, message, "write UID or UID:GID");
    }
    if job.timeout.is_some_and(|timeout| timeout.as_millis() == 0) {
        refuse("RC1031", "timeout", None, "a timeout of nothing leaves no time to run", "write 20m");
    }
    found
}

/// Where the workspace would hide what every container needs.
const RESERVED: [&str; 5] = ["/proc", "/sys", "/dev", "/reactorcide-runner", SECRETS_PATH];

fn is_at_or_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The highest number stands for "nobody was named" in system calls.
fn is_user(run_as: &RunAs) -> bool {
    match run_as {
        RunAs::Id(id) => *id < u32::MAX,
        RunAs::Text(text) if text == "root" => true,
        RunAs::Text(text) => text.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id < u32::MAX)),
    }
}

/// The fields by which a job gets secrets.
fn secret_fields(job: &Job) -> Vec<String> {
    let named = (!job.secrets.is_empty()).then(|| "secrets".to_owned());
    let in_environment = job.environment.iter().filter(|(_, value)| has_secret(value));
    let in_environment = in_environment.map(|(name, _)| crate::diff::join("environment", name));
    named.into_iter().chain(in_environment).collect()
}

/// The fields by which a job gets files.
fn file_fields(job: &Job) -> Vec<String> {
    let secrets = job.secrets.iter().map(|(variable, one)| ("secrets", variable, one.delivery));
    let tokens = job.id_tokens.iter().map(|(variable, one)| ("id_tokens", variable, one.delivery));
    let files = secrets.chain(tokens).filter(|(_, _, delivery)| *delivery == Delivery::File);
    files.map(|(field, variable, _)| crate::diff::join(field, variable)).collect()
}

/// What steps name and no variable of the job carries: for a job to which nothing is added any more, presets included.
pub(crate) fn unknown_to_steps(job: &Job) -> Vec<(String, &str)> {
    let is_carried = |name: &str| {
        name == TOKEN_VARIABLE
            || job.secrets.contains_key(name)
            || job.id_tokens.contains_key(name)
            || job.environment.get(name).is_some_and(|value| has_secret(value))
    };
    let named = job.steps.iter().enumerate().flat_map(|(index, step)| {
        let names = step.secrets.iter().enumerate();
        names.map(move |(at, name)| (format!("steps/{index}/secrets/{at}"), name.as_str()))
    });
    named.filter(|(_, name)| !is_carried(name)).collect()
}

fn has_secret(value: &str) -> bool {
    placeholder::find(value).iter().any(|placeholder| placeholder.namespace == "secret")
}
