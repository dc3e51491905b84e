//! `reactorcide explain`: what an event would do, and why not more.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Kind, TrustAction};
use reactorcide_engine::explain::{Explanation, JobExplained, Occurrence, PipelineExplained, Runs, explain};
use reactorcide_engine::policy::Access;
use reactorcide_engine::suggest::nearest;
use serde_json::json;

use super::reach;
use crate::exit::{Exit, Failure};
use crate::report::printable;
use crate::settings::Settings;

const YES: Style = AnsiColor::Green.on_default();
const NO: Style = AnsiColor::Yellow.on_default();
const STRONG: Style = Style::new().bold();

const EXAMPLE: &str = r#"{"project": "web", "type": "push", "branch": "main", "origin": "base"}"#;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A JSON file with the event: project, type, branch, tag, changed_files, origin, actor; - is standard input
    #[arg(value_name = "EVENT.JSON")]
    event: PathBuf,
    /// As it would be once this saved plan is applied [default: as it is]
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Explains an event.
pub fn show(arguments: &ExplainArgs, settings: &Settings) -> Result<Exit, Failure> {
    let occurrence = read(arguments)?;
    let catalog = reach::catalog(arguments.plan.as_deref(), settings)?;
    if !catalog.contains_key(&Address::new(Kind::Project, None, &occurrence.project)) {
        let projects = catalog.keys().filter(|address| address.kind == Kind::Project);
        let near = nearest(&occurrence.project, projects.map(|address| address.name.as_str()));
        return Err(Failure::new(format!("there is no project {:?}", occurrence.project)).hint(match near {
            Some(near) => format!("did you mean {near}?"),
            None => "`reactorcide state list` lists what is applied".to_owned(),
        }));
    }
    let explanation = explain(&catalog, &occurrence);
    let mut stdout = crate::stdout::stdout();
    if arguments.json {
        let mut value = json!(explanation);
        value["format_version"] = json!(1);
        let _ = writeln!(stdout, "{value:#}");
    } else {
        let _ = print(&mut stdout, &explanation, &occurrence);
    }
    Ok(Exit::Success)
}

fn read(arguments: &ExplainArgs) -> Result<Occurrence, Failure> {
    let is_stdin = arguments.event.as_os_str() == "-";
    let shown = if is_stdin { "standard input".to_owned() } else { arguments.event.display().to_string() };
    let text = if is_stdin {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(&arguments.event)
    };
    let text = text.map_err(|error| {
        Failure::new(format!("cannot read {shown}: {error}"))
            .hint("name a file with an event, or - for standard input")
    })?;
    if serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| !value.is_object()) {
        return Err(Failure::new(format!("{shown} is not an event: it is no object"))
            .hint(format!("an event is {EXAMPLE}")));
    }
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("{shown} is not an event: {error}")).hint(format!("an event is {EXAMPLE}"))
    })
}

fn print(out: &mut impl Write, explanation: &Explanation, occurrence: &Occurrence) -> std::io::Result<()> {
    let trust = &explanation.trust;
    let decision = match trust.action {
        TrustAction::Run => "it may run",
        TrustAction::RequireApproval => "it waits for an approval",
        TrustAction::Refuse => "it is refused",
    };
    let ceiling =
        trust.profile.as_ref().map(|profile| format!(", under the profile {profile}")).unwrap_or_default();
    let rule = match &trust.rule {
        Some((policy, index)) => format!("rule {} of {policy}", index + 1),
        None => "no rule speaks of it".to_owned(),
    };
    writeln!(
        out,
        "{} from {}: {}",
        occurrence.kind.as_str(),
        occurrence.origin().as_str(),
        printable(&format!("{decision}{ceiling} ({rule})"))
    )?;
    if explanation.pipelines.is_empty() {
        writeln!(out, "The project {:?} has no pipelines.", occurrence.project)?;
    }
    for pipeline in &explanation.pipelines {
        self::pipeline(out, pipeline)?;
    }
    Ok(())
}

fn pipeline(out: &mut impl Write, explained: &PipelineExplained) -> std::io::Result<()> {
    writeln!(out)?;
    if !explained.not_started.is_empty() {
        let reasons = printable(&explained.not_started.join("; "));
        return writeln!(out, "{NO}-{NO:#} {}: not started: {reasons}", explained.pipeline);
    }
    writeln!(out, "{YES}+{YES:#} {STRONG}{}{STRONG:#}", explained.pipeline)?;
    for (name, job) in &explained.jobs {
        self::job(out, name, job)?;
    }
    Ok(())
}

fn job(out: &mut impl Write, name: &str, job: &JobExplained) -> std::io::Result<()> {
    let runs = match &job.runs {
        Runs::Yes => "runs".to_owned(),
        Runs::No { reason } => format!("does not run: {reason}"),
        Runs::Later { reason } => format!("may run: {reason}"),
    };
    writeln!(out, "    {name}: {}, profile {}", printable(&runs), job.profile)?;
    for (secret, access) in &job.secrets {
        match access {
            Access::Granted { policy, grant } => {
                writeln!(out, "        {YES}gets{YES:#} {secret}: {policy} #{}", grant + 1)?;
            }
            Access::Denied { reason } => {
                writeln!(out, "        {NO}does not get{NO:#} {secret}: {}", printable(reason))?;
            }
        }
    }
    Ok(())
}
