//! What commits owe to the outside, and who carries it out: the same statements for SQLite and PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use reactorcide_engine::outside::{
    Acquired, Entry, Goal, JournalLine, Lease, LeaseLost, Ledger, LedgerError, Object, Outward, Owed, Place,
    TaskId, Void, tried,
};
use reactorcide_engine::store::{StoreError, Uid};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use sqlx::Row;

use crate::store::{PostgresStore, SqliteStore, whole};

/// The lease's name.
const LEASE: &str = "outside";

/// A time as the database counts it.
fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

/// The ledger on one kind of database. A macro for the same reason as the store's. `$now` is the database's own clock, in
/// milliseconds.
macro_rules! ledger_on {
    ($Store:ident, $Row:ty, $Connection:ty, $now:literal) => {
        impl $Store {
            pub(crate) async fn read_objects(
                &self,
                connection: &mut $Connection,
            ) -> Result<Vec<Object>, StoreError> {
                let rows =
                    sqlx::query("select uid, collection, id, begun, applied, tried from outside_objects order by uid, collection, id")
                        .fetch_all(&mut *connection)
                        .await
                        .map_err(|error| self.read_failed(error))?;
                rows.iter()
                    .map(|row| {
                        Ok(Object {
                            uid: Uid(self.get(row, "uid")?),
                            place: self.place(row)?,
                            begun: self.count(row, "begun")? > 0,
                            applied: self.get(row, "applied")?,
                            tried: self.get(row, "tried")?,
                        })
                    })
                    .collect()
            }

            pub(crate) async fn read_owed(
                &self,
                connection: &mut $Connection,
            ) -> Result<Vec<Owed>, StoreError> {
                let rows = sqlx::query(
                    "select serial, ordinal, uid, address, collection, id, goal, document from outside_tasks
                     where status = 'owed' order by serial, ordinal",
                )
                .fetch_all(&mut *connection)
                .await
                .map_err(|error| self.read_failed(error))?;
                rows.iter()
                    .map(|row| {
                        let goal: &str = self.get(row, "goal")?;
                        Ok(Owed {
                            id: self.task(row)?,
                            uid: Uid(self.get(row, "uid")?),
                            address: self.parsed(row, "address")?,
                            place: self.place(row)?,
                            goal: Goal::parse(goal).ok_or_else(|| self.corrupt(goal))?,
                            document: self.get(row, "document")?,
                        })
                    })
                    .collect()
            }

            fn place(&self, row: &$Row) -> Result<Place, StoreError> {
                Ok(Place { collection: self.get(row, "collection")?, id: self.get(row, "id")? })
            }

            fn task(&self, row: &$Row) -> Result<TaskId, StoreError> {
                let ordinal = self.count(row, "ordinal")?;
                let ordinal = u32::try_from(ordinal).map_err(|_| self.corrupt("ordinal"))?;
                Ok(TaskId { serial: self.count(row, "serial")?, ordinal })
            }

            /// Writes what a commit says about the outside.
            pub(crate) async fn write_outward(
                &self,
                connection: &mut $Connection,
                outward: &Outward,
            ) -> Result<(), sqlx::Error> {
                for (uid, place) in &outward.forgotten {
                    for statement in [
                        "delete from outside_objects where uid = $1 and collection = $2 and id = $3",
                        "update outside_tasks set status = 'void'
                         where uid = $1 and collection = $2 and id = $3 and status = 'owed'",
                    ] {
                        sqlx::query(statement)
                            .bind(&uid.0)
                            .bind(&place.collection)
                            .bind(&place.id)
                            .execute(&mut *connection)
                            .await?;
                    }
                }
                for task in &outward.owed {
                    sqlx::query(
                        "update outside_tasks set status = 'void'
                         where collection = $1 and id = $2 and status = 'owed'",
                    )
                    .bind(&task.place.collection)
                    .bind(&task.place.id)
                    .execute(&mut *connection)
                    .await?;
                    // An object has one owner: who makes it what it is.
                    if task.goal == Goal::Put {
                        sqlx::query(
                            "delete from outside_objects where collection = $1 and id = $2 and uid <> $3",
                        )
                        .bind(&task.place.collection)
                        .bind(&task.place.id)
                        .bind(&task.uid.0)
                        .execute(&mut *connection)
                        .await?;
                    }
                    sqlx::query(
                        "insert into outside_objects (uid, collection, id, begun) values ($1, $2, $3, 0)
                         on conflict (uid, collection, id) do nothing",
                    )
                    .bind(&task.uid.0)
                    .bind(&task.place.collection)
                    .bind(&task.place.id)
                    .execute(&mut *connection)
                    .await?;
                    sqlx::query(
                        "insert into outside_tasks
                           (serial, ordinal, uid, address, collection, id, goal, document, status)
                         values ($1, $2, $3, $4, $5, $6, $7, $8, 'owed')",
                    )
                    .bind(whole(task.id.serial))
                    .bind(i64::from(task.id.ordinal))
                    .bind(&task.uid.0)
                    .bind(task.address.to_string())
                    .bind(&task.place.collection)
                    .bind(&task.place.id)
                    .bind(task.goal.as_str())
                    .bind(&task.document)
                    .execute(&mut *connection)
                    .await?;
                }
                Ok(())
            }

            /// Writes a line, and what follows from it. Whether the lease is still held is asked in the same statement.
            async fn write_line(
                &self,
                connection: &mut $Connection,
                lease: &Lease,
                task: TaskId,
                at: u64,
                entry: &Entry,
            ) -> Result<Result<(), LedgerError>, sqlx::Error> {
                let (event, detail) = match entry {
                    Entry::Begun(what) => ("begun", Some(what)),
                    Entry::Done => ("done", None),
                    Entry::Failed(what) => ("failed", Some(what)),
                };
                let written = sqlx::query(
                    "insert into outside_journal (serial, ordinal, at, token, event, detail)
                     select $1, $2, $3, $4, $5, $6 from leases where name = $7 and holder = $8 and token = $4",
                )
                .bind(whole(task.serial))
                .bind(i64::from(task.ordinal))
                .bind(whole(at))
                .bind(whole(lease.token))
                .bind(event)
                .bind(detail)
                .bind(LEASE)
                .bind(&lease.holder)
                .execute(&mut *connection)
                .await?;
                if written.rows_affected() == 0 {
                    return Ok(Err(LeaseLost.into()));
                }
                let owed = sqlx::query(
                    "select goal, document, tried from outside_tasks as task
                     left join outside_objects as object
                       on object.uid = task.uid and object.collection = task.collection and object.id = task.id
                     where serial = $1 and ordinal = $2 and status = 'owed'",
                )
                .bind(whole(task.serial))
                .bind(i64::from(task.ordinal))
                .fetch_optional(&mut *connection)
                .await?;
                // The line above goes with the transaction.
                let Some(owed) = owed else { return Ok(Err(Void.into())) };
                if matches!(entry, Entry::Begun(_)) && owed.try_get::<String, _>("goal")? == Goal::Put.as_str() {
                    let before: Option<String> = owed.try_get("tried")?;
                    let document: String = owed.try_get("document")?;
                    sqlx::query(
                        "update outside_objects set tried = $3
                         where (uid, collection, id) in
                            (select uid, collection, id from outside_tasks where serial = $1 and ordinal = $2)",
                    )
                    .bind(whole(task.serial))
                    .bind(i64::from(task.ordinal))
                    .bind(tried(before.as_deref(), &document))
                    .execute(&mut *connection)
                    .await?;
                }
                let statements: &[&'static str] = match entry {
                    Entry::Failed(_) => &[],
                    Entry::Begun(_) => &["update outside_objects set begun = 1
                        where (uid, collection, id) in
                            (select uid, collection, id from outside_tasks
                             where serial = $1 and ordinal = $2 and status = 'owed')"],
                    // A task that became void meanwhile says nothing about its object any more.
                    Entry::Done => &[
                        "update outside_objects set begun = 1, tried = null, applied =
                            (select document from outside_tasks where serial = $1 and ordinal = $2)
                         where (uid, collection, id) in
                            (select uid, collection, id from outside_tasks
                             where serial = $1 and ordinal = $2 and status = 'owed' and goal = 'put')",
                        "delete from outside_objects
                         where (uid, collection, id) in
                            (select uid, collection, id from outside_tasks
                             where serial = $1 and ordinal = $2 and status = 'owed' and goal = 'remove')",
                        "update outside_tasks set status = 'done'
                         where serial = $1 and ordinal = $2 and status = 'owed'",
                    ],
                };
                for statement in statements {
                    sqlx::query(*statement)
                        .bind(whole(task.serial))
                        .bind(i64::from(task.ordinal))
                        .execute(&mut *connection)
                        .await?;
                }
                Ok(Ok(()))
            }

            fn write_failed(&self, error: sqlx::Error) -> StoreError {
                self.database().attempt("written").failed(error)
            }
        }

        #[async_trait]
        impl Ledger for $Store {
            async fn owed(&self) -> Result<Vec<Owed>, StoreError> {
                let mut transaction =
                    self.database().read().await.map_err(|error| self.read_failed(error))?;
                self.read_owed(&mut transaction).await
            }

            async fn objects(&self) -> Result<Vec<Object>, StoreError> {
                let mut transaction =
                    self.database().read().await.map_err(|error| self.read_failed(error))?;
                self.read_objects(&mut transaction).await
            }

            async fn acquire(
                &self,
                holder: &str,
                time: Duration,
                is_gone: &(dyn for<'a> Fn(&'a str) -> bool + Send + Sync),
            ) -> Result<Acquired, StoreError> {
                let mut transaction = self.database().begin().await?;
                let row = sqlx::query(concat!(
                    "select holder, token, expires_at - ",
                    $now,
                    " as remaining from leases where name = $1"
                ))
                .bind(LEASE)
                .fetch_one(&mut *transaction)
                .await
                .map_err(|error| self.read_failed(error))?;
                let held: String = self.get(&row, "holder")?;
                let remaining: i64 = self.get(&row, "remaining")?;
                if remaining > 0 && !held.is_empty() && held != holder && !is_gone(&held) {
                    let remaining = Duration::from_millis(remaining.unsigned_abs());
                    return Ok(Acquired::Held { holder: held, remaining });
                }
                let token = self.count(&row, "token")? + 1;
                sqlx::query(concat!(
                    "update leases set holder = $2, token = $3, expires_at = ",
                    $now,
                    " + $4 where name = $1"
                ))
                .bind(LEASE)
                .bind(holder)
                .bind(whole(token))
                .bind(millis(time))
                .execute(&mut *transaction)
                .await
                .map_err(|error| self.write_failed(error))?;
                transaction.commit().await.map_err(|error| self.write_failed(error))?;
                Ok(Acquired::Ours(Lease { holder: holder.to_owned(), token }))
            }

            async fn renew(&self, lease: &Lease, time: Duration) -> Result<(), LedgerError> {
                let renewed = sqlx::query(concat!(
                    "update leases set expires_at = ",
                    $now,
                    " + $4 where name = $1 and holder = $2 and token = $3"
                ))
                .bind(LEASE)
                .bind(&lease.holder)
                .bind(whole(lease.token))
                .bind(millis(time))
                .execute(&self.database().pool)
                .await
                .map_err(|error| self.write_failed(error))?;
                if renewed.rows_affected() == 0 { Err(LeaseLost.into()) } else { Ok(()) }
            }

            async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
                sqlx::query(
                    "update leases set holder = '', expires_at = 0
                     where name = $1 and holder = $2 and token = $3",
                )
                .bind(LEASE)
                .bind(&lease.holder)
                .bind(whole(lease.token))
                .execute(&self.database().pool)
                .await
                .map_err(|error| self.write_failed(error))?;
                Ok(())
            }

            async fn write(
                &self,
                lease: &Lease,
                task: TaskId,
                at: u64,
                entry: &Entry,
            ) -> Result<(), LedgerError> {
                // The same turn as commits: what one says about an object cannot pass what another does.
                let mut transaction = self.database().begin().await?;
                let written = self.write_line(&mut transaction, lease, task, at, entry).await;
                written.map_err(|error| self.write_failed(error))??;
                Ok(transaction.commit().await.map_err(|error| self.write_failed(error))?)
            }

            async fn journal(&self, serial: u64) -> Result<Vec<JournalLine>, StoreError> {
                let rows = sqlx::query("select * from outside_journal where serial = $1 order by number")
                    .bind(whole(serial))
                    .fetch_all(&self.database().pool)
                    .await
                    .map_err(|error| self.read_failed(error))?;
                rows.iter()
                    .map(|row| {
                        let detail: Option<String> = self.get(row, "detail")?;
                        let detail = detail.unwrap_or_default();
                        let entry = match self.get::<String>(row, "event")?.as_str() {
                            "begun" => Entry::Begun(detail),
                            "failed" => Entry::Failed(detail),
                            _ => Entry::Done,
                        };
                        let (at, token) = (self.count(row, "at")?, self.count(row, "token")?);
                        Ok(JournalLine { task: self.task(row)?, at, token, entry })
                    })
                    .collect()
            }
        }
    };
}

ledger_on!(SqliteStore, SqliteRow, SqliteConnection, "cast(unixepoch('subsec') * 1000 as integer)");
ledger_on!(
    PostgresStore,
    PgRow,
    PgConnection,
    "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)"
);
