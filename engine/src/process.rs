//! What a server and a worker are told by a file: `reactorcide server --config FILE`, `reactorcide worker --config FILE`.
//!
//! A file holds no secret. Where one is needed it is named: a file, or a variable of the environment.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::SourceFile;
use crate::config::value::{Duration, Size};
use crate::diagnostic::Diagnostic;
use crate::read::{Budget, InputFile, Node};

/// What a server is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerFile {
    /// Where to listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"127.0.0.1:7420")]
    pub listen: Option<String>,
    /// Where metrics are told to whoever asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"127.0.0.1:9420")]
    pub metrics_listen: Option<String>,
    /// What others call this server, `https://HOST`: identity tokens are issued under this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"https://ci.example.com")]
    pub public_url: Option<String>,
    /// The directory of the keys that sign identity tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_keys: Option<String>,
    /// Where the state is: `sqlite:PATH`, or `postgres://USER@HOST/DATABASE` without a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What holds the URL of the state, where that has a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_from: Option<Reference>,
    /// Where logs and artifacts are kept: a directory, `s3://BUCKET/PREFIX`, `gs://…` or `az://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// The name of the first user of a new workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_user: Option<String>,
    /// How long workers may be away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<Leases>,
    /// What is kept for how long. What is not said is kept for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Keep>,
    /// What the log looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// Run jobs in the server's process too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_worker: Option<bool>,
    /// How, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Machine>,
}

/// What a worker is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerFile {
    /// The server that it takes jobs from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"https://ci.example.com")]
    pub server: Option<String>,
    /// Where metrics are told to whoever asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"127.0.0.1:9420")]
    pub metrics_listen: Option<String>,
    /// What holds its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_from: Option<Reference>,
    /// What the log looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// The machine, and what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Machine>,
}

/// What holds a secret. Exactly one of both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// A file that holds nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A variable of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub environment: Option<String>,
}

/// How long workers may be away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Leases {
    /// A worker that could not reach a server for so long ends its jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after: Option<Duration>,
    /// A worker that nothing was heard of for so long is lost, and its jobs go to others. Longer than `stop_after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_after: Option<Duration>,
}

/// What is kept for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Logs, after the end of their run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Duration>,
    /// Artifacts and caches that say nothing of it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Duration>,
    /// What one project's artifacts and caches may take. The oldest go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_project: Option<Size>,
}

/// What a log looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// How lines look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// What is told: a level, or `TARGET=LEVEL` separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// How the lines of a log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A machine that runs jobs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What runs the containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Engine>,
    /// How many jobs at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub slots: Option<u16>,
    /// Labels, for jobs with `runs_on`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The WorkerPool that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Where workspaces, code and logs on their way are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Where jobs reach the server, where that is not its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_api_url: Option<String>,
    /// Leave workspaces as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_workspace: Option<bool>,
    /// Take no jobs with less free disk than this: a size, or a share such as `5%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"5%")]
    pub disk_floor: Option<String>,
    /// The most log of one job that waits on disk for a slow reader. What is more is left out, marked with its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<Size>,
}

/// What runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Docker, or what speaks its API.
    Docker,
}

/// A file of one of these types.
pub trait ProcessFile: DeserializeOwned + JsonSchema {
    /// Its schema's title.
    const TITLE: &'static str;
    /// What is wrong with it that its schema does not say, by pointer.
    fn problems(&self) -> Vec<(&'static str, String, &'static str)>;
}

const NO_PASSWORD: &str = "a file holds no password";
const REFERENCE: &str = "name one: `file: PATH` or `environment: NAME`";

impl ProcessFile for ServerFile {
    const TITLE: &'static str = "Reactorcide server";

    fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut found = Vec::new();
        if self.state.as_deref().is_some_and(has_password) {
            let message = NO_PASSWORD.to_owned();
            found.push((
                "/state",
                message,
                "put the whole URL into a file or a variable, and name that with state_from",
            ));
        }
        if self.state.is_some() && self.state_from.is_some() {
            found.push((
                "/state_from",
                "the state is named twice".to_owned(),
                "keep one of state and state_from",
            ));
        }
        if self.state_from.as_ref().is_some_and(|reference| !reference.is_one()) {
            found.push(("/state_from", "state_from names not exactly one thing".to_owned(), REFERENCE));
        }
        if self.storage.as_deref().is_some_and(has_password) {
            let message = NO_PASSWORD.to_owned();
            found.push((
                "/storage",
                message,
                "the keys of a bucket come from the environment: see docs/server.md",
            ));
        }
        let leases = self.leases.clone().unwrap_or_default();
        if let (Some(stop), Some(lost)) = (leases.stop_after, leases.lost_after)
            && lost <= stop
        {
            let message = "lost_after must be longer than stop_after".to_owned();
            found.push(("/leases/lost_after", message, "else a job could run twice"));
        }
        found.extend(self.worker.iter().flat_map(Machine::problems));
        found
    }
}

impl ProcessFile for WorkerFile {
    const TITLE: &'static str = "Reactorcide worker";

    fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut found = Vec::new();
        if self.server.as_deref().is_some_and(|url| !is_server(url)) {
            let message = "this is no URL of a server".to_owned();
            found.push((
                "/server",
                message,
                "such as https://ci.example.com: it begins with http:// or https://, and names nobody",
            ));
        }
        if self.token_from.as_ref().is_some_and(|reference| !reference.is_one()) {
            found.push(("/token_from", "token_from names not exactly one thing".to_owned(), REFERENCE));
        }
        found.extend(self.worker.iter().flat_map(Machine::problems));
        found
    }
}

impl Machine {
    fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let floor = self.disk_floor.as_ref().map(|floor| floor.parse::<crate::workers::Floor>());
        let empty = self.labels.iter().any(|(name, value)| name.is_empty() || value.is_empty());
        let empty = empty
            .then(|| ("/worker/labels", "a label has no name or no value".to_owned(), "write NAME: VALUE"));
        let floor =
            floor.and_then(Result::err).map(|error| ("/worker/disk_floor", error, "such as 2Gi or 5%"));
        floor.into_iter().chain(empty).collect()
    }
}

impl Reference {
    fn is_one(&self) -> bool {
        self.file.is_some() != self.environment.is_some()
    }
}

/// Whether a URL can be that of a server.
fn is_server(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('@'))
}

/// Says where something is without showing it.
fn hide(diagnostic: &mut Diagnostic, source: &SourceFile) {
    if let Some(span) = diagnostic.span.take() {
        let place = source.place(span.start);
        diagnostic.path = Some(format!("{}:{}:{}", source.path, place.line, place.column));
    }
}

/// Whether a URL holds a password.
fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let in_query = url.split_once('?').is_some_and(|(_, query)| {
        query
            .split('&')
            .any(|pair| pair.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case("password")))
    });
    in_query || authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// Reads a file: what it says, or everything that is wrong with it.
pub fn read<T: ProcessFile>(file: InputFile) -> (Result<T, Vec<Diagnostic>>, SourceFile) {
    let schema = crate::schema::of_process::<T>();
    let (node, mut found, source) = crate::read::one(file, &Budget::default(), &schema);
    let Some(node) = node else { return (Err(found), source) };
    for diagnostic in &mut found {
        let Some(span) = diagnostic.span else { continue };
        let key = source
            .text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
            .trim_matches(['"', '\'']);
        if diagnostic.code == "RC1010" && ["token", "api_token", "password", "secret"].contains(&key) {
            diagnostic.message = format!("a file holds no {key}");
            let hint = "write `token_from: {file: PATH}` or `token_from: {environment: NAME}`";
            diagnostic.hint = Some(hint.to_owned());
            hide(diagnostic, &source);
        }
    }
    if !found.is_empty() {
        return (Err(found), source);
    }
    let mut read = typed(&node);
    for diagnostic in read.as_mut().err().into_iter().flatten() {
        if diagnostic.message == NO_PASSWORD {
            hide(diagnostic, &source);
        }
    }
    (read, source)
}

fn typed<T: ProcessFile>(node: &Node) -> Result<T, Vec<Diagnostic>> {
    let value = match node.to_value() {
        Value::Null => Value::Object(serde_json::Map::new()),
        Value::Object(mut value) => {
            value.remove("$schema");
            Value::Object(value)
        }
        other => other,
    };
    let wrong = |pointer: &str, message: String| {
        Diagnostic::error("RC1013", message).at(node.nearest(pointer).unwrap_or(node.span))
    };
    let read: T = serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = error
            .path()
            .to_string()
            .split('.')
            .fold(String::new(), |pointer, part| crate::diff::join(&pointer, part));
        vec![wrong(&pointer, error.inner().to_string())]
    })?;
    let problems = read.problems();
    if problems.is_empty() {
        return Ok(read);
    }
    Err(problems.into_iter().map(|(pointer, message, hint)| wrong(pointer, message).hint(hint)).collect())
}

#[cfg(test)]
mod tests;
