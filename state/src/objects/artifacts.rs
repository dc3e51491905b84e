//! The engine's store of artifacts: content in a storage, rows in a database.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::StreamExt;
use object_store::path::Path;
use reactorcide_engine::artifacts::{
    Artifact, ArtifactError, ArtifactStore, Content, Filter, NewArtifact, check_name,
};
use reactorcide_engine::scheduler::Millis;
use sha2::{Digest, Sha256};

use super::{Storage, name};
use crate::artifacts::{PostgresRows, Rows, SqliteRows};
use crate::state::State;

/// What all content is below.
const ARTIFACTS: &str = "artifacts";

/// Artifacts and caches.
pub struct Artifacts {
    storage: Storage,
    rows: Arc<dyn Rows>,
}

impl Artifacts {
    /// Those that a state knows, with their content in a storage.
    pub fn new(storage: &Storage, state: &State) -> Self {
        let rows: Arc<dyn Rows> = match state {
            State::Sqlite(database) => Arc::new(SqliteRows::new(database.clone())),
            State::Postgres(database) => Arc::new(PostgresRows::new(database.clone())),
        };
        Self { storage: storage.clone(), rows }
    }

    /// Writes content, and tells its size and SHA-256. Where it is refused, nothing is there.
    async fn write(&self, new: &NewArtifact, mut content: Content) -> Result<(u64, String), ArtifactError> {
        let name = || new.name.clone();
        let mut writer = self.storage.writer(object(&new.id));
        let mut digest = Sha256::new();
        let mut size = 0_u64;
        let read = async {
            while let Some(piece) = content.next().await {
                let piece = piece.map_err(|source| ArtifactError::Content { name: name(), source })?;
                size += piece.len() as u64;
                if size > new.limit {
                    return Err(ArtifactError::TooLarge { name: name(), limit: new.limit });
                }
                digest.update(&piece);
                writer.write(piece).await?;
            }
            let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            match new.sha256.clone().filter(|expected| *expected != found) {
                Some(expected) => Err(ArtifactError::Checksum { name: name(), expected, found }),
                None => Ok(found),
            }
        };
        match read.await {
            Ok(sha256) => {
                writer.finish().await?;
                Ok((size, sha256))
            }
            Err(error) => {
                // What is wrong with the content is what counts.
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl ArtifactStore for Artifacts {
    async fn put(&self, new: &NewArtifact, content: Content) -> Result<Artifact, ArtifactError> {
        check_name(&new.name)?;
        let (size, sha256) = self.write(new, content).await?;
        let artifact = new.with_content(size, sha256);
        let Some(there) = self.rows.insert(&artifact).await? else { return Ok(artifact) };
        self.storage.remove(vec![object(&new.id)]).await?;
        if there.sha256 == artifact.sha256 {
            return Ok(there);
        }
        Err(ArtifactError::Taken { kind: new.kind, name: new.name.clone() })
    }

    async fn get(&self, id: &str, range: Option<Range<u64>>) -> Result<Option<Content>, ArtifactError> {
        let Some(artifact) = self.rows.find(id).await? else { return Ok(None) };
        let range = range.map(|range| range.start..range.end.min(artifact.size));
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(Some(futures_util::stream::empty().boxed()));
        }
        Ok(self.storage.stream(&object(id), range).await?)
    }

    async fn stat(&self, id: &str) -> Result<Option<Artifact>, ArtifactError> {
        Ok(self.rows.find(id).await?)
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Artifact>, ArtifactError> {
        Ok(self.rows.list(filter).await?)
    }

    async fn remove(&self, id: &str) -> Result<(), ArtifactError> {
        // The row first: what can be found is there.
        self.rows.delete(id).await?;
        Ok(self.storage.remove(vec![object(id)]).await?)
    }

    async fn remove_unreferenced(&self, before: Millis) -> Result<Vec<String>, ArtifactError> {
        let below = Path::from(ARTIFACTS);
        let old = self.storage.list(&below).await?;
        let old = old.into_iter().filter(|object| object.last_modified.timestamp_millis() < before);
        let old: Vec<(String, Path)> = old
            .filter_map(|object| Some((name::unescape(object.location.filename()?)?, object.location)))
            .collect();
        let mut removed = Vec::new();
        for batch in old.chunks(256) {
            let ids: Vec<&str> = batch.iter().map(|(id, _)| id.as_str()).collect();
            let known: BTreeSet<String> = self.rows.known(&ids).await?.into_iter().collect();
            let nobodys: Vec<_> = batch.iter().filter(|(id, _)| !known.contains(id)).collect();
            if !nobodys.is_empty() {
                self.storage.remove(nobodys.iter().map(|(_, path)| path.clone()).collect()).await?;
                removed.extend(nobodys.into_iter().map(|(_, path)| path.to_string()));
            }
        }
        let time = UNIX_EPOCH + Duration::from_millis(before.try_into().unwrap_or(0));
        removed.extend(self.storage.remove_unfinished(&below, time).await?);
        Ok(removed)
    }
}

/// Where the content of an artifact is.
fn object(id: &str) -> Path {
    Path::from(ARTIFACTS).join(name::escape_all(id))
}
