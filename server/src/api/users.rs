//! Users: people, by their name.

use axum::Json as Answer;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use reactorcide_engine::identity::{self, Account, AccountKind, Capability, UserId, check_email};
use reactorcide_engine::scheduler::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::accounts::{self, NAME, given};
use super::context::{Context, Json, Path, Query};
use super::page::Paging;
use super::{Page, Problem, Route};
use crate::conductor::now;

const KIND: AccountKind = AccountKind::User;

/// The routes of users.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/users", list)
            .named("listUsers", "identity", "Users, by name")
            .needs(Capability::UsersRead)
            .query::<Paging>()
            .answers::<Page<User>>(200),
        Route::post("/api/v1/users", create)
            .named("createUser", "identity", "Adds a user; what they may comes from RoleBindings")
            .needs(Capability::UsersAdmin)
            .body::<CreateUser>()
            .answers::<User>(201)
            .problems(&[409]),
        Route::get("/api/v1/users/{user}", show)
            .named("getUser", "identity", "A user, by name or id")
            .needs(Capability::UsersRead)
            .answers::<User>(200),
        Route::patch("/api/v1/users/{user}", change)
            .named("changeUser", "identity", "Changes a user; what is left out stays")
            .needs(Capability::UsersAdmin)
            .body::<ChangeUser>()
            .answers::<User>(200)
            .problems(&[409]),
        Route::delete("/api/v1/users/{user}", remove)
            .named("removeUser", "identity", "Removes a user and revokes their tokens")
            .needs(Capability::UsersAdmin),
        Route::post("/api/v1/users/{user}/disable", |context: Context, path: Path<String>| {
            disable(context, path, true)
        })
        .named("disableUser", "identity", "From now on none of a user's tokens works")
        .needs(Capability::UsersAdmin)
        .problems(&[409]),
        Route::post("/api/v1/users/{user}/enable", |context: Context, path: Path<String>| {
            disable(context, path, false)
        })
        .named("enableUser", "identity", "Lets a disabled user in again")
        .needs(Capability::UsersAdmin)
        .problems(&[409]),
    ]
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Their id, which stays when the name changes.
    pub id: String,
    /// Their name: the NAME of `user:NAME` in a RoleBinding.
    pub username: String,
    /// Where to write to them.
    #[serde(default)]
    pub email: Option<String>,
    /// Whether they may do everything without a RoleBinding.
    pub superuser: bool,
    /// When they were added, in milliseconds since 1970.
    pub created_at: Millis,
    /// Since when none of their tokens works.
    #[serde(default)]
    pub disabled_at: Option<Millis>,
}

impl From<identity::User> for User {
    fn from(user: identity::User) -> Self {
        let identity::User { id, username, email, superuser, created_at, disabled_at, .. } = user;
        Self { id: id.0, username, email, superuser, created_at, disabled_at }
    }
}

impl User {
    fn of(account: Account) -> Option<Self> {
        match account {
            Account::User(user) => Some(user.into()),
            _ => None,
        }
    }
}

/// A user to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// Their name: lower-case letters, digits, `-`, `_` and `.`.
    #[schemars(regex(pattern = NAME))]
    pub username: String,
    /// Where to write to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 254), email)]
    pub email: Option<String>,
    /// Whether they may do everything without a RoleBinding. Only a superuser can say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superuser: bool,
}

/// What to change of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    /// Another name. Bindings that name the old one give nothing to the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NAME))]
    pub username: Option<String>,
    /// Another address; null removes it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 254), email)]
    pub email: Option<Option<String>>,
    /// Whether they may do everything without a RoleBinding. Only a superuser can say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superuser: Option<bool>,
}

async fn list(context: Context, Query(query): Query<Paging>) -> Result<Answer<Page<User>>, Problem> {
    accounts::list(&context, KIND, query, User::of).await.map(Answer)
}

async fn create(context: Context, Json(body): Json<CreateUser>) -> Result<impl IntoResponse, Problem> {
    context.may(Capability::UsersAdmin, None)?;
    let CreateUser { username, email, superuser } = body;
    check(email.as_deref())?;
    let id = UserId(accounts::new_id(KIND).key());
    let detail = json!({"superuser": superuser});
    let user =
        identity::User { id, username, email, superuser, version: 1, created_at: now(), disabled_at: None };
    accounts::create(&context, Account::User(user.clone()), detail).await?;
    let location = format!("/api/v1/users/{}", user.username);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Answer(User::from(user))))
}

async fn show(context: Context, Path(user): Path<String>) -> Result<Answer<User>, Problem> {
    answer(accounts::show(&context, KIND, &user).await?)
}

async fn change(
    context: Context,
    Path(user): Path<String>,
    Json(body): Json<ChangeUser>,
) -> Result<Answer<User>, Problem> {
    let before = accounts::to_change(&context, KIND, &user).await?;
    let mut after = before.clone();
    if let Account::User(user) = &mut after {
        user.username = body.username.clone().unwrap_or_else(|| user.username.clone());
        user.superuser = body.superuser.unwrap_or(user.superuser);
        if let Some(email) = &body.email {
            check(email.as_deref())?;
            user.email.clone_from(email);
        }
    }
    let detail =
        json!({"username": body.username, "email": body.email.is_some(), "superuser": body.superuser});
    answer(accounts::change(&context, &before, after, detail).await?)
}

async fn disable(context: Context, Path(user): Path<String>, disabled: bool) -> Result<StatusCode, Problem> {
    accounts::disable(&context, KIND, &user, disabled).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(context: Context, Path(user): Path<String>) -> Result<StatusCode, Problem> {
    accounts::remove(&context, KIND, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check(email: Option<&str>) -> Result<(), Problem> {
    email.map_or(Ok(()), check_email).map_err(|error| Problem::unprocessable(error.to_string()))
}

fn answer(account: Account) -> Result<Answer<User>, Problem> {
    User::of(account).map(Answer).ok_or_else(|| Problem::internal("the account is no user"))
}
