//! A store in memory: the fake beside the trait, for tests and for planning without any state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Change, ChangeId, CommitError, Compaction, Decide, Lineage, Operation, Revision, Snapshot, Store,
    StoreError, Uid,
};
use crate::address::Address;
use crate::outside::{
    self, Acquired, Entry, Goal, JournalLine, Lease, LeaseLost, Ledger, LedgerError, Object, Outward, Owed,
    TaskId, Void,
};

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
    lease: Option<(Lease, Duration)>,
    last_token: u64,
    journal: Vec<JournalLine>,
    compactions: Vec<Compaction>,
    /// The clock of leases, which stands still unless it is moved.
    clock: Duration,
}

impl Inner {
    fn owe(&mut self, outward: Outward) {
        let Snapshot { objects, owed, .. } = &mut self.snapshot;
        for (uid, place) in outward.forgotten {
            objects.retain(|object| object.uid != uid || object.place != place);
            owed.retain(|owed| owed.uid != uid || owed.place != place);
        }
        for task in outward.owed {
            owed.retain(|older| older.place != task.place);
            // An object has one owner: who makes it what it is.
            objects.retain(|object| {
                object.place != task.place || object.uid == task.uid || task.goal == Goal::Remove
            });
            if !objects.iter().any(|object| object.uid == task.uid && object.place == task.place) {
                let (uid, place) = (task.uid.clone(), task.place.clone());
                objects.push(Object { uid, place, begun: false, applied: None, tried: None });
            }
            owed.push(task);
        }
        objects.sort_by(|a, b| (&a.uid, &a.place).cmp(&(&b.uid, &b.place)));
    }

    fn is_held(&self, lease: &Lease) -> Result<(), LeaseLost> {
        let held = self.lease.as_ref().is_some_and(|(held, _)| held == lease);
        if held { Ok(()) } else { Err(LeaseLost) }
    }
}

impl MemoryStore {
    /// An empty workspace.
    pub fn new(lineage: Lineage) -> Self {
        let inner = Inner {
            lineage,
            snapshot: Snapshot::default(),
            changes: Vec::new(),
            revisions: Vec::new(),
            lease: None,
            last_token: 0,
            journal: Vec::new(),
            compactions: Vec::new(),
            clock: Duration::ZERO,
        };
        Self { inner: Mutex::new(inner) }
    }

    /// Moves the clock of leases on.
    pub fn advance(&self, time: Duration) {
        self.lock().clock += time;
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
        inner.owe(commit.outward);
        inner.changes.push(commit.change.clone());
        Ok(commit.change)
    }

    async fn compact(&self, compaction: &Compaction) -> Result<Compaction, StoreError> {
        let mut inner = self.lock();
        let Inner { changes, revisions, .. } = &mut *inner;
        let old: BTreeSet<ChangeId> =
            changes.iter().filter(|c| c.serial <= compaction.until).map(|c| c.id.clone()).collect();
        let mut newest: BTreeMap<Uid, u64> = BTreeMap::new();
        for revision in revisions.iter().filter(|revision| old.contains(&revision.change)) {
            newest.insert(revision.head.uid.clone(), revision.head.generation);
        }
        let before = (changes.len(), revisions.len());
        revisions.retain(|revision| {
            let is_last = newest.get(&revision.head.uid) == Some(&revision.head.generation);
            !old.contains(&revision.change) || is_last && revision.operation != Operation::Delete
        });
        let left: BTreeSet<&ChangeId> = revisions.iter().map(|revision| &revision.change).collect();
        changes.retain(|change| change.serial >= compaction.until || left.contains(&change.id));
        let done = Compaction {
            changes: (before.0 - changes.len()) as u64,
            revisions: (before.1 - revisions.len()) as u64,
            ..compaction.clone()
        };
        inner.journal.retain(|line| line.task.serial > done.until);
        if (done.revisions, done.changes) != (0, 0) {
            inner.compactions.insert(0, done.clone());
        }
        Ok(done)
    }

    async fn compactions(&self) -> Result<Vec<Compaction>, StoreError> {
        Ok(self.lock().compactions.clone())
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

#[async_trait]
impl Ledger for MemoryStore {
    async fn owed(&self) -> Result<Vec<Owed>, StoreError> {
        Ok(self.lock().snapshot.owed.clone())
    }

    async fn objects(&self) -> Result<Vec<Object>, StoreError> {
        Ok(self.lock().snapshot.objects.clone())
    }

    async fn acquire(
        &self,
        holder: &str,
        time: Duration,
        is_gone: &(dyn for<'a> Fn(&'a str) -> bool + Send + Sync),
    ) -> Result<Acquired, StoreError> {
        let mut inner = self.lock();
        if let Some((held, until)) = &inner.lease
            && held.holder != holder
            && *until > inner.clock
            && !is_gone(&held.holder)
        {
            return Ok(Acquired::Held { holder: held.holder.clone(), remaining: *until - inner.clock });
        }
        inner.last_token += 1;
        let lease = Lease { holder: holder.to_owned(), token: inner.last_token };
        inner.lease = Some((lease.clone(), inner.clock + time));
        Ok(Acquired::Ours(lease))
    }

    async fn renew(&self, lease: &Lease, time: Duration) -> Result<(), LedgerError> {
        let mut inner = self.lock();
        inner.is_held(lease)?;
        inner.lease = Some((lease.clone(), inner.clock + time));
        Ok(())
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.is_held(lease).is_ok() {
            inner.lease = None;
        }
        Ok(())
    }

    async fn write(&self, lease: &Lease, task: TaskId, at: u64, entry: &Entry) -> Result<(), LedgerError> {
        let mut inner = self.lock();
        inner.is_held(lease)?;
        let Some(index) = inner.snapshot.owed.iter().position(|owed| owed.id == task) else {
            return Err(Void.into());
        };
        inner.journal.push(JournalLine { task, at, token: lease.token, entry: entry.clone() });
        let Snapshot { objects, owed, .. } = &mut inner.snapshot;
        let is_it = |object: &&mut Object| object.uid == owed[index].uid && object.place == owed[index].place;
        match entry {
            Entry::Begun(_) => {
                for object in objects.iter_mut().filter(is_it) {
                    object.begun = true;
                    if owed[index].goal == Goal::Put {
                        object.tried = outside::tried(object.tried.as_deref(), &owed[index].document);
                    }
                }
            }
            Entry::Done => {
                let done = owed.remove(index);
                let is_it = |object: &Object| object.uid == done.uid && object.place == done.place;
                match done.goal {
                    Goal::Remove => objects.retain(|object| !is_it(object)),
                    Goal::Put => {
                        for object in objects.iter_mut().filter(|object| is_it(object)) {
                            object.begun = true;
                            object.applied = Some(done.document.clone());
                            object.tried = None;
                        }
                    }
                }
            }
            Entry::Failed(_) => {}
        }
        Ok(())
    }

    async fn journal(&self, serial: u64) -> Result<Vec<JournalLine>, StoreError> {
        Ok(self.lock().journal.iter().filter(|line| line.task.serial == serial).cloned().collect())
    }
}
