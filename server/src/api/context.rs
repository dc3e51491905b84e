//! Who asks, and what of a request was understood. Nothing behind these is reached by whoever is not known.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use reactorcide_engine::audit::{Draft, Outcome};
use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::identity::{
    Authority, Bindings, Caller, Capability, Decision, JobAttempt, JobToken, Need, Principal, Scope, TokenId,
    TokenText, decide, identify,
};
use reactorcide_engine::queue::EntryStatus;
use reactorcide_engine::runs::EntryFilter;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Api, Problem};
use crate::conductor::now;

/// The id of a request, given by whoever sent it or by us.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// That a request was refused, told to whoever writes it down.
#[derive(Debug, Clone, Default)]
pub struct Denials(Arc<OnceLock<Denial>>);

/// Who may not do what.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Who.
    pub actor: String,
    /// What: a capability.
    pub action: String,
    /// Why not.
    pub reason: String,
}

impl Denials {
    /// The first of a request.
    pub fn first(&self) -> Option<&Denial> {
        self.0.get()
    }
}

/// A request of somebody who is known.
pub struct Context {
    /// The server.
    pub api: Api,
    /// Who.
    pub caller: Caller,
    /// The request.
    pub request: String,
    denials: Denials,
}

impl Context {
    /// Refuses whoever may not do something, in a project or in the workspace.
    pub fn may(&self, capability: Capability, project: Option<&str>) -> Result<(), Problem> {
        let need = match project {
            Some(project) => Need::project(capability, project),
            None => Need::workspace(capability),
        };
        self.must(need)
    }

    /// The same for any need.
    pub fn must(&self, need: Need<'_>) -> Result<(), Problem> {
        self.decided(need.capability, &decide(&self.caller, need))
    }

    /// Refuses what was decided against.
    pub fn decided(&self, capability: Capability, decision: &Decision) -> Result<(), Problem> {
        if decision.is_allowed() {
            return Ok(());
        }
        let denial = Denial {
            actor: self.actor(),
            action: capability.as_str().to_owned(),
            reason: decision.reason().to_owned(),
        };
        // The first is what the request was about.
        let _ = self.denials.0.set(denial);
        Err(Problem::forbidden(decision.reason()))
    }

    /// Who asks, for people.
    pub fn actor(&self) -> String {
        self.caller.name.clone()
    }

    /// Writes down that something was done.
    pub async fn note(&self, action: &str, target: &str, detail: Value) -> Result<(), Problem> {
        let draft = Draft {
            at: now(),
            actor: self.actor(),
            action: action.to_owned(),
            target: target.to_owned(),
            outcome: Outcome::Done,
            detail: detail.into(),
            request: Some(self.request.clone()),
        };
        self.api.audit.append(&[draft]).await?;
        Ok(())
    }
}

impl FromRequestParts<Api> for Context {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let request = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        let denials = parts.extensions.get::<Denials>().cloned().unwrap_or_default();
        let caller = authenticate(parts, api).await?;
        Ok(Self { api: api.clone(), caller, request, denials })
    }
}

async fn authenticate(parts: &Parts, api: &Api) -> Result<Caller, Problem> {
    let unknown = || {
        Problem::unauthenticated("a token is needed")
            .hint("`Authorization: Bearer TOKEN`; `reactorcide tokens create` makes one")
    };
    let presented = parts.headers.get(header::AUTHORIZATION).ok_or_else(unknown)?;
    let presented = presented.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let presented = presented.ok_or_else(unknown)?;
    if JobToken::is_one(presented) {
        return job(presented, api).await;
    }
    let token = TokenText::parse(presented)
        .map_err(|_| Problem::unauthenticated("what was presented is no token"))?;
    let known = api.identities.token(token.id()).await?;
    let now = now();
    // Only accounts have roles: what workers and jobs say all the time asks for nothing more.
    let has_roles = known.as_ref().is_some_and(|known| known.token.principal.is_account());
    let identified = if has_roles {
        identify(&token, known.as_ref(), &api.applied.current().await?.bindings, now)
    } else {
        identify(&token, known.as_ref(), &Bindings::default(), now)
    };
    let caller = identified.map_err(|refusal| Problem::unauthenticated(refusal.to_string()))?;
    // Those of jobs are made from their lease, and none is stored.
    if matches!(caller.principal, Principal::Job(_)) {
        return Err(Problem::unauthenticated("the token is not known"));
    }
    if known.is_some_and(|known| known.token.should_note_use(now)) {
        // Nobody waits for it, and nobody is refused for it.
        let (identities, id) = (api.identities.clone(), token.id().clone());
        tokio::spawn(async move {
            if let Err(error) = identities.note_use(&id, now).await {
                tracing::warn!(%error, "the use of a token could not be noted");
            }
        });
    }
    Ok(caller)
}

/// The job that shows the token of its attempt, as long as the lease stands that the token was made from.
async fn job(presented: &str, api: &Api) -> Result<Caller, Problem> {
    let token =
        JobToken::parse(presented).map_err(|_| Problem::unauthenticated("what was presented is no token"))?;
    let lease = lease_of(api, token.attempt()).await?.filter(|lease| token.is_of(lease));
    // Whether there is such an attempt is nobody's business.
    lease.ok_or_else(|| Problem::unauthenticated("the attempt that the token belongs to is over"))?;
    let attempt = token.attempt().clone();
    let authority = Authority::Job { run: attempt.run.clone() };
    let principal = Principal::Job(attempt);
    Ok(Caller {
        name: principal.to_string(),
        principal,
        token: TokenId("job".to_owned()),
        expires_at: None,
        scope: Scope::default(),
        authority,
    })
}

/// The lease on an attempt, while a worker has it: as long as that, and no longer, a job's token works.
pub(super) async fn lease_of(api: &Api, attempt: &JobAttempt) -> Result<Option<LeaseId>, Problem> {
    let JobAttempt { run, node, attempt } = attempt;
    let (of_run, of_node) = (Some(run.clone()), Some(node.clone()));
    let filter = EntryFilter { run: of_run, node: of_node, limit: 100, ..EntryFilter::default() };
    let rows = api.conductor.queue.entries(&filter).await?;
    let row = rows.into_iter().find(|row| row.entry.attempt == *attempt && row.status == EntryStatus::Leased);
    let Some(worker) = row.and_then(|row| row.worker) else { return Ok(None) };
    let leases = api.conductor.queue.leases_of(&worker).await?;
    let is_it = |lease: &LeaseId| lease.run == *run && lease.node == *node && lease.attempt == *attempt;
    Ok(leases.into_iter().find(is_it))
}

/// What stands in the query of a request.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, api).await;
        query.map(|query| Self(query.0)).map_err(|error: QueryRejection| Problem::invalid(error.body_text()))
    }
}

/// What stands in the path of a request.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, api).await;
        path.map(|path| Self(path.0)).map_err(|error: PathRejection| Problem::invalid(error.body_text()))
    }
}

/// The body of a request, as JSON.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be JSON, and say so: `Content-Type: application/json`",
            ));
        }
        let bytes = body(request, api).await?;
        read(&bytes).map(Self)
    }
}

async fn body(request: Request, api: &Api) -> Result<Bytes, Problem> {
    Bytes::from_request(request, api)
        .await
        .map_err(|error| Problem::new(error.status(), "invalid_request", error.body_text()))
}

/// Reads an object. A list is no short form of one, though serde would take it for one.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value = serde_json::from_slice(bytes);
    let refused = |error: serde_json::Error| {
        let detail = format!("the body cannot be read: {error}");
        if error.is_data() { Problem::unprocessable(detail) } else { Problem::invalid(detail) }
    };
    let value: T = value.map_err(refused)?;
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        Ok(value)
    } else {
        Err(Problem::unprocessable("the body must be an object"))
    }
}

/// The body of a request, as JSON, or what there is without one.
pub struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Api> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let bytes = body(request, api).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        read(&bytes).map(Self)
    }
}
