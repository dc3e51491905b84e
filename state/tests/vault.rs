//! The vault over memory, SQLite and PostgreSQL.

use std::path::Path;
use std::sync::Arc;

use reactorcide_engine::vault::{MemoryVault, VaultStore, conformance};
use reactorcide_state::{Database, Options, PostgresDatabase, PostgresVault, SqliteVault};

use crate::postgres;

async fn sqlite(directory: &Path) -> SqliteVault {
    SqliteVault::new(Database::create(&directory.join("state.db"), Options::default()).await.unwrap())
}

async fn in_postgres(url: &str) -> PostgresVault {
    PostgresVault::new(PostgresDatabase::create(url, Options::default()).await.unwrap())
}

macro_rules! over_all {
    ($($check:ident),* $(,)?) => {$(
        mod $check {
            #[tokio::test]
            async fn memory() {
                super::conformance::$check(&super::MemoryVault::default()).await;
            }

            #[tokio::test]
            async fn sqlite() {
                let directory = tempfile::tempdir().unwrap();
                super::conformance::$check(&super::sqlite(directory.path()).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                let url = super::postgres::url();
                super::conformance::$check(&super::in_postgres(&url).await).await;
            }
        }
    )*};
}

over_all!(
    versions_follow_one_another,
    what_is_deleted_leaves_a_tombstone,
    keys_are_rotated,
    a_key_is_wrapped_anew
);

const ROUNDS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_sets_each_version_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let mut vaults: Vec<Arc<dyn VaultStore>> = Vec::new();
    for _ in 0..4 {
        vaults.push(Arc::new(sqlite(directory.path()).await));
    }
    conformance::one_sets_each_version(vaults, ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_sets_each_version_in_postgres() {
    let url = postgres::url();
    let mut vaults: Vec<Arc<dyn VaultStore>> = Vec::new();
    for _ in 0..4 {
        vaults.push(Arc::new(in_postgres(&url).await));
    }
    conformance::one_sets_each_version(vaults, ROUNDS).await;
}

#[tokio::test]
async fn a_row_that_somebody_edits_is_refused_by_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let vault = sqlite(directory.path()).await;
    conformance::versions_follow_one_another(&vault).await;
    let path = directory.path().join("state.db");
    let url = format!("sqlite:{}", path.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    for statement in [
        "delete from vault_versions",
        "update vault_versions set version = version + 10",
        "update vault_versions set secret = 'b'",
        "update vault_versions set actor = 'eve'",
    ] {
        assert!(sqlx::query(statement).execute(&pool).await.is_err(), "{statement}");
    }
}
