//! Tokens: made, listed and revoked. What opens the door is shown once, in the answer that made it.

mod owner;
mod wire;

use axum::Json as Answer;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use reactorcide_engine::identity::{
    Account, Capability, IdentityError, NewToken, Principal, Scope, Token, TokenFilter, TokenId, TokenText,
    check_token_name, may_issue,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::context::{Context, Json, Path, Query};
use super::problem::within;
use super::runs::idempotency_key;
use super::{Page, Problem, Route, page};
use crate::conductor::now;
use owner::{Names, capability_over, owner_of};

pub use wire::{CapabilityWord, CreateToken, CreatedToken, ListTokens, TokenRow};

/// The routes of tokens.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/tokens", list)
            .named("listTokens", "identity", "One's own tokens, or those of others for who has `tokens.admin`")
            .needs(Capability::TokensSelf)
            .query::<ListTokens>()
            .answers::<Page<TokenRow>>(200)
            .problems(&[404, 422]),
        Route::post("/api/v1/tokens", create)
            .named(
                "createToken",
                "identity",
                "Makes a token, for oneself or for others, and shows its secret once. A request that is repeated with its \
                 Idempotency-Key makes no second one, and is answered without the secret, which nobody knows any more",
            )
            .needs(Capability::TokensSelf)
            .body::<CreateToken>()
            .answers::<CreatedToken>(201)
            .problems(&[404, 409])
            .idempotent(),
        Route::get("/api/v1/tokens/{token}", show)
            .named("getToken", "identity", "A token, by its id")
            .needs(Capability::TokensSelf)
            .answers::<TokenRow>(200),
        Route::delete("/api/v1/tokens/{token}", revoke)
            .named("revokeToken", "identity", "From now on a token is refused")
            .needs(Capability::TokensSelf),
    ]
}

async fn list(context: Context, Query(query): Query<ListTokens>) -> Result<Answer<Page<TokenRow>>, Problem> {
    let limit = page::limit(query.limit)?;
    let principal = match query.owner.as_deref() {
        Some("all") => {
            context.may(Capability::TokensAdmin, None)?;
            None
        }
        owner => {
            let principal = owner_of(&context, owner).await?.0;
            context.may(capability_over(&context, &principal), None)?;
            Some(principal)
        }
    };
    let after = page::decode(query.cursor.as_deref())?;
    let filter = TokenFilter { principal, live_at: query.live.then(now), with_jobs: false, after };
    let found = context.api.identities.tokens(&filter, limit + 1).await?;
    let Page { items, next } = Page::of(found, limit, |last| last.id.clone());
    let mut names = Names::default();
    let mut rows = Vec::with_capacity(items.len());
    for token in items {
        rows.push(names.row(&context, token).await?);
    }
    Ok(Answer(Page { items: rows, next }))
}

async fn create(
    context: Context,
    headers: HeaderMap,
    Json(body): Json<CreateToken>,
) -> Result<impl IntoResponse, Problem> {
    let (principal, account) = owner_of(&context, body.owner.as_deref()).await?;
    let is_own = principal == context.caller.principal;
    let scope = scope_of(&context, &body, &principal)?;
    // A token that one makes for oneself lives at most as long as the one that is shown.
    let expires_at = body.expires_at.or_else(|| context.caller.expires_at.filter(|_| is_own));
    let to_superuser = matches!(&account, Some(Account::User(user)) if user.superuser);
    let decision = may_issue(&context.caller, &principal, to_superuser, &scope, expires_at);
    context.decided(capability_over(&context, &principal), &decision)?;
    within("project", body.project.as_deref(), 1, 128)?;
    check_token_name(&body.name).map_err(|error| Problem::unprocessable(error.to_string()))?;
    let created_at = now();
    if expires_at.is_some_and(|at| at <= created_at) {
        return Err(Problem::unprocessable("expires_at is over").hint("it is in milliseconds since 1970"));
    }
    let key = idempotency_key(&context, &headers, "tokens")?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| Problem::internal(format!("there is no randomness: {error}")))?;
    let text = TokenText::new(key.as_deref().map_or_else(uuid::Uuid::now_v7, id_of), secret);
    let token = Token {
        id: text.id().clone(),
        principal,
        name: body.name,
        scope,
        created_at,
        expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    if key.is_some()
        && let Some(known) = context.api.identities.token(text.id()).await?
    {
        return repeated(&context, &token, known.token, body.expires_at.is_some()).await;
    }
    let new = NewToken { token: token.clone(), hash: text.hash() };
    match context.api.identities.create_tokens(std::slice::from_ref(&new)).await {
        Ok(()) => {}
        // The same request may have come twice at once.
        Err(IdentityError::Store(error)) if key.is_some() => {
            match context.api.identities.token(text.id()).await? {
                Some(known) => {
                    return repeated(&context, &token, known.token, body.expires_at.is_some()).await;
                }
                None => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    }
    let row = Names::default().row(&context, token).await?;
    let detail = json!({"what": "created", "name": row.name, "owner": row.owner, "owner_id": row.owner_id,
        "capabilities": row.capabilities, "project": row.project, "expires_at": row.expires_at});
    let action = capability_over(&context, &new.token.principal);
    context.note(action.as_str(), &format!("token/{}", row.id), detail).await?;
    Ok(made(CreatedToken { token: row, secret: Some(text.reveal().expose().to_owned()) }))
}

/// What a new token is limited to. What is not said is as with the token that is shown; a worker's is never limited.
fn scope_of(context: &Context, body: &CreateToken, principal: &Principal) -> Result<Scope, Problem> {
    let capabilities = body.capabilities.as_ref().map(|words| words.iter().map(|word| word.0).collect());
    if capabilities.as_ref().is_some_and(std::collections::BTreeSet::is_empty) {
        return Err(Problem::unprocessable("a token without any capability is of no use")
            .hint("leave `capabilities` out for all that its owner may"));
    }
    if matches!(principal, Principal::Worker(_)) {
        if capabilities.is_some() || body.project.is_some() {
            return Err(Problem::unprocessable("a worker's token cannot be limited")
                .hint("labels and WorkerPools say what a worker gets"));
        }
        return Ok(Scope::default());
    }
    let own = &context.caller.scope;
    Ok(Scope {
        capabilities: capabilities.or_else(|| own.capabilities.clone()),
        project: body.project.clone().or_else(|| own.project.clone()),
    })
}

/// The id of a token that a key stands for: the same for the same caller and key, and nobody else's.
fn id_of(key: &str) -> uuid::Uuid {
    let digest: [u8; 32] = Sha256::digest(format!("reactorcide token {key}")).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Uuid::from_bytes(bytes)
}

/// The answer to a request that came before: everything but the secret.
async fn repeated(
    context: &Context,
    wanted: &Token,
    known: Token,
    expiry_given: bool,
) -> Result<(StatusCode, [(header::HeaderName, String); 1], Answer<CreatedToken>), Problem> {
    let same = known.principal == wanted.principal
        && known.name == wanted.name
        && known.scope == wanted.scope
        && (!expiry_given || known.expires_at == wanted.expires_at);
    if !same {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "the Idempotency-Key was used for another token",
        )
        .hint("use a new key for each request that is no repetition"));
    }
    let token = Names::default().row(context, known).await?;
    Ok(made(CreatedToken { token, secret: None }))
}

fn made(created: CreatedToken) -> (StatusCode, [(header::HeaderName, String); 1], Answer<CreatedToken>) {
    let location = format!("/api/v1/tokens/{}", created.token.id);
    (StatusCode::CREATED, [(header::LOCATION, location)], Answer(created))
}

/// A token that the caller may see. What they may not see is not there for them.
async fn find(context: &Context, id: &str) -> Result<Token, Problem> {
    let none = || Problem::not_found(format!("there is no token {id:?}"));
    let known = context.api.identities.token(&TokenId(id.to_owned())).await?;
    let Some(known) = known else {
        context.may(Capability::TokensSelf, None)?;
        return Err(none());
    };
    context.may(capability_over(context, &known.token.principal), None)?;
    Ok(known.token)
}

async fn show(context: Context, Path(token): Path<String>) -> Result<Answer<TokenRow>, Problem> {
    let token = find(&context, &token).await?;
    Names::default().row(&context, token).await.map(Answer)
}

async fn revoke(context: Context, Path(token): Path<String>) -> Result<StatusCode, Problem> {
    let token = find(&context, &token).await?;
    if let Principal::User(_) = &token.principal
        && token.principal != context.caller.principal
        && let Some(account) = context.api.identities.account(&token.principal).await?
    {
        // Whoever may not change a superuser may not shut one out either.
        let decision = may_issue(
            &context.caller,
            &token.principal,
            matches!(&account, Account::User(user) if user.superuser),
            &context.caller.scope,
            None,
        );
        context.decided(Capability::TokensAdmin, &decision)?;
    }
    context.api.identities.revoke(&token.id, now()).await?;
    let row = Names::default().row(&context, token).await?;
    let detail = json!({"what": "revoked", "name": row.name, "owner": row.owner, "owner_id": row.owner_id});
    let action = if row.owner_id == context.caller.principal.to_string() {
        Capability::TokensSelf
    } else {
        Capability::TokensAdmin
    };
    context.note(action.as_str(), &format!("token/{}", row.id), detail).await?;
    Ok(StatusCode::NO_CONTENT)
}
