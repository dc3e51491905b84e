//! The conformance suite over memory, SQLite and PostgreSQL.

use std::path::Path;
use std::sync::Arc;

use reactorcide_engine::outside::conformance as ledger;
use reactorcide_engine::store::{Lineage, MemoryStore, Store, conformance};
use reactorcide_state::{Database, Options, PostgresDatabase, PostgresStore, SqliteStore};

use crate::postgres;

pub async fn sqlite(directory: &Path) -> SqliteStore {
    let database = Database::create(&directory.join("state.db"), Options::default()).await.unwrap();
    SqliteStore::new(database, Lineage("lineage".into()))
}

pub async fn in_postgres(url: &str) -> PostgresStore {
    let database = PostgresDatabase::create(url, Options::default()).await.unwrap();
    PostgresStore::new(database, Lineage("lineage".into()))
}

fn memory() -> MemoryStore {
    MemoryStore::new(Lineage("lineage".into()))
}

macro_rules! over_all {
    ($suite:ident: $($check:ident),* $(,)?) => {$(
        mod $check {
            #[tokio::test]
            async fn memory() {
                super::$suite::$check(&super::memory()).await;
            }

            #[tokio::test]
            async fn sqlite() {
                let directory = tempfile::tempdir().unwrap();
                super::$suite::$check(&super::sqlite(directory.path()).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                let url = super::postgres::url();
                super::$suite::$check(&super::in_postgres(&url).await).await;
            }
        }
    )*};
}

over_all!(
    conformance:
    what_is_committed_is_read_back, a_refusal_changes_nothing, ten_thousand_resources_are_no_trouble,
    what_is_forgotten_is_what_nothing_needs);
over_all!(ledger: what_is_owed_stays_until_it_is_done, what_was_tried_is_remembered, one_has_the_lease_at_a_time);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_at_once_follow_one_another_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(sqlite(directory.path()).await));
    }
    conformance::commits_at_once_follow_one_another(stores, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_at_once_follow_one_another_in_postgres() {
    let url = postgres::url();
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(in_postgres(&url).await));
    }
    conformance::commits_at_once_follow_one_another(stores, 10).await;
}

#[tokio::test]
async fn commits_at_once_follow_one_another_in_memory() {
    let store: Arc<dyn Store> = Arc::new(memory());
    conformance::commits_at_once_follow_one_another(vec![store.clone(), store], 10).await;
}

#[tokio::test]
async fn what_was_committed_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path()).await;
    store.commit(Box::new(|now| Ok(conformance::creates(now, "c", ["a".into()])))).await.unwrap();
    let before = store.snapshot().await.unwrap();
    store.database().clone().close().await;
    let again = SqliteStore::new(
        Database::open(&directory.path().join("state.db"), Options::default()).await.unwrap().unwrap(),
        Lineage("another".into()),
    );
    assert_eq!(again.snapshot().await.unwrap(), before);
}

/// The same for what is remembered of runs.
macro_rules! runs_over_all {
    ($($check:ident),* $(,)?) => {$(
        mod $check {
            use reactorcide_engine::runs::{MemoryRuns, conformance};
            use reactorcide_state::{PostgresRuns, SqliteRuns};

            #[tokio::test]
            async fn memory() {
                conformance::$check(&MemoryRuns::default()).await;
            }

            #[tokio::test]
            async fn sqlite() {
                let directory = tempfile::tempdir().unwrap();
                let database = super::sqlite(directory.path()).await.database().clone();
                conformance::$check(&SqliteRuns::new(database)).await;
            }

            #[tokio::test]
            async fn postgres() {
                let url = super::postgres::url();
                let database = super::in_postgres(&url).await.database().clone();
                conformance::$check(&PostgresRuns::new(database)).await;
            }
        }
    )*};
}

runs_over_all!(
    what_is_accepted_is_read_back,
    a_delivery_makes_one_run,
    who_is_overtaken_writes_nothing,
    a_lease_is_kept_or_lost,
    time_without_anybody_does_not_count,
    what_was_used_is_remembered,
    what_waits_is_counted,
    the_order_is_fair,
    workers_get_what_they_are_for,
    a_group_has_its_places,
    a_run_waits_for_its_group,
    what_a_worker_has_is_not_over_before_it_says_so,
    who_runs_a_job_is_found,
    a_large_run_goes_through,
);

/// The same for identities and for the audit log.
macro_rules! kept_over_all {
    ($from:ident, $Memory:ident, $Sqlite:ident, $Postgres:ident: $($check:ident),* $(,)?) => {$(
        mod $check {
            use reactorcide_engine::$from::{$Memory, conformance};
            use reactorcide_state::{$Postgres, $Sqlite};

            #[tokio::test]
            async fn memory() {
                conformance::$check(&$Memory::default()).await;
            }

            #[tokio::test]
            async fn sqlite() {
                let directory = tempfile::tempdir().unwrap();
                let database = super::sqlite(directory.path()).await.database().clone();
                conformance::$check(&$Sqlite::new(database)).await;
            }

            #[tokio::test]
            async fn postgres() {
                let url = super::postgres::url();
                let database = super::in_postgres(&url).await.database().clone();
                conformance::$check(&$Postgres::new(database)).await;
            }
        }
    )*};
}

kept_over_all!(
    identity, MemoryIdentities, SqliteIdentities, PostgresIdentities:
    accounts_are_read_back, what_is_taken_is_refused, a_change_does_not_undo_another, what_is_removed_opens_nothing,
    a_token_is_known_with_its_account, tokens_come_and_go, a_use_is_noted_once_a_minute, tokens_of_one_are_bounded,
    the_first_user_is_added_once);
kept_over_all!(
    audit, MemoryAudit, SqliteAudit, PostgresAudit:
    what_is_added_is_read_back, entries_are_found);
kept_over_all!(workers, MemoryWorkers, SqliteWorkers, PostgresWorkers: workers_come_change_and_go);
kept_over_all!(schedule, MemoryPositions, SqlitePositions, PostgresPositions: positions_move_on_one_at_a_time);
kept_over_all!(
    removals, MemoryRemovals, SqliteRemovals, PostgresRemovals: removals_are_written_down_carried_out_and_told);
