//! Identities and the audit log with several servers at once, and with somebody who writes past them.

use std::path::Path;
use std::sync::Arc;

use reactorcide_engine::audit::{AuditLog, Entry, Head, MemoryAudit, conformance as audit, verify};
use reactorcide_engine::identity::{IdentityStore, MemoryIdentities, conformance as identity};
use reactorcide_state::{
    Database, Options, PostgresAudit, PostgresDatabase, PostgresIdentities, SqliteAudit, SqliteIdentities,
};

use crate::postgres;

/// Servers of each kind.
const SERVERS: usize = 4;
/// Appends of each.
const ROUNDS: u32 = 25;

async fn in_sqlite(directory: &Path) -> Vec<Database> {
    let mut databases = Vec::new();
    for _ in 0..SERVERS {
        databases.push(Database::create(&directory.join("state.db"), Options::default()).await.unwrap());
    }
    databases
}

async fn in_postgres() -> Vec<PostgresDatabase> {
    let url = postgres::url();
    let mut databases = Vec::new();
    for _ in 0..SERVERS {
        databases.push(PostgresDatabase::create(&url, Options::default()).await.unwrap());
    }
    databases
}

#[tokio::test]
async fn servers_at_once_make_one_chain_in_memory() {
    let log: Arc<dyn AuditLog> = Arc::new(MemoryAudit::default());
    audit::servers_at_once_make_one_chain(vec![log; SERVERS], ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_at_once_make_one_chain_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let logs = in_sqlite(directory.path())
        .await
        .into_iter()
        .map(|database| Arc::new(SqliteAudit::new(database)) as _);
    audit::servers_at_once_make_one_chain(logs.collect(), ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_at_once_make_one_chain_in_postgres() {
    let logs = in_postgres().await.into_iter().map(|database| Arc::new(PostgresAudit::new(database)) as _);
    audit::servers_at_once_make_one_chain(logs.collect(), ROUNDS).await;
}

#[tokio::test]
async fn removals_at_once_leave_nothing_in_memory() {
    let store: Arc<dyn IdentityStore> = Arc::new(MemoryIdentities::default());
    identity::removals_at_once_leave_nothing(vec![store; SERVERS]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn removals_at_once_leave_nothing_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let stores = in_sqlite(directory.path()).await.into_iter();
    let stores = stores.map(|database| Arc::new(SqliteIdentities::new(database)) as _);
    identity::removals_at_once_leave_nothing(stores.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn removals_at_once_leave_nothing_in_postgres() {
    let stores = in_postgres().await.into_iter();
    let stores = stores.map(|database| Arc::new(PostgresIdentities::new(database)) as _);
    identity::removals_at_once_leave_nothing(stores.collect()).await;
}

#[tokio::test]
async fn servers_at_once_agree_on_identities_in_memory() {
    let store: Arc<dyn IdentityStore> = Arc::new(MemoryIdentities::default());
    identity::servers_at_once_agree(vec![store; SERVERS]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_at_once_agree_on_identities_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let stores = in_sqlite(directory.path()).await.into_iter();
    identity::servers_at_once_agree(
        stores.map(|database| Arc::new(SqliteIdentities::new(database)) as _).collect(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_at_once_agree_on_identities_in_postgres() {
    let stores = in_postgres().await.into_iter();
    identity::servers_at_once_agree(
        stores.map(|database| Arc::new(PostgresIdentities::new(database)) as _).collect(),
    )
    .await;
}

/// Statements past the log, and the number at which it is then broken.
const TAMPERING: [(&str, u64); 4] = [
    ("update audit set actor = 'user:nobody' where seq = 3", 3),
    ("delete from audit where seq = 2", 2),
    ("delete from audit where seq > 3", 4),
    ("delete from audit", 1),
];

fn broken_at(entries: &[Entry], kept: Head) -> u64 {
    verify(entries, Some(kept)).expect_err("it is found").seq
}

async fn five(log: &dyn AuditLog) -> Head {
    let drafts: Vec<_> = (0..5).map(|n| audit::draft(n, "user:ada", "runs.start")).collect();
    log.append(&drafts).await.unwrap()
}

#[tokio::test]
async fn who_writes_past_the_log_is_stopped_or_found_in_sqlite() {
    use sqlx::{Connection, Executor};
    for (statement, seq) in TAMPERING {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db");
        let log = SqliteAudit::new(Database::create(&path, Options::default()).await.unwrap());
        let kept = five(&log).await;
        let mut other = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        let error = other.execute(statement).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
        other.execute("drop trigger audit_stays; drop trigger audit_is_kept").await.unwrap();
        other.execute(statement).await.unwrap();
        assert_eq!(broken_at(&audit::whole(&log).await, kept), seq, "{statement}");
        // The row that says where the log ends tells of a cut end too.
        assert_eq!(log.head().await.unwrap(), kept);
    }
}

#[tokio::test]
async fn who_writes_past_the_log_is_stopped_or_found_in_postgres() {
    use sqlx::{AssertSqlSafe, Connection, Executor};
    for (statement, seq) in TAMPERING {
        let url = postgres::url();
        let (server, schema) = url.rsplit_once("schema=").unwrap();
        let log = PostgresAudit::new(PostgresDatabase::create(&url, Options::default()).await.unwrap());
        let kept = five(&log).await;
        let mut other = sqlx::PgConnection::connect(server.trim_end_matches(['?', '&'])).await.unwrap();
        other.execute(AssertSqlSafe(format!("set search_path to {schema}"))).await.unwrap();
        for refused in
            [statement, "truncate audit", "delete from audit_head", "update audit_head set seq = 0"]
        {
            let error = other.execute(AssertSqlSafe(refused.to_owned())).await.unwrap_err();
            assert!(error.to_string().contains("append-only"), "{error}");
        }
        other.execute("drop trigger audit_stays on audit").await.unwrap();
        other.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
        assert_eq!(broken_at(&audit::whole(&log).await, kept), seq, "{statement}");
        assert_eq!(log.head().await.unwrap(), kept);
    }
}
