//! A server's API, for commands: where it is, who we are there, and what it says when it will not.

use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_server::api::{Page, Problem};
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::settings::{Place, Settings};

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

/// What `login` remembers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Login {
    /// The server.
    pub url: String,
    /// Our token there.
    token: String,
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

    /// Follows what goes on: calls with the name, the id and the data lines of each event, until the server ends it. Goes on
    /// where it was when the connection breaks.
    pub async fn follow(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut event: impl FnMut(&str, &[&str]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut last: Option<String> = None;
        let mut failures = 0;
        loop {
            let mut request =
                self.request(Method::GET, path).query(query).header("accept", "text/event-stream");
            if let Some(last) = &last {
                request = request.header("last-event-id", last);
            }
            let response = match request.send().await {
                Ok(response) => self.checked(response).await?,
                Err(_) if last.is_some() && failures < 30 => {
                    failures += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
                Err(error) => return Err(self.unreachable(&error)),
            };
            failures = 0;
            let mut stream = response.bytes_stream();
            let mut buffer: Vec<u8> = Vec::new();
            let broken = loop {
                match stream.next().await {
                    None => break false,
                    Some(Err(_)) => break true,
                    Some(Ok(bytes)) => {
                        buffer.extend_from_slice(&bytes);
                        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                            let block: Vec<u8> = buffer.drain(..end + 2).collect();
                            if let Some(id) = told(&block, &mut event)? {
                                last = Some(id);
                            }
                        }
                    }
                }
            };
            if !broken {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
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

/// Reads one event. Returns its id.
fn told(
    block: &[u8],
    event: &mut impl FnMut(&str, &[&str]) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    let text = String::from_utf8_lossy(block);
    let (mut id, mut name, mut data) = (None, "message", Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("data:") {
            data.push(rest.strip_prefix(' ').unwrap_or(rest));
        } else if let Some(rest) = line.strip_prefix("id:") {
            id = Some(rest.trim().to_owned());
        } else if let Some(rest) = line.strip_prefix("event:") {
            name = rest.trim();
        }
    }
    if !data.is_empty() {
        event(name, &data)?;
    }
    Ok(id)
}

impl Login {
    fn path() -> Option<PathBuf> {
        let not_empty =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = not_empty("XDG_CONFIG_HOME").or_else(|| Some(not_empty("HOME")?.join(".config")))?;
        Some(config.join("reactorcide/login.json"))
    }

    /// What was remembered.
    pub fn read() -> Result<Option<Self>, Failure> {
        let Some(path) = Self::path() else { return Ok(None) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::new(format!("{} cannot be read: {error}", path.display()))),
        };
        serde_json::from_str(&text).map(Some).map_err(|_| {
            Failure::new(format!("{} holds no login", path.display()))
                .hint("`reactorcide logout`, and log in again")
        })
    }

    /// Remembers, for us alone.
    pub fn write(url: &str, token: &str) -> Result<(), Failure> {
        let path =
            Self::path().ok_or_else(|| Failure::new("there is no home directory to remember a login in"))?;
        let failed =
            |error: std::io::Error| Failure::new(format!("{} cannot be written: {error}", path.display()));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let login = Self { url: url.to_owned(), token: token.to_owned() };
        let text = serde_json::to_string_pretty(&login).unwrap_or_default();
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed(error)
        })
    }

    /// Forgets. Whether there was something.
    pub fn forget() -> Result<bool, Failure> {
        let Some(path) = Self::path() else { return Ok(false) };
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::new(format!("{} cannot be removed: {error}", path.display()))),
        }
    }
}

/// A token from a file, or from an environment variable; never from an argument, which others could see.
pub fn read_token(file: Option<&Path>, variable: &str) -> Result<Option<String>, Failure> {
    let text = match file {
        Some(path) if path == Path::new("-") => {
            let mut stdin = std::io::stdin();
            if stdin.is_terminal() {
                crate::report::note("the token:");
            }
            let mut text = String::new();
            let read = if stdin.is_terminal() {
                stdin.read_line(&mut text)
            } else {
                stdin.read_to_string(&mut text)
            };
            read.map_err(|error| Failure::new(format!("no token can be read: {error}")))?;
            Some(text)
        }
        Some(path) => Some(fs::read_to_string(path).map_err(|error| {
            Failure::new(format!("the token cannot be read from {}: {error}", path.display()))
        })?),
        None => std::env::var(variable).ok(),
    };
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
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
