//! `reactorcide plan`: what an apply would change, and what follows.

use std::io::Write;

use clap::Args;
use reactorcide_engine::config::Catalog;
use reactorcide_engine::plan::{self, Desired, Options, Plan};
use reactorcide_engine::store::{Owner, Snapshot};

use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::{applied, config_files, report, time};

/// What `plan` and `apply` are both told.
#[derive(Debug, Args)]
pub struct PlanOptions {
    /// The date to plan for, YYYY-MM-DD [default: today]
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// Many deletes are meant
    #[arg(long)]
    allow_destroy: bool,
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
}

/// Shows what an apply would do. Exit 5 where something keeps it from being applied.
pub fn plan(arguments: &PlanArgs, settings: &Settings) -> Result<Exit, Failure> {
    let (plan, _) = make(&arguments.options, settings)?;
    let mut stdout = anstream::stdout().lock();
    if arguments.json {
        let json = serde_json::to_string_pretty(&plan).map_err(|error| Failure::new(error.to_string()))?;
        let _ = writeln!(stdout, "{json}");
    } else {
        let _ = write!(stdout, "{}", report::plan::render(&plan));
    }
    Ok(if !plan.obstacles.is_empty() {
        Exit::NotAccepted
    } else if arguments.detailed_exitcode && plan.has_changes() {
        Exit::Changes
    } else {
        Exit::Success
    })
}

/// Makes the plan from the configuration and the applied state.
pub fn make(options: &PlanOptions, settings: &Settings) -> Result<(Plan, Snapshot), Failure> {
    let as_of = match &options.as_of {
        Some(date) if time::is_date(date) => date.clone(),
        Some(other) => {
            return Err(Failure::new(format!("{other:?} is not a date"))
                .hint("write YYYY-MM-DD")
                .exit(Exit::Usage));
        }
        None => time::date(time::now()),
    };
    let read = config_files::read_valid(settings);
    let snapshot = applied::block_on(applied::snapshot(settings));
    let (resources, snapshot) = match (read, snapshot) {
        // Nothing is left of what was applied: a plan of deletes, which asks for more than a yes.
        (Err(_), Ok(snapshot)) if !snapshot.heads.is_empty() && config_files::is_empty(settings) => {
            (Catalog::default(), snapshot)
        }
        (read, snapshot) => (read?.catalog(), snapshot?),
    };
    let desired = Desired { owner: Owner::Workspace, resources };
    let options = Options { as_of, allow_destroy: options.allow_destroy };
    let plan = plan::between(&desired, &snapshot, &options).map_err(|error| {
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Failure::new(format!("{error}{source}")).hint("a newer version of reactorcide may have written it")
    })?;
    Ok((plan, snapshot))
}
