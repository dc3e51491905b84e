//! The file that a server or a worker is told things by: defaults, over them the file, over that the environment, over
//! all of it the flags. Each value remembers where it came from.
//!
//! What the file says becomes the default of the flag for it, so that one parser decides all four.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use reactorcide_engine::process::{self, Machine, ProcessFile, Reference, ServerFile, WorkerFile};
use reactorcide_engine::read::InputFile;

use crate::exit::{Exit, Failure};
use crate::report;

/// A value that a server or a worker goes by, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// What the file calls it.
    pub name: String,
    /// The value, fit to be shown; none where nobody said anything.
    pub value: Option<String>,
    /// Where it came from.
    pub source: String,
}

/// What a file says, by the id of the argument for it.
type Said = BTreeMap<&'static str, Vec<String>>;

/// What the file calls a value, and the argument for it.
type Name = (&'static str, &'static str);

const SERVER: &[Name] = &[
    ("listen", "listen"),
    ("metrics_listen", "metrics_listen"),
    ("public_url", "public_url"),
    ("identity_keys", "identity_keys"),
    ("state", "state"),
    ("storage", "storage"),
    ("first_user", "first_user"),
    ("leases.stop_after", "stop_after"),
    ("leases.lost_after", "lost_after"),
    ("retention.logs", "keep_logs"),
    ("retention.artifacts", "keep_artifacts"),
    ("retention.per_project", "keep_per_project"),
    ("logging.format", "log_format"),
    ("logging.level", "log_level"),
    ("with_worker", "with_worker"),
];
const WORKER: &[Name] = &[
    ("server", "server"),
    ("metrics_listen", "metrics_listen"),
    ("token_from.file", "token_file"),
    ("token_from.environment", "token_variable"),
    ("logging.format", "log_format"),
    ("logging.level", "log_level"),
];
const MACHINE: &[Name] = &[
    ("worker.provider", "provider"),
    ("worker.slots", "slots"),
    ("worker.labels", "labels"),
    ("worker.pool", "pool"),
    ("worker.directory", "directory"),
    ("worker.job_api_url", "job_api_url"),
    ("worker.keep_workspace", "keep_workspace"),
    ("worker.disk_floor", "disk_floor"),
    ("worker.spool", "spool"),
];

/// What was said in all, and what a server or worker goes by, where that was asked for.
pub struct Told {
    /// The arguments with the file's values among them.
    pub matches: ArgMatches,
    /// Every value, in the order of the file.
    pub effective: Vec<Effective>,
    /// The file.
    pub file: Option<PathBuf>,
}

/// Parses arguments; a `--config` of `server` and `worker` that is a file says what nothing else says.
pub fn parse(command: &Command, arguments: Vec<OsString>) -> Result<Result<Told, Failure>, clap::Error> {
    let matches = command.clone().try_get_matches_from(arguments.clone())?;
    let Some((name @ ("server" | "worker"), inner)) = matches.subcommand() else {
        return Ok(Ok(Told { matches, effective: Vec::new(), file: None }));
    };
    let name = name.to_owned();
    let config = inner.get_raw("config").and_then(|mut raw| raw.next()).map(PathBuf::from);
    // What is not there is meant as one too: nobody keeps a directory of YAML that is called so.
    let is_file = |path: &PathBuf| {
        path.is_file() || !path.is_dir() && path.extension().is_some_and(|end| end == "yaml" || end == "yml")
    };
    let file = config.filter(is_file);
    let said = match &file {
        None => Said::new(),
        Some(path) => match said(&name, path) {
            Ok(said) => said,
            Err(failure) => return Ok(Err(failure)),
        },
    };
    let matches = with_defaults(command.clone(), &name, &said).try_get_matches_from(arguments)?;
    let inner = matches.subcommand_matches(&name).expect("it was there before");
    let effective = effective(&name, inner, &said, file.as_deref());
    Ok(Ok(Told { effective, file, matches }))
}

/// The command whose defaults are what a file says.
fn with_defaults(command: Command, name: &str, said: &Said) -> Command {
    let defaults = |id: &str| -> Option<Vec<&'static str>> {
        // Arguments want defaults that live as long as the program, and it reads one file.
        Some(said.get(id)?.iter().map(|value| &*Box::leak(value.clone().into_boxed_str())).collect())
    };
    let of_all = ["state", "server"];
    let command = of_all.into_iter().filter(|id| said.contains_key(id)).fold(command, |command, id| {
        command.mut_arg(id, |argument| argument.default_values(defaults(id).unwrap_or_default()))
    });
    let own: Vec<&str> = said.keys().copied().filter(|id| !of_all.contains(id)).collect();
    command.mut_subcommand(name, |command| {
        own.into_iter().fold(command, |command, id| {
            command.mut_arg(id, |argument| argument.default_values(defaults(id).unwrap_or_default()))
        })
    })
}

fn said(name: &str, path: &Path) -> Result<Said, Failure> {
    if name == "server" { server(&read::<ServerFile>(path)?) } else { Ok(worker(&read::<WorkerFile>(path)?)) }
}

fn read<T: ProcessFile>(path: &Path) -> Result<T, Failure> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::new(format!("{shown} cannot be read: {error}")).exit(Exit::Usage))?;
    let (read, source) = process::read(InputFile { path: shown.clone(), bytes });
    read.map_err(|diagnostics| {
        report::diagnostics(&diagnostics, &[source]);
        Failure::new(format!("{shown} has {}", report::count(diagnostics.len(), "error"))).exit(Exit::Usage)
    })
}

fn put(said: &mut Said, id: &'static str, value: Option<impl ToString>) {
    if let Some(value) = value {
        said.insert(id, vec![value.to_string()]);
    }
}

fn server(file: &ServerFile) -> Result<Said, Failure> {
    let mut said = Said::new();
    put(&mut said, "listen", file.listen.as_ref());
    put(&mut said, "metrics_listen", file.metrics_listen.as_ref());
    put(&mut said, "public_url", file.public_url.as_ref());
    put(&mut said, "identity_keys", file.identity_keys.as_ref());
    put(&mut said, "state", file.state.as_ref());
    if let Some(reference) = &file.state_from {
        put(&mut said, "state", Some(resolve(reference)?));
    }
    put(&mut said, "storage", file.storage.as_ref());
    put(&mut said, "first_user", file.first_user.as_ref());
    let leases = file.leases.clone().unwrap_or_default();
    put(&mut said, "stop_after", leases.stop_after);
    put(&mut said, "lost_after", leases.lost_after);
    let keep = file.retention.clone().unwrap_or_default();
    put(&mut said, "keep_logs", keep.logs);
    put(&mut said, "keep_artifacts", keep.artifacts);
    put(&mut said, "keep_per_project", keep.per_project);
    logging(&mut said, file.logging.as_ref());
    put(&mut said, "with_worker", file.with_worker);
    machine(&mut said, file.worker.as_ref());
    Ok(said)
}

fn worker(file: &WorkerFile) -> Said {
    let mut said = Said::new();
    put(&mut said, "server", file.server.as_ref());
    put(&mut said, "metrics_listen", file.metrics_listen.as_ref());
    let token = file.token_from.clone().unwrap_or_default();
    put(&mut said, "token_file", token.file);
    put(&mut said, "token_variable", token.environment);
    logging(&mut said, file.logging.as_ref());
    machine(&mut said, file.worker.as_ref());
    said
}

fn logging(said: &mut Said, logging: Option<&process::Logging>) {
    let logging = logging.cloned().unwrap_or_default();
    let format = logging.format.map(|format| match format {
        process::Format::Text => "text",
        process::Format::Json => "json",
    });
    put(said, "log_format", format);
    put(said, "log_level", logging.level);
}

fn machine(said: &mut Said, machine: Option<&Machine>) {
    let machine = machine.cloned().unwrap_or_default();
    put(said, "provider", machine.provider.map(|process::Engine::Docker| "docker"));
    put(said, "slots", machine.slots);
    if !machine.labels.is_empty() {
        let labels = machine.labels.iter().map(|(name, value)| format!("{name}={value}"));
        said.insert("labels", labels.collect());
    }
    put(said, "pool", machine.pool);
    put(said, "directory", machine.directory);
    put(said, "job_api_url", machine.job_api_url);
    put(said, "keep_workspace", machine.keep_workspace);
    put(said, "disk_floor", machine.disk_floor);
    put(said, "spool", machine.spool);
}

/// What a reference holds.
fn resolve(reference: &Reference) -> Result<String, Failure> {
    let (what, value) = match (&reference.file, &reference.environment) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(format!("{path} cannot be read: {error}")).exit(Exit::Usage))?;
            (path.clone(), text)
        }
        (None, Some(name)) => (format!("${name}"), std::env::var(name).unwrap_or_default()),
        (None, None) => return Err(Failure::new("state_from names nothing").exit(Exit::Usage)),
    };
    let value = value.trim().to_owned();
    if value.is_empty() {
        return Err(Failure::new(format!("{what} holds nothing, and the state is to be named there"))
            .exit(Exit::Usage));
    }
    Ok(value)
}

fn effective(name: &str, matches: &ArgMatches, said: &Said, file: Option<&Path>) -> Vec<Effective> {
    let own = if name == "server" { SERVER } else { WORKER };
    let one = |(name, id): &Name| {
        let values: Vec<String> = matches
            .get_raw(id)
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.is_empty())
            .collect();
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "flag".to_owned(),
            Some(ValueSource::EnvVariable) => "environment".to_owned(),
            Some(_) if said.contains_key(id) => {
                file.map_or_else(|| "file".to_owned(), |file| file.display().to_string())
            }
            _ => "default".to_owned(),
        };
        let value = (!values.is_empty()).then(|| without_password(&values.join(" ")));
        Effective { name: (*name).to_owned(), value, source }
    };
    own.iter().chain(MACHINE).map(one).collect()
}

/// A URL that may be shown.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
        None => authority.to_owned(),
    };
    let slash = if rest.contains('/') { "/" } else { "" };
    let more = if query.is_empty() { "" } else { "?…" };
    format!("{scheme}://{authority}{slash}{path}{more}")
}

/// Prints what a server or a worker goes by.
pub fn show(effective: &[Effective], json: bool) -> Result<Exit, Failure> {
    use std::io::Write;
    let mut out = crate::stdout::stdout();
    let failed = |error: std::io::Error| Failure::new(format!("cannot print: {error}"));
    if json {
        let values: serde_json::Map<String, serde_json::Value> = effective
            .iter()
            .map(|one| (one.name.clone(), serde_json::json!({"value": one.value, "source": one.source})))
            .collect();
        writeln!(out, "{:#}", serde_json::Value::Object(values)).map_err(failed)?;
        return Ok(Exit::Success);
    }
    let width = effective.iter().map(|one| one.name.len()).max().unwrap_or_default();
    for Effective { name, value, source } in effective {
        let value =
            value.as_deref().map_or_else(|| "-".to_owned(), |value| crate::output::safe(value).to_string());
        writeln!(out, "{name:<width$}  {value:<32}  {source}").map_err(failed)?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_password() {
        for (url, shown) in [
            ("postgres://ada:secret@db:5432/ci?sslmode=require", "postgres://ada@db:5432/ci?…"),
            ("postgres://ada@db/ci", "postgres://ada@db/ci"),
            ("sqlite:/var/lib/ci.db", "sqlite:/var/lib/ci.db"),
            ("s3://bucket", "s3://bucket"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
