//! Carrying out what retention decided, and telling what was removed.

use reactorcide_engine::artifacts::{ArtifactError, ArtifactStore, Filter};
use reactorcide_engine::logs::{LogError, LogStore};
use reactorcide_engine::retention::{Inventory, Policy, Removal, Subject, decide};
use reactorcide_engine::scheduler::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// How old content must be that nobody can find, before it is taken for left over, in milliseconds: a day.
const LEFT_OVER: Millis = 86_400_000;

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// What was removed, and why.
    pub removed: Vec<Removal>,
    /// What should have been, and why it is still there. The next sweep tries again.
    pub failed: Vec<(Removal, SweepError)>,
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
}

/// Removes what goes by a policy. `runs` says when each run ended, absent for those that go on, and `needed` whose
/// artifacts are needed apart from theirs. It can be repeated, and several may do it at once.
pub async fn sweep(
    logs: &dyn LogStore,
    artifacts: &dyn ArtifactStore,
    policy: &Policy,
    runs: &BTreeMap<String, Option<Millis>>,
    needed: &BTreeSet<String>,
    now: Millis,
) -> Result<Swept, SweepError> {
    // Without an age for logs nobody needs to know which there are.
    let with_logs = if policy.logs.is_some() { logs.runs().await? } else { Vec::new() };
    let kept = artifacts.list(&Filter::default()).await?;
    let there = Inventory { logs: &with_logs, artifacts: &kept, runs, needed };
    let mut swept = Swept::default();
    for removal in decide(policy, &there, now) {
        let removed: Result<(), SweepError> = match &removal.what {
            Subject::Logs { run } => logs.remove(run).await.map_err(SweepError::from),
            Subject::Artifact { id, .. } => artifacts.remove(id).await.map_err(SweepError::from),
        };
        match removed {
            Ok(()) => swept.removed.push(removal),
            Err(error) => swept.failed.push((removal, error)),
        }
    }
    swept.left_over = artifacts.remove_unreferenced(now.saturating_sub(LEFT_OVER)).await?;
    Ok(swept)
}
