//! Jobs that somebody runs directly where this program is: in a container without a worker, or on a host by request.
//!
//! The job itself runs as under a worker: a child of this process gets the spec and writes frames.

mod arguments;
mod around;
mod config;
mod git;
mod house;
mod next;
mod print;
mod run;
mod source;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::exit;
use arguments::Said;

/// Why a command failed: the code that it exits with, and a sentence.
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: exit::USAGE, message: message.into() }
    }

    pub fn config(message: impl Into<String>) -> Self {
        Self { code: exit::CONFIG, message: message.into() }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(error.to_string())
    }
}

/// What `--help` says of these commands.
pub const HELP: &str = "\
Commands that run a job where this program is:
  run [OPTIONS]            Fetch the source, run the job, say what would run next
  run-job FILE [OPTIONS]   The same for a job file, YAML or JSON; - is standard input
  config [FILE] [OPTIONS]  Show every value and where it came from
  validate [FILE] [OPTIONS]
                           Check everything and run nothing
  checkout [OPTIONS]       Fetch the source into the workspace
  copy [FROM] [OPTIONS]    Copy a directory into the workspace
  cleanup [PATH...]        Empty directories; without a path, the workspace
  git info                 Branch, commit and state of a repository
  git files-changed --since REF | git commits --since REF | git tags
Options:
  --job-command, --source-type, --source-url, --source-ref, --ci-source-type, --ci-source-url,
  --ci-source-ref, --git-url, --git-ref, --job-env, --code-dir, --job-dir, --timeout, --name
                   Each is also a variable: REACTORCIDE_JOB_COMMAND, ...; arguments go over job files, and
                   job files over variables
  --secret NAME=env:VARIABLE|file:PATH
                   Give a step a secret, masked
  --credentials-stdin
                   Read a token, or USER:PASSWORD, for the source from standard input
  --dry-run        Show what would be done
  --format F       text or json
  --on-host        Run the job outside of a container
  -C DIR           For git: the repository
";

type Command = fn(Said) -> Result<ExitCode, Failure>;

/// Runs a command of this kind, if it is one.
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let name = arguments.first()?.to_str()?;
    if name == "git" {
        return Some(end(name, git::run(&arguments[1..])));
    }
    let command: Command = match name {
        "run" => run::run,
        "run-job" => run::run_job,
        "config" => config::config,
        "validate" => config::validate,
        "checkout" => house::checkout,
        "copy" => house::copy,
        "cleanup" => house::cleanup,
        _ => return None,
    };
    Some(end(name, arguments::parse(&arguments[1..]).and_then(command)))
}

fn end(name: &str, result: Result<ExitCode, Failure>) -> ExitCode {
    result.unwrap_or_else(|failure| {
        eprintln!("reactorcide-runner: {name}: {}", failure.message);
        failure.code.into()
    })
}

/// Prints text for whoever called.
fn say(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let failed = |error: std::io::Error| Failure::failed(format!("cannot print: {error}"));
    std::io::stdout().write_all(text.as_bytes()).map_err(failed)
}
