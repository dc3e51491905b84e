//! The `reactorcide` command: reads arguments, calls one command, turns its end into an exit code.

mod applied;
mod client;
mod commands;
mod commit;
mod config_files;
mod exit;
mod logging;
mod observed;
mod output;
mod outside;
mod plan_cache;
mod process_file;
mod python_package;
mod report;
mod runner_binary;
mod secrets;
mod settings;
mod signals;
mod stdout;
mod time;
mod vault;
mod worker_host;
mod workspace;

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use exit::{Exit, Failure};

/// Self-hosted CI/CD whose configuration is infrastructure.
#[derive(Debug, Parser)]
#[command(name = "reactorcide", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    global: settings::GlobalArgs,
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let told = match process_file::parse(&Arguments::command(), std::env::args_os().collect()) {
        Ok(Ok(told)) => told,
        Ok(Err(failure)) => {
            report::failure(&failure);
            return failure.exit.into();
        }
        Err(error) => return usage(&error).into(),
    };
    let arguments = match Arguments::from_arg_matches(&told.matches) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error).into(),
    };
    let mut settings = settings::Settings::new(arguments.global, &told.matches);
    if told.file.is_some() {
        // It names no directory of a configuration.
        settings.config = None;
    }
    settings.effective = told.effective;
    settings.color.write_global();
    // A panic has said where it happened; what is left to say is that it is our fault, and not a failed job.
    match std::panic::catch_unwind(AssertUnwindSafe(|| commands::run(arguments.command, &settings))) {
        Ok(Ok(exit)) => written(exit).into(),
        Ok(Err(failure)) => {
            report::failure(&failure);
            failure.exit.into()
        }
        Err(_) => {
            report::failure(
                &Failure::new("this is a mistake of reactorcide itself")
                    .hint("please report it with what is shown above"),
            );
            Exit::Internal.into()
        }
    }
}

/// Whether all that was printed has arrived. That nobody reads on is no failure; that there is no room is one.
fn written(exit: Exit) -> Exit {
    let Some(error) = stdout::trouble() else { return exit };
    let message = format!("what was printed could not be written: {error}");
    report::failure(&Failure::new(message).hint("see whether there is room where the output goes"));
    Exit::Failed
}

/// Prints what clap has to say. Bad usage is 64, since 2 means "there are changes".
fn usage(error: &clap::Error) -> Exit {
    let text = error.render();
    if error.use_stderr() {
        let _ = write!(anstream::stderr(), "{}", text.ansi());
        Exit::Usage
    } else {
        let _ = write!(crate::stdout::stdout(), "{}", text.ansi());
        Exit::Success
    }
}
