//! `reactorcide queue`: what waits on a server, where in its line, and why.

use clap::{Args, Subcommand};
use reactorcide_server::api::{Page, QueueEntry};

use super::jobs::print;
use crate::client::{self, Client};
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;

/// Options of `queue`.
#[derive(Debug, Args)]
pub struct QueueArgs {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// Show what waits and what runs, in the order of the projects' lines
    Show {
        /// Only what is of this project
        #[arg(long)]
        project: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// How many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
}

/// Shows the queue.
pub fn queue(arguments: &QueueArgs, settings: &Settings) -> Result<Exit, Failure> {
    let QueueCommand::Show { project, json, limit } = &arguments.command;
    let client = Client::needed(settings)?;
    client::block_on(async {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(project.clone().map(|project| ("project", project)));
        let page: Page<QueueEntry> = client.get("/queue", &query).await?;
        print(page.items.iter().map(|entry| {
            if *json {
                return serde_json::to_string(entry).unwrap_or_default();
            }
            let short = entry.run.get(entry.run.len().saturating_sub(8)..).unwrap_or(&entry.run);
            let job = format!("{}/{} {}", safe(&entry.project), short, safe(&entry.job));
            format!("{:<8} {job:<40} waits for {}", entry.status, safe(&entry.waits_for))
        }))
    })
}
