//! `reactorcide schema`: the JSON Schemas of the language, for editors and other programs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reactorcide_engine::config::Kind;
use reactorcide_engine::{schema, suggest};

use super::editor;
use crate::exit::{Exit, Failure};

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SchemaArgs {
    #[command(subcommand)]
    command: Option<SchemaCommand>,
    /// Only the schema of one kind
    #[arg(long, value_name = "KIND", conflicts_with = "out")]
    kind: Option<String>,
    /// Write all of them into a directory instead of printing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum SchemaCommand {
    /// Write the schema beside the configuration and tell editors that it belongs to it
    Install {
        /// The directory that has a .reactorcide
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
}

/// Prints a schema, writes all, or installs the one for editors.
pub fn schema(arguments: &SchemaArgs) -> Result<Exit, Failure> {
    if let Some(SchemaCommand::Install { dir }) = &arguments.command {
        editor::install(dir)?;
        return Ok(Exit::Success);
    }
    match (&arguments.kind, &arguments.out) {
        (_, Some(directory)) => write_all(directory)?,
        (Some(name), None) => print(&schema::of_kind(kind(name)?)),
        (None, None) => print(&schema::whole()),
    }
    Ok(Exit::Success)
}

fn kind(name: &str) -> Result<Kind, Failure> {
    name.parse().map_err(|_| {
        let names = Kind::ALL.map(Kind::as_str);
        let failure = Failure::new(format!("there is no kind `{name}`")).exit(Exit::Usage);
        match suggest::nearest(name, names) {
            Some(kind) => failure.hint(format!("did you mean {kind}?")),
            None => failure.hint(format!("the kinds are {}", names.join(", "))),
        }
    })
}

fn print(schema: &serde_json::Value) {
    // Nobody is left to tell where stdout is closed.
    let _ = writeln!(crate::stdout::stdout(), "{schema:#}");
}

fn write_all(directory: &Path) -> Result<(), Failure> {
    for (name, text) in schema::files() {
        let path = directory.join(name);
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(())
}
