//! Runs and their queue in memory, for tests: the same contract in the plainest way.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{
    Accepted, Commit, EntryFilter, Loaded, NewRecord, Outcome, Queue, RunFilter, RunRecord, RunStore,
    UNWATCHED, Used, pipelines_of,
};
use crate::config::ConcurrencyMode;
use crate::coordinator::{LeaseId, Urgency};
use crate::protocol::query::Elsewhere;
use crate::protocol::usage::Usage;
use crate::queue::{
    Claim, Claimed, Depth, Entry, EntryStatus, Overdue, Renewed, Row, Share, Superseded, allot,
};
use crate::scheduler::{Millis, NodeStatus, RunStatus, Stored, Transition};
use crate::store::StoreError;

/// Runs in memory.
#[derive(Debug, Default)]
pub struct MemoryRuns {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    runs: BTreeMap<String, Run>,
    queue: Vec<Queued>,
    weights: BTreeMap<String, u32>,
    times: BTreeMap<String, i64>,
    /// When somebody last looked at the leases.
    seen_at: Option<Millis>,
}

#[derive(Debug)]
struct Run {
    record: RunRecord,
    key: Option<String>,
    version: u64,
    stored: Stored,
    transitions: Vec<Transition>,
    used: BTreeMap<(String, u32), Usage>,
}

#[derive(Debug)]
struct Queued {
    entry: Entry,
    status: EntryStatus,
    stop: Urgency,
    superseded_by: Option<String>,
    lease: Option<Held>,
}

#[derive(Debug)]
struct Held {
    token: String,
    worker: String,
    leased_at: Millis,
    expires_at: Millis,
    deadline_at: Option<Millis>,
}

impl MemoryRuns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stands(&self, lease: &LeaseId) -> bool {
        self.queue.iter().any(|queued| queued.is_of(lease))
    }

    fn write(&mut self, commit: &Commit) -> Outcome {
        let Some(run) = self.runs.get_mut(&commit.run).filter(|run| run.version == commit.version) else {
            return Outcome::Moved;
        };
        let run_id = run.record.id.clone();
        let stale: Vec<LeaseId> = commit.held.iter().filter(|lease| !self.stands(lease)).cloned().collect();
        if !stale.is_empty() {
            return Outcome::Stale(stale);
        }
        let run = self.runs.get_mut(&run_id).expect("it was there");
        run.version += 1;
        if let Some(head) = &commit.changes.head {
            run.stored.head = head.clone();
        }
        for (index, node) in &commit.changes.nodes {
            match run.stored.nodes.get_mut(*index) {
                Some(known) => *known = node.clone(),
                None => run.stored.nodes.push(node.clone()),
            }
        }
        run.transitions.extend_from_slice(&commit.transitions);
        let used = commit.used.iter().map(|used| ((used.node.clone(), used.attempt), used.usage.clone()));
        run.used.extend(used);
        if let Some(head) = &commit.changes.head {
            run.record.status = head.status;
        }
        if let Some((status, at)) = commit.ended {
            (run.record.status, run.record.ended_at) = (status, Some(at));
        }
        let mut groups: BTreeMap<String, u32> = BTreeMap::new();
        for (node, attempt) in &commit.over {
            self.queue.retain_mut(|queued| {
                if !queued.is(&commit.run, node, *attempt) {
                    return true;
                }
                let is_held = queued.lease.is_none() || commit.held.iter().any(|lease| queued.is_of(lease));
                queued.stop = Urgency::AtOnce;
                if is_held && let Some(slot) = &queued.entry.slot {
                    groups.entry(slot.group.clone()).or_insert(slot.limit);
                }
                !is_held
            });
        }
        for (node, attempt, at) in &commit.started {
            for queued in self.queue.iter_mut().filter(|queued| queued.is(&commit.run, node, *attempt)) {
                if queued.entry.is_run() {
                    queued.status = EntryStatus::Leased;
                }
                if let (Some(lease), Some(timeout)) = (&mut queued.lease, queued.entry.timeout) {
                    lease.deadline_at = Some(at + timeout);
                }
            }
        }
        for (node, attempt, urgency) in &commit.stop {
            for queued in self.queue.iter_mut().filter(|queued| queued.is(&commit.run, node, *attempt)) {
                queued.stop = queued.stop.max(*urgency);
            }
        }
        for entry in &commit.enqueue {
            let status = if entry.slot.is_some() { EntryStatus::Blocked } else { EntryStatus::Ready };
            if let Some(slot) = &entry.slot {
                groups.insert(slot.group.clone(), slot.limit);
            }
            self.queue.push(Queued {
                entry: entry.clone(),
                status,
                stop: Urgency::None,
                superseded_by: None,
                lease: None,
            });
        }
        for (group, limit) in groups {
            for entry in commit.enqueue.iter().filter(|entry| entry.is_in(&group)) {
                self.make_room(entry, limit);
            }
            self.promote(&group, limit);
        }
        Outcome::Done
    }

    fn taken(&self, group: &str) -> usize {
        let taken = |queued: &&Queued| queued.entry.is_in(group) && queued.status != EntryStatus::Blocked;
        self.queue.iter().filter(taken).count()
    }

    /// What a newcomer's mode does to the others of its group.
    fn make_room(&mut self, entry: &Entry, limit: u32) {
        let Some(slot) = &entry.slot else { return };
        if slot.mode == ConcurrencyMode::Queue || self.taken(&slot.group) < limit as usize {
            return;
        }
        let by = entry.title();
        for queued in &mut self.queue {
            let goes = queued.status == EntryStatus::Blocked || slot.mode == ConcurrencyMode::CancelRunning;
            if queued.entry.is_in(&slot.group) && queued.entry.run != entry.run && goes {
                queued.superseded_by.get_or_insert_with(|| by.clone());
            }
        }
    }

    fn promote(&mut self, group: &str, limit: u32) {
        let free = (limit as usize).saturating_sub(self.taken(group));
        let mut waiting: Vec<&mut Queued> = self
            .queue
            .iter_mut()
            .filter(|queued| {
                queued.entry.is_in(group)
                    && queued.status == EntryStatus::Blocked
                    && queued.superseded_by.is_none()
            })
            .collect();
        waiting.sort_by(|a, b| a.entry.order().cmp(&b.entry.order()));
        for queued in waiting.into_iter().take(free) {
            queued.status = EntryStatus::Ready;
        }
    }

    /// Moves leases by the time in which nobody looked.
    fn look(&mut self, now: Millis) {
        let gap = now - self.seen_at.replace(now).unwrap_or(now);
        if !(-UNWATCHED..=UNWATCHED).contains(&gap) {
            for lease in self.queue.iter_mut().filter_map(|queued| queued.lease.as_mut()) {
                lease.expires_at += gap;
                lease.deadline_at = lease.deadline_at.map(|at| at + gap);
            }
        }
    }
}

impl Queued {
    fn is(&self, run: &str, node: &str, attempt: u32) -> bool {
        self.entry.run == run && self.entry.node == node && self.entry.attempt == attempt
    }

    fn is_of(&self, lease: &LeaseId) -> bool {
        self.is(&lease.run, &lease.node, lease.attempt)
            && self.lease.as_ref().is_some_and(|held| held.token == lease.token)
    }

    fn is_had_by(&self, worker: &str) -> bool {
        self.lease.as_ref().is_some_and(|held| held.worker == worker)
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.lease.as_ref().map(|held| LeaseId {
            run: self.entry.run.clone(),
            node: self.entry.node.clone(),
            attempt: self.entry.attempt,
            token: held.token.clone(),
        })
    }

    fn row(&self) -> Row {
        Row {
            entry: self.entry.clone(),
            status: self.status,
            stop: self.stop,
            worker: self.lease.as_ref().map(|lease| lease.worker.clone()),
            leased_at: self.lease.as_ref().map(|lease| lease.leased_at),
            expires_at: self.lease.as_ref().map(|lease| lease.expires_at),
        }
    }
}

impl Entry {
    fn is_in(&self, group: &str) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.group == group)
    }

    fn order(&self) -> (Millis, &str, &str) {
        (self.rank(), &self.run, &self.node)
    }
}

#[async_trait]
impl RunStore for MemoryRuns {
    async fn accept(&self, new: &[NewRecord]) -> Result<Vec<Accepted>, StoreError> {
        let mut state = self.state();
        let mut accept = |new: &NewRecord| {
            let same = |run: &&Run| new.key.is_some() && run.key == new.key;
            if let Some(known) = state.runs.values().find(same) {
                return Accepted::Known(known.record.id.clone());
            }
            let head = new.first.changes.head.clone().expect("a new run has a head");
            let stored = Stored { definition: new.definition.clone(), head, nodes: Vec::new() };
            let (record, key) = (new.record.clone(), new.key.clone());
            let run = Run { record, key, version: 0, stored, transitions: Vec::new(), used: BTreeMap::new() };
            state.runs.insert(new.record.id.clone(), run);
            state.write(&new.first);
            Accepted::New
        };
        Ok(new.iter().map(&mut accept).collect())
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, StoreError> {
        let mut state = self.state();
        Ok(commits.iter().map(|commit| state.write(commit)).collect())
    }

    async fn load(&self, run: &str) -> Result<Option<Loaded>, StoreError> {
        Ok(self.state().runs.get(run).map(|run| Loaded {
            record: run.record.clone(),
            version: run.version,
            ordinal: run.transitions.len() as u64,
            stored: run.stored.clone(),
        }))
    }

    async fn version(&self, run: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.state().runs.get(run).map(|run| run.version))
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        let state = self.state();
        let mut found: Vec<RunRecord> =
            state.runs.values().map(|run| run.record.clone()).filter(|run| filter.matches(run)).collect();
        found.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
        found.truncate(filter.limit as usize);
        Ok(found)
    }

    async fn delivered(&self, key: &str) -> Result<Option<String>, StoreError> {
        let state = self.state();
        let found = state.runs.values().find(|run| run.key.as_deref() == Some(key));
        Ok(found.map(|run| run.record.id.clone()))
    }

    async fn transitions(&self, run: &str, from: u64, limit: u32) -> Result<Vec<Transition>, StoreError> {
        let state = self.state();
        let all = state.runs.get(run).map(|run| run.transitions.as_slice()).unwrap_or_default();
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(all.len());
        Ok(all[from..].iter().take(limit as usize).cloned().collect())
    }

    async fn used(&self, run: &str, node: Option<&str>) -> Result<Vec<Used>, StoreError> {
        let state = self.state();
        let Some(run) = state.runs.get(run) else { return Ok(Vec::new()) };
        let of_node = |used: &(&(String, u32), &Usage)| node.is_none_or(|node| used.0.0 == node);
        let used = |((name, attempt), usage): (&(String, u32), &Usage)| {
            let series = if node.is_some() { usage.series.clone() } else { Vec::new() };
            Used { node: name.clone(), attempt: *attempt, usage: Usage { series, ..usage.clone() } }
        };
        Ok(run.used.iter().filter(of_node).map(used).collect())
    }

    async fn active(&self, project: Option<&str>, job: &str) -> Result<Vec<Elsewhere>, StoreError> {
        let prefix = pipelines_of(project);
        let state = self.state();
        let mut found: Vec<(Millis, Elsewhere)> = state
            .runs
            .values()
            .filter(|run| run.record.status == RunStatus::Running && run.record.pipeline.starts_with(&prefix))
            .filter_map(|run| {
                let node = run.stored.nodes.iter().find(|node| node.name == job)?;
                let is_active = matches!(node.status, NodeStatus::Queued | NodeStatus::Running);
                let elsewhere =
                    || Elsewhere { run: run.record.id.clone(), state: node.status.as_str().to_owned() };
                is_active.then(|| (run.record.started_at, elsewhere()))
            })
            .collect();
        found.sort_by(|(a, one), (b, other)| (b, &other.run).cmp(&(a, &one.run)));
        Ok(found.into_iter().map(|(_, elsewhere)| elsewhere).collect())
    }
}

#[async_trait]
impl Queue for MemoryRuns {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
        let mut state = self.state();
        state.look(claim.now);
        let state = &mut *state;
        let mut lines: BTreeMap<String, Vec<&mut Queued>> = BTreeMap::new();
        for queued in &mut state.queue {
            let entry = &queued.entry;
            if queued.status == EntryStatus::Ready
                && queued.superseded_by.is_none()
                && entry.due_at <= claim.now
                && entry.needs.met_by(&claim.claimant, &entry.project).is_ok()
            {
                lines.entry(entry.project.clone()).or_default().push(queued);
            }
        }
        for line in lines.values_mut() {
            line.sort_by(|a, b| b.entry.order().cmp(&a.entry.order()));
        }
        let mut taken = Vec::new();
        while taken.len() < claim.max && !lines.is_empty() {
            let share = |project: &String| Share {
                project: project.clone(),
                weight: state.weights.get(project).copied().unwrap_or(1),
                time: state.times.get(project).copied().unwrap_or_default(),
            };
            let mut shares: Vec<Share> = lines.keys().map(share).collect();
            let next = allot(&mut shares, 1)[0];
            let project = shares[next].project.clone();
            // Where there is only one, nobody is behind.
            if shares.len() > 1 {
                state.times.extend(shares.into_iter().map(|share| (share.project, share.time)));
            }
            let line = lines.get_mut(&project).expect("it has a line");
            let queued = line.pop().expect("lines are not empty");
            queued.status = EntryStatus::Leased;
            queued.lease = Some(Held {
                token: claim.token.clone(),
                worker: claim.claimant.worker.clone(),
                leased_at: claim.now,
                expires_at: claim.expires_at,
                deadline_at: None,
            });
            let lease = queued.lease_id().expect("it is leased");
            let due_at = queued.entry.due_at;
            taken.push(Claimed { lease, project: project.clone(), due_at });
            if line.is_empty() {
                lines.remove(&project);
            }
        }
        Ok(taken)
    }

    async fn renew(
        &self,
        worker: &str,
        leases: &[LeaseId],
        _now: Millis,
        expires_at: Millis,
    ) -> Result<Vec<Renewed>, StoreError> {
        let mut state = self.state();
        let mut renew = |lease: &LeaseId| {
            let found = state.queue.iter_mut().find(|queued| queued.is_of(lease) && queued.is_had_by(worker));
            let stop = found.map(|queued| {
                if let Some(held) = &mut queued.lease {
                    held.expires_at = held.expires_at.max(expires_at);
                }
                queued.stop
            });
            Renewed { lease: lease.clone(), stands: stop.is_some(), stop: stop.unwrap_or(Urgency::AtOnce) }
        };
        Ok(leases.iter().map(&mut renew).collect())
    }

    async fn holder(&self, lease: &LeaseId) -> Result<Option<String>, StoreError> {
        let state = self.state();
        let found = state.queue.iter().find(|queued| queued.is_of(lease));
        Ok(found.and_then(|queued| queued.lease.as_ref()).map(|held| held.worker.clone()))
    }

    async fn overdue(&self, now: Millis, limit: u32) -> Result<Vec<Overdue>, StoreError> {
        let mut state = self.state();
        state.look(now);
        let overdue = |queued: &Queued| {
            let held = queued.lease.as_ref()?;
            let timed_out = held.deadline_at.is_some_and(|at| at < now);
            let lease = queued.lease_id()?;
            (held.expires_at < now || timed_out).then(|| Overdue {
                lease,
                worker: held.worker.clone(),
                timed_out: held.expires_at >= now,
            })
        };
        Ok(state.queue.iter().filter_map(overdue).take(limit as usize).collect())
    }

    async fn superseded(&self, limit: u32) -> Result<Vec<Superseded>, StoreError> {
        let state = self.state();
        let superseded = |queued: &Queued| {
            let by = queued.superseded_by.clone().filter(|_| queued.stop == Urgency::None)?;
            Some(Superseded { run: queued.entry.run.clone(), node: queued.entry.node.clone(), by })
        };
        Ok(state.queue.iter().filter_map(superseded).take(limit as usize).collect())
    }

    async fn admitted(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        let state = self.state();
        let has_place = |queued: &&Queued| {
            queued.entry.is_run() && queued.status == EntryStatus::Ready && queued.superseded_by.is_none()
        };
        let admitted = state.queue.iter().filter(has_place).map(|queued| queued.entry.run.clone());
        Ok(admitted.take(limit as usize).collect())
    }

    async fn depth(&self, now: Millis) -> Result<Vec<Depth>, StoreError> {
        let state = self.state();
        let mut depths: BTreeMap<(&str, bool, &str, String, Option<&str>), Depth> = BTreeMap::new();
        for queued in state.queue.iter().filter(|queued| !queued.entry.is_run()) {
            let entry = &queued.entry;
            let delayed = queued.status == EntryStatus::Ready && entry.due_at > now;
            let worker = queued.lease.as_ref().map(|held| held.worker.as_str());
            let needs = entry.needs.to_text();
            let key = (queued.status.as_str(), delayed, entry.project.as_str(), needs, worker);
            let depth = depths.entry(key).or_insert_with(|| Depth {
                status: queued.status,
                delayed,
                project: entry.project.clone(),
                needs: entry.needs.clone(),
                worker: worker.map(str::to_owned),
                count: 0,
                oldest: entry.due_at,
            });
            depth.count += 1;
            depth.oldest = depth.oldest.min(entry.due_at);
        }
        Ok(depths.into_values().collect())
    }

    async fn next_due(&self, now: Millis) -> Result<Option<Millis>, StoreError> {
        let state = self.state();
        let ready = state.queue.iter().filter(|queued| queued.status == EntryStatus::Ready);
        Ok(ready.map(|queued| queued.entry.due_at).filter(|due| *due > now).min())
    }

    async fn entries(&self, filter: &EntryFilter) -> Result<Vec<Row>, StoreError> {
        let is = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == is)
        };
        let state = self.state();
        let mut found: Vec<Row> = state
            .queue
            .iter()
            .map(Queued::row)
            .filter(|row| {
                is(&filter.run, Some(&row.entry.run))
                    && is(&filter.node, Some(&row.entry.node))
                    && is(&filter.project, Some(&row.entry.project))
                    && is(&filter.worker, row.worker.as_deref())
                    && is(&filter.group, row.entry.slot.as_ref().map(|slot| slot.group.as_str()))
            })
            .collect();
        found.sort_by(|a, b| (&a.entry.project, a.entry.order()).cmp(&(&b.entry.project, b.entry.order())));
        found.truncate(filter.limit as usize);
        Ok(found)
    }

    async fn leases_of(&self, worker: &str) -> Result<Vec<LeaseId>, StoreError> {
        let state = self.state();
        let has = |queued: &&Queued| queued.is_had_by(worker);
        Ok(state.queue.iter().filter(has).filter_map(Queued::lease_id).collect())
    }

    async fn set_weight(&self, project: &str, weight: u32) -> Result<(), StoreError> {
        self.state().weights.insert(project.to_owned(), weight.max(1));
        Ok(())
    }
}
