//! `reactorcide validate`: every error of a configuration at once.

use std::io::Write;

use clap::Args;
use reactorcide_engine::diagnostic::Severity;
use reactorcide_engine::read::Reading;
use serde_json::json;

use crate::config_files::Files;
use crate::exit::{Exit, Failure};
use crate::report;
use crate::settings::Settings;

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Checks the configuration. Exit 1 where it has errors; warnings alone are no failure.
pub fn validate(arguments: &ValidateArgs, settings: &Settings) -> Result<Exit, Failure> {
    let Reading { configuration, diagnostics } = Files::of(settings)?.read()?;
    let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    let (resources, files) = (configuration.resources.len(), configuration.sources.len());
    let mut stdout = crate::stdout::stdout();
    if arguments.json {
        let shown: Vec<_> =
            diagnostics.iter().map(|one| report::to_json(one, &configuration.sources)).collect();
        let answer = json!({
            "version": 1, "ok": errors == 0, "resources": resources, "files": files, "diagnostics": shown,
        });
        let _ = writeln!(stdout, "{answer:#}");
    } else {
        report::diagnostics(&diagnostics, &configuration.sources);
        let also =
            if warnings > 0 { format!(", {}", report::count(warnings, "warning")) } else { String::new() };
        if errors == 0 {
            let (resources, files) = (report::count(resources, "resource"), report::count(files, "file"));
            let _ = writeln!(stdout, "ok: {resources} in {files}{also}");
        } else {
            let _ = writeln!(anstream::stderr(), "{}{also}", report::count(errors, "error"));
        }
    }
    Ok(if errors == 0 { Exit::Success } else { Exit::Failed })
}
