//! What can go wrong with the files of a job.

use std::io;
use std::path::PathBuf;

use reactorcide_engine::coordinator::CoordinatorError;

/// Why files of a job were not kept or not taken.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file or directory cannot be used.
    #[error("{} cannot be {attempt}: {}", path.display(), words(source))]
    Io {
        /// Where, below the workspace.
        path: PathBuf,
        /// `read`, `written` or `removed`.
        attempt: &'static str,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// What is declared cannot be meant.
    #[error("{what} {pattern:?} {why}")]
    Pattern {
        /// The field.
        what: &'static str,
        /// What it says.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// What a name without wildcards means is not there.
    #[error("artifacts.paths: there is no file {0:?}")]
    Nothing(String),
    /// There is more than may be.
    #[error("{0}")]
    TooMuch(String),
    /// A cache cannot be unpacked.
    #[error("it cannot be unpacked: {why}")]
    Archive {
        /// Its key.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A cache cannot be packed.
    #[error("it cannot be packed: {0}")]
    Pack(#[source] io::Error),
    /// The coordinator did not do it.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
}

impl FilesError {
    /// Of a path below a workspace.
    pub(crate) fn io(path: impl Into<PathBuf>, attempt: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, attempt, source }
    }

    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    /// Whether it lies in what was offered, or in how it fits into the workspace: nobody is away, and the lease stands.
    pub fn is_of_the_content(&self) -> bool {
        matches!(
            self,
            Self::Archive { .. } | Self::Io { .. } | Self::Coordinator(CoordinatorError::Refused(_))
        )
    }

    /// Whether another attempt would find the same.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Coordinator(_))
    }
}

/// What an error means here.
fn words(error: &io::Error) -> String {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::LOOP) => "a part of it is a symbolic link".to_owned(),
        Some(Errno::XDEV) => "it leads out of the workspace".to_owned(),
        Some(Errno::NOSYS) => "the kernel is older than 5.6".to_owned(),
        Some(Errno::ACCESS | Errno::PERM) => {
            "the worker may not; a job that runs as another user leaves files that are its own".to_owned()
        }
        _ => error.to_string(),
    }
}
