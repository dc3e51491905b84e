//! Where artifacts are: on a server, or beside the state of this directory.

use std::sync::Arc;

use futures_util::StreamExt;
use reactorcide_engine::artifacts::{ArtifactKind, ArtifactStore, Content, Filter};
use reactorcide_engine::runs::{RunFilter, RunStore};
use reactorcide_server::api::{ArtifactRow, Page};

use crate::applied;
use crate::client::Client;
use crate::commands::runs::{escape, resolve};
use crate::exit::Failure;
use crate::settings::Settings;
use crate::worker_host;

/// Where artifacts are.
pub enum Place {
    /// On a server.
    Server(Client),
    /// Here.
    Here {
        /// The runs.
        runs: Arc<dyn RunStore>,
        /// What they have kept.
        store: Arc<dyn ArtifactStore>,
    },
}

impl Place {
    /// On the server that commands go to, if they go to one.
    pub async fn open(settings: &Settings) -> Result<Self, Failure> {
        if let Some(client) = Client::wanted(settings)? {
            return Ok(Self::Server(client));
        }
        let Some(applied) = applied::open(settings).await? else {
            return Err(Failure::new("nothing was ever run here").hint("`reactorcide run PIPELINE`"));
        };
        let storage = worker_host::storage(settings)?;
        Ok(Self::Here { runs: applied.state.runs(), store: applied.state.artifacts(&storage) })
    }

    /// The id of a run, from the end of it.
    pub async fn run(&self, text: &str) -> Result<String, Failure> {
        let runs = match self {
            Self::Server(client) => return resolve(client, text).await,
            Self::Here { runs, .. } => runs,
        };
        let filter = RunFilter { id_end: Some(text.to_owned()), ..RunFilter::newest(2) };
        match runs.runs(&filter).await.map_err(applied::store_failure)?.as_slice() {
            [one] => Ok(one.id.clone()),
            [] => {
                Err(Failure::new(format!("there is no run {text:?}")).hint("`reactorcide runs` lists them"))
            }
            _ => Err(Failure::new(format!("{text:?} means several runs")).hint("give more of the id")),
        }
    }

    /// What a run, or a job of it, has kept.
    pub async fn list(&self, run: &str, job: Option<&str>) -> Result<Vec<ArtifactRow>, Failure> {
        match self {
            Self::Server(client) => {
                let path = match job {
                    Some(job) => format!("/runs/{run}/jobs/{}/artifacts", escape(job)),
                    None => format!("/runs/{run}/artifacts"),
                };
                let mut query = vec![("limit", "1000".to_owned())];
                let mut rows = Vec::new();
                loop {
                    let page: Page<ArtifactRow> = client.get(&path, &query).await?;
                    rows.extend(page.items);
                    let Some(next) = page.next else { return Ok(rows) };
                    query.truncate(1);
                    query.push(("cursor", next));
                }
            }
            Self::Here { store, .. } => {
                let filter = Filter {
                    kind: Some(ArtifactKind::Artifact),
                    run: Some(run.to_owned()),
                    node: job.map(str::to_owned),
                    ..Filter::default()
                };
                let found = store.list(&filter).await.map_err(|error| Failure::new(error.to_string()))?;
                let mut rows: Vec<ArtifactRow> = found.into_iter().map(ArtifactRow::from).collect();
                rows.sort_by(|one, other| {
                    (&one.job, one.attempt, &one.path).cmp(&(&other.job, other.attempt, &other.path))
                });
                Ok(rows)
            }
        }
    }

    /// The content of a file, from a byte on.
    pub async fn content(&self, row: &ArtifactRow, from: u64) -> Result<Content, Failure> {
        match self {
            Self::Server(client) => {
                let path = row.url.strip_prefix("/api/v1").unwrap_or(&row.url);
                let response = client.content(path, from).await?;
                Ok(response.bytes_stream().map(|piece| piece.map_err(std::io::Error::other)).boxed())
            }
            Self::Here { store, .. } => {
                let content = store.get(&row.id, Some(from..row.size)).await;
                let content = content.map_err(|error| Failure::new(error.to_string()))?;
                content.ok_or_else(|| Failure::new(format!("{:?} is gone", row.path)))
            }
        }
    }
}
