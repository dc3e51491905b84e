//! What `login` remembers, and where tokens come from.

use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// What `login` remembers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Login {
    /// The server.
    pub url: String,
    /// Our token there.
    pub(super) token: String,
}

impl Login {
    fn path() -> Option<PathBuf> {
        let not_empty =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = not_empty("XDG_CONFIG_HOME").or_else(|| Some(not_empty("HOME")?.join(".config")))?;
        Some(config.join("reactorcide/login.json"))
    }

    /// What was remembered.
    pub fn read() -> Result<Option<Self>, Failure> {
        let Some(path) = Self::path() else { return Ok(None) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::new(format!("{} cannot be read: {error}", path.display()))),
        };
        serde_json::from_str(&text).map(Some).map_err(|_| {
            Failure::new(format!("{} holds no login", path.display()))
                .hint("`reactorcide logout`, and log in again")
        })
    }

    /// Remembers, for us alone.
    pub fn write(url: &str, token: &str) -> Result<(), Failure> {
        let path =
            Self::path().ok_or_else(|| Failure::new("there is no home directory to remember a login in"))?;
        let failed =
            |error: std::io::Error| Failure::new(format!("{} cannot be written: {error}", path.display()));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let login = Self { url: url.to_owned(), token: token.to_owned() };
        let text = serde_json::to_string_pretty(&login).unwrap_or_default();
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed(error)
        })
    }

    /// Forgets. Whether there was something.
    pub fn forget() -> Result<bool, Failure> {
        let Some(path) = Self::path() else { return Ok(false) };
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::new(format!("{} cannot be removed: {error}", path.display()))),
        }
    }
}

/// A token from a file, or from an environment variable; never from an argument, which others could see.
pub fn read_token(file: Option<&Path>, variable: &str) -> Result<Option<String>, Failure> {
    let text = match file {
        Some(path) if path == Path::new("-") => {
            let mut stdin = std::io::stdin();
            if stdin.is_terminal() {
                crate::report::note("the token:");
            }
            let mut text = String::new();
            let read = if stdin.is_terminal() {
                stdin.read_line(&mut text)
            } else {
                stdin.read_to_string(&mut text)
            };
            read.map_err(|error| Failure::new(format!("no token can be read: {error}")))?;
            Some(text)
        }
        Some(path) => Some(fs::read_to_string(path).map_err(|error| {
            Failure::new(format!("the token cannot be read from {}: {error}", path.display()))
        })?),
        None => std::env::var(variable).ok(),
    };
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}
