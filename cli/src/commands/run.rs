//! `reactorcide run`: runs a pipeline's jobs in containers on this machine, without a server.

mod ad_hoc;
mod dry_run;
mod event;
mod local;
mod secrets;
mod workflow_file;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Kind, Spec};
use reactorcide_engine::scheduler::Selection;
use reactorcide_engine::suggest::nearest;
use reactorcide_engine::trigger_match::starts;
use reactorcide_engine::workflow::{self, Workflow};

use crate::config_files::Files;
use crate::exit::{Exit, Failure};
use crate::settings::{Settings, config_directory_of};
use crate::vault::VaultArgs;
use crate::{applied, report};

pub use ad_hoc::{RunJobArgs, run_job};
pub use event::{EventName, assignments};

/// Options of `run`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags are independent")]
pub struct RunArgs {
    /// The pipeline: NAME, PROJECT/NAME or its address
    #[arg(required_unless_present_any = ["image", "job_command", "workflow_file"])]
    pipeline: Option<String>,
    /// Run the workflow of a file, of the form of the earlier system, instead of a pipeline
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pipeline", "from_config"])]
    workflow_file: Option<PathBuf>,
    /// Run what the files say instead of what is applied
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".")]
    from_config: Option<PathBuf>,
    /// Run only this job (may be given several times)
    #[arg(long = "job", value_name = "NAME")]
    jobs: Vec<String>,
    /// With --job: also everything that it waits for
    #[arg(long, requires = "jobs")]
    follow_needs: bool,
    #[command(flatten)]
    event: event::EventArgs,
    /// Set an input of the pipeline
    #[arg(long = "input", value_name = "NAME=VALUE")]
    inputs: Vec<String>,
    /// Set a variable of the run
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<String>,
    /// Give a secret its value: NAME=env:VARIABLE or NAME=file:PATH
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    secrets: Vec<String>,
    /// Let a job go on whose environment wants an approval (may be given several times)
    #[arg(long = "approve", value_name = "JOB")]
    approved: Vec<String>,
    /// The tree that is copied into every workspace [default: the directory that holds .reactorcide]
    #[arg(long, value_name = "DIR")]
    source_dir: Option<PathBuf>,
    /// Check the project's code out at the event's commit instead of copying a tree
    #[arg(long, conflicts_with = "source_dir")]
    checkout: bool,
    /// Show what would run, and run nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    job: ad_hoc::JobArgs,
}

/// Options of everything that runs jobs.
#[derive(Debug, Args)]
struct How {
    /// A directory that stands for all trusted job code
    #[arg(long, value_name = "DIR")]
    ci_dir: Option<PathBuf>,
    /// How many jobs at once [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    max_parallel: Option<u16>,
    /// When to ask a registry for images
    #[arg(long, value_enum, default_value_t = Pull::Missing, value_name = "WHEN")]
    pull: Pull,
    /// Leave the workspaces as they are, and say where
    #[arg(long)]
    keep_workspace: bool,
    /// Print events as JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    vault: VaultArgs,
}

/// When to ask a registry for images.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Pull {
    /// Always
    Always,
    /// Only for an image that is not here
    Missing,
    /// Never
    Never,
}

/// Runs a pipeline.
pub fn run(arguments: &RunArgs, settings: &Settings) -> Result<Exit, Failure> {
    let pipeline = arguments.pipeline.as_deref();
    let Some(pipeline) = pipeline.or(arguments.workflow_file.as_ref().map(|_| workflow_file::NAME)) else {
        let RunArgs { job, secrets, dry_run, how, .. } = arguments;
        return ad_hoc::run(None, job, secrets, *dry_run, how, settings);
    };
    if arguments.job.is_given() {
        return Err(Failure::new("a pipeline says itself what its jobs are")
            .hint("leave the pipeline's name out, or the options that describe a job")
            .exit(Exit::Usage));
    }
    let catalog = match &arguments.workflow_file {
        Some(path) => workflow_file::read(path)?,
        None => catalog(arguments, settings)?,
    };
    let address = find(&catalog, pipeline)?;
    let event = arguments.event.event(&source_directory(arguments, settings));
    // The form of old has no triggers: its jobs' conditions say what an event starts.
    if arguments.workflow_file.is_none()
        && let Some(Spec::Pipeline(spec)) = catalog.get(&address).map(|resource| &resource.spec)
        && let Err(reasons) = starts(spec, &event)
    {
        report::note(&format!("this event does not start {address}: {}", reasons.join("; ")));
        return Ok(Exit::Success);
    }
    let mut workflow = workflow::resolve(&catalog, &address).map_err(|errors| {
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::new(messages.join("; "))
    })?;
    let selection = selection(arguments, &workflow)?;
    let inputs = event::inputs(&workflow, &arguments.inputs)?;
    let vars = event::assignments(&arguments.vars, "--var")?;
    let source = (!arguments.checkout).then(|| source_directory(arguments, settings));
    if source.is_some() {
        use_local_tree(&mut workflow, &catalog);
    } else {
        if !workflow.take_code_at(&catalog, arguments.event.reference().as_deref()) {
            report::note("the project has no source: its jobs get no code");
        }
    }
    let approved = arguments.approved.iter().cloned().collect();
    let plan = local::Plan { event: event.to_value(), inputs, vars, selection, source, workflow, approved };
    if arguments.dry_run {
        return dry_run::show(&plan, arguments.how.json);
    }
    let secrets = secrets::collect(&plan, catalog, &arguments.secrets, settings)?;
    local::run(plan, secrets, &arguments.how, settings)
}

/// What is applied, or what the files say.
fn catalog(arguments: &RunArgs, settings: &Settings) -> Result<Catalog, Failure> {
    match &arguments.from_config {
        Some(directory) => {
            let directory = config_directory_of(directory);
            Ok(Files::below(&directory)?.read_valid()?.into_catalog())
        }
        None => {
            let snapshot = applied::block_on(applied::snapshot(settings))?;
            if snapshot.heads.is_empty() {
                return Err(Failure::new("nothing is applied here")
                    .hint("`reactorcide apply` first, or run the files as they are with --from-config ."));
            }
            let read = |(address, head): (&Address, &reactorcide_engine::store::Head)| {
                let resource =
                    head.resource().map_err(|error| Failure::new(format!("{address}: {error}")))?;
                Ok((address.clone(), resource.into()))
            };
            snapshot.heads.iter().map(read).collect()
        }
    }
}

/// Jobs that work on their project's code get the tree that is here.
fn use_local_tree(workflow: &mut Workflow, catalog: &Catalog) {
    let source = workflow.project_source(catalog);
    for declaration in workflow.jobs.values_mut() {
        let is_projects = declaration.job.source == source || declaration.job.source.is_none();
        if is_projects && !source.as_ref().is_some_and(|source| source.none) {
            declaration.job.source = None;
        }
    }
}

/// The directory that `run` copies: where `.reactorcide` is.
fn source_directory(arguments: &RunArgs, settings: &Settings) -> PathBuf {
    if let Some(directory) = &arguments.source_dir {
        return directory.clone();
    }
    let config = match &arguments.from_config {
        Some(directory) => config_directory_of(directory),
        None => settings.config_directory(),
    };
    if config.file_name().is_some_and(|name| name == crate::settings::CONFIG_DIRECTORY) {
        let parent = config.parent().filter(|parent| !parent.as_os_str().is_empty());
        return parent.map_or_else(|| PathBuf::from("."), PathBuf::from);
    }
    config
}

/// The pipeline that somebody means by a name.
fn find(catalog: &Catalog, name: &str) -> Result<Address, Failure> {
    let pipelines: Vec<&Address> = catalog.keys().filter(|address| address.kind == Kind::Pipeline).collect();
    let means = |address: &&&Address| {
        let short = address.name == name;
        let long =
            address.project.as_deref().is_some_and(|project| format!("{project}/{}", address.name) == name);
        short || long || address.to_string() == name
    };
    let found: Vec<&&Address> = pipelines.iter().filter(means).collect();
    match found.as_slice() {
        [one] => Ok((**one).clone()),
        [] => {
            let failure = Failure::new(format!("there is no pipeline {name:?}"));
            let names: Vec<&str> = pipelines.iter().map(|address| address.name.as_str()).collect();
            Err(match nearest(name, names.iter().copied()) {
                Some(name) => failure.hint(format!("did you mean {name}?")),
                None if names.is_empty() => failure.hint("declare one: kind: Pipeline"),
                None => {
                    let all: Vec<String> = pipelines.iter().map(|address| short_name(address)).collect();
                    failure.hint(format!("there is {}", all.join(", ")))
                }
            })
        }
        many => {
            let names: Vec<String> = many.iter().map(|address| short_name(address)).collect();
            Err(Failure::new(format!("{name:?} means several pipelines"))
                .hint(format!("say which: {}", names.join(" or "))))
        }
    }
}

fn short_name(address: &Address) -> String {
    format!("{}/{}", address.project.as_deref().unwrap_or("-"), address.name)
}

fn selection(arguments: &RunArgs, workflow: &Workflow) -> Result<Option<Selection>, Failure> {
    for job in arguments.jobs.iter().chain(&arguments.approved) {
        if !workflow.jobs.contains_key(job) {
            let failure = Failure::new(format!("{} has no job {job:?}", workflow.address));
            let names: Vec<&str> = workflow.jobs.keys().map(String::as_str).collect();
            return Err(match nearest(job, names.iter().copied()) {
                Some(name) => failure.hint(format!("did you mean {name}?")),
                None => failure.hint(format!("its jobs are {}", names.join(", "))),
            });
        }
    }
    let jobs = arguments.jobs.clone();
    Ok((!jobs.is_empty()).then_some(Selection { jobs, follow_needs: arguments.follow_needs }))
}
