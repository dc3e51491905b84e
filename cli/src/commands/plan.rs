//! `reactorcide plan`: what an apply would change, and what follows.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Configuration, Kind};
use reactorcide_engine::plan::{self, Desired, Options, Plan};
use reactorcide_engine::read::Context;
use reactorcide_engine::store::{Owner, Snapshot};

use super::state::parse_address;
use crate::config_files::{Files, valid};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::{applied, plan_cache, report, time};

/// What `plan` and `apply` are both told.
#[derive(Debug, Args)]
pub struct PlanOptions {
    /// The date to plan for, YYYY-MM-DD [default: today]
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// Many deletes are meant
    #[arg(long)]
    allow_destroy: bool,
    /// Only this resource and what it refers to; may be given again
    #[arg(long = "target", value_name = "ADDRESS")]
    targets: Vec<String>,
    /// The configuration is that of this project's repository: its Pipelines, JobTemplates and Schedules
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    options: PlanOptions,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
    /// Exit with 2 if there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    /// Save the plan, for `show` and `apply`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the plan as Markdown, as for a comment under a change
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the plan as JSON
    #[arg(long, value_name = "FILE")]
    json_into: Option<PathBuf>,
}

/// What the configuration and the applied state come to.
pub enum Made {
    /// The same was planned before, and changes nothing.
    Unchanged,
    /// A plan.
    Plan(Box<Plan>),
}

/// Shows what an apply would do. Exit 5 where something keeps it from being applied.
pub fn plan(arguments: &PlanArgs, settings: &Settings) -> Result<Exit, Failure> {
    let writes = arguments.out.is_some() || arguments.markdown.is_some() || arguments.json_into.is_some();
    let plan = match make(&arguments.options, settings, arguments.json || writes)? {
        Made::Plan(plan) => plan,
        Made::Unchanged => {
            let _ = write!(anstream::stdout().lock(), "{}", report::plan::NO_CHANGES);
            return Ok(Exit::Success);
        }
    };
    print(&plan, if arguments.json { Form::Json } else { Form::Human })?;
    if let Some(path) = &arguments.out {
        write_file(path, &plan::to_saved(&plan, concat!("reactorcide ", env!("CARGO_PKG_VERSION"))))?;
    }
    if let Some(path) = &arguments.markdown {
        write_file(path, &plan::markdown(&plan, plan::MARKDOWN_LIMIT))?;
    }
    if let Some(path) = &arguments.json_into {
        write_file(path, &json(&plan)?)?;
    }
    Ok(if !plan.obstacles.is_empty() {
        Exit::NotAccepted
    } else if arguments.detailed_exitcode && plan.has_changes() {
        Exit::Changes
    } else {
        Exit::Success
    })
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    Human,
    Json,
    Markdown,
}

/// Prints a plan.
pub fn print(plan: &Plan, form: Form) -> Result<(), Failure> {
    let text = match form {
        Form::Human => report::plan::render(plan),
        Form::Json => json(plan)?,
        Form::Markdown => plan::markdown(plan, plan::MARKDOWN_LIMIT),
    };
    let _ = write!(anstream::stdout().lock(), "{text}");
    Ok(())
}

fn json(plan: &Plan) -> Result<String, Failure> {
    let json = serde_json::to_string_pretty(plan).map_err(|error| Failure::new(error.to_string()))?;
    Ok(json + "\n")
}

/// Writes a whole file or none, so that nobody reads half a plan.
fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path)).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        Failure::new(format!("cannot write {}: {error}", path.display()))
    })
}

/// Reads a saved plan.
pub fn read_file(path: &Path) -> Result<Plan, Failure> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| {
        Failure::new(format!("cannot read {shown}: {error}"))
            .hint("`reactorcide plan --out FILE` writes a plan to apply")
    })?;
    plan::read_saved(&bytes)
        .map_err(|error| Failure::new(format!("{shown} cannot be used: {error}")).hint(error.hint()))
}

/// Makes the plan from the configuration and the applied state. Somebody who wants to see all of it must ask for it
/// `whole`.
pub fn make(options: &PlanOptions, settings: &Settings, whole: bool) -> Result<Made, Failure> {
    let as_of = match &options.as_of {
        Some(date) if time::is_date(date) => date.clone(),
        Some(other) => {
            return Err(Failure::new(format!("{other:?} is not a date"))
                .hint("write YYYY-MM-DD")
                .exit(Exit::Usage));
        }
        None => today(),
    };
    applied::location(settings)?;
    let files = Files::of(settings)?;
    let is_empty = files.is_empty();
    let targets: Vec<Address> =
        options.targets.iter().map(|target| parse_address(target)).collect::<Result<_, _>>()?;
    let owner = options.project.clone().map_or(Owner::Workspace, Owner::Project);
    let whole = whole || !targets.is_empty() || owner != Owner::Workspace;
    let key = files.key();
    // What is wrong with the state is said after what is wrong with the configuration.
    let last = applied::block_on(applied::last_change(settings)).ok().flatten();
    let known = key.as_ref().zip(last.as_ref()).filter(|_| !whole);
    if known.is_some_and(|(key, last)| plan_cache::is_known(settings, key, &last.id)) {
        return Ok(Made::Unchanged);
    }
    let mut is_quiet = true;
    let snapshot = applied::block_on(applied::snapshot(settings));
    let context = Context { given: given(snapshot.as_ref().ok(), &owner)?, owner: owner.clone() };
    let read = files.read_in(context).and_then(|reading| {
        is_quiet = reading.diagnostics.is_empty();
        valid(reading).map(Configuration::into_catalog)
    });
    let (resources, snapshot) = match (read, snapshot) {
        // Nothing is left of what was applied: a plan of deletes, which asks for more than a yes.
        (Err(_), Ok(snapshot)) if is_empty && !snapshot.heads.is_empty() => (Catalog::default(), snapshot),
        (read, snapshot) => (read?, snapshot?),
    };
    let resources = if targets.is_empty() {
        resources
    } else {
        let applied = plan::applied(&snapshot).map_err(|error| unreadable(&error))?;
        let mut part = plan::targeted(&resources, &applied, &targets).map_err(|error| {
            Failure::new(error.to_string())
                .hint("`reactorcide state list` lists what is applied")
                .exit(Exit::Usage)
        })?;
        part.retain(|address, _| resources.contains_key(address) || is_of(&snapshot, address, &owner));
        part
    };
    if let Owner::Project(name) = &owner
        && !snapshot.heads.contains_key(&Address::new(Kind::Project, None, name))
    {
        return Err(Failure::new(format!("Project/{name} is not applied"))
            .hint("the workspace's configuration declares projects; apply that first"));
    }
    let desired = Desired { owner, resources };
    let options = Options { as_of, allow_destroy: options.allow_destroy };
    let plan = plan::between(&desired, &snapshot, &options).map_err(|error| unreadable(&error))?;
    let says_nothing = targets.is_empty()
        && is_quiet
        && !plan.has_changes()
        && plan.hints.is_empty()
        && plan.obstacles.is_empty();
    let last = last.filter(|last| says_nothing && last.serial == plan.base.serial);
    if let (Some(key), Some(last)) = (&key, &last) {
        plan_cache::remember(settings, key, &last.id);
    }
    Ok(Made::Plan(Box::new(plan)))
}

/// Whether a resource is not somebody else's.
fn is_of(snapshot: &Snapshot, address: &Address, owner: &Owner) -> bool {
    snapshot.heads.get(address).is_none_or(|head| head.owner == *owner)
}

/// What others have applied, which a configuration may refer to.
fn given(snapshot: Option<&Snapshot>, owner: &Owner) -> Result<Catalog, Failure> {
    let others =
        snapshot.into_iter().flat_map(|snapshot| &snapshot.heads).filter(|(_, head)| head.owner != *owner);
    others
        .map(|(address, head)| {
            let resource = head.resource().map_err(|error| Failure::new(format!("{address}: {error}")))?;
            Ok((address.clone(), resource))
        })
        .collect()
}

/// What it means that a stored resource cannot be read.
pub fn unreadable(error: &plan::Error) -> Failure {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Failure::new(format!("{error}{source}")).hint("a newer version of reactorcide may have written it")
}

/// The date of a plan for which none is named.
pub fn today() -> String {
    time::date(time::now())
}

/// The plan towards resources that are worked out from what is applied.
pub fn towards(
    resources: impl FnOnce(&Snapshot) -> Result<Catalog, Failure>,
    options: &Options,
    settings: &Settings,
) -> Result<Plan, Failure> {
    let snapshot = applied::block_on(applied::snapshot(settings))?;
    let mut resources = resources(&snapshot)?;
    resources.retain(|address, _| is_of(&snapshot, address, &Owner::Workspace));
    let desired = Desired { owner: Owner::Workspace, resources };
    plan::between(&desired, &snapshot, options).map_err(|error| unreadable(&error))
}
