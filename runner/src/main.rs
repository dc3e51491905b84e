//! The program inside a job container: runs the steps of one job and writes what happens as frames.
//!
//! It is made to be process 1 of any image, so it is static, needs no file of the image, takes everything it
//! has to know from its standard input, and never leaves a process behind.

mod cleanup;
mod client;
mod clock;
mod exec;
mod exit;
mod local;
mod when;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

const HELP: &str = "\
Runs one job inside its container.

Usage: reactorcide-runner <COMMAND>

Commands:
  exec             Read a job spec, one line of JSON, from standard input, run it, and write frames to
                   standard output
  when             Evaluate a condition; used by exec
Options:
  --version        Print the version
  --help           Print this
";

const EXIT_CODES: &str = "\
Exit codes: 0 success, otherwise the code of the step that decided; 64 bad spec or usage, 69 no runner to talk
to, 75 nobody kept the lease, 77 refused by the runner, 78 the job cannot be run as it is configured, 124 out of
time, 143 cancelled.
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = client::run(&arguments) {
        return code;
    }
    if let Some(code) = local::run(&arguments) {
        return code;
    }
    let words: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    match words.as_slice() {
        ["exec"] => exec::exec(),
        ["when"] => when::child(),
        ["--version" | "-V"] => print(&format!("reactorcide-runner {}\n", env!("CARGO_PKG_VERSION"))),
        ["--help" | "-h" | "help"] => {
            print(&format!("{HELP}\n{}\n{}\n{EXIT_CODES}", client::HELP, local::HELP))
        }
        _ => {
            eprintln!(
                "reactorcide-runner: unknown arguments\n\n{HELP}\n{}\n{}\n{EXIT_CODES}",
                client::HELP,
                local::HELP
            );
            exit::USAGE.into()
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
