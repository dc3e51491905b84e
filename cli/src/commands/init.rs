//! `reactorcide init`: a commented, valid configuration to start from, with completion in editors.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::editor;
use crate::exit::{Exit, Failure};
use crate::settings::CONFIG_DIRECTORY;

const PROJECT: &str = include_str!("init/project.yaml");
const PIPELINE: &str = include_str!("init/ci.yaml");

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The directory that gets a .reactorcide
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Writes the files. What is there already is never overwritten.
pub fn init(arguments: &InitArgs) -> Result<Exit, Failure> {
    let config = arguments.dir.join(CONFIG_DIRECTORY);
    if config.symlink_metadata().is_ok() {
        return Err(Failure::new(format!("{} is there already", config.display()))
            .hint("`reactorcide validate` checks it; --dir names another directory to start in"));
    }
    for (name, text) in [("project.yaml", PROJECT), ("ci.yaml", PIPELINE)] {
        let path = config.join(name);
        create(&path, text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        let _ = writeln!(crate::stdout::stdout(), "wrote {}", path.display());
    }
    editor::install(&arguments.dir)?;
    Ok(Exit::Success)
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}
