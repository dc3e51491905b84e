//! Remembers which configurations change nothing in which state, so that the plan of every day need not be made again.
//!
//! An entry is a digest of all files with the program that read them, and the last change that was applied. Both
//! together decide what a plan says, and an entry is made only where it said "no changes" and nothing else. So the
//! worst that a missing, old or damaged cache can do is to cost time.

use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use reactorcide_engine::read::InputFile;
use reactorcide_engine::store::ChangeId;
use reactorcide_state::Location;
use sha2::{Digest, Sha256};

use crate::applied;
use crate::client::Client;
use crate::settings::Settings;

/// The file, beside the state.
const FILE: &str = "plans-without-changes";
/// Older entries are forgotten.
const MOST: usize = 32;

/// What a set of files and this program come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Of files that are sorted by path. `None` where it cannot be told which program this is.
    pub fn of(files: &[InputFile]) -> Option<Self> {
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(bytes.len().to_le_bytes());
            hasher.update(bytes);
        };
        // Another build may read the same files in another way.
        let program = fs::metadata(std::env::current_exe().ok()?).ok()?;
        part(&program.len().to_le_bytes());
        part(&program.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos().to_le_bytes());
        for file in files {
            part(file.path.as_bytes());
            part(&file.bytes);
        }
        Some(Self(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

/// Whether such a plan was made before, and changed nothing.
pub fn is_known(settings: &Settings, key: &Key, last: &ChangeId) -> bool {
    let entry = entry(key, last);
    read(settings).is_some_and(|text| text.lines().any(|line| line == entry))
}

/// Remembers that such a plan changes nothing. Where it cannot be written, the next plan is made again.
pub fn remember(settings: &Settings, key: &Key, last: &ChangeId) {
    let Some(path) = path(settings) else { return };
    let known = read(settings).unwrap_or_default();
    let entry = entry(key, last);
    let lines: Vec<&str> = std::iter::once(entry.as_str()).chain(known.lines()).take(MOST).collect();
    let temporary = path.with_extension(std::process::id().to_string());
    let written = fs::write(&temporary, lines.join("\n") + "\n").and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        tracing::debug!(path = %path.display(), %error, "cannot remember a plan without changes");
        let _ = fs::remove_file(&temporary);
    }
}

fn entry(key: &Key, last: &ChangeId) -> String {
    format!("{} {last}", key.0)
}

fn read(settings: &Settings) -> Option<String> {
    fs::read_to_string(path(settings)?).ok()
}

fn path(settings: &Settings) -> Option<PathBuf> {
    if Client::wanted(settings).ok()?.is_some() {
        return Some(settings.state_directory().join(FILE));
    }
    match applied::location(settings).ok()? {
        Location::Sqlite(file) => Some(file.with_file_name(FILE)),
        // A change has an id of its own wherever it was made, so that one file serves several states.
        Location::Postgres(_) => Some(settings.state_directory().join(FILE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(files: &[(&str, &str)]) -> Key {
        let file = |(path, text): &(&str, &str)| InputFile {
            path: (*path).to_owned(),
            bytes: text.as_bytes().to_vec(),
        };
        Key::of(&files.iter().map(file).collect::<Vec<_>>()).expect("this program has a file")
    }

    #[test]
    fn a_key_tells_apart_whatever_differs() {
        let whole = key(&[("a", "bc"), ("d", "")]);
        assert_eq!(whole, key(&[("a", "bc"), ("d", "")]));
        for other in
            [key(&[("ab", "c"), ("d", "")]), key(&[("a", "bc")]), key(&[("a", "b"), ("c", "d")]), key(&[])]
        {
            assert_ne!(whole, other);
        }
    }
}
