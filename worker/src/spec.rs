//! From an assignment to the job spec that the runner gets: a function on values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reactorcide_engine::config::{CommandLine, Delivery, FailureReason, Job, Retry, SecretUse, Step};
use reactorcide_engine::placeholder::{find, finish, unescape};
use reactorcide_engine::protocol::frame::JobOutcome;
use reactorcide_engine::protocol::spec::{
    Command, Context, JobSpec, SECRETS_PATH, Secret, Sensitive, StepRetry, StepSpec, VERSION, Work,
};
use reactorcide_engine::protocol::trigger::Limits;
use reactorcide_engine::scheduler::Assignment;
use reactorcide_engine::trace::{Phase, SpanId};

use crate::container::{CI_DIRECTORY, PYTHON_PATH, working_dir};

/// Values of secrets, by what a job calls them: `path` or `path:key`.
#[derive(Debug, Default)]
pub struct Secrets {
    values: BTreeMap<String, Sensitive>,
    /// Those that open sources and nothing else: no container gets them, not even to mask them.
    for_sources: BTreeSet<String>,
}

impl Secrets {
    /// From names and values.
    pub fn new(values: impl IntoIterator<Item = (String, Sensitive)>) -> Self {
        Self { values: values.into_iter().collect(), for_sources: BTreeSet::new() }
    }

    /// The same, where some are for sources alone.
    #[must_use]
    pub fn for_sources(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.for_sources.extend(names);
        self
    }

    /// What there are values for.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.values.keys()
    }

    /// These, over what others have of the same names: `sources` for sources alone, `jobs` for the job as well.
    pub(crate) fn with(
        &self,
        jobs: BTreeMap<String, Sensitive>,
        sources: BTreeMap<String, Sensitive>,
    ) -> Self {
        let mut all = Self { values: self.values.clone(), for_sources: self.for_sources.clone() };
        // What a person gave by hand stands.
        let is_given = |name: &String| self.get(name).is_some();
        for (name, value) in sources.into_iter().filter(|(name, _)| !is_given(name)) {
            all.for_sources.insert(name.clone());
            all.values.insert(name, value);
        }
        for (name, value) in jobs.into_iter().filter(|(name, _)| !is_given(name)) {
            all.for_sources.remove(&name);
            all.values.insert(name, value);
        }
        all
    }

    /// The value of a secret. A name with a key falls back to the name alone.
    pub fn get(&self, name: &str) -> Option<&Sensitive> {
        let without_key = || name.split_once(':').and_then(|(path, _)| self.values.get(path));
        self.values.get(name).or_else(without_key)
    }

    /// The values that jobs may have, to mask them.
    fn of_jobs(&self) -> impl Iterator<Item = &Sensitive> {
        self.values.iter().filter(|(name, _)| !self.for_sources.contains(*name)).map(|(_, value)| value)
    }
}

/// The secrets that a job names, by the variable that carries each.
pub fn secrets_wanted(job: &Job) -> BTreeSet<(String, String)> {
    let named = job.secrets.iter().map(|(variable, name)| (variable.clone(), name.secret.clone()));
    let in_environment = job.environment.iter().flat_map(|(variable, value)| {
        let secrets = find(value).into_iter().filter(|placeholder| placeholder.namespace == "secret");
        secrets.map(move |placeholder| (variable.clone(), placeholder.name))
    });
    named.chain(in_environment).collect()
}

/// The secrets that the worker needs to fetch a job's code. The job gets none of them.
pub fn credentials_wanted(job: &Job) -> BTreeSet<String> {
    let sources = [&job.source, &job.ci_source].into_iter().flatten();
    sources.filter_map(|source| source.credentials.clone()).collect()
}

/// The job spec. The error names a secret that there is no value for.
pub fn job_spec(assignment: &Assignment, has_source: bool, secrets: &Secrets) -> Result<JobSpec, String> {
    let job = &assignment.job;
    let missing = |name: &str| format!("there is no value for the secret {name:?}");
    let mut environment = BTreeMap::from([("HOME".to_owned(), job.mount.0.clone())]);
    if let Some(trace) = &assignment.trace {
        let Assignment { run, node, attempt, .. } = assignment;
        let span = SpanId::of_phase(run, node, *attempt, Phase::Running);
        environment.insert("TRACEPARENT".to_owned(), trace.traceparent(span));
    }
    let mut carried = Vec::new();
    for (name, value) in &job.environment {
        let wanted: Vec<_> =
            find(value).into_iter().filter(|placeholder| placeholder.namespace == "secret").collect();
        if let Some(placeholder) = wanted.iter().find(|placeholder| secrets.get(&placeholder.name).is_none())
        {
            return Err(missing(&placeholder.name));
        }
        let text = finish(value, |namespace, name| {
            (namespace == "secret")
                .then(|| secrets.get(name).map(|value| value.expose().to_owned()))
                .flatten()
        });
        if wanted.is_empty() {
            environment.insert(name.clone(), text);
        } else {
            carried.push(Secret::in_environment(name, Sensitive::new(text)));
        }
    }
    for (variable, SecretUse { secret, delivery }) in &job.secrets {
        let value = secrets.get(secret).ok_or_else(|| missing(secret))?.clone();
        carried.push(Secret { name: variable.clone(), value, file: *delivery == Delivery::File });
    }
    let allowed = job.triggers_allowed.clone().unwrap_or_default();
    let mut spec = JobSpec {
        v: VERSION,
        run_id: assignment.run.clone(),
        job: assignment.node.clone(),
        attempt: assignment.attempt,
        work: work(job),
        environment,
        secrets: carried,
        secrets_directory: Some(SECRETS_PATH.to_owned()),
        // What one job may have another may print, so every value is masked in every job.
        mask: secrets.of_jobs().cloned().collect(),
        working_dir: working_dir(job, has_source),
        workspace: job.mount.0.clone(),
        timeout_ms: job.timeout.map(|timeout| timeout.as_millis()),
        grace_ms: job.grace.as_millis(),
        context: Context {
            event: assignment.event.clone(),
            vars: assignment.vars.clone(),
            needs: assignment.needs.clone(),
            inputs: assignment.inputs.clone(),
            ..Context::default()
        },
        trigger_limits: Limits { jobs: allowed.count, depth: allowed.depth, ..Limits::default() },
        trigger_prefix: allowed
            .stdout
            .then(|| Sensitive::new(format!("::reactorcide-{}::", uuid::Uuid::new_v4().simple()))),
        plugins: job
            .ci_source
            .as_ref()
            .map(|_| format!("{}/{CI_DIRECTORY}/.reactorcide/plugins", job.mount.0)),
        python_path: Some(PYTHON_PATH.to_owned()),
        answers: true,
        control: None,
    };
    spec.v = spec.least_version();
    Ok(spec)
}

fn work(job: &Job) -> Work {
    match &job.command {
        Some(command) => Work::Command(command_of(command)),
        None if job.steps.is_empty() => Work::Command(Command::Exec(script(job).unwrap_or_default())),
        None => Work::Steps(job.steps.iter().map(step).collect()),
    }
}

/// The trusted script that a job is where it says nothing itself: by its `#!` line, or by its name.
fn script(job: &Job) -> Option<Vec<String>> {
    let path = job.ci_source.as_ref()?.path.as_deref()?;
    let whole = format!("{}/{CI_DIRECTORY}/{path}", job.mount.0);
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    Some(match extension {
        Some("py") => vec!["python3".to_owned(), whole],
        Some("sh") => vec!["sh".to_owned(), "-e".to_owned(), whole],
        _ => vec![whole],
    })
}

fn command_of(command: &CommandLine) -> Command {
    match command {
        CommandLine::Script(text) => Command::Script(unescape(text)),
        CommandLine::Exec(words) => Command::Exec(words.iter().map(|word| unescape(word)).collect()),
    }
}

fn step(step: &Step) -> StepSpec {
    StepSpec {
        name: step.name.clone(),
        run: command_of(&step.run),
        shell: step.shell.clone(),
        parallel: step.parallel,
        depends_on: step.depends_on.clone(),
        when: step.when.clone(),
        condition: step.condition,
        continue_on_error: step.continue_on_error,
        timeout_ms: step.timeout.map(|timeout| timeout.as_millis()),
        retry: step.retry.as_ref().map(step_retry),
        working_dir: step.working_dir.as_deref().map(unescape),
        environment: step.environment.iter().map(|(name, value)| (name.clone(), unescape(value))).collect(),
        secrets: step.secrets.clone(),
    }
}

fn step_retry(retry: &Retry) -> StepRetry {
    let outcome = |reason: &FailureReason| match reason {
        FailureReason::Exit => Some(JobOutcome::Exit),
        FailureReason::Timeout => Some(JobOutcome::Timeout),
        FailureReason::Oom => Some(JobOutcome::Oom),
        FailureReason::NoSpace => Some(JobOutcome::NoSpace),
        // A step does not see the others.
        _ => None,
    };
    StepRetry {
        max: retry.max,
        on: retry.on.iter().filter_map(outcome).collect(),
        delay_ms: retry.delay.as_millis(),
        factor: retry.factor,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub fn assignment(job: serde_json::Value) -> Assignment {
        let job = serde_json::from_value(job).expect("a job");
        let profile = json!({"name": "trusted", "spec": {"secrets": "granted"}});
        Assignment {
            run: "run".into(),
            node: "test".into(),
            attempt: 1,
            job,
            profile: serde_json::from_value(profile).expect("a profile"),
            triggered: false,
            depth: 0,
            event: json!({"type": "push"}),
            vars: BTreeMap::new(),
            needs: BTreeMap::new(),
            inputs: BTreeMap::new(),
            at: 0,
            trace: None,
        }
    }

    #[test]
    fn a_job_knows_the_span_that_it_runs_in_unless_it_says_another() {
        let mut given = assignment(json!({"image": "i", "command": "c"}));
        given.trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok();
        let spec = job_spec(&given, false, &secrets()).expect("a spec");
        let span = SpanId::of_phase("run", "test", 1, Phase::Running);
        assert_eq!(spec.environment["TRACEPARENT"], format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01"));
        given.job.environment.insert("TRACEPARENT".to_owned(), "own".to_owned());
        let spec = job_spec(&given, false, &secrets()).expect("a spec");
        assert_eq!(spec.environment["TRACEPARENT"], "own");
        let none = assignment(json!({"image": "i", "command": "c"}));
        assert!(!job_spec(&none, false, &secrets()).expect("a spec").environment.contains_key("TRACEPARENT"));
    }

    fn secrets() -> Secrets {
        let value = |name: &str, value: &str| (name.to_owned(), Sensitive::new(value));
        Secrets::new([value("deploy/key:token", "T0KEN"), value("whole", "WH0LE")])
    }

    #[test]
    fn secrets_travel_apart_from_the_environment() {
        let job = json!({
            "image": "i", "command": "c", "secrets": {"KEY": "deploy/key:token", "ALL": "whole:any"},
            "environment": {"PLAIN": "$${var:x}", "URL": "https://u:${secret:deploy/key:token}@h"},
        });
        let spec = job_spec(&assignment(job), true, &secrets()).expect("a spec");
        assert_eq!(spec.environment["PLAIN"], "${var:x}");
        assert!(!spec.environment.values().any(|value| value.contains("T0KEN")));
        let carried: Vec<_> = spec.secrets.iter().map(|s| (s.name.as_str(), s.value.expose())).collect();
        assert_eq!(carried, [("URL", "https://u:T0KEN@h"), ("ALL", "WH0LE"), ("KEY", "T0KEN")]);
        assert_eq!(spec.mask.len(), 2);
        assert!(!format!("{spec:?}").contains("T0KEN"));
    }

    #[test]
    fn secrets_are_delivered_as_the_job_says() {
        let job = json!({
            "image": "i", "secrets": {"KEY": {"secret": "deploy/key:token", "as": "file"}, "ALL": "whole"},
            "steps": [{"name": "s", "run": "a", "secrets": ["KEY"]}, {"name": "t", "run": "b"}],
        });
        let spec = job_spec(&assignment(job.clone()), true, &secrets()).expect("a spec");
        let carried: Vec<_> = spec.secrets.iter().map(|one| (one.name.as_str(), one.file)).collect();
        assert_eq!(carried, [("ALL", false), ("KEY", true)]);
        assert_eq!(spec.secrets_directory.as_deref(), Some(SECRETS_PATH));
        let Work::Steps(steps) = &spec.work else { panic!("steps") };
        assert_eq!((steps[0].secrets.as_slice(), steps[1].secrets.len()), (["KEY".to_owned()].as_slice(), 0));
        assert_eq!(spec.v, 2, "a runner that does not know of it must refuse it");
        let plain = json!({"image": "i", "command": "c", "secrets": {"ALL": "whole"}});
        assert_eq!(job_spec(&assignment(plain), true, &secrets()).expect("a spec").v, 1);
    }

    #[test]
    fn what_opens_a_source_reaches_no_container() {
        let job =
            json!({"image": "i", "command": "c", "source": {"git": "https://h/x", "credentials": "whole"}});
        let secrets = secrets().for_sources(["whole".to_owned()]);
        let spec = job_spec(&assignment(job), true, &secrets).expect("a spec");
        assert!(!serde_json::to_string(&spec).expect("JSON").contains("WH0LE"));
        assert_eq!(spec.mask.len(), 1);
    }

    #[test]
    fn a_secret_without_a_value_is_named() {
        let job = json!({"image": "i", "command": "c", "secrets": {"KEY": "nowhere"}});
        assert_eq!(
            job_spec(&assignment(job), true, &secrets()),
            Err("there is no value for the secret \"nowhere\"".into())
        );
    }

    #[test]
    fn fields_of_a_job_become_fields_of_its_spec() {
        let job = json!({
            "image": "i", "timeout": "1m", "grace": "3s", "working_dir": "sub", "mount": "/w",
            "triggers_allowed": {"count": 2, "depth": 1},
            "steps": [{"name": "s", "run": ["a", "b"], "shell": ["bash"], "parallel": true, "depends_on": [], "when": "true",
                "condition": "always", "continue_on_error": true, "timeout": "2s", "working_dir": "x", "environment": {"A": "b"}}],
        });
        let spec = job_spec(&assignment(job), true, &secrets()).expect("a spec");
        assert_eq!((spec.timeout_ms, spec.grace_ms), (Some(60_000), 3_000));
        assert_eq!((spec.working_dir.as_str(), spec.workspace.as_str()), ("/w/sub", "/w"));
        assert_eq!((spec.trigger_limits.jobs, spec.trigger_limits.depth), (2, 1));
        let Work::Steps(steps) = &spec.work else { panic!("steps") };
        let step = serde_json::to_value(&steps[0]).expect("JSON");
        let expected = json!({
            "name": "s", "run": {"exec": ["a", "b"]}, "shell": ["bash"], "parallel": true, "depends_on": [], "when": "true",
            "condition": "always", "continue_on_error": true, "timeout_ms": 2000, "working_dir": "x", "environment": {"A": "b"},
        });
        assert_eq!(step, expected);
    }

    #[test]
    fn steps_start_in_the_source_where_there_is_one() {
        let job = || assignment(json!({"image": "i", "command": "c"}));
        assert_eq!(job_spec(&job(), true, &secrets()).expect("a spec").working_dir, "/job/src");
        assert_eq!(job_spec(&job(), false, &secrets()).expect("a spec").working_dir, "/job");
    }
}
