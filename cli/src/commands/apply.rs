//! `reactorcide apply` and `destroy`: show the plan, ask, and carry it out in one transaction.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use reactorcide_engine::config::Catalog;
use reactorcide_engine::plan::Options;

use super::plan::{self, Made, PlanOptions};
use crate::commit::{CommitArgs, carry_out, carry_out_towards};
use crate::exit::{Exit, Failure};
use crate::report;
use crate::settings::Settings;

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A plan that `plan --out` saved: it is applied as it is, without a question
    #[arg(value_name = "PLAN", conflicts_with_all = ["as_of", "allow_destroy", "targets", "no_refresh"])]
    plan: Option<PathBuf>,
    #[command(flatten)]
    options: PlanOptions,
    #[command(flatten)]
    commit: CommitArgs,
}

/// Applies the configuration.
pub fn apply(arguments: &ApplyArgs, settings: &Settings) -> Result<Exit, Failure> {
    let ApplyArgs { plan, options, commit } = arguments;
    if let Some(path) = plan {
        return carry_out(&plan::read_file(path)?, true, commit, settings);
    }
    match plan::make(options, &commit.secrets, settings, commit.expect_plan.is_some())? {
        Made::Plan(plan) => carry_out(&plan, false, commit, settings),
        Made::Unchanged => {
            let _ = write!(crate::stdout::stdout(), "{}", report::plan::NO_CHANGES);
            Ok(Exit::Success)
        }
    }
}

/// Deletes everything that is applied and not protected.
pub fn destroy(arguments: &CommitArgs, settings: &Settings) -> Result<Exit, Failure> {
    let options = Options { as_of: plan::today(), allow_destroy: true, ..Options::default() };
    let plan = plan::towards(|_| Ok(Catalog::default()), &options, settings)?;
    carry_out_towards(&plan, "Nothing is applied.", false, arguments, settings)
}
