//! How far schedules have come: the same statements for SQLite and PostgreSQL.

use async_trait::async_trait;
use reactorcide_engine::schedule::{Position, PositionStore, Skipped};
use reactorcide_engine::store::StoreError;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{QueryBuilder, Row};

use crate::database::Database;
use crate::postgres::PostgresDatabase;

/// Positions in one kind of database. A macro for the same reason as the store's.
macro_rules! positions_on {
    ($Positions:ident, $Database:ty, $Sql:ty, $Row:ty, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $Positions {
            database: $Database,
        }

        impl $Positions {
            /// The positions in a database.
            pub fn new(database: $Database) -> Self {
                Self { database }
            }

            fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
                move |error| self.database.attempt(what).failed(error)
            }

            fn position(row: &$Row) -> Result<Position, sqlx::Error> {
                let (due, reason): (Option<i64>, Option<String>) =
                    (row.try_get("skipped_due")?, row.try_get("skipped_reason")?);
                Ok(Position {
                    uid: row.try_get("uid")?,
                    version: u64::try_from(row.try_get::<i64, _>("version")?).unwrap_or_default(),
                    timing: row.try_get("timing")?,
                    settled: row.try_get("settled")?,
                    suspended: row.try_get::<i64, _>("suspended")? > 0,
                    last_due: row.try_get("last_due")?,
                    last_run: row.try_get("last_run")?,
                    skipped: due.zip(reason).map(|(due, reason)| Skipped { due, reason }),
                    missed: u64::try_from(row.try_get::<i64, _>("missed")?).unwrap_or_default(),
                })
            }
        }

        #[async_trait]
        impl PositionStore for $Positions {
            async fn list(&self) -> Result<Vec<Position>, StoreError> {
                let rows = sqlx::query("select * from schedules order by uid").fetch_all(&self.database.pool).await;
                let rows = rows.map_err(self.failed("read"))?;
                rows.iter().map(Self::position).collect::<Result<_, _>>().map_err(self.failed("read"))
            }

            async fn put(&self, position: &Position) -> Result<bool, StoreError> {
                let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                let text = match position.version {
                    1 => "insert into schedules
                            (uid, version, timing, settled, suspended, last_due, last_run, skipped_due, skipped_reason, missed)
                          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (uid) do nothing",
                    _ => "update schedules set version = $2, timing = $3, settled = $4, suspended = $5, last_due = $6,
                            last_run = $7, skipped_due = $8, skipped_reason = $9, missed = $10
                          where uid = $1 and version = $2 - 1",
                };
                let skipped = position.skipped.as_ref();
                let write = sqlx::query(text).bind(&position.uid).bind(whole(position.version)).bind(&position.timing);
                let write = write.bind(position.settled).bind(i64::from(position.suspended));
                let write = write.bind(position.last_due).bind(&position.last_run);
                let write = write.bind(skipped.map(|skipped| skipped.due)).bind(skipped.map(|skipped| &skipped.reason));
                let write = write.bind(whole(position.missed));
                let done = write.execute(&self.database.pool).await.map_err(self.failed("written"))?;
                Ok(done.rows_affected() > 0)
            }

            async fn forget(&self, uids: &[String]) -> Result<(), StoreError> {
                for batch in uids.chunks(1000) {
                    let mut delete = QueryBuilder::<$Sql>::new("delete from schedules where uid in (");
                    let mut list = delete.separated(", ");
                    for uid in batch {
                        list.push_bind(uid);
                    }
                    delete.push(")");
                    delete.build().execute(&self.database.pool).await.map_err(self.failed("written"))?;
                }
                Ok(())
            }
        }
    };
}

positions_on!(SqlitePositions, Database, Sqlite, SqliteRow, "Positions of schedules in SQLite.");
positions_on!(PostgresPositions, PostgresDatabase, Postgres, PgRow, "Positions of schedules in PostgreSQL.");
