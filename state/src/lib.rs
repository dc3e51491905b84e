//! The database behind Reactorcide: applied state and its history, and what was run, in SQLite or PostgreSQL.
//!
//! [`State`] is one wherever it is. [`Database`] is a SQLite file and its schema, [`PostgresDatabase`] a schema in
//! PostgreSQL; the engine's stores on both are made from the same statements.

mod artifacts;
mod audit;
mod begin;
mod compaction;
mod database;
mod directory;
mod error;
mod identity;
mod migrations;
mod objects;
mod outside;
mod postgres;
mod queue;
mod removals;
mod retention;
mod runs;
mod schedules;
mod signals;
mod state;
mod store;
mod vault;
mod workers;

pub use audit::{PostgresAudit, SqliteAudit};
pub use database::{Database, Options};
pub use directory::prepare as prepare_directory;
pub use error::database_failures;
pub use identity::{PostgresIdentities, SqliteIdentities};
pub use objects::{Artifacts, LogSettings, Logs, OpenError, Storage};
pub use postgres::{PostgresDatabase, UrlError};
pub use removals::{PostgresRemovals, SqliteRemovals};
pub use retention::{Runs, Sweep, SweepError, Swept};
pub use runs::{PostgresRuns, SqliteRuns};
pub use schedules::{PostgresPositions, SqlitePositions};
pub use signals::Signals;
pub use state::{Location, LocationError, State};
pub use store::{PostgresStore, SqliteStore};
pub use vault::{PostgresVault, SqliteVault};
pub use workers::{PostgresWorkers, SqliteWorkers};
