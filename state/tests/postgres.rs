//! What only a server can do wrong: not answer, refuse, hold a lock, go away in the middle, hold something else.

use std::process::Command;
use std::time::Duration;

use reactorcide_engine::store::{CommitError, Lineage, Store, StoreError, conformance};
use reactorcide_state::{Options, PostgresDatabase, PostgresStore};

use crate::conformance::in_postgres;

/// The server of the tests, without a schema.
fn server() -> String {
    std::env::var("REACTORCIDE_TEST_POSTGRES").unwrap_or_else(|_| {
        let user = String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap();
        format!("postgres://reactorcide@localhost/postgres?host=/tmp/reactorcide-postgres-{}", user.trim())
    })
}

/// A schema of its own in the server of the tests, which `./dev setup` starts and tidies up.
pub fn url() -> String {
    let server = server();
    let mark = if server.contains('?') { '&' } else { '?' };
    format!("{server}{mark}schema={}", schema())
}

fn schema() -> String {
    format!("test_{}", uuid::Uuid::now_v7().simple())
}

fn schema_of(url: &str) -> &str {
    url.rsplit_once("schema=").unwrap().1
}

/// Statements beside the store.
async fn execute(sql: &str) {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(&server()).await.expect("PostgreSQL: ./dev setup");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
}

async fn open(url: &str) -> Result<Option<PostgresDatabase>, StoreError> {
    PostgresDatabase::open(url, Options::default()).await
}

async fn refusal(url: &str) -> StoreError {
    open(url).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn reading_makes_no_schema() {
    let url = url();
    assert!(open(&url).await.unwrap().is_none());
    assert!(open(&url).await.unwrap().is_none());
    in_postgres(&url).await;
    assert!(open(&url).await.unwrap().is_some());
}

#[tokio::test]
async fn a_schema_of_another_program_or_a_newer_version_is_refused() {
    let url = url();
    execute(&format!("create schema {0}; create table {0}.friends (name text)", schema_of(&url))).await;
    assert!(matches!(refusal(&url).await, StoreError::Foreign { .. }));
    let url = self::url();
    in_postgres(&url).await;
    execute(&format!("update {}.reactorcide_format set format = 999", schema_of(&url))).await;
    assert!(matches!(refusal(&url).await, StoreError::Newer { found: 999, .. }));
}

#[tokio::test]
async fn who_does_not_answer_or_refuses_is_named_without_the_password() {
    let nowhere = refusal("postgres://ada:s3cret@127.0.0.1:1/ci").await;
    assert!(matches!(nowhere, StoreError::Unreachable { .. }), "{nowhere:?}");
    let other = server().replace("/postgres?", "/no_such_database?");
    let missing = refusal(&other).await;
    assert!(matches!(missing, StoreError::Denied { .. }), "{missing:?}");
    for error in [nowhere, missing] {
        let text = format!("{error} {error:?} {:?}", error.hint());
        assert!(!text.contains("s3cret") && error.hint().is_some(), "{text}");
    }
}

#[tokio::test]
async fn workspaces_in_one_database_do_not_see_each_other() {
    let (one, two) = (in_postgres(&url()).await, in_postgres(&url()).await);
    one.commit(Box::new(|now| Ok(conformance::creates(now, "c", ["a".into()])))).await.unwrap();
    assert_eq!(two.snapshot().await.unwrap().heads.len(), 0);
    two.commit(Box::new(|now| Ok(conformance::creates(now, "c", ["b".into()])))).await.unwrap();
    assert_eq!(one.snapshot().await.unwrap().heads.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_too_long_is_told_and_a_holder_that_dies_holds_nothing() {
    let url = url();
    let holder = in_postgres(&url).await;
    let hasty = Options { lock_timeout: Duration::from_millis(300), ..Options::default() };
    let hasty = PostgresStore::new(PostgresDatabase::create(&url, hasty).await.unwrap(), Lineage("l".into()));
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let held = tokio::spawn(async move {
        let decide = move |now: &_| {
            begun.send(()).unwrap();
            let _ = tokio::task::block_in_place(|| released.recv_timeout(Duration::from_secs(60)));
            Ok(conformance::creates(now, "held", ["a".into()]))
        };
        holder.commit(Box::new(decide)).await
    });
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
    let error =
        hasty.commit(Box::new(|now| Ok(conformance::creates(now, "c", ["b".into()])))).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Busy { .. })), "{error:?}");

    // Its connection is cut in the middle of the transaction.
    execute(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()
         and pid in (select pid from pg_locks where locktype = 'advisory' and objid = hashtext('{}')::oid)",
        schema_of(&url)
    ))
    .await;
    release.send(()).unwrap();
    let error = held.await.unwrap().unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Unreachable { .. })), "{error:?}");
    assert_eq!(hasty.snapshot().await.unwrap().heads.len(), 0, "the old state");
    hasty.commit(Box::new(|now| Ok(conformance::creates(now, "c", ["b".into()])))).await.unwrap();
}

#[tokio::test]
async fn history_cannot_be_changed() {
    use sqlx::Connection;
    let url = url();
    let store = in_postgres(&url).await;
    store.commit(Box::new(|now| Ok(conformance::creates(now, "c", ["a".into()])))).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&server()).await.unwrap();
    for statement in ["update {}.changes set actor = 'x'", "delete from {}.revisions"] {
        let sql = sqlx::AssertSqlSafe(statement.replace("{}", schema_of(&url)));
        let error = sqlx::raw_sql(sql).execute(&mut connection).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}
