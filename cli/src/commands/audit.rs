//! `reactorcide audit`: who did what, and whether the log of it is whole. Of a server, or of a state on this machine.

mod log;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use reactorcide_server::api::{AuditRow, OutcomeWord};

use self::log::{Log, Wanted};
use super::jobs::print;
use crate::client;
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;
use crate::{report, time};

/// Options of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List what was done, newest first
    List(ListArgs),
    /// Walk the whole log, and see whether each entry is as it was written
    Verify {
        /// An end of the log that was kept elsewhere, NUMBER:HASH: shows whether entries were cut off or written anew
        #[arg(long, visible_alias = "since-end", value_name = "HEAD")]
        kept: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print where the log ends, to be kept elsewhere
    Head,
    /// Write all entries as they are hashed, oldest first, a JSON object a line
    Export {
        /// Only those after this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
        /// The file to write [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// What this one did: user:ada, job:…, server
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// What needed this capability: config.apply, runs.start, …
    #[arg(long, value_name = "CAPABILITY")]
    action: Option<String>,
    /// What was done to this: an address, run/ID, an account
    #[arg(long, value_name = "WHAT")]
    target: Option<String>,
    /// How it ended
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    /// How many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Outcome {
    /// It was allowed, and done
    Done,
    /// It was not allowed
    Denied,
    /// It was allowed, and failed
    Failed,
}

impl From<Outcome> for OutcomeWord {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Denied => Self::Denied,
            Outcome::Failed => Self::Failed,
        }
    }
}

/// Does what is asked.
pub fn audit(arguments: &AuditArgs, settings: &Settings) -> Result<Exit, Failure> {
    client::block_on(async {
        let log = Log::open(settings).await?;
        match &arguments.command {
            AuditCommand::List(arguments) => list(&log, arguments).await,
            AuditCommand::Verify { kept, json } => verify(&log, kept.as_deref(), *json).await,
            AuditCommand::Head => print([log.head().await?]),
            AuditCommand::Export { after, out } => export(&log, *after, out.as_ref()).await,
        }
    })
}

async fn list(log: &Log, arguments: &ListArgs) -> Result<Exit, Failure> {
    let wanted = Wanted {
        actor: arguments.actor.clone(),
        action: arguments.action.clone(),
        target: arguments.target.clone(),
        outcome: arguments.outcome.map(OutcomeWord::from),
        limit: arguments.limit,
    };
    let rows = log.list(wanted).await?;
    print(
        rows.iter().map(|row| {
            if arguments.json { serde_json::to_string(row).unwrap_or_default() } else { line(row) }
        }),
    )
}

fn line(row: &AuditRow) -> String {
    let at = time::timestamp(u64::try_from(row.at).unwrap_or_default());
    let outcome = serde_json::to_value(row.outcome).unwrap_or_default();
    let detail = if row.detail.is_null() { String::new() } else { row.detail.to_string() };
    let line = format!(
        "{:>6}  {at}  {:<6}  {}  {}  {}  {}",
        row.seq,
        outcome.as_str().unwrap_or_default(),
        safe(&row.actor),
        safe(&row.action),
        safe(&row.target),
        safe(&detail)
    );
    line.trim_end().to_owned()
}

/// Walks the log, and says where it is broken.
async fn verify(log: &Log, kept: Option<&str>, json: bool) -> Result<Exit, Failure> {
    let found = log.verify(kept).await?;
    if json {
        print([serde_json::to_string(&found).unwrap_or_default()])?;
    } else if found.intact {
        print([format!("The log is whole up to {}.", found.head)])?;
    }
    if found.intact {
        return Ok(Exit::Success);
    }
    let at = found.broken_at.map_or_else(String::new, |at| format!(" at entry {at}"));
    let why = found.why.unwrap_or_else(|| "an entry is not as it was written".to_owned());
    Err(Failure::new(format!("the audit log is broken{at}: {why}"))
        .hint(format!("it is as it was written up to {}; compare what follows with an export", found.head)))
}

async fn export(log: &Log, after: u64, out: Option<&PathBuf>) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("the export cannot be written: {error}"));
    let mut file = out.map(fs::File::create).transpose().map_err(failed)?;
    let mut after = Some(after);
    let mut entries = 0;
    while let Some(from) = after {
        let (bytes, next) = log.export(from).await?;
        after = next;
        entries += bytes.iter().filter(|byte| **byte == b'\n').count();
        match &mut file {
            Some(file) => file.write_all(&bytes).map_err(failed)?,
            None => crate::stdout::stdout().write_all(&bytes).map_err(failed)?,
        }
    }
    if let Some(path) = out {
        let entries = if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
        report::note(&format!("{entries} in {}", path.display()));
    }
    Ok(Exit::Success)
}
