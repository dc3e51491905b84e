//! Where master keys come from: a file, a variable, what a program prints; or a file beside a state on this machine.

use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use reactorcide_engine::vault::{KEY, KeyError, MasterKey};
use zeroize::Zeroizing;

/// The file beside a state on this machine.
const FILE: &str = "master.key";

/// Where a master key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterSource {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// What a program prints: its name and its arguments. No shell reads it.
    Command(Vec<String>),
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The text says not where.
    #[error("a master key comes from file:PATH, env:NAME or command:PROGRAM")]
    Source,
    /// It cannot be had.
    #[error("the master key cannot be had from {from}: {why}")]
    Unreadable {
        /// From where.
        from: String,
        /// What happened.
        why: String,
    },
    /// What is there is none.
    #[error("what {from} holds cannot be used")]
    Form {
        /// Where.
        from: String,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// Others can read the file.
    #[error("{} is not for its owner alone", .0.display())]
    Open(PathBuf),
}

impl FromStr for MasterSource {
    type Err = MasterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Environment(name.to_owned())),
            Some(("command", program)) if !words(program).is_empty() => Ok(Self::Command(words(program))),
            // The text may be a key that somebody put there by mistake: it is not repeated.
            _ => Err(MasterError::Source),
        }
    }
}

impl fmt::Display for MasterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Environment(name) => write!(f, "the variable {name}"),
            Self::Command(words) => write!(f, "the program {}", words.first().map_or("", String::as_str)),
        }
    }
}

impl MasterSource {
    /// The key. A program may take as long as it wants: whoever starts us waits for it.
    pub fn load(&self) -> Result<MasterKey, MasterError> {
        let unreadable = |why: String| MasterError::Unreadable { from: self.to_string(), why };
        let text = match self {
            Self::File(path) => fs::read(path).map_err(|error| unreadable(error.to_string()))?,
            Self::Environment(name) => {
                let value = std::env::var(name).map_err(|_| unreadable("it is not set".to_owned()))?;
                value.into_bytes()
            }
            Self::Command(words) => {
                let (program, arguments) = words.split_first().ok_or(MasterError::Source)?;
                let ran = Command::new(program)
                    .args(arguments)
                    .stdin(Stdio::null())
                    .stderr(Stdio::inherit())
                    .output()
                    .map_err(|error| unreadable(error.to_string()))?;
                if !ran.status.success() {
                    return Err(unreadable(format!("it ended with {}", ran.status)));
                }
                ran.stdout
            }
        };
        let text = Zeroizing::new(text);
        MasterKey::parse(&text).map_err(|source| MasterError::Form { from: self.to_string(), source })
    }
}

/// The key beside a state on this machine: read where it is there, else made, for its owner alone. Says whether it was made,
/// and where it is.
pub fn beside(directory: &Path, make: bool) -> Result<Option<(MasterKey, PathBuf, bool)>, MasterError> {
    let path = directory.join(FILE);
    let source = MasterSource::File(path.clone());
    let unreadable =
        |error: std::io::Error| MasterError::Unreadable { from: source.to_string(), why: error.to_string() };
    match fs::metadata(&path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => return Err(MasterError::Open(path)),
        Ok(_) => return Ok(Some((source.load()?, path, false))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(error)),
    }
    if !make {
        return Ok(None);
    }
    let mut secret = Zeroizing::new([0; KEY]);
    getrandom::fill(secret.as_mut_slice())
        .map_err(|error| MasterError::Unreadable { from: source.to_string(), why: error.to_string() })?;
    let key = MasterKey::new(secret);
    // Whole from the moment that it has its name; of two who make one, one is first, and both read that one.
    let draft = directory.join(format!(".{FILE}-{}", uuid::Uuid::new_v4().simple()));
    let written = write(&draft, &key).and_then(|()| fs::hard_link(&draft, &path));
    let _ = fs::remove_file(&draft);
    match written {
        Ok(()) => {
            // What is sealed with it must not outlive it.
            let _ = fs::File::open(directory).and_then(|directory| directory.sync_all());
            Ok(Some((key, path, true)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(Some((source.load()?, path, false)))
        }
        Err(error) => Err(unreadable(error)),
    }
}

fn write(path: &Path, key: &MasterKey) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.to_text().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
