//! Objects behind another system's HTTP API: looked at with GET, made with PUT, deleted with DELETE, each at a URL of its
//! own. docs/webhook-targets.md says what is asked of such a system.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use reactorcide_engine::outside::{Access, Outside, OutsideError, Precondition, Seen, keeps_a_token};
use reactorcide_engine::printable::printable;
use reactorcide_engine::protocol::mask::{MaskError, Values};
use reactorcide_engine::protocol::spec::Sensitive;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::Value;

/// The most that an answer may hold.
const MOST: usize = 1 << 20;
/// How much of what the other system says is repeated.
const SAID: usize = 300;
/// Grows with every reconcile, for a system that wants to refuse one that has been overtaken.
const FENCE: &str = "reactorcide-fence";
/// Whose number that is: each workspace counts for itself.
const WORKSPACE: &str = "reactorcide-workspace";

/// The values of secrets, by `NAME` or `NAME:KEY`.
pub type Tokens = BTreeMap<String, Sensitive>;

/// Objects behind HTTP APIs.
pub struct Webhooks {
    client: Client,
    /// For this machine's own addresses: what is sent there in the clear goes through no proxy.
    direct: Client,
    tokens: Tokens,
    masks: Values,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A value could not be kept out of what is shown.
    #[error(transparent)]
    Value(#[from] MaskError),
    /// The library could not.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// A client, also where no certificates are installed: it then believes nobody, and what has no TLS can be reached.
pub(crate) fn built(builder: &dyn Fn() -> ClientBuilder) -> Result<Client, reqwest::Error> {
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

impl Webhooks {
    /// A client that opens doors with these secrets. Where a request is sent elsewhere, it does not follow.
    pub fn new(tokens: Tokens) -> Result<Self, SetUpError> {
        let builder = || {
            let agent = concat!("reactorcide/", env!("CARGO_PKG_VERSION"));
            Client::builder().redirect(redirect::Policy::none()).user_agent(agent)
        };
        let client = built(&builder)?;
        let direct = built(&|| builder().no_proxy())?;
        let masks = Values::new(tokens.values().map(Sensitive::expose))?;
        Ok(Self { client, direct, tokens, masks })
    }

    fn request(&self, method: Method, access: &Access) -> Result<RequestBuilder, OutsideError> {
        let place = &access.place;
        let url = place.to_string();
        let is_clear_and_local = url.starts_with("http://") && keeps_a_token(&url);
        let client = if is_clear_and_local { &self.direct } else { &self.client };
        let mut request = client.request(method, url).timeout(access.timeout);
        if let Some(fence) = &access.fence {
            request = request.header(FENCE, fence.token).header(WORKSPACE, &fence.workspace);
        }
        let Some(secret) = &access.token else { return Ok(request) };
        let name = secret.split_once(':').map_or(secret.as_str(), |(name, _)| name);
        let value = self.tokens.get(secret).or_else(|| self.tokens.get(name));
        let missing = || OutsideError::NoToken { place: place.clone(), secret: secret.clone() };
        let value = value.ok_or_else(missing)?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", value.expose())).map_err(|_| {
            let what = format!("the value of the secret {secret} holds characters that no header can");
            OutsideError::Refused { place: place.clone(), what }
        })?;
        header.set_sensitive(true);
        Ok(request.header(AUTHORIZATION, header))
    }

    async fn send(&self, request: RequestBuilder, access: &Access) -> Result<Response, OutsideError> {
        let response = request.send().await.map_err(|error| unreachable(access, error))?;
        if response.status() == StatusCode::PRECONDITION_FAILED {
            return Err(OutsideError::Moved { place: access.place.clone() });
        }
        Ok(response)
    }

    /// What an answer says.
    async fn text(&self, mut response: Response, access: &Access) -> Result<String, OutsideError> {
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| unreachable(access, error))? {
            if bytes.len() + piece.len() > MOST {
                let what = format!("its answer is longer than {MOST} bytes");
                return Err(OutsideError::Refused { place: access.place.clone(), what });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// That an answer is none that we can go on with.
    async fn refusal(&self, response: Response, access: &Access) -> OutsideError {
        let status = response.status();
        let place = access.place.clone();
        let said = self.masks.mask_str(&self.text(response, access).await.unwrap_or_default());
        let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SAID).collect();
        let what = if said.is_empty() {
            format!("it says {status}")
        } else {
            format!("it says {status}: {}", printable(&said))
        };
        let passing = status.is_server_error()
            || matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT
            );
        if passing {
            OutsideError::Unreachable { place, what }
        } else {
            OutsideError::Refused { place, what }
        }
    }
}

fn unreachable(access: &Access, error: reqwest::Error) -> OutsideError {
    let what = if error.is_timeout() {
        format!("no answer in {}", seconds(access.timeout))
    } else {
        words(&error.without_url())
    };
    OutsideError::Unreachable { place: access.place.clone(), what }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    printable(&text)
}

#[async_trait]
impl Outside for Webhooks {
    async fn look(&self, access: &Access) -> Result<Option<Seen>, OutsideError> {
        let response = self.send(self.request(Method::GET, access)?, access).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status if status.is_success() => {}
            _ => return Err(self.refusal(response, access).await),
        }
        let version = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let text = self.text(response, access).await?;
        let no_json = |error: serde_json::Error| OutsideError::Refused {
            place: access.place.clone(),
            what: format!("its answer is no JSON: {error}"),
        };
        let body: Value = serde_json::from_str(&text).map_err(no_json)?;
        let shown = serde_json::from_str(&self.masks.mask_str(&text)).map_err(no_json)?;
        Ok(Some(Seen { body, shown, version }))
    }

    async fn put(&self, access: &Access, body: &Value, only_if: &Precondition) -> Result<(), OutsideError> {
        let mut request = self.request(Method::PUT, access)?.header(CONTENT_TYPE, "application/json");
        request = match only_if {
            Precondition::Absent => request.header(IF_NONE_MATCH, "*"),
            // A weak version is never equal to any in a condition of a write.
            Precondition::Version(version) if !version.starts_with("W/") => request.header(IF_MATCH, version),
            Precondition::Version(_) | Precondition::None => request,
        };
        let response = self.send(request.body(body.to_string()), access).await?;
        if response.status().is_success() { Ok(()) } else { Err(self.refusal(response, access).await) }
    }

    async fn remove(&self, access: &Access) -> Result<(), OutsideError> {
        let response = self.send(self.request(Method::DELETE, access)?, access).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.refusal(response, access).await),
        }
    }
}
