//! What is applied behind a server: read over its API, and changed by plans that the server checks before it believes them.

use std::time::Duration;

use reactorcide_engine::address::Address;
use reactorcide_engine::outside::Observation;
use reactorcide_engine::plan::Plan;
use reactorcide_engine::store::{Author, Change, ChangeId, Compaction, Revision, Snapshot};
use reactorcide_server::api::{
    AppliedChange, AppliedRevision, AppliedState, Apply, ChangeDetail, ChangeRow, CompactionRow, Effect,
    MakePlan, ObservationRow, Page, Problem, Resource,
};

use crate::client::Client;
use crate::commands::runs::escape;
use crate::exit::{Exit, Failure};
use crate::report;

/// How long a plan or an apply may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server that we are known to.
pub struct Server {
    client: Client,
}

impl Server {
    /// What is applied behind a server.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The state as it is now.
    pub async fn snapshot(&self) -> Result<Snapshot, Failure> {
        let state: AppliedState = self.client.get("/state", &[]).await?;
        Ok(state.into())
    }

    /// The state as a change left it.
    pub async fn at(&self, serial: u64) -> Result<Snapshot, Failure> {
        let state: AppliedState = self.client.get("/state", &[("serial", serial.to_string())]).await?;
        Ok(state.into())
    }

    /// The newest changes, newest first.
    pub async fn history(&self, address: Option<&Address>, limit: u32) -> Result<Vec<Change>, Failure> {
        let query: Vec<_> = address.map(|address| ("address", address.to_string())).into_iter().collect();
        let rows: Vec<ChangeRow> = self.client.all("/changes", &query, limit as usize).await?;
        rows.into_iter().map(change).collect()
    }

    /// The number of a change, by its id or the beginning of one.
    pub async fn serial_of(&self, id: &str) -> Result<Option<u64>, Failure> {
        let found: Option<ChangeDetail> = self.client.find(&format!("/changes/{}", escape(id))).await?;
        Ok(found.map(|detail| detail.change.serial))
    }

    /// What was forgotten, newest first.
    pub async fn compactions(&self) -> Result<Vec<Compaction>, Failure> {
        let page: Page<CompactionRow> = self.client.get("/compactions", &[]).await?;
        Ok(page.items.into_iter().map(Compaction::from).collect())
    }

    /// Every revision of a resource, oldest first.
    pub async fn revisions(&self, address: &Address) -> Result<Vec<Revision>, Failure> {
        let path = format!("/revisions/{}", escape(&address.to_string()));
        let rows: Vec<AppliedRevision> = self.client.all(&path, &[], usize::MAX).await?;
        Ok(rows.into_iter().map(Revision::from).collect())
    }

    /// The document of one resource.
    pub async fn document(&self, address: &Address) -> Result<Option<String>, Failure> {
        let path = format!("/resources/{}", escape(&address.to_string()));
        let found: Option<Resource> = self.client.find(&path).await?;
        Ok(found.map(|resource| resource.document.to_string()))
    }

    /// The objects elsewhere that were applied, as the server sees them; of these resources only, where some are named.
    pub async fn observe(&self, only: &[Address]) -> Result<Vec<Observation>, Failure> {
        let query: Vec<_> = match only {
            [one] => vec![("address", one.to_string())],
            _ => Vec::new(),
        };
        let page: Page<ObservationRow> = self.client.get("/observations", &query).await?;
        let seen = page.items.into_iter().map(Observation::from);
        if only.len() < 2 {
            return Ok(seen.collect());
        }
        let mut uids = Vec::new();
        for address in only {
            let found: Option<WithUid> =
                self.client.find(&format!("/resources/{}", escape(&address.to_string()))).await?;
            uids.extend(found.map(|found| found.uid));
        }
        Ok(seen.filter(|seen| uids.contains(&seen.uid.0)).collect())
    }

    /// The plan for files of a project, made by the server: who may plan for a project need not see the rest.
    pub async fn plan(&self, wanted: &MakePlan) -> Result<Plan, Failure> {
        match self.client.ask("/plans", wanted, PATIENCE).await? {
            Ok(plan) => Ok(plan),
            Err(problem) if problem.errors.is_empty() => Err(self.client.refused(problem)),
            Err(problem) => {
                report::configuration_errors(&problem.errors);
                let errors = report::count(problem.errors.len(), "error");
                Err(Failure::new(format!("the configuration has {errors}")))
            }
        }
    }

    /// Carries a plan out, if the server finds that it holds.
    pub async fn apply(
        &self,
        plan: &Plan,
        author: Author,
    ) -> Result<Result<AppliedChange, Problem>, Failure> {
        let open = plan.findings.iter().filter(|finding| finding.is_open());
        let body = Apply {
            plan: Some(Box::new(plan.clone())),
            accept: open.map(|finding| finding.code.clone()).collect(),
            message: author.message,
            commit: author.commit,
            ..Apply::default()
        };
        self.client.ask("/applies", &body, PATIENCE).await.map_err(|failure| {
            let hint = "`reactorcide history` shows whether it was applied all the same";
            Failure { hint: Some(hint.to_owned()), ..failure }
        })
    }

    /// What it means that a plan was not applied.
    pub fn refused(&self, problem: Problem) -> Failure {
        let exit = match problem.kind.rsplit(':').next().unwrap_or_default() {
            "plan_stale" | "plan_changed" => Exit::Moved,
            "plan_refused" | "findings_open" | "acceptance_expired" => Exit::NotAccepted,
            "state_busy" => Exit::Held,
            _ => Exit::Failed,
        };
        self.client.refused(problem).exit(exit)
    }

    /// What is owed to objects elsewhere; all that one change owed, where its serial is given.
    pub async fn effects(&self, serial: Option<u64>) -> Result<Vec<Effect>, Failure> {
        let query: Vec<_> = serial.map(|serial| ("serial", serial.to_string())).into_iter().collect();
        let page: Page<Effect> = self.client.get("/effects", &query).await?;
        Ok(page.items)
    }
}

/// A resource, as far as its identity goes.
#[derive(serde::Deserialize)]
struct WithUid {
    uid: String,
}

/// A change as a state has it.
pub fn change(row: ChangeRow) -> Result<Change, Failure> {
    let plan = row.plan.parse().map_err(|_| Failure::new("the server tells of a change without a plan"))?;
    Ok(Change {
        id: ChangeId(row.id),
        serial: row.serial,
        at: row.at,
        author: Author { actor: row.actor, message: row.message, commit: row.commit },
        plan,
        counts: row.counts,
    })
}
