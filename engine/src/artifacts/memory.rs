//! Artifacts in memory, for tests.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::{Artifact, ArtifactError, ArtifactKind, ArtifactStore, Content, Filter, NewArtifact, check_name};
use crate::scheduler::Millis;

/// Artifacts in memory.
#[derive(Debug, Default)]
pub struct MemoryArtifacts {
    all: Mutex<Vec<(Artifact, Bytes)>>,
}

impl MemoryArtifacts {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<(Artifact, Bytes)>) -> T) -> T {
        work(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether two have the same name in the same place.
fn collide(one: &Artifact, other: &Artifact) -> bool {
    let place = |of: &Artifact| (of.run.clone(), of.node.clone(), of.attempt);
    one.kind == other.kind
        && one.name == other.name
        && match one.kind {
            ArtifactKind::Artifact => place(one) == place(other),
            ArtifactKind::Cache => {
                let labels = |of: &Artifact| (of.trusted, of.secretless);
                one.namespace == other.namespace && labels(one) == labels(other)
            }
        }
}

#[async_trait]
impl ArtifactStore for MemoryArtifacts {
    async fn put(&self, new: &NewArtifact, mut content: Content) -> Result<Artifact, ArtifactError> {
        check_name(&new.name)?;
        let name = || new.name.clone();
        let mut bytes = Vec::new();
        while let Some(piece) = content.next().await {
            bytes
                .extend_from_slice(&piece.map_err(|source| ArtifactError::Content { name: name(), source })?);
            if bytes.len() as u64 > new.limit {
                return Err(ArtifactError::TooLarge { name: name(), limit: new.limit });
            }
        }
        let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(expected) = new.sha256.clone().filter(|expected| *expected != found) {
            return Err(ArtifactError::Checksum { name: name(), expected, found });
        }
        let artifact = new.with_content(bytes.len() as u64, found);
        self.with(|all| {
            let Some((there, _)) = all.iter().find(|(there, _)| collide(there, &artifact)) else {
                all.push((artifact.clone(), bytes.into()));
                return Ok(artifact);
            };
            if there.sha256 == artifact.sha256 {
                return Ok(there.clone());
            }
            Err(ArtifactError::Taken { kind: new.kind, name: name() })
        })
    }

    async fn get(&self, id: &str, range: Option<Range<u64>>) -> Result<Option<Content>, ArtifactError> {
        Ok(self.with(|all| {
            let (_, bytes) = all.iter().find(|(artifact, _)| artifact.id == id)?;
            let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let range = range.map_or(0..bytes.len(), |range| at(range.start)..at(range.end));
            let part = if range.start < range.end { bytes.slice(range) } else { Bytes::new() };
            Some(stream::iter([Ok(part)]).boxed())
        }))
    }

    async fn stat(&self, id: &str) -> Result<Option<Artifact>, ArtifactError> {
        Ok(self.with(|all| {
            all.iter().find(|(artifact, _)| artifact.id == id).map(|(artifact, _)| artifact.clone())
        }))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Artifact>, ArtifactError> {
        let mut found: Vec<Artifact> = self.with(|all| {
            let matching =
                all.iter().map(|(artifact, _)| artifact).filter(|artifact| filter.matches(artifact));
            matching.cloned().collect()
        });
        found.sort_by(|one, other| (other.created_at, &other.id).cmp(&(one.created_at, &one.id)));
        found.truncate(filter.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(found)
    }

    async fn remove(&self, id: &str) -> Result<(), ArtifactError> {
        self.with(|all| all.retain(|(artifact, _)| artifact.id != id));
        Ok(())
    }

    async fn remove_unreferenced(&self, _before: Millis) -> Result<Vec<String>, ArtifactError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::conformance;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        conformance::what_is_put_is_read_back(&MemoryArtifacts::default()).await;
        conformance::what_is_wrong_is_not_kept(&MemoryArtifacts::default()).await;
        conformance::a_name_stands_for_one_content(&MemoryArtifacts::default()).await;
        conformance::those_that_match_are_listed_newest_first(&MemoryArtifacts::default()).await;
    }
}
