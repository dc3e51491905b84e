//! Sends spans to whatever takes OTLP over HTTP, in JSON: a collector, Jaeger, Tempo.
//!
//! It is set up as every other program that does so, by the variables of
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>. Nobody ever waits for it: spans that there is no room for,
//! or that nobody takes, are dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::trace::{Resource, Span, request};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::webhook::built;

/// Spans that may wait.
const WAITING: usize = 8192;
/// Spans of one request.
const BATCH: usize = 512;
/// How long the first span of a request waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How often a request is tried.
const TRIES: u32 = 4;
/// The longest wait before another try.
const LONGEST: Duration = Duration::from_secs(10);

/// Where spans go, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The whole URL.
    pub endpoint: Url,
    /// What is sent with each request, such as a token.
    pub headers: Vec<(String, Sensitive)>,
    /// How long a request may take.
    pub timeout: Duration,
    /// Who says so.
    pub resource: Resource,
}

/// Why there is no exporter although one is wanted.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A variable says something that cannot be.
    #[error("{variable} {what}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The library could not.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

impl Settings {
    /// What the environment says; nothing, where it names no place to send spans to. `service` is who we are unless it says
    /// so too.
    pub fn from_environment(
        service: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let of_traces = |name: &str| {
            get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let is_off = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || get("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let endpoint = match get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            Some(whole) => Some(whole),
            None => get("OTEL_EXPORTER_OTLP_ENDPOINT")
                .map(|base| format!("{}/v1/traces", base.trim_end_matches('/'))),
        };
        let Some(endpoint) = endpoint.filter(|_| !is_off) else { return Ok(None) };
        let wrong =
            |variable: &'static str, what: &str| SettingsError::Variable { variable, what: what.to_owned() };
        let endpoint = Url::parse(&endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| wrong("OTEL_EXPORTER_OTLP_ENDPOINT", "is no http:// or https:// URL"))?;
        if of_traces("PROTOCOL").is_some_and(|protocol| protocol.trim() == "grpc") {
            return Err(wrong(
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "asks for gRPC, and only OTLP over HTTP is spoken here",
            ));
        }
        let timeout = match of_traces("TIMEOUT") {
            None => Duration::from_secs(10),
            Some(text) => {
                let millis = text
                    .trim()
                    .parse()
                    .map_err(|_| wrong("OTEL_EXPORTER_OTLP_TIMEOUT", "is no number of milliseconds"))?;
                Duration::from_millis(millis)
            }
        };
        let headers = of_traces("HEADERS").unwrap_or_default();
        let headers = pairs(&headers)
            .map(|pair| pair.map(|(name, value)| (name, Sensitive::new(value))))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| wrong("OTEL_EXPORTER_OTLP_HEADERS", "is no list of NAME=VALUE"))?;
        let attributes = get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let mut resource = pairs(&attributes)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| wrong("OTEL_RESOURCE_ATTRIBUTES", "is no list of NAME=VALUE"))?;
        let named = get("OTEL_SERVICE_NAME");
        if named.is_some() || !resource.iter().any(|(name, _)| name == "service.name") {
            resource.retain(|(name, _)| name != "service.name");
            resource.push(("service.name".to_owned(), named.unwrap_or_else(|| service.to_owned())));
        }
        resource.push(("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        Ok(Some(Self { endpoint, headers, timeout, resource: Resource(resource) }))
    }
}

/// `name=value,…`, values percent-encoded.
fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> + '_ {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = decoded(value.trim())?;
        (!name.trim().is_empty()).then(|| (name.trim().to_owned(), value))
    })
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Sends spans. Clones share it.
#[derive(Debug, Clone)]
pub struct Exporter {
    spans: mpsc::Sender<Item>,
    counts: Arc<Counts>,
    task: Arc<std::sync::Mutex<Option<JoinHandle<()>>>>,
}

/// How many spans came to what.
#[derive(Debug, Default)]
pub struct Counts {
    /// Taken by the other side.
    pub sent: AtomicU64,
    /// Dropped.
    pub dropped: AtomicU64,
}

#[derive(Debug)]
enum Item {
    Span(Box<Span>),
    /// Whoever waits for what came before.
    Flush(oneshot::Sender<()>),
}

impl Exporter {
    /// Begins to send.
    pub fn start(settings: Settings) -> Result<Self, SettingsError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &settings.headers {
            let wrong = || SettingsError::Variable {
                variable: "OTEL_EXPORTER_OTLP_HEADERS",
                what: format!("names the header {name:?}, which cannot be sent"),
            };
            let header = HeaderName::try_from(name).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value.expose()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        let agent = concat!("reactorcide/", env!("CARGO_PKG_VERSION"));
        let client = built(&|| {
            let builder = Client::builder().user_agent(agent).redirect(redirect::Policy::none());
            builder.default_headers(headers.clone()).timeout(settings.timeout)
        })?;
        let (spans, waiting) = mpsc::channel(WAITING);
        let counts = Arc::<Counts>::default();
        let sender = Sender { client, settings, counts: Arc::clone(&counts) };
        let task = tokio::spawn(sender.run(waiting));
        Ok(Self { spans, counts, task: Arc::new(std::sync::Mutex::new(Some(task))) })
    }

    /// Sends a span some time, if there is room for it and whoever caused the trace wants it.
    pub fn push(&self, span: Span) {
        if span.trace.sampled && self.spans.try_send(Item::Span(Box::new(span))).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many spans came to what.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Waits until everything that was pushed was sent or dropped.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.spans.send(Item::Flush(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }

    /// Sends what is left, for as long as that may take, and ends.
    pub async fn close(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.flush()).await;
        let task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

struct Sender {
    client: Client,
    settings: Settings,
    counts: Arc<Counts>,
}

/// What became of a try.
enum Tried {
    Done,
    /// Another try may help, not before this.
    Later(String, Option<Duration>),
    Refused(String),
}

impl Sender {
    async fn run(self, mut waiting: mpsc::Receiver<Item>) {
        let mut is_quiet = false;
        while let Some(first) = waiting.recv().await {
            let (mut spans, mut flush) = (Vec::new(), Vec::new());
            let deadline = tokio::time::Instant::now() + GATHER;
            let mut next = Some(first);
            while let Some(item) = next.take() {
                match item {
                    Item::Span(span) => spans.push(*span),
                    Item::Flush(done) => {
                        flush.push(done);
                        break;
                    }
                }
                if spans.len() < BATCH {
                    next = tokio::time::timeout_at(deadline, waiting.recv()).await.ok().flatten();
                }
            }
            if !spans.is_empty() {
                is_quiet = self.send(&spans, is_quiet).await;
            }
            for done in flush {
                let _ = done.send(());
            }
        }
    }

    /// Sends spans, or drops them. Whether that failed, so that it is not said again and again.
    async fn send(&self, spans: &[Span], is_quiet: bool) -> bool {
        let body = request(&self.settings.resource, spans).to_string();
        let count = spans.len() as u64;
        let mut why = String::new();
        for tried in 0..TRIES {
            match self.attempt(body.clone()).await {
                Tried::Done => {
                    self.counts.sent.fetch_add(count, Ordering::Relaxed);
                    return false;
                }
                Tried::Later(reason, wait) => {
                    why = reason;
                    if tried + 1 < TRIES {
                        let wait = wait.unwrap_or(Duration::from_millis(250 << (2 * tried)));
                        tokio::time::sleep(wait.min(LONGEST)).await;
                    }
                }
                Tried::Refused(reason) => {
                    why = reason;
                    break;
                }
            }
        }
        self.counts.dropped.fetch_add(count, Ordering::Relaxed);
        if !is_quiet {
            tracing::warn!(spans = count, reason = why, "traces could not be sent and are dropped");
        }
        true
    }

    async fn attempt(&self, body: String) -> Tried {
        let response = match self.client.post(self.settings.endpoint.clone()).body(body).send().await {
            Ok(response) => response,
            // A URL may hold a password.
            Err(error) => return Tried::Later(error.without_url().to_string(), None),
        };
        let status = response.status();
        let later = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        if status.is_success() {
            Tried::Done
        } else if later.contains(&status) {
            Tried::Later(format!("it answers {status}"), wait.map(Duration::from_secs))
        } else {
            Tried::Refused(format!("it answers {status}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::from_environment("reactorcide-server", find)
    }

    #[test]
    fn nothing_is_sent_unless_a_place_is_named() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        for variables in [
            vec![],
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            vec![base, ("OTEL_SDK_DISABLED", "true")],
            vec![base, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(settings(&variables).expect("settings").is_none(), "{variables:?}");
        }
        let found = settings(&[base]).expect("settings").expect("a place");
        assert_eq!(found.endpoint.as_str(), "http://collector:4318/v1/traces");
        assert_eq!(found.timeout, Duration::from_secs(10));
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/otlp");
        let found = settings(&[base, whole]).expect("settings").expect("a place");
        assert_eq!(found.endpoint.as_str(), "https://c/otlp");
    }

    #[test]
    fn headers_and_attributes_are_read_and_values_are_not_shown() {
        let found = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20T0KEN, x-tenant=a"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod,service.name=ci"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ]);
        let found = found.expect("settings").expect("a place");
        assert_eq!(found.headers[0].1.expose(), "Bearer T0KEN");
        assert!(!format!("{found:?}").contains("T0KEN"));
        assert_eq!(found.timeout, Duration::from_millis(250));
        let Resource(resource) = found.resource;
        let named: Vec<_> = resource.iter().filter(|(name, _)| name == "service.name").collect();
        assert_eq!(named, [&("service.name".to_owned(), "ci".to_owned())]);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        for (variables, what) in [
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")], "URL"),
            (vec![base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "gRPC"),
            (vec![base, ("OTEL_EXPORTER_OTLP_HEADERS", "token")], "NAME=VALUE"),
            (vec![base, ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")], "milliseconds"),
        ] {
            let error = settings(&variables).expect_err("it cannot be").to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
