//! Retention: which logs, artifacts and caches go, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::artifacts::Artifact;
use crate::config::value::Duration;
use crate::scheduler::Millis;

/// What is kept for how long. What is absent is kept for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Logs, after the end of their run.
    pub logs: Option<Duration>,
    /// Artifacts and caches that say nothing of it themselves, after they were made.
    pub artifacts: Option<Duration>,
    /// How many bytes of artifacts and caches one project may have. The oldest go first.
    pub bytes_per_project: Option<u64>,
}

impl Policy {
    /// Whether artifacts and caches go by it that do not say when they go.
    pub fn ages_artifacts(&self) -> bool {
        self.artifacts.is_some() || self.bytes_per_project.is_some()
    }
}

/// What is there.
#[derive(Debug, Clone, Copy)]
pub struct Inventory<'a> {
    /// Runs that have logs.
    pub logs: &'a [String],
    /// Artifacts and caches.
    pub artifacts: &'a [Artifact],
    /// When runs ended; absent for those that go on. Logs of a run that is not here are left alone: they may be another
    /// server's.
    pub runs: &'a BTreeMap<String, Option<Millis>>,
    /// Runs whose artifacts are needed: those that go on, and those that they repeat.
    pub needed: &'a BTreeSet<String>,
}

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// What.
    pub what: Subject,
    /// Why.
    pub reason: Reason,
}

/// What goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// All logs of a run.
    Logs {
        /// The run.
        run: String,
    },
    /// An artifact or a cache.
    Artifact {
        /// Its id.
        id: String,
        /// Its project.
        project: String,
        /// Its name.
        name: String,
        /// How many bytes it has.
        size: u64,
    },
}

/// Why something goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its own time is over.
    Expired {
        /// Since when.
        at: Millis,
    },
    /// It is older than the policy keeps such things.
    Age {
        /// How long they are kept.
        kept: Duration,
    },
    /// Its project has too much, and it is the oldest.
    Size {
        /// How much its project had, in bytes.
        total: u64,
        /// How much it may have.
        limit: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { .. } => f.write_str("its time is over"),
            Self::Age { kept } => write!(f, "it is older than {kept}"),
            Self::Size { total, limit } => {
                write!(f, "it is the oldest of {total} bytes of its project, which may have {limit}")
            }
        }
    }
}

/// What goes, logs first, then artifacts by age. Nothing of a run that goes on or is needed.
pub fn decide(policy: &Policy, there: &Inventory<'_>, now: Millis) -> Vec<Removal> {
    let mut removals = logs(policy, there, now);
    let mut oldest: Vec<&Artifact> = there.artifacts.iter().filter(|one| may_go(there, one)).collect();
    oldest.sort_by_key(|artifact| (artifact.created_at, &artifact.id));
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for artifact in there.artifacts {
        let total = totals.entry(&artifact.namespace.project).or_default();
        *total = total.saturating_add(artifact.size);
    }
    let (outlived, young): (Vec<_>, Vec<_>) =
        oldest.into_iter().partition(|artifact| outlived(policy, artifact, now).is_some());
    let mut remove = |artifact: &Artifact, reason| {
        removals.push(Removal {
            what: Subject::Artifact {
                id: artifact.id.clone(),
                project: artifact.namespace.project.clone(),
                name: artifact.name.clone(),
                size: artifact.size,
            },
            reason,
        });
    };
    for artifact in outlived {
        if let Some(total) = totals.get_mut(artifact.namespace.project.as_str()) {
            *total = total.saturating_sub(artifact.size);
        }
        if let Some(reason) = self::outlived(policy, artifact, now) {
            remove(artifact, reason);
        }
    }
    let Some(limit) = policy.bytes_per_project else { return removals };
    for artifact in young {
        let Some(total) = totals.get_mut(artifact.namespace.project.as_str()) else { continue };
        // What has no bytes frees none.
        if *total > limit && artifact.size > 0 {
            remove(artifact, Reason::Size { total: *total, limit });
            *total = total.saturating_sub(artifact.size);
        }
    }
    removals
}

fn logs(policy: &Policy, there: &Inventory<'_>, now: Millis) -> Vec<Removal> {
    let Some(kept) = policy.logs else { return Vec::new() };
    let mut runs: Vec<(Millis, &String)> = there
        .logs
        .iter()
        .filter_map(|run| Some(((*there.runs.get(run)?)?, run)))
        .filter(|(ended_at, _)| is_over(*ended_at, kept, now))
        .collect();
    runs.sort_unstable();
    let removal =
        |run: &String| Removal { what: Subject::Logs { run: run.clone() }, reason: Reason::Age { kept } };
    runs.into_iter().map(|(_, run)| removal(run)).collect()
}

fn may_go(there: &Inventory<'_>, artifact: &Artifact) -> bool {
    !there.needed.contains(&artifact.run) && there.runs.get(&artifact.run) != Some(&None)
}

fn outlived(policy: &Policy, artifact: &Artifact, now: Millis) -> Option<Reason> {
    match (artifact.expires_at, policy.artifacts) {
        (Some(at), _) => (at <= now).then_some(Reason::Expired { at }),
        (None, Some(kept)) => is_over(artifact.created_at, kept, now).then_some(Reason::Age { kept }),
        (None, None) => None,
    }
}

fn is_over(since: Millis, kept: Duration, now: Millis) -> bool {
    since.saturating_add(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)) <= now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::conformance::artifact;

    fn made(id: &str, run: &str, created_at: Millis, expires_at: Option<Millis>, size: u64) -> Artifact {
        Artifact { run: run.to_owned(), created_at, expires_at, size, ..artifact(id) }
    }

    fn decided(policy: &Policy, artifacts: &[Artifact], now: Millis) -> Vec<String> {
        let logs = ["ended", "on", "unknown", "late"].map(str::to_owned);
        let runs = [("ended", Some(0)), ("on", None), ("late", Some(60)), ("parent", Some(0))];
        let runs = runs.map(|(run, at)| (run.to_owned(), at)).into();
        let needed = ["parent".to_owned()].into();
        let there = Inventory { logs: &logs, artifacts, runs: &runs, needed: &needed };
        let what = |removal: &Removal| match &removal.what {
            Subject::Logs { run } => format!("logs of {run}: {}", removal.reason),
            Subject::Artifact { id, .. } => format!("{id}: {}", removal.reason),
        };
        decide(policy, &there, now).iter().map(what).collect()
    }

    #[test]
    fn logs_go_after_the_end_of_a_run_that_is_known() {
        let policy = Policy { logs: Some(Duration::from_millis(50)), ..Policy::default() };
        assert_eq!(decided(&policy, &[], 49), [""; 0]);
        assert_eq!(decided(&policy, &[], 50), ["logs of ended: it is older than 50ms"]);
        assert_eq!(decided(&policy, &[], 110).len(), 2);
        assert_eq!(decided(&Policy::default(), &[], i64::MAX), [""; 0]);
    }

    #[test]
    fn artifacts_go_by_their_own_time_then_by_the_policy_and_not_while_needed() {
        let policy = Policy { artifacts: Some(Duration::from_millis(10)), ..Policy::default() };
        let all = [
            made("own", "ended", 0, Some(100), 1),
            made("policy", "ended", 1, None, 1),
            made("goes on", "on", 0, Some(1), 1),
            made("needed", "parent", 0, None, 1),
            made("of nobody", "unknown", 0, None, 1),
        ];
        assert_eq!(decided(&policy, &all, 9), [""; 0]);
        assert_eq!(
            decided(&policy, &all, 11),
            ["of nobody: it is older than 10ms", "policy: it is older than 10ms"]
        );
        let later = decided(&policy, &all, 100);
        assert_eq!(later[1], "own: its time is over");
        assert_eq!(later.len(), 3);
    }

    #[test]
    fn the_oldest_of_a_project_go_until_it_fits() {
        let policy = Policy { bytes_per_project: Some(100), ..Policy::default() };
        let mut all = vec![
            made("new", "ended", 3, None, 60),
            made("middle", "ended", 2, None, 50),
            made("old", "ended", 1, None, 10),
            made("empty", "ended", 0, None, 0),
            made("goes on", "on", 0, None, 5),
            made("expired", "ended", 0, Some(4), 1_000),
        ];
        all.push(Artifact {
            namespace: crate::artifacts::Namespace { project: "api".into(), ..all[0].namespace.clone() },
            ..made("other", "ended", 0, None, 90)
        });
        let reason = |total| format!("it is the oldest of {total} bytes of its project, which may have 100");
        assert_eq!(
            decided(&policy, &all, 5),
            [
                "expired: its time is over".to_owned(),
                format!("old: {}", reason(125)),
                format!("middle: {}", reason(115))
            ]
        );
    }
}
