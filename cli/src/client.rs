//! A server's API, for commands: where it is, who we are there, and what it says when it will not.

mod follow;
mod login;

use std::time::Duration;

use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_server::api::{Page, Problem};
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::{Exit, Failure};
use crate::settings::{Place, Settings};
pub use login::{Login, read_token};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most that one page of a list holds.
const MOST_OF_A_PAGE: usize = 1000;
/// The environment variable that holds a token.
const TOKEN: &str = "REACTORCIDE_TOKEN";

/// A server that we are known to.
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Sensitive,
}

impl Client {
    /// The server that the settings or a login name; none where commands work on local state.
    pub fn wanted(settings: &Settings) -> Result<Option<Self>, Failure> {
        match settings.place {
            Place::State => return Ok(None),
            Place::Both => {
                return Err(Failure::new("a state and a server are both named, and only one can be meant")
                    .hint("give --state or --server; either counts before REACTORCIDE_STATE and REACTORCIDE_SERVER")
                    .exit(Exit::Usage));
            }
            Place::Server | Place::Unsaid => {}
        }
        let login = Login::read()?;
        let Some(url) = settings.server.clone().or_else(|| login.as_ref().map(|login| login.url.clone()))
        else {
            return Ok(None);
        };
        let url = url.trim_end_matches('/').to_owned();
        let given = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        let remembered = login.filter(|login| login.url == url).map(|login| login.token);
        let token = given.or(remembered).ok_or_else(|| {
            Failure::new(format!("there is no token for {url}"))
                .hint(format!("`reactorcide login {url}`, or set {TOKEN}"))
        })?;
        Self::new(url, token).map(Some)
    }

    /// The same for a command that is nothing without a server.
    pub fn needed(settings: &Settings) -> Result<Self, Failure> {
        Self::wanted(settings)?.ok_or_else(|| {
            Failure::new("this asks a server, and none is named")
                .hint("`reactorcide login URL`, or --server URL; `reactorcide server` starts one")
        })
    }

    /// A server, with a token.
    pub fn new(url: String, token: String) -> Result<Self, Failure> {
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Failure::new(format!("{url:?} is no URL of a server"))
                .hint("it begins with http:// or https://")
                .exit(Exit::Usage));
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .user_agent(concat!("reactorcide/", env!("CARGO_PKG_VERSION")));
        if url.starts_with("http://") {
            // Through a proxy the token would pass in the clear.
            // And nobody's certificate matters, of which there may be none.
            http = http.no_proxy().tls_certs_only([]);
        }
        let http = http.build().map_err(|error| Failure::new(format!("no request can be made: {error}")))?;
        Ok(Self { http, url, token: Sensitive::new(token) })
    }

    /// A request for something below `/api/v1`.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(self.token.expose())
    }

    /// Reads something.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, Failure> {
        let response = self.send(self.request(Method::GET, path).query(query).timeout(PATIENCE)).await?;
        self.read(response).await
    }

    /// Reads something that may not be there.
    pub async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failure> {
        let request = self.request(Method::GET, path).timeout(PATIENCE);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = self.checked(response).await?;
        self.read(response).await.map(Some)
    }

    /// Makes or does something.
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Failure> {
        let response = self.send(self.request(Method::POST, path).json(body).timeout(PATIENCE)).await?;
        self.read(response).await
    }

    /// Makes or does something, once for a key however often it is asked for.
    pub async fn post_once<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        key: Option<&str>,
    ) -> Result<T, Failure> {
        let mut request = self.request(Method::POST, path).json(body).timeout(PATIENCE);
        if let Some(key) = key {
            let key = HeaderValue::from_str(key)
                .map_err(|_| Failure::new("an idempotency key is printable ASCII").exit(Exit::Usage))?;
            request = request.header("idempotency-key", key);
        }
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// Does something, for who wants to know why it is not done. A request that did not get there is not done.
    pub async fn ask<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        patience: Duration,
    ) -> Result<Result<T, Problem>, Failure> {
        let request = self.request(Method::POST, path).json(body).timeout(patience);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return self.read(response).await.map(Ok);
        }
        let status = response.status();
        let bytes = response.bytes().await.unwrap_or_default();
        serde_json::from_slice(&bytes).map(Err).map_err(|_| self.no_server(status))
    }

    /// Changes a part of something.
    pub async fn patch<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Failure> {
        let response = self.send(self.request(Method::PATCH, path).json(body).timeout(PATIENCE)).await?;
        self.read(response).await
    }

    /// Puts something where it belongs.
    pub async fn put(&self, path: &str) -> Result<(), Failure> {
        self.send(self.request(Method::PUT, path).timeout(PATIENCE)).await.map(|_| ())
    }

    /// Every item of a list that comes in pages, up to so many.
    pub async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        most: usize,
    ) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < most {
            let mut query = query.to_vec();
            query.push(("limit", (most - items.len()).min(MOST_OF_A_PAGE).to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.get(path, &query).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        items.truncate(most);
        Ok(items)
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Removes something.
    pub async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.send(self.request(Method::DELETE, path).timeout(PATIENCE)).await.map(|_| ())
    }

    /// Removes something, and hears what.
    pub async fn remove<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        let request = self.request(Method::DELETE, path).query(query).timeout(PATIENCE);
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// Reads something as it is.
    pub async fn bytes(
        &self,
        path: &str,
        query: &[(&str, String)],
        accept: &str,
    ) -> Result<Response, Failure> {
        let request = self.request(Method::GET, path).query(query).header("accept", accept).timeout(PATIENCE);
        self.send(request).await
    }

    /// Reads content from a byte on, which takes as long as it takes.
    pub async fn content(&self, path: &str, from: u64) -> Result<Response, Failure> {
        let mut request = self.request(Method::GET, path);
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        self.send(request).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.checked(response).await
    }

    async fn checked(&self, response: Response) -> Result<Response, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(self.refused(problem)),
            Err(_) => Err(self.no_server(status)),
        }
    }

    /// What it means that the server will not.
    pub fn refused(&self, problem: Problem) -> Failure {
        let mut failure = Failure::new(problem.detail);
        failure.hint = problem.hint.or_else(|| match problem.status {
            401 => Some(format!("`reactorcide login {}` with a token that works", self.url)),
            403 => Some("somebody with the role admin can give you more: see docs/access.md".to_owned()),
            500.. => problem.request_id.map(|id| format!("the server's log knows the request as {id}")),
            _ => None,
        });
        failure
    }

    fn no_server(&self, status: reqwest::StatusCode) -> Failure {
        Failure::new(format!("{} answered {status}", self.url)).hint("is it a server of reactorcide?")
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(bytes).map_err(|error| {
            Failure::new(format!("what {} answered cannot be read: {error}", self.url))
                .hint("the server may be of another version: `reactorcide --version`")
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Failure::new(format!("{} cannot be reached: {cause}", self.url))
            .hint("see whether the server runs, and whether its URL is right")
    }
}

/// Runs what waits for networks, on every processor, and waits for nothing in the end.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}
