//! `reactorcide reach`: who can read which secret, and through which grant.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Kind};
use reactorcide_engine::plan::lines;
use reactorcide_engine::policy::{ReachRow, grants_of, reach};
use reactorcide_engine::suggest::nearest;
use serde_json::{Value, json};

use super::plan;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::{applied, workspace};

/// Arguments of `reach`.
#[derive(Debug, Args)]
pub struct ReachArgs {
    /// Only this secret, by its name or address
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// As it would be once this saved plan is applied [default: as it is]
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows the reach table.
pub fn show(arguments: &ReachArgs, settings: &Settings) -> Result<Exit, Failure> {
    let catalog = catalog(arguments.plan.as_deref(), settings)?;
    if let Some(secret) = &arguments.secret {
        check_secret(&catalog, secret)?;
    }
    let wanted = |row: &ReachRow| {
        arguments
            .secret
            .as_deref()
            .is_none_or(|secret| row.secret.name == secret || row.secret.to_string() == secret)
    };
    let rows: Vec<ReachRow> = reach(&catalog).into_iter().filter(wanted).collect();
    let mut stdout = crate::stdout::stdout();
    if arguments.json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| {
                let mut value = serde_json::to_value(row).unwrap_or_default();
                value["grants"] = grants_of(&catalog, row)
                    .into_iter()
                    .map(|(policy, grant)| json!({"policy": policy, "grant": grant}))
                    .collect();
                value
            })
            .collect();
        let _ = writeln!(stdout, "{:#}", json!({"format_version": 1, "reach": rows}));
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        let of = arguments.secret.as_ref().map(|secret| format!(" {secret:?}")).unwrap_or_default();
        let _ = writeln!(
            stdout,
            "No job can reach {}.",
            if of.is_empty() { "a secret".to_owned() } else { format!("the secret{of}") }
        );
    }
    for row in &rows {
        let grants: Vec<String> = grants_of(&catalog, row)
            .into_iter()
            .map(|(policy, grant)| format!("{policy} #{}", grant + 1))
            .collect();
        let _ = writeln!(stdout, "{}\n    granted by {}", lines::reach(row), grants.join(", "));
    }
    Ok(Exit::Success)
}

/// A question about a secret that is not there has no answer.
fn check_secret(catalog: &Catalog, secret: &str) -> Result<(), Failure> {
    let known: Vec<&Address> = catalog.keys().filter(|address| address.kind == Kind::Secret).collect();
    if known.iter().any(|address| address.name == secret || address.to_string() == secret) {
        return Ok(());
    }
    let near = nearest(secret, known.iter().map(|address| address.name.as_str()));
    Err(Failure::new(format!("there is no secret {secret:?}")).hint(match near {
        Some(near) => format!("did you mean {near}?"),
        None => "`reactorcide state list` lists what is applied".to_owned(),
    }))
}

/// What is applied, or would be once a plan is.
pub fn catalog(plan: Option<&std::path::Path>, settings: &Settings) -> Result<Catalog, Failure> {
    let snapshot = applied::block_on(workspace::snapshot(settings))?;
    let catalog = match plan {
        Some(path) => reactorcide_engine::plan::after(&plan::read_file(path)?, &snapshot),
        None => reactorcide_engine::plan::applied(&snapshot),
    };
    catalog.map_err(|error| plan::unreadable(&error))
}
