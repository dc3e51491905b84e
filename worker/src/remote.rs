//! The coordinator behind HTTP: a server, which a worker reaches with its token.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use reactorcide_engine::artifacts::Content;
use reactorcide_engine::config::Standby;
use reactorcide_engine::coordinator::{
    Coordinator, CoordinatorError, Delivered, Keeping, LeaseId, Offered, Report, Urgency, Work,
};
use reactorcide_engine::protocol::query::{Answer, Query};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::queue::Renewed;
use reactorcide_engine::workers::Health;
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::instance::Instance;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take beyond what was asked for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long content may stand still.
const STANDSTILL: Duration = Duration::from_secs(60);

/// A server.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    url: String,
    token: Sensitive,
    instance: Instance,
    /// The token of leases that were asked for, while nobody knows whether they were given.
    asked: Mutex<Option<String>>,
    /// What the server hears with the next claim.
    health: Mutex<Option<Health>>,
}

/// Who a worker says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The WorkerPool that it is in.
    pub pool: Option<String>,
    /// How many jobs it runs at once.
    pub slots: usize,
    /// What runs its containers.
    pub provider: String,
}

/// What a server says to a worker that registers.
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    /// Its name.
    pub name: String,
    /// Leases that the server knows it to have.
    pub leases: Vec<LeaseId>,
    /// Containers that it starts ahead of jobs.
    pub standby: Vec<Standby>,
}

impl Remote {
    /// A server at a URL, `http://HOST:PORT` or `https://…`.
    pub fn new(url: &str, token: Sensitive, instance: Instance) -> Result<Self, CoordinatorError> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .user_agent(concat!("reactorcide-worker/", env!("CARGO_PKG_VERSION")));
        // Without TLS nobody's certificate matters, and there may be none.
        let plain = url.starts_with("http://");
        let client = if plain { client.tls_certs_only([]) } else { client };
        let client = client.build().map_err(|error| CoordinatorError::Unavailable(words(&error)))?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { client, url, token, instance, asked: Mutex::default(), health: Mutex::default() })
    }

    /// Says who this worker is.
    pub async fn register(&self, identity: &Identity) -> Result<Welcome, CoordinatorError> {
        let body = json!({
            "labels": identity.labels, "pool": identity.pool, "slots": identity.slots, "provider": identity.provider,
            "version": env!("CARGO_PKG_VERSION"),
        });
        let value: Value = self.call("register", &body, Duration::ZERO).await?;
        let leases = serde_json::from_value(value["leases"].clone()).unwrap_or_default();
        let standby = serde_json::from_value(value["standby"].clone()).unwrap_or_default();
        Ok(Welcome { name: value["name"].as_str().unwrap_or_default().to_owned(), leases, standby })
    }

    fn asked(&self) -> MutexGuard<'_, Option<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, what: &str, wait: Duration) -> RequestBuilder {
        let request = self.client.post(format!("{}/worker/v1/{what}", self.url));
        request.bearer_auth(self.token.expose()).timeout(wait + PATIENCE)
    }

    /// A request whose content takes as long as it takes.
    fn content_request(&self, what: &str) -> RequestBuilder {
        self.client.post(format!("{}/worker/v1/{what}", self.url)).bearer_auth(self.token.expose())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        what: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<T, CoordinatorError> {
        send(self.post(what, wait).json(body)).await
    }
}

/// Sends a request, and reads what comes back.
async fn send<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, CoordinatorError> {
    let response = respond(request).await?;
    let bytes = response.bytes().await.map_err(|error| CoordinatorError::Unavailable(words(&error)))?;
    let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
    serde_json::from_slice(bytes)
        .map_err(|error| CoordinatorError::Unavailable(format!("the answer cannot be read: {error}")))
}

/// Sends a request, and returns what comes back where all is well.
async fn respond(request: RequestBuilder) -> Result<Response, CoordinatorError> {
    let response = request.send().await.map_err(|error| CoordinatorError::Unavailable(words(&error)))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = response.bytes().await.map_err(|error| CoordinatorError::Unavailable(words(&error)))?;
    let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Err(refusal(status, &problem))
}

/// What a problem means for a worker.
fn refusal(status: StatusCode, problem: &Value) -> CoordinatorError {
    let kind = problem["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default();
    let detail =
        problem["detail"].as_str().unwrap_or_else(|| status.canonical_reason().unwrap_or("?")).to_owned();
    match (status.as_u16(), kind) {
        (409, "gap") => match problem["expected_offset"].as_u64() {
            Some(expected) => CoordinatorError::Gap { expected },
            None => CoordinatorError::Unavailable(detail),
        },
        (409, "stale_lease") => CoordinatorError::Stale { node: String::new(), attempt: 0 },
        // What is not understood, not allowed or not there stays so; a server that restarts or is overrun does not.
        (401 | 403 | 404 | 405 | 409 | 410 | 413 | 415 | 422, _) | (400, _) => {
            CoordinatorError::Refused(detail)
        }
        _ => CoordinatorError::Unavailable(format!("{}: {detail}", status.as_u16())),
    }
}

/// An error with its causes, and without the URL.
fn words(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    // The first one repeats the URL, the last one says what happened.
    words.pop().unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The same error, about this lease.
fn of(lease: &LeaseId) -> impl Fn(CoordinatorError) -> CoordinatorError + '_ {
    |error| match error {
        CoordinatorError::Stale { .. } => lease.stale(),
        error => error,
    }
}

#[async_trait]
impl Coordinator for Remote {
    async fn claim(&self, max: usize, wait: Duration) -> Result<Work, CoordinatorError> {
        let unavailable = |error: std::io::Error| CoordinatorError::Unavailable(error.to_string());
        // Who was not answered asks for the same again: what was given then is given once more.
        let known = self.asked().take();
        let again = known.is_some();
        let token = known.map_or_else(|| self.instance.token(), Ok).map_err(unavailable)?;
        *self.asked() = Some(token.clone());
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let wait_ms = millis(wait);
        let body = json!({"max": max, "wait_ms": wait_ms, "token": token, "again": again, "health": health});
        let claimed = self.call("claim", &body, wait).await;
        if !matches!(claimed, Err(CoordinatorError::Unavailable(_))) {
            *self.asked() = None;
        }
        claimed
    }

    fn told(&self, health: &Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Some(health.clone());
    }

    async fn renew(
        &self,
        known: &[(LeaseId, Urgency)],
        wait: Duration,
    ) -> Result<Vec<Renewed>, CoordinatorError> {
        self.call("renew", &json!({"known": known, "wait_ms": millis(wait)}), wait).await
    }

    async fn report(&self, lease: &LeaseId, report: Report) -> Result<(), CoordinatorError> {
        let body = json!({"lease": lease, "report": report});
        let _: Value = self.call("report", &body, Duration::ZERO).await.map_err(of(lease))?;
        Ok(())
    }

    async fn log(&self, lease: &LeaseId, offset: u64, lines: Vec<u8>) -> Result<u64, CoordinatorError> {
        let (offset, attempt) = (offset.to_string(), lease.attempt.to_string());
        let query = [
            ("run", lease.run.as_str()),
            ("node", &lease.node),
            ("attempt", &attempt),
            ("token", &lease.token),
            ("offset", &offset),
        ];
        let request = self.post("log", Duration::from_secs(30)).query(&query).body(lines);
        let value: Value = send(request).await.map_err(of(lease))?;
        value["next"]
            .as_u64()
            .ok_or_else(|| CoordinatorError::Unavailable("the answer names no byte".to_owned()))
    }

    async fn ask(&self, lease: &LeaseId, query: Query) -> Result<Answer, CoordinatorError> {
        self.call("ask", &json!({"lease": lease, "query": query}), Duration::ZERO).await.map_err(of(lease))
    }

    async fn secrets(&self, lease: &LeaseId) -> Result<Delivered, CoordinatorError> {
        self.call("secrets", &json!({"lease": lease}), PATIENCE).await.map_err(of(lease))
    }

    async fn id_token(&self, lease: &LeaseId, audience: &str) -> Result<Sensitive, CoordinatorError> {
        #[derive(Deserialize)]
        struct Proof {
            token: Sensitive,
        }
        let body = json!({"lease": lease, "audience": audience});
        let proof: Proof = self.call("id-token", &body, Duration::ZERO).await.map_err(of(lease))?;
        Ok(proof.token)
    }

    async fn keep(
        &self,
        lease: &LeaseId,
        keeping: &Keeping,
        content: Content,
    ) -> Result<(), CoordinatorError> {
        let (attempt, executable) = (lease.attempt.to_string(), keeping.executable.to_string());
        let mut query = vec![
            ("run", lease.run.as_str()),
            ("node", &lease.node),
            ("attempt", &attempt),
            ("token", &lease.token),
            ("kind", keeping.kind.as_str()),
            ("name", &keeping.name),
            ("executable", &executable),
        ];
        let size = keeping.size.map(|size| size.to_string());
        query.extend(size.as_deref().map(|size| ("size", size)));
        // How long it takes is up to its length; whether it goes on is seen at its pieces.
        let (moves, content) = watched(content);
        let body = Body::wrap_stream(content);
        let request = self.content_request("keep").query(&query).body(body);
        tokio::select! {
            kept = respond(request) => kept.map(|_| ()).map_err(of(lease)),
            () = stands_still(moves) => Err(CoordinatorError::Unavailable("the content stands still".to_owned())),
        }
    }

    async fn inputs(&self, lease: &LeaseId) -> Result<Vec<Offered>, CoordinatorError> {
        self.call("inputs", &json!({"lease": lease}), PATIENCE).await.map_err(of(lease))
    }

    async fn cache(
        &self,
        lease: &LeaseId,
        key: &str,
        restore_keys: &[String],
    ) -> Result<Option<Offered>, CoordinatorError> {
        let body = json!({"lease": lease, "key": key, "restore_keys": restore_keys});
        self.call("cache", &body, PATIENCE).await.map_err(of(lease))
    }

    async fn content(&self, lease: &LeaseId, id: &str, from: u64) -> Result<Content, CoordinatorError> {
        let body = json!({"lease": lease, "id": id, "from": from});
        let begun = tokio::time::timeout(STANDSTILL, respond(self.content_request("content").json(&body)));
        let slow = |_| CoordinatorError::Unavailable("the content does not begin".to_owned());
        let response = begun.await.map_err(slow)?.map_err(of(lease))?;
        let pieces =
            response.bytes_stream().map(|piece| piece.map_err(|error| io::Error::other(words(&error))));
        Ok(unless_it_stands_still(pieces.boxed()))
    }
}

/// The same content, with word of each piece of it that is taken.
fn watched(content: Content) -> (watch::Receiver<()>, Content) {
    let (moved, moves) = watch::channel(());
    let content = content.inspect(move |_| moved.send_replace(()));
    (moves, content.boxed())
}

/// Returns where no piece was taken for too long, the last one included.
async fn stands_still(mut moves: watch::Receiver<()>) {
    while let Ok(Ok(())) = tokio::time::timeout(STANDSTILL, moves.changed()).await {}
    // The last piece was taken: what remains is the answer.
    tokio::time::sleep(STANDSTILL).await;
}

/// The same content, which fails where no piece comes for too long.
fn unless_it_stands_still(content: Content) -> Content {
    futures_util::stream::unfold(Some(content), |content| async {
        let mut content = content?;
        match tokio::time::timeout(STANDSTILL, content.next()).await {
            Ok(Some(piece)) => {
                let rest = piece.is_ok().then_some(content);
                Some((piece, rest))
            }
            Ok(None) => None,
            Err(_) => Some((Err(io::Error::new(io::ErrorKind::TimedOut, "the content stands still")), None)),
        }
    })
    .boxed()
}
