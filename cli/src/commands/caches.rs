//! `reactorcide caches`: what jobs have kept from one run to the next, on a server or from runs on this machine.

use std::sync::Arc;

use clap::{Args, Subcommand};
use reactorcide_engine::artifacts::{ArtifactKind, ArtifactStore, Filter, words_of_bytes};
use reactorcide_server::api::CacheRow;

use super::jobs::print;
use super::runs::escape;
use crate::client::{self, Client};
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;
use crate::{applied, report, time, worker_host};

/// Options of `caches`.
#[derive(Debug, Args)]
pub struct CachesArgs {
    #[command(subcommand)]
    command: CachesCommand,
}

#[derive(Debug, Subcommand)]
enum CachesCommand {
    /// List the caches that jobs have kept, newest first
    List {
        /// Only those of this project
        #[arg(long)]
        project: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// How many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Delete caches, so that the next jobs make new ones
    Delete {
        /// The caches, each by its id or the end of it
        #[arg(required = true, value_name = "CACHE")]
        caches: Vec<String>,
    },
}

/// Where caches are.
enum Place {
    /// On a server.
    Server(Client),
    /// Beside the state of this directory.
    Here(Arc<dyn ArtifactStore>),
}

/// Does what is asked.
pub fn caches(arguments: &CachesArgs, settings: &Settings) -> Result<Exit, Failure> {
    client::block_on(async {
        let place = Place::open(settings).await?;
        match &arguments.command {
            CachesCommand::List { project, json, limit } => {
                let rows = place.list(project.as_deref(), *limit).await?;
                print(rows.iter().map(|row| {
                    if *json { serde_json::to_string(row).unwrap_or_default() } else { line(row) }
                }))
            }
            CachesCommand::Delete { caches } => {
                let all = place.list(None, usize::MAX).await?;
                // All names are looked up first: one that is wrong deletes nothing.
                let found = caches.iter().map(|cache| find(&all, cache)).collect::<Result<Vec<_>, _>>()?;
                for row in found {
                    place.delete(row).await?;
                    report::note(&format!("deleted {} ({})", safe(&row.key), words_of_bytes(row.size)));
                }
                Ok(Exit::Success)
            }
        }
    })
}

fn find<'a>(all: &'a [CacheRow], text: &str) -> Result<&'a CacheRow, Failure> {
    let mut found = all.iter().filter(|row| row.id.ends_with(text));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Failure::new(format!("there is no cache {text:?}"))
            .hint("`reactorcide caches list` lists them with their ids")),
        (Some(_), Some(_)) => {
            Err(Failure::new(format!("{text:?} means several caches")).hint("give more of the id"))
        }
    }
}

fn line(row: &CacheRow) -> String {
    let of = match &row.project {
        Some(project) => format!("{} {}", safe(project), safe(&row.reference)),
        None => safe(&row.reference).to_string(),
    };
    let proposed = if row.trusted { "" } else { " (proposed code)" };
    let at = time::timestamp(row.created_at.unsigned_abs());
    let size = words_of_bytes(row.size);
    format!("{}  {at}  {size:>10}  {of:<24} {}{proposed}", safe(&row.id), safe(&row.key))
}

impl Place {
    async fn open(settings: &Settings) -> Result<Self, Failure> {
        if let Some(client) = Client::wanted(settings)? {
            return Ok(Self::Server(client));
        }
        let Some(applied) = applied::open(settings).await? else {
            return Err(Failure::new("nothing was ever run here").hint("`reactorcide run PIPELINE`"));
        };
        Ok(Self::Here(applied.state.artifacts(&worker_host::storage(settings)?)))
    }

    async fn list(&self, project: Option<&str>, limit: usize) -> Result<Vec<CacheRow>, Failure> {
        match self {
            Self::Server(client) => {
                let query: Vec<_> =
                    project.map(|project| ("project", project.to_owned())).into_iter().collect();
                client.all("/caches", &query, limit).await
            }
            Self::Here(store) => {
                let filter = Filter {
                    kind: Some(ArtifactKind::Cache),
                    project: project.map(str::to_owned),
                    limit: u32::try_from(limit).ok(),
                    ..Filter::default()
                };
                let found = store.list(&filter).await.map_err(|error| Failure::new(error.to_string()))?;
                Ok(found.into_iter().map(CacheRow::from).collect())
            }
        }
    }

    async fn delete(&self, row: &CacheRow) -> Result<(), Failure> {
        match self {
            Self::Server(client) => client.delete(&format!("/caches/{}", escape(&row.id))).await,
            Self::Here(store) => store.remove(&row.id).await.map_err(|error| Failure::new(error.to_string())),
        }
    }
}
