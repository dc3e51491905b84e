//! Why code could not be had: what, where, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::copy::CopyError;
use reactorcide_engine::protocol::source::LocationError;
use reactorcide_engine::protocol::source::ReferenceError;

/// Why code could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address is not taken.
    #[error("the address {given:?} of the source cannot be used")]
    Location {
        /// The address without names and passwords.
        given: String,
        /// Why.
        #[source]
        source: LocationError,
    },
    /// The ref is not taken.
    #[error("the ref of {location} cannot be used")]
    Reference {
        /// Where.
        location: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// A kind of source that this machine or this run does not take.
    #[error("{what} cannot be used here")]
    Unsupported {
        /// What.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The tool that a kind of source needs is not installed.
    #[error("{program} is not installed on the machine that prepares sources")]
    NoTool {
        /// The program.
        program: String,
        /// The package that brings it.
        package: String,
    },
    /// There is no such ref, commit, revision or file.
    #[error("there is no {what} in {location}")]
    Missing {
        /// What.
        what: String,
        /// Where.
        location: String,
        /// What to do.
        hint: String,
    },
    /// The other side wants credentials, or other ones.
    #[error("{location} cannot be read with the credentials that there are: {said}")]
    Denied {
        /// Where.
        location: String,
        /// In its words.
        said: String,
    },
    /// The other side cannot be reached, or broke off.
    #[error("{location} cannot be reached: {said}")]
    Unreachable {
        /// Where.
        location: String,
        /// In the tool's words.
        said: String,
    },
    /// A tool failed.
    #[error("{program} failed for {location}: {said}")]
    Tool {
        /// The program.
        program: String,
        /// Where.
        location: String,
        /// In its words.
        said: String,
    },
    /// It takes too long.
    #[error("{location} took longer than {seconds} seconds")]
    Deadline {
        /// Where.
        location: String,
        /// The limit.
        seconds: u64,
    },
    /// It is larger than it may be.
    #[error("{location} is too large: more than {limit}")]
    TooLarge {
        /// Where.
        location: String,
        /// The limit in words.
        limit: String,
    },
    /// An archive holds what is not unpacked.
    #[error("{location} is not unpacked: {reason}")]
    Archive {
        /// Where.
        location: String,
        /// Which entry, and why.
        reason: String,
    },
    /// An archive is another one than was declared.
    #[error("{location} has the SHA-256 {found}, not {expected}")]
    Checksum {
        /// Where.
        location: String,
        /// What was declared.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A submodule is declared in a way that is not followed.
    #[error("the submodule {path:?} of {location} cannot be checked out")]
    Submodule {
        /// Its path.
        path: String,
        /// The repository that has it.
        location: String,
        /// Why.
        #[source]
        source: Box<SourceError>,
    },
    /// A file of ours could not be read or written.
    #[error("{path} cannot be used")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A tree could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

impl SourceError {
    pub(super) fn location(given: &str, source: LocationError) -> Self {
        Self::Location { given: without_user(given), source }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full(source),
            Self::Copy(error) => error.is_no_space(),
            Self::Tool { said, .. } | Self::Unreachable { said, .. } => {
                said.contains("No space left on device") || said.contains("Disk quota exceeded")
            }
            Self::Submodule { source, .. } => source.is_no_space(),
            _ => false,
        }
    }

    /// Whether another try would find the same.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Deadline { .. } | Self::Tool { .. } | Self::Io { .. } => false,
            Self::Submodule { source, .. } => source.is_permanent(),
            _ => true,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Location { source, .. } => source.hint().to_owned(),
            Self::Reference { .. } => {
                "write a branch, a tag, a whole commit SHA, or refs/pull/N/head".to_owned()
            }
            Self::Unsupported { hint, .. } | Self::Missing { hint, .. } => hint.clone(),
            Self::NoTool { package, .. } => format!("install {package} there"),
            Self::Denied { .. } => {
                "name a Secret with a token, USER:PASSWORD or an SSH key in `credentials`, and give it its value"
                    .to_owned()
            }
            Self::TooLarge { .. } => "fetch less history with `depth`, or keep large files elsewhere".to_owned(),
            Self::Checksum { found, .. } => {
                format!("somebody changed the archive; if that is right, write checksum: {found}")
            }
            Self::Submodule { source, .. } => return source.hint(),
            Self::Copy(_)
            | Self::Io { .. }
            | Self::Archive { .. }
            | Self::Tool { .. }
            | Self::Unreachable { .. }
            | Self::Deadline { .. } => return None,
        })
    }

    /// All of it in one line: what, why, what next.
    pub fn explain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str("; ");
            text.push_str(&hint);
        }
        text
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An address as people may see it, also where it was not taken: short, and without what may be a password.
fn without_user(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}***{}", &text[..scheme + 3], &text[at..]),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_why_and_what_next_but_no_password() {
        let error =
            SourceError::location("https://me:hunter2@example.com/a@b", LocationError::UserInfo).explain();
        assert_eq!(
            error,
            "the address \"https://***@b\" of the source cannot be used: the address carries a user's name or password; \
             put them into a Secret and name it in `credentials`"
        );
    }

    #[test]
    fn a_full_disk_is_told_apart_and_a_wrong_address_is_not_tried_again() {
        let full = SourceError::Tool {
            program: "git".into(),
            location: "x".into(),
            said: "fatal: write error: No space left on device".into(),
        };
        assert!(full.is_no_space() && !full.is_permanent());
        assert!(SourceError::location("-x", LocationError::Dash).is_permanent());
    }
}
