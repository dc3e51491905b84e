//! What is remembered of runs: the same statements for SQLite and PostgreSQL.

use async_trait::async_trait;
use reactorcide_engine::protocol::query::Elsewhere;
use reactorcide_engine::runs::{RunRecord, RunStore, pipelines_of};
use reactorcide_engine::scheduler::{Millis, RunStatus, Transition};
use reactorcide_engine::store::StoreError;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Postgres, QueryBuilder, Row, Sqlite};

use crate::database::Database;
use crate::postgres::PostgresDatabase;

/// Rows of one insert.
const BATCH: usize = 256;

/// Runs on one kind of database. A macro for the same reason as the store's.
macro_rules! runs_on {
    ($Runs:ident, $Database:ty, $Sql:ty, $Row:ty, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $Runs {
            database: $Database,
        }

        impl $Runs {
            /// The runs in a database.
            pub fn new(database: $Database) -> Self {
                Self { database }
            }

            fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
                move |error| self.database.attempt(what).failed(error)
            }
        }

        #[async_trait]
        impl RunStore for $Runs {
            async fn begin(&self, run: &RunRecord) -> Result<(), StoreError> {
                let insert = sqlx::query(
                    "insert into runs (id, pipeline, event, started_at, status) values ($1, $2, $3, $4, $5)",
                );
                let insert = insert.bind(&run.id).bind(&run.pipeline).bind(&run.event).bind(run.started_at);
                insert
                    .bind(run.status.as_str())
                    .execute(&self.database.pool)
                    .await
                    .map_err(self.failed("written"))?;
                Ok(())
            }

            async fn append(&self, run: &str, transitions: &[Transition]) -> Result<(), StoreError> {
                let mut transaction = self.database.append().await?;
                let next =
                    sqlx::query("select coalesce(max(ordinal) + 1, 0) as next from run_transitions where run = $1");
                let row = next.bind(run).fetch_one(&mut *transaction).await.map_err(self.failed("read"))?;
                let mut next: i64 = row.try_get("next").map_err(self.failed("read"))?;
                for batch in transitions.chunks(BATCH) {
                    let mut insert = QueryBuilder::<$Sql>::new(
                        "insert into run_transitions (run, ordinal, at, node, attempt, became, reason) ",
                    );
                    insert.push_values(batch, |mut row, transition| {
                        row.push_bind(run.to_owned())
                            .push_bind(next)
                            .push_bind(transition.at)
                            .push_bind(&transition.node)
                            .push_bind(transition.attempt.map(i64::from))
                            .push_bind(&transition.to)
                            .push_bind(&transition.reason);
                        next += 1;
                    });
                    insert.build().execute(&mut *transaction).await.map_err(self.failed("written"))?;
                }
                transaction.commit().await.map_err(self.failed("written"))
            }

            async fn finish(&self, run: &str, status: RunStatus, at: Millis) -> Result<(), StoreError> {
                let update =
                    sqlx::query("update runs set status = $2, ended_at = $3 where id = $1 and ended_at is null");
                let update = update.bind(run).bind(status.as_str()).bind(at);
                update.execute(&self.database.pool).await.map_err(self.failed("written"))?;
                Ok(())
            }

            async fn runs(&self, limit: u32) -> Result<Vec<RunRecord>, StoreError> {
                let select = sqlx::query(
                    "select id, pipeline, event, started_at, ended_at, status from runs order by started_at desc, id desc limit $1",
                );
                let rows = select.bind(i64::from(limit)).fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                rows.iter().map(Self::record).collect::<Result<_, _>>().map_err(self.failed("read"))
            }

            async fn transitions(&self, run: &str) -> Result<Vec<Transition>, StoreError> {
                let select = sqlx::query(
                    "select at, node, attempt, became, reason from run_transitions where run = $1 order by ordinal",
                );
                let rows = select.bind(run).fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                rows.iter().map(Self::transition).collect::<Result<_, _>>().map_err(self.failed("read"))
            }

            async fn active(&self, project: Option<&str>, job: &str) -> Result<Vec<Elsewhere>, StoreError> {
                let select = sqlx::query(
                    "select run, became from (
                        select run, became, started_at,
                               row_number() over (partition by run order by ordinal desc) as newest
                        from run_transitions join runs on runs.id = run
                        where status = 'running' and substr(pipeline, 1, length($1)) = $1 and node = $2
                     ) as known
                     where newest = 1 and became in ('queued', 'running') order by started_at desc, run desc",
                );
                let select = select.bind(pipelines_of(project)).bind(job);
                let rows = select.fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                let read = |row: &$Row| {
                    Ok(Elsewhere { run: row.try_get("run")?, state: row.try_get("became")? })
                };
                rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(self.failed("read"))
            }
        }

        impl $Runs {
            fn record(row: &$Row) -> Result<RunRecord, sqlx::Error> {
                let status: &str = row.try_get("status")?;
                Ok(RunRecord {
                    id: row.try_get("id")?,
                    pipeline: row.try_get("pipeline")?,
                    event: row.try_get("event")?,
                    started_at: row.try_get("started_at")?,
                    ended_at: row.try_get("ended_at")?,
                    status: match status {
                        "succeeded" => RunStatus::Succeeded,
                        "failed" => RunStatus::Failed,
                        "cancelled" => RunStatus::Cancelled,
                        _ => RunStatus::Running,
                    },
                })
            }

            fn transition(row: &$Row) -> Result<Transition, sqlx::Error> {
                Ok(Transition {
                    at: row.try_get("at")?,
                    node: row.try_get("node")?,
                    attempt: row.try_get::<Option<i64>, _>("attempt")?.and_then(|attempt| attempt.try_into().ok()),
                    to: row.try_get("became")?,
                    reason: row.try_get("reason")?,
                })
            }
        }
    };
}

runs_on!(SqliteRuns, Database, Sqlite, SqliteRow, "Runs in SQLite.");
runs_on!(PostgresRuns, PostgresDatabase, Postgres, PgRow, "Runs in PostgreSQL.");
