//! Who asks, and what they may.

use axum::Json as Answer;
use reactorcide_engine::config::Role;
use reactorcide_engine::identity::{Authority, Capability, Held, Need, decide};
use reactorcide_engine::scheduler::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::{Context, Query};
use super::tokens::CapabilityWord;
use super::{Problem, Route};

/// The route of who asks.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/me", show)
            .named("getMe", "identity", "Who asks, and what they may")
            .needs_token()
            .query::<Where>()
            .answers::<Me>(200),
    ]
}

/// Where it is asked what somebody may.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Where {
    /// In a project. Absent: in the workspace with all its projects.
    pub project: Option<String>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// What they are called, here and in the audit log: `user:ada`.
    pub name: String,
    /// The same by an id that stays when the name changes.
    pub id: String,
    /// The id of the token that was shown.
    pub token: String,
    /// From when on that token is of no use, in milliseconds since 1970.
    #[serde(default)]
    pub expires_at: Option<Millis>,
    /// The only project that the token is for.
    #[serde(default)]
    pub token_project: Option<String>,
    /// Whether they may do everything without a RoleBinding.
    pub superuser: bool,
    /// The roles that they have.
    pub roles: Vec<RoleRow>,
    /// What they may with this token, in the project that was asked for or in the whole workspace.
    pub capabilities: Vec<CapabilityWord>,
}

/// A role that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleRow {
    /// `read`, `write` or `admin`.
    pub role: String,
    /// Where; absent is the workspace with all its projects.
    #[serde(default)]
    pub project: Option<String>,
    /// The RoleBinding that gives it.
    pub binding: String,
    /// To whom it gives it: who asks, or a team that they are in.
    pub subject: String,
}

async fn show(context: Context, Query(query): Query<Where>) -> Result<Answer<Me>, Problem> {
    let caller = &context.caller;
    let (superuser, grants, run) = match &caller.authority {
        Authority::Superuser => (true, &[][..], None),
        Authority::Roles(grants) => (false, grants.as_slice(), None),
        Authority::Job { run } => (false, &[][..], Some(run.as_str())),
        Authority::Worker => (false, &[][..], None),
    };
    let word = |role| match role {
        Role::Read => "read",
        Role::Write => "write",
        Role::Admin => "admin",
    };
    let roles = grants.iter().map(|grant| RoleRow {
        role: word(grant.role).to_owned(),
        project: grant.project.clone(),
        binding: grant.binding.clone(),
        subject: grant.subject.clone(),
    });
    let is_held = |capability: &Capability| {
        let need = match (capability.held(), query.project.as_deref(), run) {
            (Held::ByJobs, _, Some(run)) => Need::run(*capability, run),
            (Held::InProject(_), Some(project), _) => Need::project(*capability, project),
            _ => Need::workspace(*capability),
        };
        decide(caller, need).is_allowed()
    };
    Ok(Answer(Me {
        name: caller.name.clone(),
        id: caller.principal.to_string(),
        token: caller.token.0.clone(),
        expires_at: caller.expires_at,
        token_project: caller.scope.project.clone(),
        superuser,
        roles: roles.collect(),
        capabilities: Capability::ALL.iter().copied().filter(is_held).map(CapabilityWord).collect(),
    }))
}
