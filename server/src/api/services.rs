//! Service accounts: programs with a name of their own.

use axum::Json as Answer;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use reactorcide_engine::identity::{self, Account, AccountKind, Capability, ServiceAccountId};
use reactorcide_engine::scheduler::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::accounts::{self, NAME};
use super::context::{Context, Json, Path, Query};
use super::page::Paging;
use super::{Page, Problem, Route};
use crate::conductor::now;

const KIND: AccountKind = AccountKind::Service;

/// The routes of service accounts.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/service-accounts", list)
            .named("listServiceAccounts", "identity", "Service accounts, by name")
            .needs(Capability::UsersRead)
            .query::<Paging>()
            .answers::<Page<ServiceAccount>>(200),
        Route::post("/api/v1/service-accounts", create)
            .named(
                "createServiceAccount",
                "identity",
                "Adds a service account; what it may comes from RoleBindings",
            )
            .needs(Capability::UsersAdmin)
            .body::<NameServiceAccount>()
            .answers::<ServiceAccount>(201)
            .problems(&[409]),
        Route::get("/api/v1/service-accounts/{service}", show)
            .named("getServiceAccount", "identity", "A service account, by name or id")
            .needs(Capability::UsersRead)
            .answers::<ServiceAccount>(200),
        Route::patch("/api/v1/service-accounts/{service}", change)
            .named("changeServiceAccount", "identity", "Gives a service account another name")
            .needs(Capability::UsersAdmin)
            .body::<NameServiceAccount>()
            .answers::<ServiceAccount>(200)
            .problems(&[409]),
        Route::delete("/api/v1/service-accounts/{service}", remove)
            .named("removeServiceAccount", "identity", "Removes a service account and revokes its tokens")
            .needs(Capability::UsersAdmin),
        Route::post("/api/v1/service-accounts/{service}/disable", |context: Context, path: Path<String>| {
            disable(context, path, true)
        })
        .named("disableServiceAccount", "identity", "From now on none of a service account's tokens works")
        .needs(Capability::UsersAdmin)
        .problems(&[409]),
        Route::post("/api/v1/service-accounts/{service}/enable", |context: Context, path: Path<String>| {
            disable(context, path, false)
        })
        .named("enableServiceAccount", "identity", "Lets a disabled service account in again")
        .needs(Capability::UsersAdmin)
        .problems(&[409]),
    ]
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceAccount {
    /// Its id, which stays when the name changes.
    pub id: String,
    /// Its name: the NAME of `service:NAME` in a RoleBinding.
    pub name: String,
    /// When it was added, in milliseconds since 1970.
    pub created_at: Millis,
    /// Since when none of its tokens works.
    #[serde(default)]
    pub disabled_at: Option<Millis>,
}

impl ServiceAccount {
    fn of(account: Account) -> Option<Self> {
        let Account::Service(service) = account else { return None };
        let identity::ServiceAccount { id, name, created_at, disabled_at, .. } = service;
        Some(Self { id: id.0, name, created_at, disabled_at })
    }
}

/// What a service account is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameServiceAccount {
    /// Its name: lower-case letters, digits, `-`, `_` and `.`. Bindings that name an old one give nothing to a new one.
    #[schemars(regex(pattern = NAME))]
    pub name: String,
}

async fn list(
    context: Context,
    Query(query): Query<Paging>,
) -> Result<Answer<Page<ServiceAccount>>, Problem> {
    accounts::list(&context, KIND, query, ServiceAccount::of).await.map(Answer)
}

async fn create(
    context: Context,
    Json(body): Json<NameServiceAccount>,
) -> Result<impl IntoResponse, Problem> {
    let id = ServiceAccountId(accounts::new_id(KIND).key());
    let service =
        identity::ServiceAccount { id, name: body.name, version: 1, created_at: now(), disabled_at: None };
    let location = format!("/api/v1/service-accounts/{}", service.name);
    let created = accounts::create(&context, Account::Service(service), json!({})).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], answer(created)?))
}

async fn show(context: Context, Path(service): Path<String>) -> Result<Answer<ServiceAccount>, Problem> {
    answer(accounts::show(&context, KIND, &service).await?)
}

async fn change(
    context: Context,
    Path(service): Path<String>,
    Json(body): Json<NameServiceAccount>,
) -> Result<Answer<ServiceAccount>, Problem> {
    let before = accounts::to_change(&context, KIND, &service).await?;
    let mut after = before.clone();
    if let Account::Service(service) = &mut after {
        service.name.clone_from(&body.name);
    }
    answer(accounts::change(&context, &before, after, json!({"name": body.name})).await?)
}

async fn disable(
    context: Context,
    Path(service): Path<String>,
    disabled: bool,
) -> Result<StatusCode, Problem> {
    accounts::disable(&context, KIND, &service, disabled).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(context: Context, Path(service): Path<String>) -> Result<StatusCode, Problem> {
    accounts::remove(&context, KIND, &service).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(account: Account) -> Result<Answer<ServiceAccount>, Problem> {
    ServiceAccount::of(account)
        .map(Answer)
        .ok_or_else(|| Problem::internal("the account is no service account"))
}
