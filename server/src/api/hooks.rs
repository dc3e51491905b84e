//! Signed webhooks: events of systems that have no token and share a secret with a project.

mod event;
mod signature;

use axum::Json as Answer;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Kind, SecretSource, Spec};
use reactorcide_engine::policy::secret_key;
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::reference::secret_name;
use sha2::{Digest, Sha256};

use self::event::told;
pub use self::event::{HookEvent, HookSender, HookWord, PullRequest, PullRequestSide};
use super::context::{Path, RequestId};
use super::events::{Delivered, Delivery, Sender, deliver, event_of};
use super::{Api, Problem, Route};
use crate::applied::Current;
use crate::conductor::now;

#[cfg(test)]
pub use signature::sign;

/// The route of signed webhooks.
pub fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/hooks/{project}", receive)
            .named(
                "receiveHook",
                "runs",
                "Takes an event that is signed with the project's secret: X-Reactorcide-Timestamp and X-Reactorcide-Signature",
            )
            .maybe_body::<HookEvent>()
            .answers::<Delivered>(202)
            .problems(&[401]),
    ]
}

async fn receive(
    State(api): State<Api>,
    Path(project): Path<String>,
    request: axum::Extension<RequestId>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Answer<Delivered>), Problem> {
    let current = api.applied.current().await?;
    let checked = match secret_of(&api, &current, &project).await {
        Ok(secret) => signature::check(&headers, &body, secret.expose().as_bytes(), now() / 1000),
        Err(why) => Err(why),
    };
    if let Err(why) = checked {
        // Who does not know the secret learns nothing.
        tracing::warn!(request.id = request.0.0, project, why, "a webhook was refused");
        return Err(Problem::unauthenticated("the webhook is not signed as it must be")
            .hint("docs/events.md says how to sign; the server's log says what was wrong"));
    }
    let said: HookEvent = if body.iter().all(u8::is_ascii_whitespace) {
        HookEvent::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Problem::unprocessable(error.to_string()))?
    };
    let HookEvent { kind, repository, pull_request, sender, changed_files_truncated, data } = said;
    let delivery = match &data.delivery_id {
        Some(id) => format!("id {id}"),
        None => format!("body {}", signed(&headers, &body)),
    };
    let delivery = Delivery::known(format!("hooks {project} {delivery}"));
    let mut event = event_of(kind.into(), data)?;
    let told = told(&mut event, repository, pull_request, sender, changed_files_truncated)?;
    let sender = Sender { api: &api, actor: format!("webhook:{project}"), request: request.0.0 };
    let delivered = deliver(&sender, &current, &project, &event, told.as_ref(), &delivery).await?;
    Ok((StatusCode::ACCEPTED, Answer(delivered)))
}

/// What was signed, in short.
fn signed(headers: &HeaderMap, body: &[u8]) -> String {
    let time = headers.get(signature::TIMESTAMP).map(|value| value.as_bytes()).unwrap_or_default();
    let digest = Sha256::new().chain_update(time).chain_update(b".").chain_update(body).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The secret that a project signs with, or why there is none.
async fn secret_of(api: &Api, current: &Current, project: &str) -> Result<Sensitive, &'static str> {
    let spec = |address: &Address| current.catalog.get(address).map(|resource| &resource.spec);
    let Some(Spec::Project(found)) = spec(&Address::new(Kind::Project, None, project)) else {
        return Err("there is no such project");
    };
    let webhook = found.webhook.as_ref().ok_or("the project has no webhook")?;
    let name = secret_name(&webhook.secret);
    let own = Address::new(Kind::Secret, Some(project), name);
    let address =
        if current.catalog.contains_key(&own) { own } else { Address::new(Kind::Secret, None, name) };
    let Some((uid, secret)) = current.secret(&address) else {
        return Err("the secret is not applied");
    };
    let vault = api.secrets.vault();
    let key = || {
        secret_key(&current.catalog, &address, &webhook.secret)
            .map_err(|_| "the webhook must name a key of the secret")
    };
    let value = match (secret.source, &secret.location) {
        (SecretSource::Env, Some(variable)) => {
            Sensitive::new(std::env::var(variable).map_err(|_| "the secret's variable is not set")?)
        }
        (SecretSource::File, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|_| "the secret's file cannot be read")?;
            Sensitive::new(text.trim_end_matches(['\n', '\r']))
        }
        (SecretSource::Env | SecretSource::File, None) => return Err("the secret does not say where it is"),
        (SecretSource::Vault, _) => {
            let workspace = current.lineage.as_ref().ok_or("nothing is applied")?;
            let value = vault.value(workspace, uid, &key()?).await.map_err(|error| {
                tracing::warn!(secret = %address, %error, "the secret of a webhook cannot be had");
                "the secret cannot be had from the vault"
            })?;
            value
                .map(|(_, value)| value)
                .ok_or("the secret has no value: `reactorcide secret set` gives it one")?
        }
        (SecretSource::HashicorpVault, location) => {
            let values =
                vault.external(location.as_deref().unwrap_or(&address.name)).await.map_err(|error| {
                    tracing::warn!(secret = %address, %error, "the secret of a webhook cannot be had");
                    "the secret cannot be had from where it is kept"
                })?;
            values.get(&key()?).cloned().ok_or("the secret has no such key where it is kept")?
        }
    };
    if value.expose().len() < signature::LEAST { Err("the secret is too short") } else { Ok(value) }
}
