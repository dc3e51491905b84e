//! A job that somebody runs directly, without a pipeline: `run --image … --job-command …` and `run-job FILE`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Kind, Metadata, Resource, Spec};
use reactorcide_engine::placeholder::escape;
use reactorcide_engine::protocol::settings::{
    self, Layer, Settings as JobSettings, SourceKind, SourceSettings, preview,
};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::workflow;
use reactorcide_worker::Secrets;
use serde_json::{Map, Value, json};

use super::How;
use super::local::{self, Given, Plan};
use crate::exit::{Exit, Failure};
use crate::report;
use crate::secrets::{from_environment, from_file, given};
use crate::settings::Settings;

/// Options that describe a job.
#[derive(Debug, Args)]
#[command(next_help_heading = "A job of its own")]
pub struct JobArgs {
    /// The image of the container
    #[arg(long, alias = "runner-image", value_name = "IMAGE")]
    image: Option<String>,
    /// What to run: text for a shell
    #[arg(long, alias = "command", value_name = "TEXT")]
    job_command: Option<String>,
    /// The job's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How the code under test is fetched: git, copy, tarball, hg, svn or none
    #[arg(long, value_name = "TYPE")]
    source_type: Option<String>,
    /// Where the code under test is
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    /// Its branch, tag or commit
    #[arg(long, value_name = "REF")]
    source_ref: Option<String>,
    /// The checksum of a tarball, in hex
    #[arg(long, value_name = "SHA256")]
    source_checksum: Option<String>,
    /// How trusted job code is fetched
    #[arg(long, value_name = "TYPE")]
    ci_source_type: Option<String>,
    /// Where trusted job code is
    #[arg(long, value_name = "URL")]
    ci_source_url: Option<String>,
    /// Its branch, tag or commit
    #[arg(long, value_name = "REF")]
    ci_source_ref: Option<String>,
    /// The same as --source-type git --source-url
    #[arg(long, value_name = "URL")]
    git_url: Option<String>,
    /// The same as --source-ref
    #[arg(long, value_name = "REF")]
    git_ref: Option<String>,
    /// Variables, NAME=VALUE,NAME=VALUE, or a file of them (may be given several times)
    #[arg(long, value_name = "ENV")]
    job_env: Vec<String>,
    /// The workspace in the container
    #[arg(long, value_name = "DIR")]
    job_dir: Option<String>,
    /// Where the command starts, below the workspace
    #[arg(long, value_name = "DIR")]
    code_dir: Option<String>,
    /// How long it may take: seconds, or 20m
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
}

impl JobArgs {
    /// Whether a job is described at all.
    pub fn is_given(&self) -> bool {
        self.pairs().next().is_some()
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let single = [
            ("image", &self.image),
            ("job-command", &self.job_command),
            ("name", &self.name),
            ("source-type", &self.source_type),
            ("source-url", &self.source_url),
            ("source-ref", &self.source_ref),
            ("source-checksum", &self.source_checksum),
            ("ci-source-type", &self.ci_source_type),
            ("ci-source-url", &self.ci_source_url),
            ("ci-source-ref", &self.ci_source_ref),
            ("git-url", &self.git_url),
            ("git-ref", &self.git_ref),
            ("job-dir", &self.job_dir),
            ("code-dir", &self.code_dir),
            ("timeout", &self.timeout),
        ];
        let single = single.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        single.chain(self.job_env.iter().map(|value| ("job-env", value)))
    }
}

/// Options of `run-job`.
#[derive(Debug, Args)]
pub struct RunJobArgs {
    /// The job file, YAML or JSON; `-` reads standard input
    file: PathBuf,
    #[command(flatten)]
    job: JobArgs,
    /// Give a secret its value: NAME=env:VARIABLE or NAME=file:PATH
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    secrets: Vec<String>,
    /// Show what would run, and run nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    how: How,
}

/// Runs the job of a file.
pub fn run_job(arguments: &RunJobArgs, settings: &Settings) -> Result<Exit, Failure> {
    let layer = file(&arguments.file)?;
    run(Some(layer), &arguments.job, &arguments.secrets, arguments.dry_run, &arguments.how, settings)
}

fn file(path: &Path) -> Result<Layer, Failure> {
    let shown = path.display().to_string();
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(format!("the job file {shown} cannot be read: {error}"))
            .hint("a job file says job_command, image, source, ...; see docs/job-files.md")
    };
    let mut bytes = Vec::new();
    if shown == "-" {
        std::io::stdin().lock().take(2 << 20).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    } else {
        bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    }
    Ok(Layer::of_file(&shown, settings::parse_file(&bytes).map_err(|error| failed(&error))?))
}

/// Runs one job.
pub fn run(
    file: Option<Layer>,
    job: &JobArgs,
    pairs: &[String],
    dry_run: bool,
    how: &How,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let mut arguments = Layer::default();
    for (name, value) in job.pairs() {
        arguments.argument(name, value.clone());
    }
    let environment = Layer::of_environment(|name| std::env::var(name).ok());
    let mut said = JobSettings::resolve([Some(environment), file, Some(arguments)].into_iter().flatten());
    for (path, _) in said.environment_files().to_vec() {
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::new(format!("the file of variables {path:?} cannot be read: {error}"))
                .hint("write NAME=VALUE, or name a file")
        })?;
        said.add_environment_file(&path, &text);
    }
    if dry_run {
        return show(&said, how.json);
    }
    let problems = said.problems();
    if let Some(first) = problems.first() {
        for problem in &problems[1..] {
            report::note(&format!("{}: {}", problem.setting, problem.message));
        }
        return Err(Failure::new(format!("{}: {}", first.setting, first.message)).exit(Exit::Usage));
    }
    let (plan, secrets) = plan(&said, pairs)?;
    local::run(plan, secrets, how, settings)
}

fn show(said: &JobSettings, as_json: bool) -> Result<Exit, Failure> {
    let whole = preview::preview(said);
    let text = if as_json {
        format!("{whole:#}\n")
    } else {
        format!("{}\nNothing was run.\n", preview::text(&whole))
    };
    let written = crate::stdout::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::new(format!("cannot print: {error}")))?;
    Ok(if said.problems().is_empty() { Exit::Success } else { Exit::Usage })
}

/// The job as a workflow of one.
fn plan(said: &JobSettings, pairs: &[String]) -> Result<(Plan, Given), Failure> {
    let image = said.text("image").ok_or_else(|| {
        Failure::new("there is no image for the job")
            .hint("name one with --image, REACTORCIDE_RUNNER_IMAGE, or image in the job file")
            .exit(Exit::Usage)
    })?;
    let secrets = secrets(said, pairs)?;
    let mut job = Map::new();
    job.insert("image".into(), escape(image).into());
    job.insert("mount".into(), said.job_dir().into());
    job.insert("working_dir".into(), escape(&said.code_dir()).into());
    let command = |value: &Value| match value {
        Value::Array(words) => words.iter().map(|word| escape(word.as_str().unwrap_or_default())).collect(),
        other => Value::from(escape(other.as_str().unwrap_or_default())),
    };
    match (said.get("job_command"), said.get("steps")) {
        (None, Some(steps)) => {
            let mut steps = steps.value.clone();
            for step in steps.as_array_mut().into_iter().flatten() {
                step["run"] = command(&step["run"]);
            }
            job.insert("steps".into(), steps);
        }
        (said, _) => drop(said.map(|setting| job.insert("command".into(), command(&setting.value)))),
    }
    let environment = said.environment().iter().filter(|(name, _)| !secrets.contains_key(*name));
    let environment: BTreeMap<&String, String> = environment
        .map(|(name, setting)| (name, escape(setting.value.as_str().unwrap_or_default())))
        .collect();
    job.insert("environment".into(), json!(environment));
    job.insert(
        "secrets".into(),
        secrets
            .keys()
            .map(|name| (name.clone(), json!({"secret": name, "as": delivery(said, name)})))
            .collect(),
    );
    if let Ok(Some(timeout)) = said.timeout() {
        job.insert("timeout".into(), format!("{}s", timeout.as_secs()).into());
    }
    for prefix in ["source", "ci_source"] {
        let source =
            said.source(prefix).map_err(|problem| Failure::new(problem.message).exit(Exit::Usage))?;
        let source = source.map_or_else(|| json!({"none": true}), |source| declared(&source));
        if prefix == "source" || source["none"] != true {
            job.insert(prefix.into(), source);
        }
    }
    let name = said.text("name").unwrap_or("job");
    let workflow = resolved(name, job)?;
    let plan = Plan {
        workflow,
        event: json!({"type": "manual"}),
        inputs: BTreeMap::new(),
        vars: BTreeMap::new(),
        selection: None,
        source: None,
        approved: BTreeSet::new(),
    };
    Ok((plan, Given { by_hand: Secrets::new(secrets), ..Given::default() }))
}

fn resolved(name: &str, job: Map<String, Value>) -> Result<workflow::Workflow, Failure> {
    let spec = Spec::from_value(Kind::Pipeline, json!({"jobs": {name: job}}))
        .map_err(|error| Failure::new(format!("the job is not valid: {error}")).exit(Exit::Usage))?;
    let address = Address::new(Kind::Pipeline, None, "ad-hoc");
    let metadata = Metadata { name: "ad-hoc".to_owned(), ..Metadata::default() };
    let catalog = Catalog::from([(address.clone(), Resource { metadata, spec }.into())]);
    workflow::resolve(&catalog, &address).map_err(|errors| {
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::new(messages.join("; ")).exit(Exit::Usage)
    })
}

fn declared(source: &SourceSettings) -> Value {
    let kind = match source.kind {
        SourceKind::Git => "git",
        SourceKind::Copy => "copy",
        SourceKind::Tarball => "tarball",
        SourceKind::Hg => "hg",
        SourceKind::Svn => "svn",
        SourceKind::None => return json!({"none": true}),
    };
    // A path counts from where the command was started.
    let is_here = !source.url.contains("://") && !source.url.contains(':') && !source.url.starts_with('-');
    let url = match std::path::absolute(&source.url) {
        Ok(path) if is_here => path.display().to_string(),
        _ => source.url.clone(),
    };
    let mut declared = Map::from_iter([(kind.to_owned(), Value::from(url))]);
    if let Some(reference) = &source.reference {
        declared.insert("ref".to_owned(), reference.as_str().into());
    }
    if let Some(checksum) = &source.checksum {
        let checksum = checksum.strip_prefix("sha256:").unwrap_or(checksum);
        declared.insert("checksum".to_owned(), checksum.to_ascii_lowercase().into());
    }
    declared.into()
}

/// What the variable of a secret carries, by the file.
fn delivery(said: &JobSettings, name: &str) -> &'static str {
    let listed = said.get("secrets").and_then(|setting| setting.value.as_array());
    let is_file = listed.into_iter().flatten().any(|one| one["name"] == name && one["as"] == "file");
    if is_file { "file" } else { "environment" }
}

/// Values of secrets: what the file says or points to, and over it what was given.
fn secrets(said: &JobSettings, pairs: &[String]) -> Result<BTreeMap<String, Sensitive>, Failure> {
    let mut values = BTreeMap::new();
    let listed = said.get("secrets").map(|setting| &setting.value);
    for secret in listed.and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| secret[key].as_str();
        let name = text("name").unwrap_or_default();
        let value = match (text("value"), text("env"), text("file")) {
            (Some(value), None, None) => Some(Sensitive::new(value)),
            (None, Some(variable), None) => Some(from_environment(name, variable)?),
            (None, None, Some(path)) => Some(from_file(name, path)?),
            (None, None, None) => None,
            _ => {
                return Err(Failure::new(format!("the secret {name:?} has several values")).exit(Exit::Usage));
            }
        };
        values.insert(name.to_owned(), value);
    }
    for (name, value) in given(pairs)? {
        values.insert(name, Some(value));
    }
    values
        .into_iter()
        .map(|(name, value)| {
            let missing = || {
                Failure::new(format!("there is no value for the secret {name}"))
                    .hint(format!("give it one: --secret {name}=env:VARIABLE or --secret {name}=file:PATH"))
            };
            let value = value.ok_or_else(missing)?;
            reactorcide_engine::protocol::mask::check(value.expose().as_bytes())
                .map_err(|error| Failure::new(format!("the secret {name:?} cannot be used: {error}")))?;
            Ok((name, value))
        })
        .collect()
}
