//! `reactorcide init`: a commented, valid configuration to start from, with completion in editors.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use reactorcide_engine::schema;

use crate::exit::{Exit, Failure};
use crate::settings::CONFIG_DIRECTORY;

const PROJECT: &str = include_str!("init/project.yaml");
const PIPELINE: &str = include_str!("init/ci.yaml");
const SCHEMA_FILE: &str = "reactorcide.schema.json";
const EDITOR_SETTINGS: &str = r#"{
  "yaml.schemas": {
    ".reactorcide/reactorcide.schema.json": [".reactorcide/**/*.yaml", ".reactorcide/**/*.yml"]
  }
}
"#;

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
    let schema = format!("{:#}\n", schema::whole());
    let files = [("project.yaml", PROJECT), ("ci.yaml", PIPELINE), (SCHEMA_FILE, schema.as_str())];
    let mut stdout = anstream::stdout().lock();
    for (name, text) in files {
        let path = config.join(name);
        create(&path, text).map_err(|error| cannot_write(&path, &error))?;
        let _ = writeln!(stdout, "wrote {}", path.display());
    }
    let editor = arguments.dir.join(".vscode/settings.json");
    match create(&editor, EDITOR_SETTINGS) {
        Ok(()) => {
            let _ = writeln!(stdout, "wrote {}", editor.display());
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let _ = writeln!(
                anstream::stderr(),
                "kept {}; for completion, add to it:\n{EDITOR_SETTINGS}",
                editor.display(),
            );
        }
        Err(error) => return Err(cannot_write(&editor, &error)),
    }
    Ok(Exit::Success)
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()))
}
