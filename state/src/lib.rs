//! The database behind Reactorcide: applied state and its history, in SQLite.
//!
//! [`Database`] is the file and its schema; [`SqliteStore`] is the engine's store on it, [`SqliteRuns`] what it
//! remembers of runs.

mod database;
mod directory;
mod error;
mod migrations;
mod runs;
mod store;

pub use database::{Database, Options};
pub use directory::prepare as prepare_directory;
pub use runs::SqliteRuns;
pub use store::SqliteStore;
