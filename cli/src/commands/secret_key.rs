//! `reactorcide secret-key`: the data keys that values are sealed with, and the master keys that wrap those.

use clap::{Args, Subcommand};

use super::jobs::print;
use super::secret::Place;
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;
use crate::vault::{Make, VaultArgs};
use crate::{client, report, time};

/// Options of `secret-key`.
#[derive(Debug, Args)]
pub struct SecretKeyArgs {
    #[command(subcommand)]
    command: SecretKeyCommand,
}

#[derive(Debug, Subcommand)]
enum SecretKeyCommand {
    /// List keys: which master key wraps which data key, and how many values use it
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Make a new data key, wrapped by the first master key, and seal every value with it; values can be read meanwhile
    Rotate {
        #[command(flatten)]
        vault: VaultArgs,
    },
    /// Forget a data key that no value uses; or say that a master key is not needed any more
    Retire {
        /// The key, as `list` names it
        id: String,
        #[command(flatten)]
        vault: VaultArgs,
    },
}

/// Does what is asked.
pub fn secret_key(arguments: &SecretKeyArgs, settings: &Settings) -> Result<Exit, Failure> {
    client::block_on(act(&arguments.command, settings))
}

async fn act(command: &SecretKeyCommand, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        SecretKeyCommand::List { json, vault } => {
            let keys = Place::open(settings, vault, Make::Nothing).await?.keys().await?;
            if *json {
                return print([serde_json::to_string(&keys).unwrap_or_default()]);
            }
            let masters = keys.masters.iter().map(|one| {
                let is_there = match (one.first, one.given) {
                    (true, _) => ", wraps new ones",
                    (false, true) => "",
                    (false, false) => ", was not given",
                };
                let count = report::count(usize::try_from(one.wraps).unwrap_or(usize::MAX), "data key");
                format!("master {}  wraps {count}{is_there}", safe(&one.id))
            });
            let data = keys.keys.iter().map(|one| {
                let at = time::timestamp(u64::try_from(one.created_at).unwrap_or_default());
                let count = report::count(usize::try_from(one.values).unwrap_or(usize::MAX), "value");
                let current = if one.current { ", seals new ones" } else { "" };
                format!("data   {}  by {}  made {at}  {count}{current}", safe(&one.id), safe(&one.master))
            });
            print(masters.chain(data).collect::<Vec<_>>())
        }
        SecretKeyCommand::Rotate { vault } => {
            let rotated = Place::open(settings, vault, Make::Missing).await?.rotate_keys().await?;
            let count = report::count(usize::try_from(rotated.resealed).unwrap_or(usize::MAX), "value");
            report::note(&format!(
                "{count} sealed anew with {}, by {}",
                safe(&rotated.id),
                safe(&rotated.master)
            ));
            if let [first, ..] = rotated.damaged.as_slice() {
                let count = report::count(rotated.damaged.len(), "value");
                return Err(Failure::new(format!(
                    "{count} did not open and stayed as it was: {}",
                    safe(first)
                ))
                .hint("`reactorcide audit verify` says what else was changed; set it anew"));
            }
            report::note("`reactorcide secret-key list` shows the old ones, `retire` forgets them");
            Ok(Exit::Success)
        }
        SecretKeyCommand::Retire { id, vault } => {
            let retired = Place::open(settings, vault, Make::Nothing).await?.retire_key(id).await?;
            let id = safe(&retired.id);
            report::note(&match retired.kind.as_str() {
                "master" => format!("nothing needs the master key {id}: take it from the settings"),
                _ => format!("the data key {id} is forgotten"),
            });
            Ok(Exit::Success)
        }
    }
}
