//! The association of the schema with the files of a configuration, for editors with the YAML language server.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use reactorcide_engine::schema;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::settings::CONFIG_DIRECTORY;

const SCHEMA_FILE: &str = "reactorcide.schema.json";
/// The setting of the YAML language server, as VS Code and many other editors read it.
const SETTING: &str = "yaml.schemas";

/// Writes the schema and the settings of an editor. Other settings are kept.
pub fn install(directory: &Path) -> Result<(), Failure> {
    let config = directory.join(CONFIG_DIRECTORY);
    if !config.is_dir() {
        return Err(Failure::new(format!("there is no {}", config.display()))
            .hint("`reactorcide init` makes one; --dir names the directory that has one"));
    }
    let schema = config.join(SCHEMA_FILE);
    write(&schema, &format!("{:#}\n", schema::whole()))?;
    associate(&directory.join(".vscode/settings.json"))
}

/// Adds the association to an editor's settings.
fn associate(path: &Path) -> Result<(), Failure> {
    let key = format!("{CONFIG_DIRECTORY}/{SCHEMA_FILE}");
    let globs = json!([format!("{CONFIG_DIRECTORY}/**/*.yaml"), format!("{CONFIG_DIRECTORY}/**/*.yml")]);
    let wanted = json!({ SETTING: { key.clone(): globs.clone() } });
    let mut settings = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
        // Comments, which editors allow there, would be lost.
        Ok(text) => match serde_json::from_str(&text) {
            Ok(settings @ Value::Object(_)) => settings,
            _ => {
                let _ = writeln!(
                    anstream::stderr(),
                    "kept {}; for completion, add to it:\n{wanted:#}",
                    path.display()
                );
                return Ok(());
            }
        },
    };
    let schemas = &mut settings[SETTING];
    if !schemas.is_object() {
        *schemas = json!({});
    }
    if schemas[&key] == globs {
        let _ = writeln!(crate::stdout::stdout(), "{} knows it already", path.display());
        return Ok(());
    }
    schemas[key] = globs;
    write(path, &format!("{settings:#}\n"))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    let _ = writeln!(crate::stdout::stdout(), "wrote {}", path.display());
    Ok(())
}
