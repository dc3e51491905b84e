//! What can go wrong with the place where logs and artifacts lie.

/// Why a place for logs and artifacts did not do what was asked. It can be copied, since several who wait for one
/// request hear of its failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// There is no room, or a quota is used up. Whoever has the bytes keeps them and tries again later.
    #[error("{location} cannot be written: it is full")]
    Full {
        /// Where it is, without credentials.
        location: String,
    },
    /// It does not answer, is too slow, or refuses us.
    #[error("{location} cannot be {attempt}: {what}")]
    Unavailable {
        /// Where it is, without credentials.
        location: String,
        /// `read`, `written`, `listed`, `removed`.
        attempt: &'static str,
        /// Whether the same may succeed later without anybody's doing. A wrong key or a missing bucket does not.
        transient: bool,
        /// What was seen.
        what: String,
    },
    /// What is there is not what was written.
    #[error("{location} is damaged: {what}")]
    Damaged {
        /// Where it is, without credentials.
        location: String,
        /// What is wrong.
        what: String,
    },
}

impl StorageError {
    /// Whether whoever asked should ask again later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Unavailable { transient, .. } => *transient,
            Self::Damaged { .. } => false,
        }
    }
}
