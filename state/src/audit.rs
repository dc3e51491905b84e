//! The audit log on a database: the same statements for SQLite and PostgreSQL.

use async_trait::async_trait;
use reactorcide_engine::audit::{AuditLog, Detail, Draft, Entry, Filter, Hash, Head, Outcome, chain};
use reactorcide_engine::store::StoreError;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Postgres, QueryBuilder, Row, Sqlite};

use crate::database::Database;
use crate::postgres::PostgresDatabase;
use crate::store::whole;

/// Rows of one insert.
const BATCH: usize = 256;

/// The log on one kind of database. A macro for the same reason as the store's. `$head` reads the head's row and holds
/// it until the transaction ends.
macro_rules! audit_on {
    ($Audit:ident, $Database:ty, $Sql:ty, $Row:ty, $Connection:ty, $head:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $Audit {
            database: $Database,
        }

        impl $Audit {
            /// The log in a database.
            pub fn new(database: $Database) -> Self {
                Self { database }
            }

            fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
                move |error| match error {
                    sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => self.corrupt(error),
                    error => self.database.attempt(what).failed(error),
                }
            }

            fn corrupt(&self, what: impl std::fmt::Display) -> StoreError {
                StoreError::Corrupt { location: self.database.location(), what: what.to_string() }
            }

            fn get<'r, T>(&self, row: &'r $Row, column: &str) -> Result<T, StoreError>
            where
                T: sqlx::Decode<'r, $Sql> + sqlx::Type<$Sql>,
            {
                row.try_get(column).map_err(self.failed("read"))
            }

            fn seq(&self, row: &$Row) -> Result<u64, StoreError> {
                let seq: i64 = self.get(row, "seq")?;
                u64::try_from(seq).map_err(|_| self.corrupt(format_args!("an entry of audit has number {seq}")))
            }

            fn hash(&self, row: &$Row, column: &str) -> Result<Hash, StoreError> {
                let text: &str = self.get(row, column)?;
                text.parse().map_err(|_| self.corrupt(format_args!("{text:?} in audit is no hash")))
            }

            fn head_of(&self, row: &$Row) -> Result<Head, StoreError> {
                Ok(Head { seq: self.seq(row)?, hash: self.hash(row, "hash")? })
            }

            fn entry(&self, row: &$Row) -> Result<Entry, StoreError> {
                let outcome: &str = self.get(row, "outcome")?;
                let draft = Draft {
                    at: self.get(row, "at")?,
                    actor: self.get(row, "actor")?,
                    action: self.get(row, "action")?,
                    target: self.get(row, "target")?,
                    outcome: Outcome::parse(outcome).ok_or_else(|| self.corrupt(outcome))?,
                    detail: Detail::stored(self.get(row, "detail")?),
                    request: self.get(row, "request")?,
                };
                Ok(Entry {
                    seq: self.seq(row)?,
                    draft,
                    previous: self.hash(row, "previous")?,
                    hash: self.hash(row, "hash")?,
                })
            }

            /// Adds entries in a transaction that does more. Everybody who adds waits until it ends: do it last.
            pub(crate) async fn append_in(
                &self,
                connection: &mut $Connection,
                drafts: &[Draft],
            ) -> Result<Head, StoreError> {
                let written = || self.failed("written");
                let row = sqlx::query($head).fetch_one(&mut *connection).await.map_err(written())?;
                let before = self.head_of(&row)?;
                let entries = chain(before, drafts);
                for batch in entries.chunks(BATCH) {
                    let mut insert = QueryBuilder::<$Sql>::new(
                        "insert into audit
                           (seq, at, actor, action, target, outcome, detail, request, previous, hash) ",
                    );
                    insert.push_values(batch, |mut row, Entry { seq, draft, previous, hash }| {
                        row.push_bind(whole(*seq))
                            .push_bind(draft.at)
                            .push_bind(&draft.actor)
                            .push_bind(&draft.action)
                            .push_bind(&draft.target)
                            .push_bind(draft.outcome.as_str())
                            .push_bind(draft.detail.as_str())
                            .push_bind(&draft.request)
                            .push_bind(previous.to_string())
                            .push_bind(hash.to_string());
                    });
                    insert.build().execute(&mut *connection).await.map_err(written())?;
                }
                let head = entries.last().map_or(before, |last| Head { seq: last.seq, hash: last.hash });
                sqlx::query("update audit_head set seq = $1, hash = $2")
                    .bind(whole(head.seq))
                    .bind(head.hash.to_string())
                    .execute(connection)
                    .await
                    .map_err(written())?;
                Ok(head)
            }
        }

        #[async_trait]
        impl AuditLog for $Audit {
            async fn append(&self, drafts: &[Draft]) -> Result<Head, StoreError> {
                if drafts.is_empty() {
                    return self.head().await;
                }
                let mut transaction = self.database.append().await?;
                let head = self.append_in(&mut transaction, drafts).await?;
                transaction.commit().await.map_err(self.failed("written"))?;
                Ok(head)
            }

            async fn head(&self) -> Result<Head, StoreError> {
                let row = sqlx::query("select seq, hash from audit_head")
                    .fetch_one(&self.database.pool)
                    .await
                    .map_err(self.failed("read"))?;
                self.head_of(&row)
            }

            async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
                let rows = sqlx::query("select * from audit where seq > $1 order by seq limit $2")
                    .bind(whole(after))
                    .bind(i64::from(limit))
                    .fetch_all(&self.database.pool)
                    .await
                    .map_err(self.failed("read"))?;
                rows.iter().map(|row| self.entry(row)).collect()
            }

            async fn search(&self, filter: &Filter, limit: u32) -> Result<Vec<Entry>, StoreError> {
                let Filter { actor, action, target, outcome, from, until, before } = filter;
                let mut select = QueryBuilder::<$Sql>::new("select * from audit where true");
                let texts = [("actor", actor), ("action", action), ("target", target)];
                for (column, wanted) in texts.into_iter().filter_map(|(c, text)| Some((c, text.as_ref()?))) {
                    select.push(" and ").push(column).push(" = ").push_bind(wanted.clone());
                }
                if let Some(outcome) = outcome {
                    select.push(" and outcome = ").push_bind(outcome.as_str());
                }
                if let Some(from) = from {
                    select.push(" and at >= ").push_bind(*from);
                }
                if let Some(until) = until {
                    select.push(" and at < ").push_bind(*until);
                }
                if let Some(before) = before {
                    select.push(" and seq < ").push_bind(whole(*before));
                }
                select.push(" order by seq desc limit ").push_bind(i64::from(limit));
                let rows =
                    select.build().fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                rows.iter().map(|row| self.entry(row)).collect()
            }
        }
    };
}

audit_on!(
    SqliteAudit,
    Database,
    Sqlite,
    SqliteRow,
    SqliteConnection,
    "select seq, hash from audit_head",
    "The audit log in SQLite."
);
audit_on!(
    PostgresAudit,
    PostgresDatabase,
    Postgres,
    PgRow,
    PgConnection,
    "select seq, hash from audit_head for update",
    "The audit log in PostgreSQL."
);
