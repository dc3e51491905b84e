//! A store in memory: the fake beside the trait, for tests and for planning without any state.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Change, CommitError, Decide, Lineage, Operation, Revision, Snapshot, Store, StoreError};
use crate::address::Address;

/// A workspace in memory.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    lineage: Lineage,
    snapshot: Snapshot,
    changes: Vec<Change>,
    revisions: Vec<Revision>,
}

impl MemoryStore {
    /// An empty workspace.
    pub fn new(lineage: Lineage) -> Self {
        let inner =
            Inner { lineage, snapshot: Snapshot::default(), changes: Vec::new(), revisions: Vec::new() };
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(self.lock().snapshot.clone())
    }

    async fn commit(&self, decide: Decide<'_>) -> Result<Change, CommitError> {
        let mut inner = self.lock();
        let commit = decide(&inner.snapshot)?;
        inner.snapshot.lineage = Some(inner.lineage.clone());
        inner.snapshot.serial = commit.change.serial;
        for write in &commit.writes {
            inner.snapshot.heads.retain(|_, head| head.uid != write.head.uid);
        }
        for write in commit.writes {
            if write.operation != Operation::Delete {
                inner.snapshot.heads.insert(write.address.clone(), write.head.clone());
            }
            inner.revisions.push(Revision {
                change: commit.change.id.clone(),
                operation: write.operation,
                address: write.address,
                head: write.head,
            });
        }
        inner.changes.push(commit.change.clone());
        Ok(commit.change)
    }

    async fn history(&self, address: Option<&Address>, limit: u32) -> Result<Vec<Change>, StoreError> {
        let inner = self.lock();
        let touches = |change: &&Change| {
            address.is_none_or(|address| {
                inner.revisions.iter().any(|r| r.change == change.id && r.address == *address)
            })
        };
        Ok(inner.changes.iter().rev().filter(touches).take(limit as usize).cloned().collect())
    }

    async fn change(&self, id: &str) -> Result<Option<(Change, Vec<Revision>)>, StoreError> {
        let inner = self.lock();
        let mut found = inner.changes.iter().filter(|change| !id.is_empty() && change.id.0.starts_with(id));
        let (Some(change), None) = (found.next(), found.next()) else { return Ok(None) };
        let mut revisions: Vec<_> =
            inner.revisions.iter().filter(|revision| revision.change == change.id).cloned().collect();
        revisions.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(Some((change.clone(), revisions)))
    }

    async fn revisions(&self, address: &Address) -> Result<Vec<Revision>, StoreError> {
        Ok(self.lock().revisions.iter().filter(|revision| revision.address == *address).cloned().collect())
    }
}
