//! What retention has removed: the same statements for SQLite and PostgreSQL.

use async_trait::async_trait;
use reactorcide_engine::removals::{RemovalRecord, RemovalStore};
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::StoreError;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{QueryBuilder, Row};

use crate::database::Database;
use crate::postgres::PostgresDatabase;

/// How many rows one statement is about.
const BATCH: usize = 500;

/// Removals in one kind of database. A macro for the same reason as the store's.
macro_rules! removals_on {
    ($Removals:ident, $Database:ty, $Sql:ty, $Row:ty, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $Removals {
            database: $Database,
        }

        impl $Removals {
            /// The removals in a database.
            pub fn new(database: $Database) -> Self {
                Self { database }
            }

            fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
                move |error| self.database.attempt(what).failed(error)
            }

            fn removal(row: &$Row) -> Result<RemovalRecord, sqlx::Error> {
                Ok(RemovalRecord {
                    subject: row.try_get("subject")?,
                    run: row.try_get("run")?,
                    name: row.try_get("name")?,
                    bytes: row.try_get::<Option<i64>, _>("bytes")?.and_then(|bytes| bytes.try_into().ok()),
                    reason: row.try_get("reason")?,
                    decided_at: row.try_get("decided_at")?,
                    removed_at: row.try_get("removed_at")?,
                })
            }

            fn removals(&self, rows: &[$Row]) -> Result<Vec<RemovalRecord>, StoreError> {
                rows.iter().map(Self::removal).collect::<Result<_, _>>().map_err(self.failed("read"))
            }
        }

        #[async_trait]
        impl RemovalStore for $Removals {
            async fn begin_sweep(&self, now: Millis, before: Millis) -> Result<bool, StoreError> {
                let upsert = sqlx::query(
                    "insert into removal_sweeps (id, begun_at) values (1, $1)
                     on conflict (id) do update set begun_at = excluded.begun_at
                       where removal_sweeps.begun_at <= $2 or removal_sweeps.begun_at > $1",
                );
                let done = upsert.bind(now).bind(before).execute(&self.database.pool).await;
                Ok(done.map_err(self.failed("written"))?.rows_affected() > 0)
            }

            async fn intend(&self, removals: &[RemovalRecord]) -> Result<(), StoreError> {
                for batch in removals.chunks(BATCH) {
                    let mut insert = QueryBuilder::<$Sql>::new(
                        "insert into removals (subject, run, name, bytes, reason, decided_at) ",
                    );
                    insert.push_values(batch, |mut row, removal| {
                        row.push_bind(&removal.subject)
                            .push_bind(&removal.run)
                            .push_bind(&removal.name)
                            .push_bind(removal.bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
                            .push_bind(&removal.reason)
                            .push_bind(removal.decided_at);
                    });
                    insert.push(" on conflict (subject) do nothing");
                    insert.build().execute(&self.database.pool).await.map_err(self.failed("written"))?;
                }
                Ok(())
            }

            async fn open(&self, limit: u32) -> Result<Vec<RemovalRecord>, StoreError> {
                let select = sqlx::query(
                    "select * from removals where removed_at is null order by decided_at, subject limit $1",
                );
                let rows = select.bind(i64::from(limit)).fetch_all(&self.database.pool).await;
                self.removals(&rows.map_err(self.failed("read"))?)
            }

            async fn done(&self, subjects: &[String], now: Millis) -> Result<(), StoreError> {
                for batch in subjects.chunks(BATCH) {
                    let mut update = QueryBuilder::<$Sql>::new("update removals set removed_at = ");
                    update.push_bind(now).push(" where subject in (");
                    let mut list = update.separated(", ");
                    for subject in batch {
                        list.push_bind(subject);
                    }
                    update.push(")");
                    update.build().execute(&self.database.pool).await.map_err(self.failed("written"))?;
                }
                Ok(())
            }

            async fn of_run(&self, run: &str) -> Result<Vec<RemovalRecord>, StoreError> {
                let select = sqlx::query("select * from removals where run = $1 order by subject").bind(run);
                let rows = select.fetch_all(&self.database.pool).await;
                self.removals(&rows.map_err(self.failed("read"))?)
            }
        }
    };
}

removals_on!(SqliteRemovals, Database, Sqlite, SqliteRow, "Removals in SQLite.");
removals_on!(PostgresRemovals, PostgresDatabase, Postgres, PgRow, "Removals in PostgreSQL.");
