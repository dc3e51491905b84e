//! `reactorcide workers`: the workers of a server.

use clap::{Args, Subcommand};
use reactorcide_engine::workers::{Health, human};
use reactorcide_server::api::{Page, WorkerRow};
use serde_json::{Value, json};

use super::jobs::print;
use super::runs::escape;
use crate::client::{self, Client};
use crate::exit::{Exit, Failure};
use crate::output::{duration, safe};
use crate::settings::Settings;
use crate::time;

/// Options of `workers`.
#[derive(Debug, Args)]
pub struct WorkersArgs {
    #[command(subcommand)]
    command: WorkersCommand,
}

#[derive(Debug, Subcommand)]
enum WorkersCommand {
    /// List workers
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a worker and how its machine is
    Show {
        /// The worker
        worker: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a worker end what it has, and give it no more
    Drain {
        /// The worker
        worker: String,
    },
    /// Let a worker take jobs again
    Enable {
        /// The worker
        worker: String,
    },
    /// Refuse a worker from now on
    Disable {
        /// The worker
        worker: String,
    },
    /// Forget a worker that has no jobs
    Remove {
        /// The worker
        worker: String,
    },
}

/// Does what is asked.
pub fn workers(arguments: &WorkersArgs, settings: &Settings) -> Result<Exit, Failure> {
    let client = Client::needed(settings)?;
    client::block_on(async {
        let direct = |worker: &str, what: &str| format!("/workers/{}/{what}", escape(worker));
        match &arguments.command {
            WorkersCommand::List { json } => {
                let page: Page<WorkerRow> = client.get("/workers", &[]).await?;
                print(page.items.iter().map(|row| {
                    if *json { serde_json::to_string(row).unwrap_or_default() } else { line(row) }
                }))
            }
            WorkersCommand::Show { worker, json } => {
                let row: WorkerRow = client.get(&format!("/workers/{}", escape(worker)), &[]).await?;
                if *json {
                    print([serde_json::to_string_pretty(&row).unwrap_or_default()])
                } else {
                    print(std::iter::once(line(&row)).chain(machine(&row)))
                }
            }
            WorkersCommand::Drain { worker } => post(&client, &direct(worker, "drain")).await,
            WorkersCommand::Enable { worker } => post(&client, &direct(worker, "enable")).await,
            WorkersCommand::Disable { worker } => post(&client, &direct(worker, "disable")).await,
            WorkersCommand::Remove { worker } => {
                client.delete(&format!("/workers/{}", escape(worker))).await.map(|()| Exit::Success)
            }
        }
    })
}

async fn post(client: &Client, path: &str) -> Result<Exit, Failure> {
    let _: Value = client.post(path, &json!({})).await?;
    Ok(Exit::Success)
}

fn line(row: &WorkerRow) -> String {
    let labels: Vec<String> = row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let now = i64::try_from(time::now()).unwrap_or(i64::MAX);
    let pool = row.pool.as_deref().map_or_else(String::new, |pool| format!(" pool {}", safe(pool)));
    format!(
        "{:<20} {:<9} {}/{} busy  seen {} ago  {}{pool}  {}",
        safe(&row.name),
        match health(row).refuses {
            _ if !row.present => "gone",
            Some(_) => "full",
            None => row.status.as_str(),
        },
        row.busy,
        row.slots,
        duration((now - row.seen_at).max(0)),
        safe(&row.provider),
        safe(&labels.join(" ")),
    )
}

/// How it says that it is; nothing where it does not.
fn health(row: &WorkerRow) -> Health {
    row.health.clone().and_then(|health| serde_json::from_value(health).ok()).unwrap_or_default()
}

fn machine(row: &WorkerRow) -> Vec<String> {
    let health = health(row);
    let of = |part: Option<u64>, whole: Option<u64>| {
        part.zip(whole).map(|(part, whole)| format!("{} of {}", human(part), human(whole)))
    };
    let load =
        health.load.zip(health.processors).map(|(load, count)| format!("{load:.2} on {count} processors"));
    let known = [
        ("load", load),
        ("memory free", of(health.memory_available, health.memory_total)),
        ("disk free", of(health.disk_free, health.disk_total)),
        ("takes no jobs", health.refuses.map(|reason| safe(&reason).to_string())),
        ("version", Some(safe(&row.version).to_string())),
    ];
    known.into_iter().filter_map(|(name, value)| Some(format!("  {name:<13} {}", value?))).collect()
}
