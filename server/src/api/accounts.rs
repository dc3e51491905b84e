//! What users, teams and service accounts have in common: found by name, changed by who may, and written down.

use reactorcide_engine::identity::{
    Account, AccountKind, Capability, Principal, ServiceAccountId, TeamId, UserId, check_name, may_change,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::context::Context;
use super::page::Paging;
use super::{Page, Problem, page};
use crate::conductor::now;

/// What names are, as a pattern.
pub(super) const NAME: &str = r"^[a-z0-9][a-z0-9._-]{0,127}$";

/// A page of accounts of a kind, by name.
pub(super) async fn list<T>(
    context: &Context,
    kind: AccountKind,
    query: Paging,
    row: impl Fn(Account) -> Option<T>,
) -> Result<Page<T>, Problem> {
    context.may(Capability::UsersRead, None)?;
    let limit = page::limit(query.limit)?;
    let after: Option<String> = page::decode(query.cursor.as_deref())?;
    let found = context.api.identities.accounts(kind, after.as_deref(), limit + 1).await?;
    let Page { items, next } = Page::of(found, limit, |last| last.name().to_owned());
    Ok(Page { items: items.into_iter().filter_map(row).collect(), next })
}

/// An account, for who may see it.
pub(super) async fn show(context: &Context, kind: AccountKind, name: &str) -> Result<Account, Problem> {
    context.may(Capability::UsersRead, None)?;
    named(context, kind, name).await
}

/// An account that somebody wants to change: who may not does not learn whether it is there.
pub(super) async fn to_change(context: &Context, kind: AccountKind, name: &str) -> Result<Account, Problem> {
    context.may(Capability::UsersAdmin, None)?;
    named(context, kind, name).await
}

/// An account by its name, or else by its id.
pub(super) async fn named(context: &Context, kind: AccountKind, name: &str) -> Result<Account, Problem> {
    let identities = &context.api.identities;
    let found = match identities.named(kind, name).await? {
        Some(found) => Some(found),
        None => identities.account(&with_id(kind, name.to_owned())).await?,
    };
    found.ok_or_else(|| Problem::not_found(format!("there is no {} {name:?}", kind.word())))
}

/// Adds an account, and answers with what is stored.
pub(super) async fn create(context: &Context, account: Account, detail: Value) -> Result<Account, Problem> {
    context.decided(Capability::UsersAdmin, &may_change(&context.caller, None, Some(&account)))?;
    check(account.name())?;
    context.api.identities.create(&account).await?;
    written(context, &account, "created", detail).await?;
    Ok(account.with_version(1))
}

/// Changes an account, and answers with what is stored. What somebody else changed meanwhile is not undone.
pub(super) async fn change(
    context: &Context,
    before: &Account,
    after: Account,
    detail: Value,
) -> Result<Account, Problem> {
    context.decided(Capability::UsersAdmin, &may_change(&context.caller, Some(before), Some(&after)))?;
    check(after.name())?;
    if after == *before {
        return Ok(after);
    }
    context.api.identities.change(&after).await?;
    written(context, before, "changed", detail).await?;
    let version = after.version() + 1;
    Ok(after.with_version(version))
}

/// Lets an account do nothing any more, or lets it in again.
pub(super) async fn disable(
    context: &Context,
    kind: AccountKind,
    name: &str,
    disabled: bool,
) -> Result<(), Problem> {
    let before = to_change(context, kind, name).await?;
    let mut after = before.clone();
    let slot = match &mut after {
        Account::User(user) => &mut user.disabled_at,
        Account::Team(team) => &mut team.disabled_at,
        Account::Service(service) => &mut service.disabled_at,
    };
    *slot = if disabled { slot.or_else(|| Some(now())) } else { None };
    change(context, &before, after, json!({"disabled": disabled})).await.map(drop)
}

/// Removes an account, and revokes its tokens.
pub(super) async fn remove(context: &Context, kind: AccountKind, name: &str) -> Result<(), Problem> {
    let before = to_change(context, kind, name).await?;
    context.decided(Capability::UsersAdmin, &may_change(&context.caller, Some(&before), None))?;
    if context.api.identities.remove(&before.principal(), now()).await? {
        written(context, &before, "removed", json!({})).await?;
    }
    Ok(())
}

/// A new id for an account.
pub(super) fn new_id(kind: AccountKind) -> Principal {
    with_id(kind, uuid::Uuid::now_v7().to_string())
}

fn with_id(kind: AccountKind, id: String) -> Principal {
    match kind {
        AccountKind::User => Principal::User(UserId(id)),
        AccountKind::Team => Principal::Team(TeamId(id)),
        AccountKind::Service => Principal::Service(ServiceAccountId(id)),
    }
}

fn check(name: &str) -> Result<(), Problem> {
    check_name(name).map_err(|error| Problem::unprocessable(error.to_string()))
}

async fn written(context: &Context, account: &Account, what: &str, mut detail: Value) -> Result<(), Problem> {
    detail["what"] = what.into();
    detail["id"] = account.principal().key().into();
    context.note(Capability::UsersAdmin.as_str(), &account.subject().to_string(), detail).await
}

/// Tells `null` from what is absent.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}
