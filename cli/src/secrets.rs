//! Values of secrets, from the command line or from where a Secret says that this machine finds them.

use std::collections::BTreeMap;
use std::path::Path;

use reactorcide_engine::protocol::spec::Sensitive;

use crate::exit::{Exit, Failure};

/// The values that `--secret NAME=env:VARIABLE` and `--secret NAME=file:PATH` give.
pub fn given(pairs: &[String]) -> Result<BTreeMap<String, Sensitive>, Failure> {
    pairs
        .iter()
        .map(|pair| {
            let (name, source) = pair.split_once('=').ok_or_else(|| {
                Failure::new("--secret takes NAME=env:VARIABLE or NAME=file:PATH").exit(Exit::Usage)
            })?;
            let value = match source.split_once(':') {
                Some(("env", variable)) => from_environment(name, variable)?,
                Some(("file", path)) => from_file(name, path)?,
                _ => {
                    // The text may be a value that somebody put there by mistake: it is not repeated.
                    return Err(Failure::new(format!("--secret {name} does not say where its value is"))
                        .hint(format!("write --secret {name}=env:VARIABLE or --secret {name}=file:PATH"))
                        .exit(Exit::Usage));
                }
            };
            Ok((name.to_owned(), value))
        })
        .collect()
}

/// The value in a variable.
pub fn from_environment(name: &str, variable: &str) -> Result<Sensitive, Failure> {
    std::env::var(variable).map(Sensitive::new).map_err(|_| {
        Failure::new(format!("the secret {name:?} comes from the variable {variable}, which is not set"))
    })
}

/// The value in a file. One line break at the end belongs to the file, not to the value.
pub fn from_file(name: &str, path: &str) -> Result<Sensitive, Failure> {
    let text = std::fs::read_to_string(Path::new(path))
        .map_err(|error| Failure::new(format!("the secret {name:?} cannot be read from {path}: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Sensitive::new(text.strip_suffix('\r').unwrap_or(text)))
}
