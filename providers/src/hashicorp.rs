//! HashiCorp Vault's KV version 2 store, by its HTTP API: `GET /v1/MOUNT/data/PATH` with `X-Vault-Token`.
//!
//! From <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2> (read secret version): the values are in
//! `data.data`, 404 is a secret that is not there or was deleted, 403 a token that may not, and errors are a list of texts.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::vault::{ExternalError, ExternalSecrets};
use reqwest::{Client, StatusCode, Url, redirect};
use serde::Deserialize;
use serde_json::Value;

use crate::webhook::built;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waits before further tries.
const WAITS: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(2)];
/// The longest answer that is read.
const MAX_ANSWER: usize = 2 << 20;

/// A store in a HashiCorp Vault.
#[derive(Debug)]
pub struct HashicorpVault {
    client: Client,
    address: Url,
    mount: String,
    token: Sensitive,
}

/// What was given leads to no store.
#[derive(Debug, thiserror::Error)]
pub enum HashicorpError {
    /// The address is none.
    #[error("{0:?} is no address: it begins with https:// or http://")]
    Address(String),
    /// No request can be made.
    #[error("no request can be made: {0}")]
    Client(String),
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    data: Option<BTreeMap<String, Value>>,
}

enum Failed {
    Now(ExternalError),
    Perhaps(String),
}

impl HashicorpVault {
    /// A store at an address, under the name that it is mounted at, opened by a token.
    pub fn new(address: &str, mount: &str, token: Sensitive) -> Result<Self, HashicorpError> {
        let no_address = || HashicorpError::Address(address.to_owned());
        let url = Url::parse(address).map_err(|_| no_address())?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(no_address());
        }
        // A token goes to nobody that the operator did not name.
        let agent = concat!("reactorcide/", env!("CARGO_PKG_VERSION"));
        let client = built(&|| {
            Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE).user_agent(agent)
        })
        .map_err(|error| HashicorpError::Client(error.to_string()))?;
        Ok(Self { client, address: url, mount: mount.trim_matches('/').to_owned(), token })
    }

    fn url(&self, location: &str) -> Option<Url> {
        // A location that climbs would leave the store.
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !location.split('/').all(is_plain) {
            return None;
        }
        let mut url = self.address.clone();
        {
            let mut path = url.path_segments_mut().ok()?;
            path.pop_if_empty().push("v1");
            path.extend(self.mount.split('/')).push("data").extend(location.split('/'));
        }
        Some(url)
    }

    async fn once(&self, url: &Url, location: &str) -> Result<BTreeMap<String, Sensitive>, Failed> {
        let refused = |why: String| {
            let (place, location) = (self.describe(), location.to_owned());
            Failed::Now(ExternalError::Refused { place, location, why })
        };
        let request = self.client.get(url.clone()).header("X-Vault-Token", self.token.expose());
        let mut response = request.send().await.map_err(|error| Failed::Perhaps(words(&error)))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| Failed::Perhaps(words(&error)))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MAX_ANSWER {
                return Err(refused("its answer is too long".to_owned()));
            }
        }
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                let (place, location) = (self.describe(), location.to_owned());
                return Err(Failed::Now(ExternalError::Missing { place, location }));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failed::Perhaps(format!("it answers {}{}", status.as_u16(), said(&bytes))));
            }
            status => return Err(refused(format!("it answers {}{}", status.as_u16(), said(&bytes)))),
        }
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|_| refused("its answer is none of a KV version 2 store".to_owned()))?;
        let values = answer.data.and_then(|inner| inner.data);
        let values =
            values.ok_or_else(|| refused("its answer is none of a KV version 2 store".to_owned()))?;
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(values.into_iter().map(|(key, value)| (key, Sensitive::new(text(value)))).collect())
    }
}

#[async_trait]
impl ExternalSecrets for HashicorpVault {
    async fn read(&self, location: &str) -> Result<BTreeMap<String, Sensitive>, ExternalError> {
        let (place, of) = (self.describe(), location.to_owned());
        let Some(url) = self.url(location) else {
            let why = "it is no path in a store".to_owned();
            return Err(ExternalError::Refused { place, location: of, why });
        };
        let mut waits = WAITS.iter();
        loop {
            match (self.once(&url, location).await, waits.next()) {
                (Ok(values), _) => return Ok(values),
                (Err(Failed::Now(error)), _) => return Err(error),
                (Err(Failed::Perhaps(_)), Some(wait)) => tokio::time::sleep(*wait).await,
                (Err(Failed::Perhaps(why)), None) => {
                    return Err(ExternalError::Unavailable { place, location: of, why });
                }
            }
        }
    }

    fn describe(&self) -> String {
        let host = self.address.host_str().unwrap_or_default();
        let port = self.address.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("HashiCorp Vault at {}://{host}{port}, store {}", self.address.scheme(), self.mount)
    }
}

/// What an answer says of an error; never what a secret would be in.
fn said(bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let errors = value["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let text = errors.collect::<Vec<_>>().join("; ");
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// The last cause says what happened; the first repeats the URL.
fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
