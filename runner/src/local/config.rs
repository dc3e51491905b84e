//! `config` and `validate`: what a job would be, and what is wrong with it.

use std::process::ExitCode;

use reactorcide_protocol::settings::preview;
use serde_json::json;

use super::arguments::Said;
use super::{Failure, say};
use crate::exit;

/// Shows every value and where it came from.
pub fn config(said: Said) -> Result<ExitCode, Failure> {
    let whole = preview::preview(&said.settings);
    if said.json {
        say(&format!(
            "{:#}\n",
            json!({"format_version": 1, "config": whole["config"], "problems": whole["problems"]})
        ))?;
    } else {
        say(&preview::text(&whole))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says everything that is wrong.
pub fn validate(said: Said) -> Result<ExitCode, Failure> {
    let problems = said.settings.problems();
    if said.json {
        say(&format!(
            "{:#}\n",
            json!({"format_version": 1, "valid": problems.is_empty(), "problems": problems})
        ))?;
    } else {
        for problem in &problems {
            eprintln!("error: {}: {}", problem.setting, problem.message);
        }
        if problems.is_empty() {
            say("valid\n")?;
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { exit::CONFIG.into() })
}

/// Everything that is wrong as a failure.
pub fn check(said: &Said) -> Result<(), Failure> {
    let problems = said.settings.problems();
    let Some((last, others)) = problems.split_last() else { return Ok(()) };
    for problem in others {
        eprintln!("error: {}: {}", problem.setting, problem.message);
    }
    Err(Failure::config(format!("{}: {}", last.setting, last.message)))
}
