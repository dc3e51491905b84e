//! Applying a change: the plan that somebody saw, by its fingerprint, and no other.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json as Answer;
use axum::http::StatusCode;
use reactorcide_engine::apply::Refusal;
use reactorcide_engine::config::Kind;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::plan::Plan;
use reactorcide_engine::store::{Author, CommitError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::context::{Context, Json};
use super::super::problem::within;
use super::super::{Problem, Route};
use super::history::ChangeRow;
use super::plans::{MakePlan, make};
use crate::configure;

/// The route of applies.
pub fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/applies", create)
            .named(
                "apply",
                "configuration",
                "Applies the plan that was shown, whole or not at all. RoleBindings also need `users.admin`, WorkerPools \
                 `workers.admin`. A repetition changes nothing and is answered with the change that it made",
            )
            .needs(Capability::ConfigApply)
            .body::<Apply>()
            .answers::<Applied>(200)
            .problems(&[404, 409]),
    ]
}

/// What to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// All files of the configuration: their content by their path.
    #[schemars(length(max = 10_000))]
    pub files: BTreeMap<String, String>,
    /// The fingerprint of the plan that was shown. Another plan is refused.
    #[schemars(length(min = 1, max = 100))]
    pub expected_plan: String,
    /// The project whose repository they are from. Absent: they are the workspace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub project: Option<String>,
    /// The day on which acceptances are held against their end, `YYYY-MM-DD`. Default: today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}$"))]
    pub as_of: Option<String>,
    /// Many deletes are meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_destroy: bool,
    /// The codes of findings of the plan that are accepted knowingly: `RX101`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub accept: BTreeSet<String>,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10_000))]
    pub message: Option<String>,
    /// The commit that the configuration comes from, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub commit: Option<String>,
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// The change; absent where there was nothing to change.
    #[serde(default)]
    pub change: Option<ChangeRow>,
    /// How much is still to be done to objects elsewhere.
    pub owed: u64,
}

async fn create(context: Context, Json(body): Json<Apply>) -> Result<Answer<Applied>, Problem> {
    context.may(Capability::ConfigApply, body.project.as_deref())?;
    within("message", body.message.as_deref(), 0, 10_000)?;
    within("commit", body.commit.as_deref(), 0, 128)?;
    let Apply { files, expected_plan, project, as_of, allow_destroy, accept, message, commit } = body;
    let target = project.as_ref().map_or_else(|| "workspace".to_owned(), |name| format!("Project/{name}"));
    let plan = make(&context, MakePlan { files, project, as_of, allow_destroy }).await?;
    if plan.fingerprint.to_string() != expected_plan {
        if plan.has_changes() {
            return Err(other(&plan, &expected_plan));
        }
        return answer(
            &context,
            before(&context, &expected_plan).await?.ok_or_else(|| other(&plan, &expected_plan))?,
        )
        .await;
    }
    permitted(&context, &plan)?;
    acceptable(&plan, &accept)?;
    if !plan.has_changes() {
        return Ok(Answer(Applied { change: None, owed: owed(&context).await? }));
    }
    let author = Author { actor: context.actor(), message, commit };
    let change = configure::apply(&**context.api.applied.store(), &plan, author).await.map_err(refused)?;
    let detail =
        json!({"change": change.id.0, "serial": change.serial, "plan": expected_plan, "accepted": accept});
    context.note(Capability::ConfigApply.as_str(), &target, detail).await?;
    context.api.conductor.wake();
    answer(&context, change.into()).await
}

async fn answer(context: &Context, change: ChangeRow) -> Result<Answer<Applied>, Problem> {
    Ok(Answer(Applied { change: Some(change), owed: owed(context).await? }))
}

async fn owed(context: &Context) -> Result<u64, Problem> {
    Ok(context.api.applied.store().snapshot().await?.owed.len() as u64)
}

/// The change that carried out this very plan, if one did.
async fn before(context: &Context, plan: &str) -> Result<Option<ChangeRow>, Problem> {
    let changes = context.api.applied.store().history(None, 1000).await?;
    Ok(changes.into_iter().find(|change| change.plan.to_string() == plan).map(ChangeRow::from))
}

/// What gives others more than their role needs more than `config.apply`: a token that is limited to that must not give it.
fn permitted(context: &Context, plan: &Plan) -> Result<(), Problem> {
    for action in plan.changes() {
        match action.address.kind {
            Kind::RoleBinding => context.may(Capability::UsersAdmin, None)?,
            Kind::WorkerPool => context.may(Capability::WorkersAdmin, None)?,
            _ => {}
        }
    }
    Ok(())
}

fn other(plan: &Plan, expected: &str) -> Problem {
    let detail = format!("the plan is {}, not the expected {expected}", plan.fingerprint);
    Problem::new(StatusCode::CONFLICT, "plan_changed", detail)
        .hint("nothing was changed; look at a new plan, and apply that")
}

/// Whether nothing stands in the way of a plan, and what follows from it is accepted.
fn acceptable(plan: &Plan, accept: &BTreeSet<String>) -> Result<(), Problem> {
    let refused = |code, detail| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
    if let Some(obstacle) = plan.obstacles.first() {
        return Err(refused("plan_refused", format!("the plan is refused: {obstacle}")).hint(obstacle.hint()));
    }
    let open: BTreeSet<&str> = plan
        .findings
        .iter()
        .filter(|finding| finding.is_open() && !accept.contains(&finding.code))
        .map(|finding| finding.code.as_str())
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let codes: Vec<&str> = open.into_iter().collect();
    Err(refused(
        "findings_open",
        format!("the plan has findings that are not accepted: {}", codes.join(", ")),
    )
    .hint("name their codes in `accept`, or write an `accept` at the resource"))
}

fn refused(error: CommitError) -> Problem {
    let refusal = match error {
        CommitError::Store(error) => return error.into(),
        CommitError::Refused(refusal) => refusal,
    };
    let detail = refusal.to_string();
    match &refusal {
        Refusal::Obstacles(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "plan_refused", detail),
        Refusal::Unreadable(_) => Problem::internal(detail),
        _ => Problem::new(StatusCode::CONFLICT, "plan_stale", detail)
            .hint("nothing was changed; look at a new plan, and apply that"),
    }
}
