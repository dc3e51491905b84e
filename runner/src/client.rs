//! The shell's way to the socket of the runner: one command, one request, one answer.

mod commands;
mod connection;

use std::ffi::OsString;
use std::process::ExitCode;

use serde_json::Value;

use crate::exit;

pub use commands::{HELP, format_of};
pub use connection::ask;

/// Why a command did not do what it was told.
pub enum Trouble {
    /// It was not understood.
    Usage(String),
    /// The runner refused it.
    Refused { code: String, message: String },
    /// There is no runner to talk to, or it went away.
    Unreachable(String),
}

impl From<lexopt::Error> for Trouble {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// What a command found out.
pub enum Found {
    /// Done; nothing to say.
    Done,
    /// Something to print.
    Text(String),
    /// The answer is no; something to print too, where there is something.
    No(Option<String>),
}

/// Runs a command of this kind, if it is one.
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let name = arguments.first()?.to_str()?;
    let command = commands::named(name)?;
    let code = match command(&arguments[1..]) {
        Ok(Found::Done) => ExitCode::SUCCESS,
        Ok(Found::Text(text)) => print(&text, ExitCode::SUCCESS),
        Ok(Found::No(text)) => print(text.as_deref().unwrap_or_default(), ExitCode::from(1)),
        Err(Trouble::Usage(message)) => fail(&format!("{name}: {message}"), exit::USAGE),
        Err(Trouble::Refused { code, message }) => {
            fail(&format!("{name}: {message} ({code})"), exit::REFUSED)
        }
        Err(Trouble::Unreachable(message)) => fail(&format!("{name}: {message}"), exit::UNAVAILABLE),
    };
    Some(code)
}

fn print(text: &str, code: ExitCode) -> ExitCode {
    use std::io::Write;
    let line = if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    match std::io::stdout().write_all(line.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("reactorcide-runner: {message}");
    code.into()
}

/// Text as it is, everything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
