//! An audit log in memory, for tests.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{AuditLog, Draft, Entry, Filter, Head, chain};
use crate::store::StoreError;

/// An audit log in memory.
#[derive(Debug, Default)]
pub struct MemoryAudit {
    entries: Mutex<Vec<Entry>>,
}

impl MemoryAudit {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn head_of(entries: &[Entry]) -> Head {
    entries.last().map_or(Head::EMPTY, |entry| Head { seq: entry.seq, hash: entry.hash })
}

#[async_trait]
impl AuditLog for MemoryAudit {
    async fn append(&self, drafts: &[Draft]) -> Result<Head, StoreError> {
        Ok(self.with(|entries| {
            entries.extend(chain(head_of(entries), drafts));
            head_of(entries)
        }))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        Ok(self.with(|entries| head_of(entries)))
    }

    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let follow = |entries: &mut Vec<Entry>| {
            let follow = entries.iter().filter(|entry| entry.seq > after);
            follow.take(limit as usize).cloned().collect()
        };
        Ok(self.with(follow))
    }

    async fn search(&self, filter: &Filter, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let found = |entries: &mut Vec<Entry>| {
            let found = entries.iter().rev().filter(|entry| filter.admits(entry));
            found.take(limit as usize).cloned().collect()
        };
        Ok(self.with(found))
    }
}
