//! Secrets that another system keeps.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::protocol::spec::Sensitive;

/// A system that keeps secrets for us, and is asked for them when a job needs them.
#[async_trait]
pub trait ExternalSecrets: Send + Sync {
    /// What it has at a location: values by their keys. Nothing is kept of it. It tries again by itself for as long as that
    /// may help.
    async fn read(&self, location: &str) -> Result<BTreeMap<String, Sensitive>, ExternalError>;

    /// What it is, for people: a name and an address.
    fn describe(&self) -> String;
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExternalError {
    /// There is nothing at the location.
    #[error("{place} has nothing at {location:?}")]
    Missing {
        /// The system.
        place: String,
        /// The location.
        location: String,
    },
    /// It does not let us. Another try finds the same.
    #[error("{place} refuses {location:?}: {why}")]
    Refused {
        /// The system.
        place: String,
        /// The location.
        location: String,
        /// What it says.
        why: String,
    },
    /// It does not answer, or cannot now: another try may help.
    #[error("{place} cannot be asked for {location:?}: {why}")]
    Unavailable {
        /// The system.
        place: String,
        /// The location.
        location: String,
        /// What happened.
        why: String,
    },
}
