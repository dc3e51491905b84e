//! Forgetting old history: the same statements for SQLite and PostgreSQL.

use reactorcide_engine::store::{Compaction, StoreError};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::store::{PostgresStore, SqliteStore, whole};

/// Revisions that nothing needs which the history after a change can tell: those that were followed by another until
/// then, and those of what was gone by then.
const NEEDLESS: &str = "from revisions where change_serial <= $1 and (operation = 'delete' or exists
    (select 1 from revisions as later where later.uid = revisions.uid
     and later.generation > revisions.generation and later.change_serial <= $1))";

macro_rules! compaction_on {
    ($Store:ident, $Row:ty, $Connection:ty) => {
        impl $Store {
            pub(crate) async fn compact_in(
                &self,
                connection: &mut $Connection,
                compaction: &Compaction,
            ) -> Result<Compaction, sqlx::Error> {
                let until = whole(compaction.until);
                sqlx::query("insert into compacting (id) values (1)").execute(&mut *connection).await?;
                let mut removed = Vec::new();
                let revisions = format!("delete {NEEDLESS}");
                for statement in [
                    revisions.as_str(),
                    "delete from changes where serial < $1
                     and not exists (select 1 from revisions where change_serial = changes.serial)",
                    "delete from outside_journal where serial <= $1 and not exists
                        (select 1 from outside_tasks as task where task.serial = outside_journal.serial
                         and task.ordinal = outside_journal.ordinal and status = 'owed')",
                    "delete from outside_tasks where serial <= $1 and status <> 'owed'",
                ] {
                    let statement = sqlx::AssertSqlSafe(statement.to_owned());
                    let done = sqlx::query(statement).bind(until).execute(&mut *connection).await?;
                    removed.push(done.rows_affected());
                }
                sqlx::query("delete from compacting").execute(&mut *connection).await?;
                let done = Compaction { revisions: removed[0], changes: removed[1], ..compaction.clone() };
                if (done.revisions, done.changes) == (0, 0) {
                    return Ok(done);
                }
                sqlx::query(
                    "insert into compactions (at, actor, until, changes, revisions) values ($1, $2, $3, $4, $5)",
                )
                .bind(whole(done.at))
                .bind(&done.actor)
                .bind(until)
                .bind(whole(done.changes))
                .bind(whole(done.revisions))
                .execute(&mut *connection)
                .await?;
                Ok(done)
            }

            pub(crate) fn compaction(&self, row: &$Row) -> Result<Compaction, StoreError> {
                Ok(Compaction {
                    at: self.count(row, "at")?,
                    actor: self.get(row, "actor")?,
                    until: self.count(row, "until")?,
                    changes: self.count(row, "changes")?,
                    revisions: self.count(row, "revisions")?,
                })
            }
        }
    };
}

compaction_on!(SqliteStore, SqliteRow, SqliteConnection);
compaction_on!(PostgresStore, PgRow, PgConnection);
