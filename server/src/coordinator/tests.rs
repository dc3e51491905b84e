//! What a worker was given and did not hear of is given to it again.

use std::sync::atomic::{AtomicU32, Ordering};

use reactorcide_engine::artifacts::MemoryArtifacts;
use reactorcide_engine::queue::{Claimed, Depth, Overdue, Row, Superseded};
use reactorcide_engine::runs::{EntryFilter, MemoryRuns, Queue, RunRecord};
use reactorcide_engine::scheduler::{NewRun, RunState, RunStatus};
use reactorcide_engine::store::StoreError;
use serde_json::json;

use super::*;
use crate::conductor::Start;
use crate::files::NoProjects;

/// Gives attempts away, and does not say so as often as it is told.
struct Deaf {
    inner: Arc<MemoryRuns>,
    unheard: AtomicU32,
    asked_again: AtomicU32,
}

#[async_trait]
impl Queue for Deaf {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
        let claimed = self.inner.claim(claim).await?;
        let fewer =
            self.unheard.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match fewer {
            Ok(_) => Err(StoreError::Unreachable { location: "there".into(), what: "nobody answers".into() }),
            Err(_) => Ok(claimed),
        }
    }

    async fn renew(
        &self,
        worker: &str,
        leases: &[LeaseId],
        now: Millis,
        expires_at: Millis,
    ) -> Result<Vec<Renewed>, StoreError> {
        self.inner.renew(worker, leases, now, expires_at).await
    }

    async fn holder(&self, lease: &LeaseId) -> Result<Option<String>, StoreError> {
        self.inner.holder(lease).await
    }

    async fn overdue(&self, now: Millis, limit: u32) -> Result<Vec<Overdue>, StoreError> {
        self.inner.overdue(now, limit).await
    }

    async fn superseded(&self, limit: u32) -> Result<Vec<Superseded>, StoreError> {
        self.inner.superseded(limit).await
    }

    async fn admitted(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        self.inner.admitted(limit).await
    }

    async fn depth(&self, now: Millis) -> Result<Vec<Depth>, StoreError> {
        self.inner.depth(now).await
    }

    async fn next_due(&self, now: Millis) -> Result<Option<Millis>, StoreError> {
        self.inner.next_due(now).await
    }

    async fn entries(&self, filter: &EntryFilter) -> Result<Vec<Row>, StoreError> {
        self.inner.entries(filter).await
    }

    async fn leases_of(&self, worker: &str) -> Result<Vec<LeaseId>, StoreError> {
        self.asked_again.fetch_add(1, Ordering::Relaxed);
        self.inner.leases_of(worker).await
    }

    async fn set_weight(&self, project: &str, weight: u32) -> Result<(), StoreError> {
        self.inner.set_weight(project, weight).await
    }
}

struct Nobody;

#[async_trait]
impl Audience for Nobody {
    async fn log(&self, _: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError> {
        Ok(offset + lines.len() as u64)
    }
    async fn progress(&self, _: &LeaseId, _: String) {}
    async fn finished(&self, _: &LeaseId) {}
}

fn run(id: &str) -> Start {
    let job = json!({"job": {"image": "i", "command": "c"}, "profile": {"name": "trusted", "spec": {}}});
    let workflow = json!({"address": "Pipeline/web/ci", "vars": {}, "inputs": {}, "templates": {},
        "jobs": {"a": job.clone(), "b": job}});
    let record = RunRecord {
        id: id.into(),
        pipeline: "Pipeline/web/ci".into(),
        project: Some("web".into()),
        event: "push".into(),
        actor: "ada".into(),
        retry_of: None,
        holder: None,
        started_at: now(),
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
    Start { record, key: None, state }
}

fn nodes(work: &Work) -> Vec<&str> {
    let Work::Leases(leases) = work else { panic!("{work:?}") };
    leases.iter().map(|lease| lease.id.node.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_given_and_not_heard_of_is_given_again() {
    for tokens in [Tokens::Random, Tokens::Marked("here-".to_owned())] {
        let runs = Arc::new(MemoryRuns::default());
        let queue = Arc::new(Deaf { inner: runs.clone(), unheard: 1.into(), asked_again: 0.into() });
        let conductor = Conductor::new(runs.clone(), queue.clone());
        conductor.start(run("r")).await.expect("it is accepted");
        let files = Files::new(Arc::new(MemoryArtifacts::default()), Arc::new(NoProjects));
        let claimant = Claimant { worker: "w".into(), ..Claimant::default() };
        let desk =
            Desk::new(conductor, Arc::new(Nobody), files, claimant, Terms::default()).with_tokens(tokens);
        let claim = async |max| desk.claim(max, Duration::from_secs(1)).await;

        assert!(matches!(claim(1).await, Err(CoordinatorError::Unavailable(_))));
        assert_eq!(nodes(&claim(1).await.expect("the first, at last")), ["a"]);
        assert_eq!(queue.asked_again.load(Ordering::Relaxed), 1);
        // From here on everything was heard of.
        assert_eq!(nodes(&claim(1).await.expect("the other")), ["b"]);
        assert_eq!(nodes(&claim(1).await.expect("nothing")), [""; 0]);
        assert_eq!(queue.asked_again.load(Ordering::Relaxed), 1, "nobody asks for what was heard of");
    }
}
