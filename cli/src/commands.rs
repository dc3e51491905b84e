//! The commands: one file each. A new one is a module, a variant and an arm here.

mod init;
mod schema;
mod validate;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented configuration to start from
    Init(init::InitArgs),
    /// Check the configuration and report every error at once
    Validate(validate::ValidateArgs),
    /// Print the JSON Schemas of the configuration language
    Schema(schema::SchemaArgs),
}

/// Runs a command.
pub fn run(command: Command, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        Command::Init(arguments) => init::init(&arguments),
        Command::Validate(arguments) => validate::validate(&arguments, settings),
        Command::Schema(arguments) => schema::schema(&arguments),
    }
}
