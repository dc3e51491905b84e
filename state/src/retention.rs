//! Carrying out what retention decided, and telling what was removed.

use std::collections::{BTreeMap, BTreeSet};

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

/// Removes what goes by a policy. `runs` says when each run ended, absent for those that go on, and `needed` whose
/// artifacts are needed apart from theirs. What goes is written down before anything of it is removed, and what an earlier
/// sweep wrote down and did not end goes first. It can be repeated, and several may do it at once.
pub async fn sweep(
    logs: &dyn LogStore,
    artifacts: &dyn ArtifactStore,
    removals: &dyn RemovalStore,
    policy: &Policy,
    runs: &BTreeMap<String, Option<Millis>>,
    needed: &BTreeSet<String>,
    now: Millis,
) -> Result<Swept, SweepError> {
    let mut swept = Swept::default();
    carry_out(logs, artifacts, removals, now, &mut swept).await?;
    // Without an age for logs nobody needs to know which there are.
    let with_logs = if policy.logs.is_some() { logs.runs().await? } else { Vec::new() };
    let kept = artifacts.list(&Filter::default()).await?;
    let there = Inventory { logs: &with_logs, artifacts: &kept, runs, needed };
    let decided = decide(policy, &there, now);
    let run_of: BTreeMap<&str, &str> = kept.iter().map(|one| (one.id.as_str(), one.run.as_str())).collect();
    for batch in decided.chunks(BATCH) {
        let records: Vec<RemovalRecord> = batch.iter().map(|removal| record(removal, &run_of, now)).collect();
        removals.intend(&records).await?;
        carry_out(logs, artifacts, removals, now, &mut swept).await?;
    }
    swept.left_over = artifacts.remove_unreferenced(now.saturating_sub(LEFT_OVER)).await?;
    Ok(swept)
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

/// Removes what was written down, and ends it. What fails stays open, for the next sweep.
async fn carry_out(
    logs: &dyn LogStore,
    artifacts: &dyn ArtifactStore,
    removals: &dyn RemovalStore,
    now: Millis,
    swept: &mut Swept,
) -> Result<(), SweepError> {
    loop {
        let open = removals.open(u32::try_from(BATCH + swept.failed.len()).unwrap_or(u32::MAX)).await?;
        let tried: BTreeSet<String> = swept.failed.iter().map(|(failed, _)| failed.subject.clone()).collect();
        let open: Vec<RemovalRecord> = open.into_iter().filter(|one| !tried.contains(&one.subject)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let mut done = Vec::new();
        for removal in open {
            let removed: Result<(), SweepError> = match removal.subject.split_once(':') {
                Some(("logs", run)) => logs.remove(run).await.map_err(SweepError::from),
                Some(("artifact", id)) => artifacts.remove(id).await.map_err(SweepError::from),
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
        removals.done(&done, now).await?;
    }
}
