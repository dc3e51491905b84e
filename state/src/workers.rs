//! Workers: the same statements for SQLite and PostgreSQL.

use async_trait::async_trait;
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::StoreError;
use reactorcide_engine::workers::{Worker, WorkerStatus, WorkerStore};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::database::Database;
use crate::postgres::PostgresDatabase;
use crate::runs::text;

/// Workers in one kind of database. A macro for the same reason as the store's.
macro_rules! workers_on {
    ($Workers:ident, $Database:ty, $Row:ty, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $Workers {
            database: $Database,
        }

        impl $Workers {
            /// The workers in a database.
            pub fn new(database: $Database) -> Self {
                Self { database }
            }

            fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
                move |error| self.database.attempt(what).failed(error)
            }

            fn worker(row: &$Row) -> Result<Worker, sqlx::Error> {
                let json = |text: &str| serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)));
                let health: Option<String> = row.try_get("health")?;
                let labels: String = row.try_get("labels")?;
                Ok(Worker {
                    name: row.try_get("name")?,
                    labels: serde_json::from_value(json(&labels)?).unwrap_or_default(),
                    pool: row.try_get("pool")?,
                    slots: u32::try_from(row.try_get::<i64, _>("slots")?).unwrap_or_default(),
                    provider: row.try_get("provider")?,
                    version: row.try_get("version")?,
                    status: WorkerStatus::parse(&row.try_get::<String, _>("status")?),
                    registered_at: row.try_get("registered_at")?,
                    seen_at: row.try_get("seen_at")?,
                    health: health.map(|text| json(&text)).transpose()?,
                })
            }
        }

        #[async_trait]
        impl WorkerStore for $Workers {
            async fn register(&self, worker: &Worker) -> Result<(), StoreError> {
                let upsert = sqlx::query(
                    "insert into workers (name, labels, pool, slots, provider, version, status, registered_at, seen_at, health)
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                     on conflict (name) do update set labels = excluded.labels, pool = excluded.pool, slots = excluded.slots,
                       provider = excluded.provider, version = excluded.version, seen_at = excluded.seen_at,
                       health = excluded.health",
                );
                let upsert = upsert.bind(&worker.name).bind(text(&worker.labels)).bind(&worker.pool);
                let upsert = upsert.bind(i64::from(worker.slots)).bind(&worker.provider).bind(&worker.version);
                let upsert = upsert.bind(worker.status.as_str()).bind(worker.registered_at).bind(worker.seen_at);
                let upsert = upsert.bind(worker.health.as_ref().map(text));
                upsert.execute(&self.database.pool).await.map_err(self.failed("written"))?;
                Ok(())
            }

            async fn seen(&self, name: &str, at: Millis, health: Option<&Value>) -> Result<(), StoreError> {
                let update = sqlx::query("update workers set seen_at = $2, health = coalesce($3, health) where name = $1");
                let update = update.bind(name).bind(at).bind(health.map(text));
                update.execute(&self.database.pool).await.map_err(self.failed("written"))?;
                Ok(())
            }

            async fn get(&self, name: &str) -> Result<Option<Worker>, StoreError> {
                let select = sqlx::query("select * from workers where name = $1").bind(name);
                let row = select.fetch_optional(&self.database.pool).await.map_err(self.failed("read"))?;
                row.as_ref().map(Self::worker).transpose().map_err(self.failed("read"))
            }

            async fn list(&self) -> Result<Vec<Worker>, StoreError> {
                let select = sqlx::query("select * from workers order by name");
                let rows = select.fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                rows.iter().map(Self::worker).collect::<Result<_, _>>().map_err(self.failed("read"))
            }

            async fn set_status(&self, name: &str, status: WorkerStatus) -> Result<bool, StoreError> {
                let update = sqlx::query("update workers set status = $2 where name = $1").bind(name).bind(status.as_str());
                let done = update.execute(&self.database.pool).await.map_err(self.failed("written"))?;
                Ok(done.rows_affected() > 0)
            }

            async fn remove(&self, name: &str) -> Result<bool, StoreError> {
                let delete = sqlx::query("delete from workers where name = $1").bind(name);
                let done = delete.execute(&self.database.pool).await.map_err(self.failed("written"))?;
                Ok(done.rows_affected() > 0)
            }
        }
    };
}

workers_on!(SqliteWorkers, Database, SqliteRow, "Workers in SQLite.");
workers_on!(PostgresWorkers, PostgresDatabase, PgRow, "Workers in PostgreSQL.");
