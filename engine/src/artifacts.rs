//! Artifacts and caches as they are kept: files that jobs leave for later jobs and for people.

mod access;
pub mod conformance;
mod key;
mod limits;
mod memory;
mod producer;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::config::Origin;
use crate::scheduler::Millis;
use crate::storage::StorageError;
use crate::store::StoreError;

pub use access::{Denied, Job, Readable, best_cache, may_read, may_write};
pub use key::{KeyError, cache_key};
pub use limits::{
    MAX_ARCHIVED_FILES, MAX_BYTES, MAX_CACHE_BYTES, MAX_FILES, MAX_FILES_BY_TOKEN, words_of_bytes,
};
pub use memory::MemoryArtifacts;
pub use producer::{Origins, Taken, origins, producer, taken};

/// Bytes that come one after another.
pub type Content = BoxStream<'static, Result<Bytes, std::io::Error>>;

/// Keeps artifacts and caches.
///
/// Content is written first and made known second: what can be found is whole, and was never anything else. A process that
/// is killed between leaves content that nobody can find, which [`ArtifactStore::remove_unreferenced`] removes.
///
/// Who may read and write what is not asked here, but of [`may_read`] and [`may_write`] before.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Keeps content. The same content under the same name again gives what is there already; other content is refused
    /// with [`ArtifactError::Taken`]. Names are unique in an attempt of a job for artifacts; for caches, in a namespace
    /// among those of the same trust that could or could not reach secrets.
    async fn put(&self, new: &NewArtifact, content: Content) -> Result<Artifact, ArtifactError>;

    /// The content, or the bytes of it that lie in a range; `None` where there is no such artifact.
    async fn get(&self, id: &str, range: Option<Range<u64>>) -> Result<Option<Content>, ArtifactError>;

    /// What is known of one.
    async fn stat(&self, id: &str) -> Result<Option<Artifact>, ArtifactError>;

    /// Those that match, newest first.
    async fn list(&self, filter: &Filter) -> Result<Vec<Artifact>, ArtifactError>;

    /// Removes one. What is gone is no error.
    async fn remove(&self, id: &str) -> Result<(), ArtifactError>;

    /// Removes content that nobody can find and that was written before a time, and tells its names. The time must lie
    /// before the beginning of every `put` that may still go on.
    async fn remove_unreferenced(&self, before: Millis) -> Result<Vec<String>, ArtifactError>;
}

/// Where content belongs: jobs of the same project, source and ref share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Namespace {
    /// The project.
    pub project: String,
    /// Where the job's code comes from.
    pub origin: Origin,
    /// The branch, tag or proposal, as `main` or `pull/12`.
    pub reference: String,
}

/// What kind of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// What a job declares in `artifacts`; its name is a path below the working directory.
    Artifact,
    /// What a job declares in `cache`; its name is the key.
    Cache,
}

impl ArtifactKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Cache => "cache",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Artifact, Self::Cache].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What is said of content before it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// Its id, never used before.
    pub id: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Where it belongs.
    pub namespace: Namespace,
    /// The run, the node and the attempt that made it.
    pub run: String,
    /// The node.
    pub node: String,
    /// The attempt.
    pub attempt: u32,
    /// Its name, see [`check_name`].
    pub name: String,
    /// Whether the file can be run as a program.
    pub executable: bool,
    /// Whether the job that made it was trusted.
    pub trusted: bool,
    /// Whether that job could reach no secret.
    pub secretless: bool,
    /// When it was made.
    pub created_at: Millis,
    /// When it may go; by the policy where absent.
    pub expires_at: Option<Millis>,
    /// How many bytes it may have.
    pub limit: u64,
    /// The SHA-256 that the content must have, in lower-case hex.
    pub sha256: Option<String>,
}

/// What is known of kept content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Where it belongs.
    pub namespace: Namespace,
    /// The run that made it.
    pub run: String,
    /// The node.
    pub node: String,
    /// The attempt.
    pub attempt: u32,
    /// Its name.
    pub name: String,
    /// Whether the file can be run as a program.
    pub executable: bool,
    /// How many bytes it has.
    pub size: u64,
    /// The SHA-256 of its bytes, in lower-case hex.
    pub sha256: String,
    /// Whether the job that made it was trusted.
    pub trusted: bool,
    /// Whether that job could reach no secret.
    pub secretless: bool,
    /// When it was made.
    pub created_at: Millis,
    /// When it may go; by the policy where absent.
    pub expires_at: Option<Millis>,
}

impl NewArtifact {
    /// With what is known once all bytes came.
    pub fn with_content(&self, size: u64, sha256: String) -> Artifact {
        Artifact {
            id: self.id.clone(),
            kind: self.kind,
            namespace: self.namespace.clone(),
            run: self.run.clone(),
            node: self.node.clone(),
            attempt: self.attempt,
            name: self.name.clone(),
            executable: self.executable,
            size,
            sha256,
            trusted: self.trusted,
            secretless: self.secretless,
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }
}

/// Which to list. What is absent matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<ArtifactKind>,
    /// Of this project.
    pub project: Option<String>,
    /// Of this namespace.
    pub namespace: Option<Namespace>,
    /// Of this run.
    pub run: Option<String>,
    /// Of this node.
    pub node: Option<String>,
    /// With a name that begins so.
    pub prefix: Option<String>,
    /// Whose own time is over at this one.
    pub expired: Option<Millis>,
    /// At most so many.
    pub limit: Option<u32>,
}

impl Filter {
    /// Whether one is meant. The limit is not looked at.
    pub fn matches(&self, artifact: &Artifact) -> bool {
        self.kind.is_none_or(|kind| kind == artifact.kind)
            && self.project.as_ref().is_none_or(|project| *project == artifact.namespace.project)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == artifact.namespace)
            && self.run.as_ref().is_none_or(|run| *run == artifact.run)
            && self.node.as_ref().is_none_or(|node| *node == artifact.node)
            && self.prefix.as_ref().is_none_or(|prefix| artifact.name.starts_with(prefix.as_str()))
            && self.expired.is_none_or(|at| artifact.expires_at.is_some_and(|expires| expires <= at))
    }
}

/// Why content was not kept or given.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The name cannot be one.
    #[error("{name:?} cannot be the name of an artifact: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something else has the name.
    #[error("there is already another {} {name:?}", kind.as_str())]
    Taken {
        /// What kind of thing it is.
        kind: ArtifactKind,
        /// The name.
        name: String,
    },
    /// There are more bytes than allowed.
    #[error("{name:?} has more than {limit} bytes")]
    TooLarge {
        /// The name.
        name: String,
        /// How many may be.
        limit: u64,
    },
    /// The bytes that came are not those that were announced.
    #[error("the content of {name:?} has the SHA-256 {found} and not {expected}")]
    Checksum {
        /// The name.
        name: String,
        /// What was announced.
        expected: String,
        /// What came.
        found: String,
    },
    /// The bytes came to no end.
    #[error("the content of {name:?} broke off")]
    Content {
        /// The name.
        name: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The database failed.
    #[error(transparent)]
    Rows(#[from] StoreError),
}

/// Whether a text can be the name of an artifact: a path that stays where it begins, of printable characters.
pub fn check_name(name: &str) -> Result<(), ArtifactError> {
    let refuse = |why| Err(ArtifactError::Name { name: name.to_owned(), why });
    if name.is_empty() || name.len() > 1024 {
        return refuse("it must have 1 to 1,024 bytes");
    }
    if name.chars().any(|c| c.is_control() || c == '\\') {
        return refuse("it must not hold control characters or backslashes");
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("no part of it may be empty, . or ..");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_that_stays() {
        for name in ["web", "target/release/web", "a b", "linux-ä", "..a/b..", &"a".repeat(1024)] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
        for name in
            ["", "/etc", "a//b", "a/", "..", "a/../b", "./a", "a\nb", "a\\b", "\u{1b}[m", &"a".repeat(1025)]
        {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
