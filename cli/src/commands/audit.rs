//! `reactorcide audit`: who did what on a server, and whether the log of it is whole.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use reactorcide_server::api::{AuditHead, AuditRow, Verified};

use super::jobs::print;
use crate::client::{self, Client};
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
        #[arg(long, value_name = "HEAD")]
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

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// Does what is asked.
pub fn audit(arguments: &AuditArgs, settings: &Settings) -> Result<Exit, Failure> {
    let client = Client::needed(settings)?;
    client::block_on(async {
        match &arguments.command {
            AuditCommand::List(arguments) => list(&client, arguments).await,
            AuditCommand::Verify { kept, json } => verify(&client, kept.as_deref(), *json).await,
            AuditCommand::Head => {
                let head: AuditHead = client.get("/audit/head", &[]).await?;
                print([head.head])
            }
            AuditCommand::Export { after, out } => export(&client, *after, out.as_ref()).await,
        }
    })
}

async fn list(client: &Client, arguments: &ListArgs) -> Result<Exit, Failure> {
    let mut query = Vec::new();
    query.extend(arguments.actor.clone().map(|actor| ("actor", actor)));
    query.extend(arguments.action.clone().map(|action| ("action", action)));
    query.extend(arguments.target.clone().map(|target| ("target", target)));
    query.extend(arguments.outcome.map(|outcome| ("outcome", outcome.word().to_owned())));
    let rows: Vec<AuditRow> = client.all("/audit", &query, arguments.limit).await?;
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

/// Walks the log piece by piece, as the server does it.
async fn verify(client: &Client, kept: Option<&str>, json: bool) -> Result<Exit, Failure> {
    let mut after: Option<String> = None;
    let found = loop {
        let mut query = Vec::new();
        query.extend(after.clone().map(|after| ("after", after)));
        query.extend(kept.map(|kept| ("kept", kept.to_owned())));
        let found: Verified = client.get("/audit/verify", &query).await?;
        if found.complete || !found.intact {
            break found;
        }
        after = Some(found.head);
    };
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

async fn export(client: &Client, after: u64, out: Option<&PathBuf>) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("the export cannot be written: {error}"));
    let mut file = out.map(fs::File::create).transpose().map_err(failed)?;
    let mut after = Some(after);
    let mut entries = 0;
    while let Some(from) = after {
        let query = [("after", from.to_string())];
        let response = client.bytes("/audit/export", &query, "application/x-ndjson").await?;
        after = response.headers().get("x-next-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes =
            response.bytes().await.map_err(|error| Failure::new(format!("the export broke off: {error}")))?;
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
