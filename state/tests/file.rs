//! Files that are not there, not ours, damaged, too new, or held by another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reactorcide_engine::store::{CommitError, Store, StoreError, conformance};
use reactorcide_state::{Database, Options};

use crate::conformance::sqlite;

async fn open(path: &std::path::Path) -> Result<Option<Database>, StoreError> {
    Database::open(path, Options::default()).await
}

#[tokio::test]
async fn reading_makes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    assert!(open(&path).await.unwrap().is_none());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    std::fs::write(&path, "not a database at all, but longer than a header would have to be ".repeat(20))
        .unwrap();
    assert!(matches!(open(&path).await, Err(StoreError::Foreign { .. })));
}

async fn pragma(path: &std::path::Path, sql: &'static str) {
    use sqlx::Connection;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = sqlx::sqlite::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn the_database_of_another_program_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    pragma(&path, "create table songs (title text)").await;
    assert!(matches!(open(&path).await, Err(StoreError::Foreign { .. })));
    let created = Database::create(&path, Options::default()).await;
    assert!(matches!(created, Err(StoreError::Foreign { .. })));
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    sqlite(directory.path()).await.database().clone().close().await;
    let path = directory.path().join("state.db");
    pragma(&path, "pragma user_version = 999").await;
    assert!(matches!(open(&path).await, Err(StoreError::Newer { found: 999, .. })));
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path()).await;
    store
        .commit(Box::new(|now| Ok(conformance::creates(now, "c", (0..500).map(|n| format!("p{n}"))))))
        .await
        .unwrap();
    store.database().clone().close().await;
    let path = directory.path().join("state.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let outcome = match open(&path).await {
        Ok(database) => {
            let lineage = reactorcide_engine::store::Lineage("x".into());
            reactorcide_state::SqliteStore::new(database.unwrap(), lineage).snapshot().await.map(drop)
        }
        Err(error) => Err(error),
    };
    assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_too_long_is_told_and_gives_up() {
    let directory = tempfile::tempdir().unwrap();
    let holder = sqlite(directory.path()).await;
    let told = Arc::new(AtomicBool::new(false));
    let on_wait = {
        let told = told.clone();
        Arc::new(move || told.store(true, Ordering::SeqCst))
    };
    let options =
        Options { lock_timeout: Duration::from_millis(1_500), on_wait: Some(on_wait), ..Options::default() };
    let path = directory.path().join("state.db");
    let database = Database::create(&path, options).await.unwrap();
    let waiter =
        reactorcide_state::SqliteStore::new(database, reactorcide_engine::store::Lineage("x".into()));

    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let held = tokio::spawn(async move {
        let decide = move |now: &_| {
            begun.send(()).unwrap();
            let _ = released.recv_timeout(Duration::from_secs(60));
            Ok(conformance::creates(now, "first", ["a".into()]))
        };
        holder.commit(Box::new(decide)).await
    });
    has_begun.await.unwrap();
    let second = waiter.commit(Box::new(|now| Ok(conformance::creates(now, "second", ["b".into()])))).await;
    assert!(matches!(second, Err(CommitError::Store(StoreError::Busy { .. }))), "{second:?}");
    assert!(told.load(Ordering::SeqCst));
    release.send(()).unwrap();
    held.await.unwrap().unwrap();
    assert_eq!(waiter.snapshot().await.unwrap().serial, 1);
}

#[test]
fn of_many_that_make_a_state_at_once_each_gets_it() {
    for round in 0..25 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let create = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(Database::create(&path, Options::default())).map(|_| ())
        };
        std::thread::scope(|scope| {
            let each: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            for one in each {
                one.join().unwrap().unwrap_or_else(|error| panic!("round {round}: {error}"));
            }
        });
    }
}
