//! Carrying out what retention decided, and telling what was removed.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use reactorcide_engine::artifacts::{ArtifactError, ArtifactStore, Filter};
use reactorcide_engine::logs::{LogError, LogStore};
use reactorcide_engine::removals::{RemovalRecord, RemovalStore};
use reactorcide_engine::retention::{Inventory, Policy, Removal, Subject, decide};
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::StoreError;

/// How old content must be that nobody can find, before it is taken for left over, in milliseconds: a day.
const LEFT_OVER: Millis = 86_400_000;
/// How many removals are written down together.
const BATCH: usize = 200;

/// What must be known of runs before something of them goes. It is asked only where something may go.
#[async_trait]
pub trait Runs: Send + Sync {
    /// When each of some runs ended, absent for those that go on. Runs that are not known are left out.
    async fn ends(&self, runs: &BTreeSet<String>) -> Result<BTreeMap<String, Option<Millis>>, StoreError>;

    /// The runs whose artifacts are needed at this moment: those that go on, and those that they repeat, however far back.
    async fn needed(&self) -> Result<BTreeSet<String>, StoreError>;
}

/// What a sweep works on.
#[derive(Clone, Copy)]
pub struct Sweep<'a> {
    /// Where logs are.
    pub logs: &'a dyn LogStore,
    /// Where artifacts and caches are.
    pub artifacts: &'a dyn ArtifactStore,
    /// What is written down of removals.
    pub removals: &'a dyn RemovalStore,
    /// What is known of runs.
    pub runs: &'a dyn Runs,
    /// What is kept for how long.
    pub policy: &'a Policy,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// What was removed, and why.
    pub removed: Vec<RemovalRecord>,
    /// What should have been, and why it is still there. The next sweep tries again.
    pub failed: Vec<(RemovalRecord, SweepError)>,
    /// Content that nobody could find: left by processes that were killed.
    pub left_over: Vec<String>,
}

/// Why something could not be looked at or removed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Of logs.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// Of artifacts.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// Of what is written down of removals.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sweep<'_> {
    /// Removes what goes by the policy. What goes is written down before anything of it is removed, and what an earlier sweep
    /// wrote down and did not end goes first. It can be repeated, and several may do it at once.
    ///
    /// Runs go on while it does so. What they need is asked again for each batch, so that a run which is repeated in the
    /// middle of it keeps what is left of its artifacts.
    pub async fn sweep(&self, now: Millis) -> Result<Swept, SweepError> {
        let mut swept = Swept::default();
        self.carry_out(now, &mut swept).await?;
        // Without an age for logs nobody needs to know which there are.
        let with_logs = if self.policy.logs.is_some() { self.logs.runs().await? } else { Vec::new() };
        let ends = if with_logs.is_empty() {
            BTreeMap::new()
        } else {
            self.runs.ends(&with_logs.iter().cloned().collect()).await?
        };
        let expired = (!self.policy.ages_artifacts()).then_some(now);
        let kept = self.artifacts.list(&Filter { expired, ..Filter::default() }).await?;
        let decide = |needed: &BTreeSet<String>| {
            let there = Inventory { logs: &with_logs, artifacts: &kept, runs: &ends, needed };
            decide(self.policy, &there, now)
        };
        let mut decided = decide(&BTreeSet::new());
        if decided.iter().any(|removal| matches!(removal.what, Subject::Artifact { .. })) {
            decided = decide(&self.runs.needed().await?);
        }
        let run_of: BTreeMap<&str, &str> =
            kept.iter().map(|one| (one.id.as_str(), one.run.as_str())).collect();
        let decided: Vec<RemovalRecord> =
            decided.iter().map(|removal| record(removal, &run_of, now)).collect();
        for batch in decided.chunks(BATCH) {
            let needed = self.needed_by(batch).await?;
            let batch: Vec<RemovalRecord> =
                batch.iter().filter(|removal| !is_needed(removal, &needed)).cloned().collect();
            self.removals.intend(&batch).await?;
            self.carry_out(now, &mut swept).await?;
        }
        swept.left_over = self.artifacts.remove_unreferenced(now.saturating_sub(LEFT_OVER)).await?;
        Ok(swept)
    }

    /// The runs whose artifacts are needed, where some removals are of artifacts.
    async fn needed_by(&self, removals: &[RemovalRecord]) -> Result<BTreeSet<String>, StoreError> {
        if removals.iter().any(is_artifact) { self.runs.needed().await } else { Ok(BTreeSet::new()) }
    }

    /// Removes what was written down, and ends it. What fails stays open, for the next sweep, and so does what is needed
    /// again.
    async fn carry_out(&self, now: Millis, swept: &mut Swept) -> Result<(), SweepError> {
        let mut left = BTreeSet::new();
        loop {
            let limit = u32::try_from(BATCH + left.len() + swept.failed.len()).unwrap_or(u32::MAX);
            let mut open = self.removals.open(limit).await?;
            let failed: BTreeSet<&str> =
                swept.failed.iter().map(|(failed, _)| failed.subject.as_str()).collect();
            open.retain(|one| !failed.contains(one.subject.as_str()) && !left.contains(&one.subject));
            if open.is_empty() {
                return Ok(());
            }
            let needed = self.needed_by(&open).await?;
            let mut done = Vec::new();
            for removal in open {
                if is_needed(&removal, &needed) {
                    left.insert(removal.subject);
                    continue;
                }
                let removed: Result<(), SweepError> = match removal.subject.split_once(':') {
                    Some(("logs", run)) => self.logs.remove(run).await.map_err(SweepError::from),
                    Some(("artifact", id)) => self.artifacts.remove(id).await.map_err(SweepError::from),
                    _ => Ok(()),
                };
                match removed {
                    Ok(()) => {
                        done.push(removal.subject.clone());
                        swept.removed.push(removal);
                    }
                    Err(error) => swept.failed.push((removal, error)),
                }
            }
            self.removals.done(&done, now).await?;
        }
    }
}

fn is_artifact(removal: &RemovalRecord) -> bool {
    removal.subject.starts_with("artifact:")
}

fn is_needed(removal: &RemovalRecord, needed: &BTreeSet<String>) -> bool {
    is_artifact(removal) && needed.contains(&removal.run)
}

fn record(removal: &Removal, run_of: &BTreeMap<&str, &str>, now: Millis) -> RemovalRecord {
    let (run, name, bytes) = match &removal.what {
        Subject::Logs { run } => (run.clone(), None, None),
        Subject::Artifact { id, name, size, .. } => {
            let run = run_of.get(id.as_str()).copied().unwrap_or_default().to_owned();
            (run, Some(name.clone()), Some(*size))
        }
    };
    let (subject, reason) = (removal.what.id(), removal.reason.to_string());
    RemovalRecord { subject, run, name, bytes, reason, decided_at: now, removed_at: None }
}
