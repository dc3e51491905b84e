//! Arguments, the environment and a job file, put together.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use lexopt::Arg::{Long, Short, Value as Word};
use lexopt::{Parser, ValueExt};
use reactorcide_protocol::settings::{self, Layer, Origin, Settings};
use reactorcide_protocol::spec::{Secret, Sensitive};

use super::Failure;
use crate::client::format_of;

/// The longest line of credentials.
const MAX_CREDENTIALS: u64 = 64 << 10;

/// What was said.
pub struct Said {
    pub settings: Settings,
    pub words: Vec<String>,
    pub secrets: Vec<Secret>,
    pub credentials: Option<Sensitive>,
    pub dry_run: bool,
    pub json: bool,
    pub on_host: bool,
}

/// Reads the arguments of a command. The first word of `run-job`, `config` and `validate` names a job file.
pub fn parse(arguments: &[OsString]) -> Result<Said, Failure> {
    let mut parser = Parser::from_args(arguments);
    let mut layer = Layer::default();
    let (mut words, mut secrets) = (Vec::new(), Vec::new());
    let (mut credentials, mut dry_run, mut json, mut on_host) = (false, false, false, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Word(word) => words.push(word.string()?),
            Long("dry-run") => dry_run = true,
            Long("on-host") => on_host = true,
            Long("json") => json = true,
            Long("format") => json = parser.value()?.parse_with(format_of)?,
            Long("credentials-stdin") => credentials = true,
            Long("secret") => secrets.push(secret(&parser.value()?.string()?)?),
            Long("image" | "runner-image" | "job-image") => {
                return Err(Failure::usage(
                    "this program runs a job where it is; `reactorcide run --image IMAGE` puts one into a container",
                ));
            }
            Long(name) => {
                let name = name.to_owned();
                if reactorcide_protocol::settings::key(&name.replace('-', "_")).is_none() {
                    return Err(Long(&name).unexpected().into());
                }
                layer.argument(&name, parser.value()?.string()?);
            }
            Short(_) => return Err(argument.unexpected().into()),
        }
    }
    let environment = Layer::of_environment(|name| std::env::var(name).ok());
    let file = match words.first() {
        Some(path) if is_job_file(path) => Some(job_file(path)?),
        _ => None,
    };
    let mut settings = Settings::resolve([Some(environment), file, Some(layer)].into_iter().flatten());
    if on_host && settings.get("job_dir").is_some_and(|setting| setting.origin == Origin::Default) {
        let here = std::path::absolute("job").map_err(|error| Failure::failed(format!("./job: {error}")))?;
        settings.set_default("job_dir", here.display().to_string());
    }
    read_environment_files(&mut settings)?;
    let credentials = if credentials { Some(read_credentials()?) } else { None };
    Ok(Said { settings, words, secrets, credentials, dry_run, json, on_host })
}

fn is_job_file(word: &str) -> bool {
    let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
    word == "-" || matches!(extension, Some("yaml" | "yml" | "json"))
}

fn job_file(path: &str) -> Result<Layer, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("the job file {path} cannot be read: {error}"))
    };
    let mut bytes = Vec::new();
    if path == "-" {
        std::io::stdin().lock().take(2 << 20).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    } else {
        bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    }
    Ok(Layer::of_file(path, settings::parse_file(&bytes).map_err(|error| failed(&error))?))
}

/// Files of variables lie inside the workspace, and are no links to somewhere else.
fn read_environment_files(settings: &mut Settings) -> Result<(), Failure> {
    for (path, _) in settings.environment_files().to_vec() {
        let Ok(whole) = settings::inside(settings.job_dir(), &path) else { continue };
        let failed = |problem: String| Failure::config(format!("the file of variables {path}: {problem}"));
        let bytes = crate::exec::read_left_behind(Path::new(&whole), 1 << 20).map_err(failed)?;
        let bytes = bytes.ok_or_else(|| failed("it does not exist".to_owned()))?;
        let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".to_owned()))?;
        settings.add_environment_file(&path, &text);
    }
    Ok(())
}

/// The text is not repeated in an error: it may be a value that somebody put there by mistake.
fn secret(pair: &str) -> Result<Secret, Failure> {
    let usage = || Failure::usage("write --secret NAME=env:VARIABLE or --secret NAME=file:PATH");
    let (name, source) = pair.split_once('=').ok_or_else(usage)?;
    let value = match source.split_once(':') {
        Some(("env", variable)) => std::env::var(variable).map_err(|_| {
            Failure::usage(format!("the secret {name} comes from ${variable}, which is not set"))
        })?,
        Some(("file", path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("the secret {name} cannot be read from {path}: {error}"))
            })?;
            text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)
        }
        _ => return Err(usage()),
    };
    Ok(Secret::in_environment(name, Sensitive::new(value)))
}

fn read_credentials() -> Result<Sensitive, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_CREDENTIALS).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("the credentials cannot be read: {error}")))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::usage("there are no credentials on standard input")),
        text => Ok(Sensitive::new(text)),
    }
}
