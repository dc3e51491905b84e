//! The issuer of identity tokens: it signs what the engine says of a job, tells its public keys to everybody, and makes new
//! ones in time.

mod directory;
mod key;

use std::sync::Arc;

use reactorcide_engine::artifacts::origins;
use reactorcide_engine::audit::{AuditLog, Draft, Outcome};
use reactorcide_engine::coordinator::{CoordinatorError, LeaseId};
use reactorcide_engine::id_token::{
    Asked, Claims, KeyPlan, Refusal, SigningKey, SigningKeyStore, claims, plan,
};
use reactorcide_engine::identity::{JobAttempt, Principal};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::queue::EntryStatus;
use reactorcide_engine::runs::EntryFilter;
use reactorcide_engine::scheduler::{Millis, assignment};
use reactorcide_engine::store::StoreError;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::applied::Applied;
use crate::conductor::{ConductError, Conductor, now};
use key::Key;

pub use directory::KeyDirectory;

/// How long keys are not read again.
const FRESH_MS: Millis = 60_000;
/// How often somebody else may be faster when a key is made.
const TRIES: u32 = 5;

/// Signs identity tokens. Cheap to clone.
#[derive(Clone)]
pub struct Issuer {
    inner: Arc<Inner>,
}

struct Inner {
    /// What tokens call the server; without it there are none.
    url: Option<String>,
    store: Arc<dyn SigningKeyStore>,
    applied: Arc<Applied>,
    audit: Arc<dyn AuditLog>,
    keys: Mutex<(Millis, Arc<Keys>)>,
}

/// The keys that there are, and the one that signs.
#[derive(Default)]
struct Keys {
    all: Vec<Arc<Key>>,
    signs: Option<Arc<Key>>,
}

/// A token and how long it is good.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The token.
    pub token: Sensitive,
    /// Good until, in milliseconds since 1970.
    pub expires_at: Millis,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Nobody outside could find the keys of this server.
    #[error(
        "this server issues no identity tokens: it does not know what others call it, which --public-url says"
    )]
    NoIssuer,
    /// The lease is over.
    #[error("the attempt is over")]
    Over,
    /// It is not for this job.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The run could not be looked at.
    #[error(transparent)]
    Run(#[from] ConductError),
    /// What is needed cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be signed, or written down that it was.
    #[error("{0}")]
    Failed(String),
}

/// What others call a server, if it can be: `https://HOST/PATH`, and without TLS for tests.
pub fn check_url(url: &str) -> Result<String, &'static str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.ok_or("it begins with https:// or http://")?.split('/').next().unwrap_or_default();
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\".contains(&byte));
    if host.is_empty() || host.contains('@') || !is_plain {
        return Err("it is https://HOST, with a port and a path where needed, and nothing else");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

impl Issuer {
    /// An issuer that others call so, by [`check_url`]; without that, one that refuses everything.
    pub fn new(
        url: Option<String>,
        store: Arc<dyn SigningKeyStore>,
        applied: Arc<Applied>,
        audit: Arc<dyn AuditLog>,
    ) -> Self {
        let keys = Mutex::new((Millis::MIN, Arc::default()));
        Self { inner: Arc::new(Inner { url, store, applied, audit, keys }) }
    }

    /// What is said of the issuer to who wants to check its tokens. `None` where it issues none.
    pub fn discovery(&self) -> Option<Value> {
        let url = self.inner.url.as_ref()?;
        Some(json!({
            "issuer": url,
            "jwks_uri": format!("{url}/.well-known/jwks.json"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid"],
            "claims_supported": [
                "iss", "aud", "sub", "exp", "nbf", "iat", "jti", "project", "pipeline", "job", "node", "run_id", "attempt",
                "event", "ref", "sha", "origin", "profile", "environment", "policy_revision",
            ],
        }))
    }

    /// The public keys. `None` where it issues no tokens.
    pub async fn key_set(&self) -> Result<Option<Value>, IssueError> {
        if self.inner.url.is_none() {
            return Ok(None);
        }
        let keys = self.keys().await?;
        let all: Vec<&Value> = keys.all.iter().map(|key| key.public()).collect();
        Ok(Some(json!({"keys": all})))
    }

    /// A token for an audience, for the job that has a lease. It is written down, and so is that there was none.
    pub async fn issue(
        &self,
        conductor: &Conductor,
        lease: &LeaseId,
        audience: &str,
        request: Option<&str>,
    ) -> Result<Issued, IssueError> {
        let url = self.inner.url.as_deref().ok_or(IssueError::NoIssuer)?;
        let said = self.claims(conductor, lease, audience, url).await;
        let note = |outcome, detail: Value| self.note(lease, outcome, detail, request);
        let said = match said {
            Ok(said) => said,
            Err(error) => {
                if let IssueError::Refused(refusal) = &error {
                    let detail = json!({"audience": audience, "reason": refusal.to_string()});
                    note(Outcome::Denied, detail).await?;
                }
                return Err(error);
            }
        };
        let keys = self.keys().await?;
        let key = keys.signs.as_ref().ok_or_else(|| IssueError::Failed("there is no key".to_owned()))?;
        let token = key.sign(&said).map_err(IssueError::Failed)?;
        // Who has a token without its line in the log could not be found later.
        let detail = json!({
            "audience": audience, "subject": said.sub, "id": said.jti, "until": said.exp, "key": key.id(),
            "policy_revision": said.policy_revision,
        });
        note(Outcome::Done, detail).await?;
        Ok(Issued { token, expires_at: said.exp.saturating_mul(1000) })
    }

    async fn claims(
        &self,
        conductor: &Conductor,
        lease: &LeaseId,
        audience: &str,
        url: &str,
    ) -> Result<Claims, IssueError> {
        let lease_until = lease_until(conductor, lease).await?.ok_or(IssueError::Over)?;
        let (now, node) = (now(), lease.node.clone());
        let found = conductor.look(&lease.run, true, move |known| {
            let assignment = assignment(&known.state, &node, now)?.ok()?;
            Some((assignment, known.state.workflow.address.clone()))
        });
        let (assignment, pipeline) = found.await?.ok_or(IssueError::Over)?;
        let current = self.inner.applied.current().await?;
        let origins = origins(&assignment.event, &lease.run, None);
        Ok(claims(Asked {
            audience,
            assignment: &assignment,
            pipeline: &pipeline,
            origins: &origins,
            catalog: &current.catalog,
            policy_revision: current.serial,
            issuer: url,
            now,
            lease_until,
            id: uuid::Uuid::new_v4().to_string(),
        })?)
    }

    async fn note(
        &self,
        lease: &LeaseId,
        outcome: Outcome,
        detail: Value,
        request: Option<&str>,
    ) -> Result<(), IssueError> {
        let LeaseId { run, node, attempt, .. } = lease.clone();
        let target = format!("{run} {node}");
        let draft = Draft {
            at: now(),
            actor: Principal::Job(JobAttempt { run, node, attempt }).to_string(),
            action: "id_token.issue".to_owned(),
            target,
            outcome,
            detail: detail.into(),
            request: request.map(str::to_owned),
        };
        let written = self.inner.audit.append(&[draft]).await;
        written.map(drop).map_err(|error| IssueError::Failed(format!("the audit log takes nothing: {error}")))
    }

    /// The keys as they are to be now: what is due is done first.
    async fn keys(&self) -> Result<Arc<Keys>, IssueError> {
        let mut cached = self.inner.keys.lock().await;
        let moment = now();
        if cached.1.signs.is_some() && (cached.0..cached.0.saturating_add(FRESH_MS)).contains(&moment) {
            return Ok(Arc::clone(&cached.1));
        }
        let store = &self.inner.store;
        for _ in 0..TRIES {
            let stored = store.keys().await?;
            let KeyPlan { signs, make, forget } = plan(&ages(&stored), moment);
            for number in &forget {
                store.forget(*number, moment).await?;
            }
            if make {
                let number = store.next().await?;
                let made = tokio::task::spawn_blocking(key::generate).await;
                let private = made.map_err(|error| IssueError::Failed(error.to_string()))?;
                let private = private.map_err(IssueError::Failed)?;
                // Where somebody else was faster, theirs is the next.
                store.add(&SigningKey { number, created_at: moment, private }).await?;
                continue;
            }
            let kept = stored.iter().filter(|key| !forget.contains(&key.number));
            let all = kept.map(|key| Key::read(key).map(Arc::new)).collect::<Result<Vec<_>, _>>();
            let all = all.map_err(IssueError::Failed)?;
            let signs = all.iter().find(|key| Some(key.number()) == signs).cloned();
            *cached = (moment, Arc::new(Keys { all, signs }));
            return Ok(Arc::clone(&cached.1));
        }
        Err(IssueError::Failed("no key can be made: others change them all the time".to_owned()))
    }
}

fn ages(keys: &[SigningKey]) -> Vec<(u64, Millis)> {
    keys.iter().map(|key| (key.number, key.created_at)).collect()
}

/// When a lease ends unless it is renewed; nothing where it is over.
async fn lease_until(conductor: &Conductor, lease: &LeaseId) -> Result<Option<Millis>, IssueError> {
    let (run, node) = (Some(lease.run.clone()), Some(lease.node.clone()));
    let filter = EntryFilter { run, node, limit: 100, ..EntryFilter::default() };
    let rows = conductor.queue.entries(&filter).await?;
    let is_it = |row: &reactorcide_engine::queue::Row| {
        row.entry.attempt == lease.attempt && row.status == EntryStatus::Leased
    };
    let until = rows.into_iter().find(is_it).and_then(|row| row.expires_at);
    Ok(if conductor.queue.holder(lease).await?.is_some() { until } else { None })
}

impl IssueError {
    /// For the worker that has a lease.
    pub fn of(self, lease: &LeaseId) -> CoordinatorError {
        match self {
            Self::Over | Self::Run(ConductError::Stale(_) | ConductError::NoRun(_)) => lease.stale(),
            Self::NoIssuer | Self::Refused(_) => CoordinatorError::Refused(self.to_string()),
            Self::Run(_) | Self::Store(_) | Self::Failed(_) => {
                CoordinatorError::Unavailable(self.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_a_plain_url() {
        assert_eq!(check_url("https://ci.example.com/"), Ok("https://ci.example.com".to_owned()));
        assert_eq!(check_url("http://127.0.0.1:7420/ci"), Ok("http://127.0.0.1:7420/ci".to_owned()));
        for wrong in [
            "ci.example.com",
            "https://",
            "https://a b",
            "https://u@h",
            "https://h/?q",
            "https://h/#f",
            "ftp://h",
        ] {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
    }
}
