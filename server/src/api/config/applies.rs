//! Applying a change: the plan that somebody saw, by its fingerprint, and no other.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json as Answer;
use axum::http::StatusCode;
use reactorcide_engine::apply::Refusal;
use reactorcide_engine::config::Kind;
use reactorcide_engine::dates;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::outside::EffectKind;
use reactorcide_engine::plan::Plan;
use reactorcide_engine::store::{Author, CommitError, Owner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::context::{Context, Json};
use super::super::problem::within;
use super::super::{Problem, Route};
use super::effects::Effect;
use super::history::ChangeRow;
use super::plans::{MAX_CONFIGURATION, MakePlan, make};
use crate::conductor::now;
use crate::configure::{self, Maker, Written};

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
            .problems(&[404, 409])
            .body_up_to(MAX_CONFIGURATION),
    ]
}

/// What to apply: the files of a configuration, or a plan that was made of what `getState` said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// All files of the configuration: their content by their path. Needs `expected_plan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10_000))]
    pub files: Option<BTreeMap<String, String>>,
    /// A whole plan, as it was shown. Nothing of it is believed: it is made again and held against itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
    /// The fingerprint of the plan that was shown. Another plan is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub expected_plan: Option<String>,
    /// With `files`: the project whose repository they are from. Absent: they are the workspace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub project: Option<String>,
    /// With `files`: the day on which acceptances are held against their end, `YYYY-MM-DD`. Default: today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}$"))]
    pub as_of: Option<String>,
    /// With `files`: many deletes are meant.
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
    /// What it does to objects elsewhere, which the server carries out from now on: `listEffects` says how far it is.
    #[serde(default)]
    pub effects: Vec<Effect>,
    /// How much is still to be done to objects elsewhere, whoever owes it.
    pub owed: u64,
}

async fn create(context: Context, Json(body): Json<Apply>) -> Result<Answer<Applied>, Problem> {
    let of_plan = body.plan.as_ref().and_then(|plan| match &plan.owner {
        Owner::Workspace => None,
        Owner::Project(name) => Some(name.as_str()),
    });
    context.may(Capability::ConfigApply, of_plan.or(body.project.as_deref()))?;
    within("message", body.message.as_deref(), 0, 10_000)?;
    within("commit", body.commit.as_deref(), 0, 128)?;
    let Apply { files, plan, expected_plan, project, as_of, allow_destroy, accept, message, commit } = body;
    let author = Author { actor: context.actor(), message, commit };
    match (files, plan, expected_plan) {
        (Some(files), None, Some(expected)) => {
            let plan = make(&context, MakePlan { files, project, as_of, allow_destroy }).await?;
            if plan.fingerprint.to_string() != expected {
                let earlier = if plan.has_changes() { None } else { before(&context, &expected).await? };
                return answer(&context, earlier.ok_or_else(|| other(&plan, &expected))?, Vec::new()).await;
            }
            carry_out(&context, &plan, Maker::Us, &accept, author).await
        }
        (None, Some(plan), expected) if project.is_none() && as_of.is_none() && !allow_destroy => {
            if let Some(expected) = expected.filter(|expected| plan.fingerprint.to_string() != *expected) {
                return Err(other(&plan, &expected));
            }
            let today = dates::date(now().unsigned_abs());
            carry_out(&context, &plan, Maker::Another { today: &today }, &accept, author).await
        }
        (None, Some(_), _) => Err(Problem::unprocessable(
            "a plan says itself for which project and day it is; give it without `project`, `as_of` and `allow_destroy`",
        )),
        _ => Err(Problem::unprocessable("give either `files` with `expected_plan`, or a `plan`")),
    }
}

/// Carries a plan out for who may do all that is in it.
async fn carry_out(
    context: &Context,
    plan: &Plan,
    maker: Maker<'_>,
    accept: &BTreeSet<String>,
    author: Author,
) -> Result<Answer<Applied>, Problem> {
    permitted(context, plan)?;
    acceptable(plan, accept)?;
    let is_new =
        plan.effects.iter().any(|one| one.effect != EffectKind::Resume) || plan.changes().next().is_some();
    if !is_new {
        // What an earlier change owes is worth another try.
        context.api.errands.wake();
        return Ok(Answer(Applied { change: None, effects: Vec::new(), owed: owed(context).await? }));
    }
    let written =
        configure::apply(&**context.api.applied.store(), plan, maker, author).await.map_err(refused)?;
    let Written { change, owed } = written;
    if !owed.is_empty() {
        context.api.errands.wake();
    }
    let target = match &plan.owner {
        Owner::Workspace => "workspace".to_owned(),
        Owner::Project(name) => format!("Project/{name}"),
    };
    let detail = json!({"change": change.id.0, "serial": change.serial, "plan": plan.fingerprint.to_string(), "accepted": accept});
    context.note(Capability::ConfigApply.as_str(), &target, detail).await?;
    context.api.conductor.wake();
    answer(context, change.into(), owed.iter().map(Effect::owed).collect()).await
}

async fn answer(
    context: &Context,
    change: ChangeRow,
    effects: Vec<Effect>,
) -> Result<Answer<Applied>, Problem> {
    Ok(Answer(Applied { change: Some(change), effects, owed: owed(context).await? }))
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
        // Who takes something over must have been able to change it where it was.
        match &action.taken_from {
            Some(Owner::Workspace) => context.may(Capability::ConfigApply, None)?,
            Some(Owner::Project(name)) => context.may(Capability::ConfigApply, Some(name))?,
            None => {}
        }
    }
    // Objects elsewhere are the workspace's.
    if plan.effects.iter().any(|one| one.effect != EffectKind::Resume) {
        context.may(Capability::ConfigApply, None)?;
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
        Refusal::Obstacles(obstacles) => {
            let hint = obstacles.first().map(|one| one.hint()).unwrap_or_default();
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "plan_refused", detail).hint(hint)
        }
        Refusal::Unreadable(_) => Problem::internal(detail),
        Refusal::Untrue { .. } | Refusal::Invalid { .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "plan_invalid", detail)
                .hint("nothing was changed; make the plan again, with the version of the server")
        }
        Refusal::Expired { .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "acceptance_expired", detail)
                .hint("nothing was changed; look at a new plan, and accept what it finds or change it")
        }
        Refusal::Consequences { new } if !new.is_empty() => {
            Problem::new(StatusCode::CONFLICT, "plan_stale", detail)
                .hint(format!("nothing was changed; look at a new plan: {}", new.join("; ")))
        }
        _ => Problem::new(StatusCode::CONFLICT, "plan_stale", detail)
            .hint("nothing was changed; look at a new plan, and apply that"),
    }
}
