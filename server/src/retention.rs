//! The loop that removes what is kept no longer. Any number of servers run it; one at a time sweeps, and what a killed one
//! began the next one ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reactorcide_engine::artifacts::ArtifactStore;
use reactorcide_engine::audit::{AuditLog, Draft, Outcome};
use reactorcide_engine::logs::LogStore;
use reactorcide_engine::removals::RemovalStore;
use reactorcide_engine::retention::Policy;
use reactorcide_engine::runs::{RunFilter, RunRecord, RunStore};
use reactorcide_engine::scheduler::{Millis, RunStatus};
use reactorcide_engine::store::StoreError;
use reactorcide_state::{Runs, Sweep, SweepError, Swept};
use serde_json::json;

use crate::conductor::now;

/// How often it is looked for what goes.
const INTERVAL: Duration = Duration::from_secs(3600);
/// How long a server is there before it looks for the first time: it has other things to do first.
const FIRST: Duration = Duration::from_secs(60);
/// How many runs are read at once.
const PAGE: u32 = 500;
/// How long others may use the database between two pages.
const BREATH: Duration = Duration::from_millis(20);

/// What retention works on.
pub(crate) struct Retention {
    pub policy: Policy,
    pub runs: Arc<dyn RunStore>,
    pub logs: Arc<dyn LogStore>,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub removals: Arc<dyn RemovalStore>,
    pub audit: Arc<dyn AuditLog>,
}

/// Removes what goes, for as long as it is run.
pub(crate) async fn keep(retention: Retention) {
    let mut wait = FIRST;
    loop {
        tokio::time::sleep(wait).await;
        if let Err(error) = retention.look(now()).await {
            tracing::warn!(%error, "what is kept no longer could not be removed, trying again in an hour");
        }
        wait = INTERVAL;
    }
}

impl Retention {
    /// Sweeps, unless somebody did within the hour.
    async fn look(&self, now: Millis) -> Result<Option<Swept>, SweepError> {
        // A little less than the interval, or servers that look in turn would leave every second hour out.
        let lately = now - Millis::try_from(INTERVAL.as_millis()).unwrap_or_default() * 9 / 10;
        if !self.removals.begin_sweep(now, lately).await? {
            return Ok(None);
        }
        let swept = self.sweep().sweep(now).await?;
        self.tell(&swept, now).await?;
        Ok(Some(swept))
    }

    fn sweep(&self) -> Sweep<'_> {
        let Self { policy, logs, artifacts, removals, .. } = self;
        Sweep { logs: &**logs, artifacts: &**artifacts, removals: &**removals, runs: self, policy }
    }

    /// Runs that match, newest first, until `see` has seen enough.
    async fn look_through(
        &self,
        mut filter: RunFilter,
        mut see: impl FnMut(RunRecord) -> ControlFlow<()> + Send,
    ) -> Result<(), StoreError> {
        filter.limit = PAGE;
        loop {
            let page = self.runs.runs(&filter).await?;
            let last = page.last().map(|run| (run.started_at, run.id.clone()));
            let is_last = page.len() < PAGE as usize;
            if page.into_iter().try_for_each(&mut see).is_break() || is_last {
                return Ok(());
            }
            filter.before = last;
            tokio::time::sleep(BREATH).await;
        }
    }

    async fn tell(&self, swept: &Swept, now: Millis) -> Result<(), StoreError> {
        for (removal, error) in &swept.failed {
            tracing::warn!(subject = removal.subject, %error, "something that goes could not be removed");
        }
        if swept.removed.is_empty() && swept.left_over.is_empty() {
            return Ok(());
        }
        let logs = swept.removed.iter().filter(|removal| removal.subject.starts_with("logs:")).count();
        let artifacts = swept.removed.len() - logs;
        let bytes: u64 = swept.removed.iter().filter_map(|removal| removal.bytes).sum();
        let (failed, left_over) = (swept.failed.len(), swept.left_over.len());
        tracing::info!(logs, artifacts, bytes, left_over, failed, "removed what is kept no longer");
        let detail = json!({"logs": logs, "artifacts": artifacts, "bytes": bytes, "left_over": left_over, "failed": failed});
        let draft = Draft {
            at: now,
            actor: "retention".to_owned(),
            action: "retention.sweep".to_owned(),
            target: "storage".to_owned(),
            outcome: Outcome::Done,
            detail: detail.into(),
            request: None,
        };
        self.audit.append(&[draft]).await.map(|_| ())
    }
}

#[async_trait]
impl Runs for Retention {
    async fn ends(&self, runs: &BTreeSet<String>) -> Result<BTreeMap<String, Option<Millis>>, StoreError> {
        let mut ends = BTreeMap::new();
        let see = |run: RunRecord| {
            if runs.contains(&run.id) {
                // A run that ended without a time ended when it began, at the latest to be known.
                let ended_at = run.ended_at.unwrap_or(run.started_at);
                ends.insert(run.id, run.status.is_terminal().then_some(ended_at));
            }
            // What has logs are the newest, mostly.
            if ends.len() == runs.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.look_through(RunFilter::default(), see).await?;
        Ok(ends)
    }

    async fn needed(&self) -> Result<BTreeSet<String>, StoreError> {
        let (mut needed, mut repeated) = (BTreeSet::new(), Vec::new());
        for status in [RunStatus::Waiting, RunStatus::Running] {
            let going_on = RunFilter { status: Some(status), ..RunFilter::default() };
            let see = |run: RunRecord| {
                needed.insert(run.id);
                repeated.extend(run.retry_of);
                ControlFlow::Continue(())
            };
            self.look_through(going_on, see).await?;
        }
        // What is repeated may itself repeat something.
        while let Some(run) = repeated.pop() {
            if needed.insert(run.clone()) {
                let known = self.runs.runs(&RunFilter::of(&run)).await?;
                repeated.extend(known.into_iter().filter_map(|known| known.retry_of));
            }
        }
        Ok(needed)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reactorcide_engine::artifacts::MemoryArtifacts;
    use reactorcide_engine::audit::{Filter, MemoryAudit};
    use reactorcide_engine::logs::{LogKey, MemoryLogs};
    use reactorcide_engine::removals::MemoryRemovals;
    use reactorcide_engine::runs::{Known, MemoryRuns};
    use reactorcide_engine::scheduler::{Event, NewRun, RunState};
    use serde_json::json;

    use super::*;

    const DAY: Millis = 86_400_000;

    /// A run that was cancelled at a time, or goes on.
    async fn run(runs: &MemoryRuns, id: &str, retry_of: Option<&str>, ended_at: Option<Millis>) {
        let workflow = json!({"address": "Pipeline/web/ci", "vars": {}, "inputs": {}, "templates": {},
            "jobs": {"a": {"job": {"image": "i", "command": "c"}, "profile": {"name": "trusted", "spec": {}}}}});
        let record = RunRecord {
            id: id.into(),
            pipeline: "Pipeline/web/ci".into(),
            project: Some("web".into()),
            event: "push".into(),
            actor: "ada".into(),
            retry_of: retry_of.map(str::to_owned),
            holder: None,
            started_at: 1,
            ended_at: None,
            status: RunStatus::Running,
        };
        let state = RunState::new(NewRun {
            id: id.into(),
            workflow: serde_json::from_value(workflow).expect("a workflow"),
            event: json!({"type": "push"}),
            vars: BTreeMap::new(),
            inputs: BTreeMap::new(),
            selection: None,
        });
        let (mut known, new) = Known::begin(record, None, state, 1);
        runs.accept(&[new]).await.expect("it is written");
        if let Some(at) = ended_at {
            let cancel = Event::Cancel { reason: "enough".into(), force: true };
            runs.commit(&[known.decide(vec![cancel.into()], at)]).await.expect("it is written");
        }
    }

    #[tokio::test]
    async fn what_is_kept_no_longer_goes_once_an_hour_and_it_is_told() {
        let (runs, logs) = (Arc::new(MemoryRuns::default()), Arc::new(MemoryLogs::default()));
        let (removals, audit) = (Arc::new(MemoryRemovals::default()), Arc::new(MemoryAudit::default()));
        for (id, ended) in [("old", Some(DAY)), ("new", Some(9 * DAY)), ("goes-on", None)] {
            run(&runs, id, None, ended).await;
            logs.append(&LogKey::new(id, "a", 1), 0, Bytes::from_static(b"x\n"))
                .await
                .expect("it is written");
        }
        let server = || Retention {
            policy: Policy { logs: Some("2d".parse().expect("a duration")), ..Policy::default() },
            runs: runs.clone(),
            logs: logs.clone(),
            artifacts: Arc::new(MemoryArtifacts::default()),
            removals: removals.clone(),
            audit: audit.clone(),
        };
        let (one, other) = (server(), server());
        let swept = one.look(10 * DAY).await.expect("a sweep").expect("it was time");
        assert_eq!(swept.removed.len(), 1);
        assert!(other.look(10 * DAY + 1).await.expect("a look").is_none(), "somebody did just now");
        assert_eq!(logs.runs().await.expect("runs").len(), 2);
        let told = removals.of_run("old").await.expect("read");
        assert_eq!((told[0].reason.as_str(), told[0].removed_at), ("it is older than 2d", Some(10 * DAY)));
        let filter = Filter { action: Some("retention.sweep".into()), ..Filter::default() };
        let entries = audit.search(&filter, 9).await.expect("entries");
        assert_eq!(entries.len(), 1);
        assert!(other.look(10 * DAY + 3_600_000).await.expect("a sweep").is_some(), "an hour later");
        assert_eq!(audit.search(&filter, 9).await.expect("entries").len(), 1, "nothing is not told");
    }

    #[tokio::test]
    async fn what_a_run_that_goes_on_repeats_is_needed_however_far_back() {
        let runs = Arc::new(MemoryRuns::default());
        run(&runs, "first", None, Some(5)).await;
        run(&runs, "second", Some("first"), Some(6)).await;
        run(&runs, "third", Some("second"), None).await;
        run(&runs, "other", Some("elsewhere"), Some(7)).await;
        let retention = Retention {
            policy: Policy::default(),
            runs,
            logs: Arc::new(MemoryLogs::default()),
            artifacts: Arc::new(MemoryArtifacts::default()),
            removals: Arc::new(MemoryRemovals::default()),
            audit: Arc::new(MemoryAudit::default()),
        };
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(retention.needed().await.expect("runs"), names(&["first", "second", "third"]));
        let ends = retention.ends(&names(&["third", "first", "unknown"])).await.expect("runs");
        assert_eq!(ends, [("third".to_owned(), None), ("first".to_owned(), Some(5))].into());
    }
}
