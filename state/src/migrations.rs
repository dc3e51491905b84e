//! The schema's history. A migration is never changed once it was released, only followed by another.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

/// Number, name and SQL of each migration. The last number is the format of the state.
const ALL: [(i64, &str, &str); 2] = [
    (1, "resources", include_str!("../migrations/0001_resources.sql")),
    (2, "runs", include_str!("../migrations/0002_runs.sql")),
];

/// The newest format that this version knows.
pub(crate) const FORMAT: i64 = ALL[ALL.len() - 1].0;

/// All migrations.
pub(crate) fn migrator() -> Migrator {
    let migrations = ALL.map(|(version, name, sql)| {
        let sql = AssertSqlSafe(sql.to_owned()).into_sql_str();
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.to_vec())
}
