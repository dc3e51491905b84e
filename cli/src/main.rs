//! The `reactorcide` command: reads arguments, calls one command, turns its end into an exit code.

mod applied;
mod commands;
mod commit;
mod config_files;
mod exit;
mod output;
mod plan_cache;
mod report;
mod runner_binary;
mod settings;
mod time;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use exit::Exit;

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
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error).into(),
    };
    let settings = settings::Settings::new(arguments.global);
    settings.color.write_global();
    match commands::run(arguments.command, &settings) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            report::failure(&failure);
            failure.exit.into()
        }
    }
}

/// Prints what clap has to say. Bad usage is 64, since 2 means "there are changes".
fn usage(error: &clap::Error) -> Exit {
    let text = error.render();
    if error.use_stderr() {
        let _ = write!(anstream::stderr(), "{}", text.ansi());
        Exit::Usage
    } else {
        let _ = write!(anstream::stdout(), "{}", text.ansi());
        Exit::Success
    }
}
