//! Teams: users who have roles together.

use std::collections::BTreeSet;

use axum::Json as Answer;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use reactorcide_engine::identity::{self, Account, AccountKind, Capability, Principal, TeamId, UserId};
use reactorcide_engine::scheduler::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::accounts::{self, NAME};
use super::context::{Context, Json, Path, Query};
use super::page::Paging;
use super::{Page, Problem, Route};
use crate::conductor::now;

const KIND: AccountKind = AccountKind::Team;

/// The routes of teams.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/teams", list)
            .named("listTeams", "identity", "Teams, by name")
            .needs(Capability::UsersRead)
            .query::<Paging>()
            .answers::<Page<Team>>(200),
        Route::post("/api/v1/teams", create)
            .named("createTeam", "identity", "Adds a team; what its members may comes from RoleBindings")
            .needs(Capability::UsersAdmin)
            .body::<CreateTeam>()
            .answers::<Team>(201)
            .problems(&[409]),
        Route::get("/api/v1/teams/{team}", show)
            .named("getTeam", "identity", "A team with its members, by name or id")
            .needs(Capability::UsersRead)
            .answers::<TeamDetail>(200),
        Route::patch("/api/v1/teams/{team}", change)
            .named("changeTeam", "identity", "Changes a team; what is left out stays")
            .needs(Capability::UsersAdmin)
            .body::<ChangeTeam>()
            .answers::<TeamDetail>(200)
            .problems(&[409]),
        Route::delete("/api/v1/teams/{team}", remove)
            .named("removeTeam", "identity", "Removes a team and revokes its tokens; its members stay")
            .needs(Capability::UsersAdmin),
        Route::put(
            "/api/v1/teams/{team}/members/{user}",
            |context: Context, path: Path<(String, String)>| member(context, path, true),
        )
        .named("addMember", "identity", "Puts a user into a team")
        .needs(Capability::UsersAdmin)
        .problems(&[409]),
        Route::delete(
            "/api/v1/teams/{team}/members/{user}",
            |context: Context, path: Path<(String, String)>| member(context, path, false),
        )
        .named("removeMember", "identity", "Takes a user out of a team")
        .needs(Capability::UsersAdmin)
        .problems(&[409]),
        Route::post("/api/v1/teams/{team}/disable", |context: Context, path: Path<String>| {
            disable(context, path, true)
        })
        .named("disableTeam", "identity", "From now on a team gives its members nothing")
        .needs(Capability::UsersAdmin)
        .problems(&[409]),
        Route::post("/api/v1/teams/{team}/enable", |context: Context, path: Path<String>| {
            disable(context, path, false)
        })
        .named("enableTeam", "identity", "Lets a disabled team count again")
        .needs(Capability::UsersAdmin)
        .problems(&[409]),
    ]
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Team {
    /// Its id, which stays when the name changes.
    pub id: String,
    /// Its name: the NAME of `team:NAME` in a RoleBinding.
    pub name: String,
    /// How many users are in it.
    pub size: u64,
    /// When it was added, in milliseconds since 1970.
    pub created_at: Millis,
    /// Since when it gives its members nothing.
    #[serde(default)]
    pub disabled_at: Option<Millis>,
}

/// A team with its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamDetail {
    /// In short.
    #[serde(flatten)]
    pub team: Team,
    /// The names of the users in it, sorted.
    pub members: Vec<String>,
}

impl Team {
    fn of(account: Account) -> Option<Self> {
        let Account::Team(team) = account else { return None };
        let identity::Team { id, name, members, created_at, disabled_at, .. } = team;
        Some(Self { id: id.0, name, size: members.len() as u64, created_at, disabled_at })
    }
}

/// A team to be added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTeam {
    /// Its name: lower-case letters, digits, `-`, `_` and `.`.
    #[schemars(regex(pattern = NAME))]
    pub name: String,
    /// The names of the users in it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 10_000))]
    pub members: BTreeSet<String>,
}

/// What to change of a team.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTeam {
    /// Another name. Bindings that name the old one give nothing to the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NAME))]
    pub name: Option<String>,
    /// The names of all users who are to be in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10_000))]
    pub members: Option<BTreeSet<String>>,
}

async fn list(context: Context, Query(query): Query<Paging>) -> Result<Answer<Page<Team>>, Problem> {
    accounts::list(&context, KIND, query, Team::of).await.map(Answer)
}

async fn create(context: Context, Json(body): Json<CreateTeam>) -> Result<impl IntoResponse, Problem> {
    context.may(Capability::UsersAdmin, None)?;
    let CreateTeam { name, members: names } = body;
    let members = ids(&context, &names).await?;
    let id = TeamId(accounts::new_id(KIND).key());
    let team = identity::Team { id, name, members, version: 1, created_at: now(), disabled_at: None };
    let location = format!("/api/v1/teams/{}", team.name);
    let created = accounts::create(&context, Account::Team(team), json!({"members": names})).await?;
    let created = Team::of(created).ok_or_else(no_team)?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Answer(created)))
}

async fn show(context: Context, Path(team): Path<String>) -> Result<Answer<TeamDetail>, Problem> {
    let account = accounts::show(&context, KIND, &team).await?;
    detail(&context, account).await
}

async fn change(
    context: Context,
    Path(team): Path<String>,
    Json(body): Json<ChangeTeam>,
) -> Result<Answer<TeamDetail>, Problem> {
    let before = accounts::to_change(&context, KIND, &team).await?;
    let mut after = before.clone();
    if let Account::Team(team) = &mut after {
        team.name = body.name.clone().unwrap_or_else(|| team.name.clone());
        if let Some(names) = &body.members {
            team.members = ids(&context, names).await?;
        }
    }
    let what = json!({"name": body.name, "members": body.members});
    let changed = accounts::change(&context, &before, after, what).await?;
    detail(&context, changed).await
}

/// How often a change of members is tried where others change the same team at once.
const TRIES: u32 = 5;

async fn member(
    context: Context,
    Path((team, user)): Path<(String, String)>,
    is_in: bool,
) -> Result<StatusCode, Problem> {
    let mut tries = 1;
    loop {
        let before = accounts::to_change(&context, KIND, &team).await?;
        let Principal::User(id) = accounts::named(&context, AccountKind::User, &user).await?.principal()
        else {
            return Err(no_team());
        };
        let mut after = before.clone();
        if let Account::Team(team) = &mut after {
            if is_in {
                team.members.insert(id)
            } else {
                team.members.remove(&id)
            };
        }
        let what: Value = if is_in { json!({"added": user}) } else { json!({"taken_out": user}) };
        match accounts::change(&context, &before, after, what).await {
            Ok(_) => return Ok(StatusCode::NO_CONTENT),
            Err(problem) if problem.status == StatusCode::CONFLICT.as_u16() && tries < TRIES => tries += 1,
            Err(problem) => return Err(problem),
        }
    }
}

async fn disable(context: Context, Path(team): Path<String>, disabled: bool) -> Result<StatusCode, Problem> {
    accounts::disable(&context, KIND, &team, disabled).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(context: Context, Path(team): Path<String>) -> Result<StatusCode, Problem> {
    accounts::remove(&context, KIND, &team).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The ids of users by their names.
async fn ids(context: &Context, names: &BTreeSet<String>) -> Result<BTreeSet<UserId>, Problem> {
    let mut ids = BTreeSet::new();
    for name in names {
        match context.api.identities.named(AccountKind::User, name).await? {
            Some(Account::User(user)) => ids.insert(user.id),
            _ => return Err(Problem::unprocessable(format!("members: there is no user {name:?}"))),
        };
    }
    Ok(ids)
}

async fn detail(context: &Context, account: Account) -> Result<Answer<TeamDetail>, Problem> {
    let mut members = Vec::new();
    if let Account::Team(team) = &account {
        for id in &team.members {
            if let Some(user) = context.api.identities.account(&Principal::User(id.clone())).await? {
                members.push(user.name().to_owned());
            }
        }
    }
    members.sort_unstable();
    let team = Team::of(account).ok_or_else(no_team)?;
    Ok(Answer(TeamDetail { team, members }))
}

fn no_team() -> Problem {
    Problem::internal("the account is of another kind than its name")
}
