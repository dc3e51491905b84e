//! Approvals: somebody who may, and whose own it is not, lets a run begin or a job deploy.

use axum::Json as Answer;
use reactorcide_engine::address::Address;
use reactorcide_engine::audit::{Draft, Outcome};
use reactorcide_engine::identity::{Account, Capability, Known as KnownToken};
use reactorcide_engine::policy::{Approval, ApprovalError, Approver, digest, is_bound, may_approve};
use reactorcide_engine::runs::{Known, RunFilter, RunRecord};
use reactorcide_engine::scheduler::{Admission, Event, Gate, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Context, Json, MaybeJson, Path};
use super::problem::{commit_id, within};
use super::runs::run_of;
use super::{Problem, Route};
use crate::conductor::now;

/// Runs of one project that wait, at most.
const WAITING: u32 = 10_000;

/// The routes of approvals.
pub fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/runs/{run}/approve", approve)
            .named(
                "approveRun",
                "runs",
                "Lets a run begin that waits for an approval, or one job of it deploy. The approval is for what the run is: its \
                 commits, its pipeline, its profile, and the policies that were applied when it was accepted",
            )
            .needs(Capability::RunsApprove)
            .maybe_body::<ApproveRun>()
            .answers::<Approved>(200)
            .problems(&[409]),
        Route::post("/api/v1/projects/{project}/pull-requests/{number}/approve", approve_pull_request)
            .named(
                "approvePullRequest",
                "runs",
                "Lets every run of a pull request begin that waits for an approval and is of one commit",
            )
            .needs(Capability::RunsApprove)
            .body::<ApprovePullRequest>()
            .answers::<Vec<Approved>>(200)
            .problems(&[404, 409]),
    ]
}

/// What is approved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRun {
    /// The job that is to deploy; absent: the run as a whole, else the only job of it that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub job: Option<String>,
    /// The commit that was looked at. If the run is of another one, nothing is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"))]
    pub head: Option<String>,
}

/// Which commit of a pull request is approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovePullRequest {
    /// The commit that was looked at.
    #[schemars(regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"))]
    pub head: String,
}

/// What was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approved {
    /// The run.
    pub run: String,
    /// The address of its pipeline.
    pub pipeline: String,
    /// The job; absent where it was the run.
    #[serde(default)]
    pub job: Option<String>,
    /// Who approved it.
    pub by: String,
}

/// What of a run waits for an approval.
struct Waiting {
    /// The job; nothing where it is the run.
    job: Option<String>,
    approvers: Vec<String>,
    admission: Option<Admission>,
    author: String,
    pushed_by: String,
    sha: String,
    policy: Option<String>,
}

async fn approve(
    context: Context,
    Path(run): Path<String>,
    MaybeJson(body): MaybeJson<ApproveRun>,
) -> Result<Answer<Approved>, Problem> {
    let record = run_of(&context, &run, Capability::RunsApprove).await?;
    within("job", body.job.as_deref(), 1, 200)?;
    commit_id("head", body.head.as_deref())?;
    let waiting = waiting(&context, &record, body.job).await?;
    let approver = context.api.identities.token(&context.caller.token).await?;
    carry_out(&context, approver.as_ref(), &record, waiting, body.head.as_deref()).await.map(Answer)
}

async fn approve_pull_request(
    context: Context,
    Path((project, number)): Path<(String, u64)>,
    Json(body): Json<ApprovePullRequest>,
) -> Result<Answer<Vec<Approved>>, Problem> {
    context.may(Capability::RunsApprove, Some(&project))?;
    commit_id("head", Some(&body.head))?;
    let filter = RunFilter {
        project: Some(project.clone()),
        status: Some(RunStatus::Waiting),
        ..RunFilter::newest(WAITING)
    };
    let approver = context.api.identities.token(&context.caller.token).await?;
    let (mut approved, mut other) = (Vec::new(), None);
    for record in context.api.conductor.runs.runs(&filter).await? {
        let look = context.api.conductor.look(&record.id, true, |known: &Known| {
            let state = &known.state;
            state.admission.clone().filter(|_| state.gate() == Some(Gate::Approval))
        });
        let Some(admission) = look.await?.filter(|admission| admission.number == number) else { continue };
        if admission.head != body.head {
            other = Some(admission.head);
            continue;
        }
        let waiting = waiting(&context, &record, None).await?;
        approved.push(carry_out(&context, approver.as_ref(), &record, waiting, Some(&body.head)).await?);
    }
    if !approved.is_empty() {
        return Ok(Answer(approved));
    }
    Err(match other {
        Some(actual) => Problem::conflict(format!(
            "what waits of pull request {number} is of the commit {actual}, and the approval is for {}",
            body.head
        ))
        .hint("look at that commit, and approve it"),
        None => Problem::not_found(format!("no run of pull request {number} waits for an approval")),
    })
}

/// What of a run waits for an approval: the run, or the job that is named, or the only one.
async fn waiting(context: &Context, record: &RunRecord, job: Option<String>) -> Result<Waiting, Problem> {
    let look = context.api.conductor.look(&record.id, true, move |known: &Known| {
        let state = &known.state;
        let text = |name: &str| state.event[name].as_str().unwrap_or_default().to_owned();
        let of = |job: Option<String>, approvers: Vec<String>, admission: Option<Admission>| Waiting {
            job,
            approvers,
            admission,
            author: text("author"),
            pushed_by: text("pushed_by"),
            sha: text("sha"),
            policy: state.event["policy_digest"].as_str().map(str::to_owned),
        };
        if job.is_none() && state.gate() == Some(Gate::Approval) {
            return Ok(of(None, Vec::new(), state.admission.clone()));
        }
        let name = match job {
            Some(name) => name,
            None => match state.held().collect::<Vec<_>>()[..] {
                [one] => one.to_owned(),
                [] => return Err("nothing of the run waits for an approval".to_owned()),
                ref many => return Err(format!("several jobs wait: name one of {}", many.join(", "))),
            },
        };
        match state.approvers_of(&name) {
            Some(approvers) => {
                let approvers = approvers.to_vec();
                Ok(of(Some(name), approvers, None))
            }
            None if state.node(&name).is_none() => Err(format!("the run has no job {name:?}")),
            None => Err(format!("{name:?} does not wait for an approval")),
        }
    });
    look.await?.map_err(Problem::conflict)
}

async fn carry_out(
    context: &Context,
    approver: Option<&KnownToken>,
    record: &RunRecord,
    waiting: Waiting,
    head: Option<&str>,
) -> Result<Approved, Problem> {
    let Waiting { job, approvers, admission, author, pushed_by, sha, policy } = waiting;
    let who = person(approver);
    let approval =
        Approval { author: &author, pushed_by: &pushed_by, started_by: &record.actor, approvers: &approvers };
    let current = context.api.applied.current().await?;
    let pipeline: Result<Address, _> = record.pipeline.parse();
    let now_applied = pipeline.map(|pipeline| digest(&current.catalog, &pipeline)).unwrap_or_default();
    let bound = match &admission {
        Some(admission) => is_bound(admission, head, &now_applied),
        None => match head.filter(|head| *head != sha) {
            Some(approved) => Err(ApprovalError::Head { actual: sha, approved: approved.to_owned() }),
            None if policy.is_some_and(|policy| policy != now_applied) => Err(ApprovalError::Policy),
            None => Ok(()),
        },
    };
    let target = match &job {
        Some(job) => format!("run/{}/{job}", record.id),
        None => format!("run/{}", record.id),
    };
    if let Err(error) = may_approve(&who, &approval).and(bound) {
        let detail = json!({"reason": error.to_string(), "head": head});
        note(context, &target, Outcome::Denied, detail).await?;
        return Err(refusal(&error));
    }
    let by = context.actor();
    let event = Event::Approve { node: job.clone(), by: by.clone() };
    context.api.conductor.tell(&record.id, event).await?;
    let detail = match &admission {
        Some(Admission { author, number, head, base, profile, policy, .. }) => json!({
            "author": author, "number": number, "head": head, "base": base, "profile": profile,
            "policy": policy, "pipeline": record.pipeline,
        }),
        None => json!({"author": author, "policy": now_applied, "pipeline": record.pipeline}),
    };
    note(context, &target, Outcome::Done, detail).await?;
    Ok(Approved { run: record.id.clone(), pipeline: record.pipeline.clone(), job, by })
}

async fn note(
    context: &Context,
    target: &str,
    outcome: Outcome,
    detail: serde_json::Value,
) -> Result<(), Problem> {
    let draft = Draft {
        at: now(),
        actor: context.actor(),
        action: Capability::RunsApprove.as_str().to_owned(),
        target: target.to_owned(),
        outcome,
        detail: detail.into(),
        request: Some(context.request.clone()),
    };
    context.api.audit.append(&[draft]).await?;
    Ok(())
}

fn refusal(error: &ApprovalError) -> Problem {
    let detail = error.to_string();
    match error {
        ApprovalError::NoPerson | ApprovalError::Own | ApprovalError::Others(_) => Problem::forbidden(detail),
        ApprovalError::Head { .. } => Problem::conflict(detail).hint("look at that commit, and approve it"),
        ApprovalError::Policy => {
            Problem::conflict(detail).hint("cancel the run, and send its event or start it again")
        }
    }
}

/// Who it is that approves.
fn person(known: Option<&KnownToken>) -> Approver<'_> {
    match known.and_then(|known| Some((known.account.as_ref()?, &known.teams))) {
        Some((Account::User(user), teams)) => Approver {
            is_person: true,
            names: [Some(user.username.as_str()), Some(user.id.0.as_str()), user.email.as_deref()]
                .into_iter()
                .flatten()
                .collect(),
            teams: teams.iter().map(String::as_str).collect(),
        },
        _ => Approver { is_person: false, names: Vec::new(), teams: Vec::new() },
    }
}
