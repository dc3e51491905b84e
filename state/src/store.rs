//! The engine's store on a database: the same statements for SQLite and PostgreSQL.

use async_trait::async_trait;
use reactorcide_engine::address::Address;
use reactorcide_engine::store::{
    Author, Change, ChangeId, Commit, CommitError, Compaction, Counts, Decide, Head, Lineage, Operation,
    Owner, Revision, Snapshot, Store, StoreError, Uid,
};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Postgres, QueryBuilder, Row, Sqlite};

use crate::database::Database;
use crate::postgres::PostgresDatabase;

/// Rows of one insert. SQLite takes 32,766 parameters a statement, PostgreSQL 65,535; a few hundred rows are as fast as
/// more.
const BATCH: usize = 256;

/// A database's integers are signed; our counts never come near the end of them.
pub(crate) fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A store on one kind of database. A macro, since the types of a statement are those of its database, and no trait says
/// that two have them in common.
macro_rules! store_on {
    ($Store:ident, $Database:ty, $Sql:ty, $Row:ty, $Connection:ty, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $Store {
            database: $Database,
            lineage: Lineage,
        }

        impl $Store {
            /// The store in a database. `lineage` is given to a workspace at its first commit; later ones keep theirs.
            pub fn new(database: $Database, lineage: Lineage) -> Self {
                Self { database, lineage }
            }

            /// The database below it.
            pub fn database(&self) -> &$Database {
                &self.database
            }

            pub(crate) fn corrupt(&self, what: impl std::fmt::Display) -> StoreError {
                StoreError::Corrupt { location: self.database.location(), what: what.to_string() }
            }

            pub(crate) fn read_failed(&self, error: sqlx::Error) -> StoreError {
                match error {
                    sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => self.corrupt(error),
                    error => self.database.attempt("read").failed(error),
                }
            }

            async fn read(&self, connection: &mut $Connection) -> Result<Snapshot, StoreError> {
                let failed = |error| self.read_failed(error);
                let workspace = sqlx::query("select lineage, serial from workspace")
                    .fetch_optional(&mut *connection)
                    .await
                    .map_err(failed)?;
                let Some(workspace) = workspace else { return Ok(Snapshot::default()) };
                let rows = sqlx::query(
                    "select heads.address, heads.uid, heads.generation, fingerprint, owner, document
                     from heads join revisions on revisions.uid = heads.uid and revisions.generation = heads.generation",
                )
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
                let heads = rows
                    .iter()
                    .map(|row| Ok((self.parsed(row, "address")?, self.head(row)?)))
                    .collect::<Result<_, StoreError>>()?;
                let serial: i64 = self.get(&workspace, "serial")?;
                Ok(Snapshot {
                    lineage: Some(Lineage(self.get(&workspace, "lineage")?)),
                    serial: serial.unsigned_abs(),
                    heads,
                    objects: self.read_objects(connection).await?,
                    owed: self.read_owed(connection).await?,
                })
            }

            pub(crate) fn get<'r, T>(&self, row: &'r $Row, column: &str) -> Result<T, StoreError>
            where
                T: sqlx::Decode<'r, $Sql> + sqlx::Type<$Sql>,
            {
                row.try_get(column).map_err(|error| self.read_failed(error))
            }

            pub(crate) fn count(&self, row: &$Row, column: &str) -> Result<u64, StoreError> {
                let value: i64 = self.get(row, column)?;
                u64::try_from(value).map_err(|_| self.corrupt(format_args!("{column} is {value}")))
            }

            pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
                &self,
                row: &$Row,
                column: &str,
            ) -> Result<T, StoreError> {
                let text: &str = self.get(row, column)?;
                text.parse().map_err(|error| self.corrupt(format_args!("{column} {text:?}: {error}")))
            }

            fn head(&self, row: &$Row) -> Result<Head, StoreError> {
                let owner: String = self.get(row, "owner")?;
                Ok(Head {
                    uid: Uid(self.get(row, "uid")?),
                    generation: self.count(row, "generation")?,
                    fingerprint: self.parsed(row, "fingerprint")?,
                    owner: Owner::try_from(owner).map_err(|what| self.corrupt(what))?,
                    document: self.get(row, "document")?,
                })
            }

            fn revision(&self, row: &$Row) -> Result<Revision, StoreError> {
                let operation: &str = self.get(row, "operation")?;
                Ok(Revision {
                    change: ChangeId(self.get(row, "change_id")?),
                    operation: Operation::parse(operation).ok_or_else(|| self.corrupt(operation))?,
                    address: self.parsed(row, "address")?,
                    head: self.head(row)?,
                })
            }

            fn change_of(&self, row: &$Row) -> Result<Change, StoreError> {
                Ok(Change {
                    id: ChangeId(self.get(row, "id")?),
                    serial: self.count(row, "serial")?,
                    at: self.count(row, "at")?,
                    author: Author {
                        actor: self.get(row, "actor")?,
                        message: self.get(row, "message")?,
                        commit: self.get(row, "source_commit")?,
                    },
                    plan: self.parsed(row, "plan_fingerprint")?,
                    counts: Counts {
                        create: self.count(row, "created")?,
                        update: self.count(row, "updated")?,
                        rename: self.count(row, "renamed")?,
                        delete: self.count(row, "deleted")?,
                    },
                })
            }

            async fn write(&self, connection: &mut $Connection, commit: &Commit) -> Result<(), sqlx::Error> {
                let Change { id, serial, at, author, plan, counts } = &commit.change;
                let serial = whole(*serial);
                sqlx::query(
                    "insert into workspace (id, lineage, serial) values (1, $1, $2)
                     on conflict (id) do update set serial = excluded.serial",
                )
                .bind(&self.lineage.0)
                .bind(serial)
                .execute(&mut *connection)
                .await?;
                sqlx::query(
                    "insert into changes (serial, id, at, actor, message, source_commit, plan_fingerprint,
                                          created, updated, renamed, deleted)
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                )
                .bind(serial)
                .bind(&id.0)
                .bind(whole(*at))
                .bind(&author.actor)
                .bind(&author.message)
                .bind(&author.commit)
                .bind(plan.to_string())
                .bind(whole(counts.create))
                .bind(whole(counts.update))
                .bind(whole(counts.rename))
                .bind(whole(counts.delete))
                .execute(&mut *connection)
                .await?;
                for writes in commit.writes.chunks(BATCH) {
                    let mut insert = QueryBuilder::<$Sql>::new(
                        "insert into revisions (uid, generation, change_serial, operation, address, owner, fingerprint, document) ",
                    );
                    insert.push_values(writes, |mut row, write| {
                        row.push_bind(&write.head.uid.0)
                            .push_bind(whole(write.head.generation))
                            .push_bind(serial)
                            .push_bind(write.operation.as_str())
                            .push_bind(write.address.to_string())
                            .push_bind(write.head.owner.to_string())
                            .push_bind(write.head.fingerprint.to_string())
                            .push_bind(&write.head.document);
                    });
                    insert.build().execute(&mut *connection).await?;
                }
                self.move_heads(connection, commit).await?;
                self.write_outward(connection, &commit.outward).await
            }

            async fn move_heads(
                &self,
                connection: &mut $Connection,
                commit: &Commit,
            ) -> Result<(), sqlx::Error> {
                let moved: Vec<_> =
                    commit.writes.iter().filter(|write| write.operation != Operation::Create).collect();
                for writes in moved.chunks(BATCH) {
                    let mut delete = QueryBuilder::<$Sql>::new("delete from heads where uid in (");
                    let mut uids = delete.separated(", ");
                    for write in writes {
                        uids.push_bind(&write.head.uid.0);
                    }
                    delete.push(")");
                    delete.build().execute(&mut *connection).await?;
                }
                let kept: Vec<_> =
                    commit.writes.iter().filter(|write| write.operation != Operation::Delete).collect();
                for writes in kept.chunks(BATCH) {
                    let mut insert = QueryBuilder::<$Sql>::new("insert into heads (address, uid, generation) ");
                    insert.push_values(writes, |mut row, write| {
                        row.push_bind(write.address.to_string())
                            .push_bind(&write.head.uid.0)
                            .push_bind(whole(write.head.generation));
                    });
                    insert.build().execute(&mut *connection).await?;
                }
                Ok(())
            }
        }

        #[async_trait]
        impl Store for $Store {
            async fn snapshot(&self) -> Result<Snapshot, StoreError> {
                // One transaction, so that both statements see the same moment.
                let mut transaction = self.database.read().await.map_err(|error| self.read_failed(error))?;
                self.read(&mut transaction).await
            }

            async fn commit(&self, decide: Decide<'_>) -> Result<Change, CommitError> {
                let mut transaction = self.database.begin().await?;
                let snapshot = self.read(&mut transaction).await?;
                let commit = decide(&snapshot)?;
                let failed = |error| self.database.attempt("written").failed(error);
                self.write(&mut transaction, &commit).await.map_err(failed)?;
                transaction.commit().await.map_err(failed)?;
                self.database.wake().await;
                Ok(commit.change)
            }

            async fn compact(&self, compaction: &Compaction) -> Result<Compaction, StoreError> {
                let failed = |error| self.database.attempt("written").failed(error);
                let mut transaction = self.database.begin().await?;
                let done = self.compact_in(&mut transaction, compaction).await.map_err(failed)?;
                transaction.commit().await.map_err(failed)?;
                Ok(done)
            }

            async fn compactions(&self) -> Result<Vec<Compaction>, StoreError> {
                let rows = sqlx::query("select * from compactions order by number desc")
                    .fetch_all(&self.database.pool)
                    .await
                    .map_err(|error| self.read_failed(error))?;
                rows.iter().map(|row| self.compaction(row)).collect()
            }

            async fn history(&self, address: Option<&Address>, limit: u32) -> Result<Vec<Change>, StoreError> {
                let query = match address {
                    None => sqlx::query("select * from changes order by serial desc limit $1").bind(i64::from(limit)),
                    Some(address) => sqlx::query(
                        "select * from changes
                         where serial in (select change_serial from revisions where address = $2)
                         order by serial desc limit $1",
                    )
                    .bind(i64::from(limit))
                    .bind(address.to_string()),
                };
                let rows = query.fetch_all(&self.database.pool).await.map_err(|error| self.read_failed(error))?;
                rows.iter().map(|row| self.change_of(row)).collect()
            }

            async fn change(&self, id: &str) -> Result<Option<(Change, Vec<Revision>)>, StoreError> {
                if id.is_empty() {
                    return Ok(None);
                }
                let found = sqlx::query("select * from changes where substr(id, 1, length($1)) = $1 limit 2")
                    .bind(id)
                    .fetch_all(&self.database.pool)
                    .await
                    .map_err(|error| self.read_failed(error))?;
                let [row] = found.as_slice() else { return Ok(None) };
                let change = self.change_of(row)?;
                let rows = sqlx::query(
                    "select revisions.*, changes.id as change_id
                     from revisions join changes on changes.serial = change_serial
                     where change_serial = $1",
                )
                .bind(whole(change.serial))
                .fetch_all(&self.database.pool)
                .await
                .map_err(|error| self.read_failed(error))?;
                let mut revisions: Vec<_> =
                    rows.iter().map(|row| self.revision(row)).collect::<Result<_, StoreError>>()?;
                revisions.sort_by(|a, b| a.address.cmp(&b.address));
                Ok(Some((change, revisions)))
            }

            async fn revisions(&self, address: &Address) -> Result<Vec<Revision>, StoreError> {
                let rows = sqlx::query(
                    "select revisions.*, changes.id as change_id
                     from revisions join changes on changes.serial = change_serial
                     where address = $1 order by change_serial",
                )
                .bind(address.to_string())
                .fetch_all(&self.database.pool)
                .await
                .map_err(|error| self.read_failed(error))?;
                rows.iter().map(|row| self.revision(row)).collect()
            }
        }
    };
}

store_on!(SqliteStore, Database, Sqlite, SqliteRow, SqliteConnection, "Applied state in SQLite.");
store_on!(PostgresStore, PostgresDatabase, Postgres, PgRow, PgConnection, "Applied state in PostgreSQL.");
