//! `reactorcide history`: every apply, newest first.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::state::{not_applied, parse_address};
use crate::exit::{Exit, Failure};
use crate::report::{count, printable};
use crate::settings::Settings;
use crate::{applied, time, workspace};

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only the changes of one resource
    address: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists the changes.
pub fn history(arguments: &HistoryArgs, settings: &Settings) -> Result<Exit, Failure> {
    let address = arguments.address.as_deref().map(parse_address).transpose()?;
    let (changes, compactions) = applied::block_on(async {
        let Some(workspace) = workspace::open(settings).await? else { return Ok(Default::default()) };
        let changes = workspace.history(address.as_ref(), arguments.limit).await?;
        if let Some(address) = address.as_ref().filter(|_| changes.is_empty()) {
            return Err(not_applied(address, &workspace.snapshot().await?));
        }
        let compactions = workspace.compactions().await?;
        Ok((changes, compactions))
    })?;
    let mut stdout = crate::stdout::stdout();
    if arguments.json {
        let _ =
            writeln!(stdout, "{:#}", json!({"version": 1, "changes": changes, "compactions": compactions}));
        return Ok(Exit::Success);
    }
    if changes.is_empty() {
        let _ = writeln!(stdout, "No changes were applied.");
    }
    let told_from = compactions.iter().map(|one| one.until).max().unwrap_or_default();
    for change in changes {
        let counts = change.counts;
        let renamed = if counts.rename > 0 { format!(", {} renamed", counts.rename) } else { String::new() };
        let message = change.author.message.map(|message| format!("  {message}")).unwrap_or_default();
        let commit = change.author.commit.map(|commit| format!("  commit {commit}")).unwrap_or_default();
        let forgotten =
            if change.serial < told_from { "  (forgotten but for what is still there)" } else { "" };
        let line = format!(
            "{:>4}  {}  {}  {}  {} created, {} updated{renamed}, {} deleted{forgotten}{commit}{message}",
            change.serial,
            change.id,
            time::timestamp(change.at),
            change.author.actor,
            counts.create,
            counts.update,
            counts.delete
        );
        let _ = writeln!(stdout, "{}", printable(&line));
    }
    for one in compactions {
        let line = format!(
            "forgotten {} by {}: {} up to change {}",
            time::timestamp(one.at),
            one.actor,
            count(usize::try_from(one.changes).unwrap_or(usize::MAX), "change"),
            one.until
        );
        let _ = writeln!(stdout, "{}", printable(&line));
    }
    Ok(Exit::Success)
}
