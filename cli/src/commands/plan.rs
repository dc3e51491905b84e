//! `reactorcide plan`: what an apply would change, and what follows.

mod make;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use reactorcide_engine::plan::{self, Plan};

pub use make::{Made, configured, files, make, owner_of, today, towards, unreadable};

use crate::exit::{Exit, Failure};
use crate::report;
use crate::settings::Settings;

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
    /// Do not look at the objects elsewhere: plan as if nobody had changed them
    #[arg(long)]
    no_refresh: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    options: PlanOptions,
    /// What opens the door to an object elsewhere: NAME=env:VARIABLE or NAME=file:PATH; may be given again
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    secrets: Vec<String>,
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

/// Shows what an apply would do. Exit 5 where something keeps it from being applied.
pub fn plan(arguments: &PlanArgs, settings: &Settings) -> Result<Exit, Failure> {
    let writes = arguments.out.is_some() || arguments.markdown.is_some() || arguments.json_into.is_some();
    let plan = match make(&arguments.options, &arguments.secrets, settings, arguments.json || writes)? {
        Made::Plan(plan) => plan,
        Made::Unchanged => {
            let _ = write!(crate::stdout::stdout(), "{}", report::plan::NO_CHANGES);
            return Ok(Exit::Success);
        }
    };
    print(&plan, if arguments.json { Form::Json } else { Form::Human })?;
    if let Some(path) = &arguments.out {
        spare(path)?;
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

/// A saved plan may take the place of another, and of nothing else.
fn spare(path: &Path) -> Result<(), Failure> {
    let is_other = match fs::read(path) {
        Ok(bytes) if fs::metadata(path).is_ok_and(|there| there.is_file()) => {
            !bytes.is_empty() && matches!(plan::read_saved(&bytes), Err(plan::SavedPlanError::NotAPlan))
        }
        _ => false,
    };
    if is_other {
        return Err(Failure::new(format!("{} is there and is no saved plan", path.display()))
            .hint("name another file, such as p.rcplan"));
    }
    Ok(())
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
        Form::Human => report::plan::render(plan, report::plan::AS_DECLARED),
        Form::Json => json(plan)?,
        Form::Markdown => plan::markdown(plan, plan::MARKDOWN_LIMIT),
    };
    let _ = write!(crate::stdout::stdout(), "{text}");
    Ok(())
}

fn json(plan: &Plan) -> Result<String, Failure> {
    let json = serde_json::to_string_pretty(plan).map_err(|error| Failure::new(error.to_string()))?;
    Ok(json + "\n")
}

/// Writes a whole file or none, so that nobody reads half a plan. What is no plain file, such as `/dev/stdout` or a link,
/// is written through: it must not be replaced.
fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| {
        Failure::new(format!("cannot write {}: {error}", path.display()))
            .hint("see whether the directory is there, may be written, and has room")
    };
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        let _ = std::io::stdout().flush();
        let mut file =
            fs::File::options().write(true).create(true).truncate(true).open(path).map_err(failed)?;
        return file.write_all(text.as_bytes()).map_err(failed);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path)).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed(error)
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
