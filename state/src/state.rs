//! A state wherever it is: the one type that commands need to know.

use std::path::PathBuf;
use std::sync::Arc;

use reactorcide_engine::artifacts::ArtifactStore;
use reactorcide_engine::audit::AuditLog;
use reactorcide_engine::identity::IdentityStore;
use reactorcide_engine::outside::Ledger;
use reactorcide_engine::removals::RemovalStore;
use reactorcide_engine::runs::{Queue, RunStore};
use reactorcide_engine::schedule::PositionStore;
use reactorcide_engine::store::{Lineage, Store, StoreError};
use reactorcide_engine::vault::VaultStore;
use reactorcide_engine::workers::WorkerStore;

use crate::audit::{PostgresAudit, SqliteAudit};
use crate::database::{Database, Options};
use crate::identity::{PostgresIdentities, SqliteIdentities};
use crate::objects::{Artifacts, Storage};
use crate::postgres::{PostgresDatabase, UrlError};
use crate::removals::{PostgresRemovals, SqliteRemovals};
use crate::runs::{PostgresRuns, SqliteRuns};
use crate::schedules::{PostgresPositions, SqlitePositions};
use crate::store::{PostgresStore, SqliteStore};
use crate::vault::{PostgresVault, SqliteVault};
use crate::workers::{PostgresWorkers, SqliteWorkers};

/// Where a state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file.
    Sqlite(PathBuf),
    /// The URL of a database; it may hold a password.
    Postgres(String),
}

/// Why a text is not a place for state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It begins with none of the words.
    #[error("it begins with neither sqlite: nor postgres:")]
    Scheme,
    /// It names no file.
    #[error("it names no file")]
    File,
    /// It is no URL.
    #[error(transparent)]
    Url(#[from] UrlError),
}

impl std::str::FromStr for Location {
    type Err = LocationError;

    /// `sqlite:PATH` or `postgres://USER@HOST/DATABASE`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() { Err(LocationError::File) } else { Ok(Self::Sqlite(path.into())) }
            }
            Some(("postgres" | "postgresql", _)) => {
                PostgresDatabase::check(text)?;
                Ok(Self::Postgres(text.to_owned()))
            }
            _ => Err(LocationError::Scheme),
        }
    }
}

/// An open state.
#[derive(Clone)]
pub enum State {
    /// In a file.
    Sqlite(Database),
    /// In PostgreSQL.
    Postgres(PostgresDatabase),
}

impl State {
    /// Opens a state that exists. `None` where nothing was ever written.
    pub async fn open(location: &Location, options: Options) -> Result<Option<Self>, StoreError> {
        Ok(match location {
            Location::Sqlite(path) => Database::open(path, options).await?.map(Self::Sqlite),
            Location::Postgres(url) => PostgresDatabase::open(url, options).await?.map(Self::Postgres),
        })
    }

    /// Opens a state, and makes it where there is none.
    pub async fn create(location: &Location, options: Options) -> Result<Self, StoreError> {
        Ok(match location {
            Location::Sqlite(path) => Self::Sqlite(Database::create(path, options).await?),
            Location::Postgres(url) => Self::Postgres(PostgresDatabase::create(url, options).await?),
        })
    }

    /// What is applied. `lineage` is given to a workspace at its first commit.
    pub fn store(&self, lineage: Lineage) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(database) => Arc::new(SqliteStore::new(database.clone(), lineage)),
            Self::Postgres(database) => Arc::new(PostgresStore::new(database.clone(), lineage)),
        }
    }

    /// What is owed to the outside.
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        // A workspace has its lineage before anything is owed.
        let lineage = Lineage(String::new());
        match self {
            Self::Sqlite(database) => Arc::new(SqliteStore::new(database.clone(), lineage)),
            Self::Postgres(database) => Arc::new(PostgresStore::new(database.clone(), lineage)),
        }
    }

    /// What was run.
    pub fn runs(&self) -> Arc<dyn RunStore> {
        match self {
            Self::Sqlite(database) => Arc::new(SqliteRuns::new(database.clone())),
            Self::Postgres(database) => Arc::new(PostgresRuns::new(database.clone())),
        }
    }

    /// What waits to be run, and who has it.
    pub fn queue(&self) -> Arc<dyn Queue> {
        match self {
            Self::Sqlite(database) => Arc::new(SqliteRuns::new(database.clone())),
            Self::Postgres(database) => Arc::new(PostgresRuns::new(database.clone())),
        }
    }

    /// Who there is, and their tokens.
    pub fn identities(&self) -> Arc<dyn IdentityStore> {
        match self {
            Self::Sqlite(database) => Arc::new(SqliteIdentities::new(database.clone())),
            Self::Postgres(database) => Arc::new(PostgresIdentities::new(database.clone())),
        }
    }

    /// Who did what.
    pub fn audit(&self) -> Arc<dyn AuditLog> {
        match self {
            Self::Sqlite(database) => Arc::new(SqliteAudit::new(database.clone())),
            Self::Postgres(database) => Arc::new(PostgresAudit::new(database.clone())),
        }
    }

    /// The artifacts that it knows, with their content in a storage.
    pub fn artifacts(&self, storage: &Storage) -> Arc<dyn ArtifactStore> {
        Arc::new(Artifacts::new(storage, self))
    }

    /// Who runs jobs.
    pub fn workers(&self) -> Arc<dyn WorkerStore> {
        match self {
            Self::Sqlite(database) => Arc::new(SqliteWorkers::new(database.clone())),
            Self::Postgres(database) => Arc::new(PostgresWorkers::new(database.clone())),
        }
    }

    /// What retention has removed.
    pub fn removals(&self) -> Arc<dyn RemovalStore> {
        match self {
            Self::Sqlite(database) => Arc::new(SqliteRemovals::new(database.clone())),
            Self::Postgres(database) => Arc::new(PostgresRemovals::new(database.clone())),
        }
    }

    /// How far schedules have come.
    pub fn positions(&self) -> Arc<dyn PositionStore> {
        match self {
            Self::Sqlite(database) => Arc::new(SqlitePositions::new(database.clone())),
            Self::Postgres(database) => Arc::new(PostgresPositions::new(database.clone())),
        }
    }

    /// Values of secrets, sealed.
    pub fn vault(&self) -> Arc<dyn VaultStore> {
        match self {
            Self::Sqlite(database) => Arc::new(SqliteVault::new(database.clone())),
            Self::Postgres(database) => Arc::new(PostgresVault::new(database.clone())),
        }
    }

    /// How much room it takes, in bytes.
    pub async fn size(&self) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(database) => database.size().await,
            Self::Postgres(database) => database.size().await,
        }
    }

    /// Gives back the room of what was removed.
    pub async fn shrink(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => database.shrink().await,
            Self::Postgres(database) => database.shrink().await,
        }
    }

    /// Closes it.
    pub async fn close(self) {
        match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(database) => database.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        assert_eq!("sqlite:a/b.db".parse(), Ok(Location::Sqlite("a/b.db".into())));
        assert_eq!("sqlite:///a.db".parse(), Ok(Location::Sqlite("/a.db".into())));
        let url = "postgres://ada@localhost/ci";
        assert_eq!(url.parse(), Ok(Location::Postgres(url.to_owned())));
        assert_eq!("sqlite:".parse::<Location>(), Err(LocationError::File));
        assert_eq!("mysql://x".parse::<Location>(), Err(LocationError::Scheme));
        assert!(matches!("postgres://x/y?schema=A".parse::<Location>(), Err(LocationError::Url(_))));
    }
}
