//! The schema's history. A migration is never changed once it was released, only followed by another.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

/// The SQL of each migration, for SQLite and for PostgreSQL, by number and name. The last number is the format of the
/// state.
const ALL: [(i64, &str, &str, &str); 15] = [
    (
        1,
        "resources",
        include_str!("../migrations/sqlite/0001_resources.sql"),
        include_str!("../migrations/postgres/0001_resources.sql"),
    ),
    (
        2,
        "runs",
        include_str!("../migrations/sqlite/0002_runs.sql"),
        include_str!("../migrations/postgres/0002_runs.sql"),
    ),
    (
        3,
        "outside",
        include_str!("../migrations/sqlite/0003_outside.sql"),
        include_str!("../migrations/postgres/0003_outside.sql"),
    ),
    (
        4,
        "compaction",
        include_str!("../migrations/sqlite/0004_compaction.sql"),
        include_str!("../migrations/postgres/0004_compaction.sql"),
    ),
    (
        5,
        "queue",
        include_str!("../migrations/sqlite/0005_queue.sql"),
        include_str!("../migrations/postgres/0005_queue.sql"),
    ),
    (
        6,
        "identity",
        include_str!("../migrations/sqlite/0006_identity.sql"),
        include_str!("../migrations/postgres/0006_identity.sql"),
    ),
    (
        7,
        "artifacts",
        include_str!("../migrations/sqlite/0007_artifacts.sql"),
        include_str!("../migrations/postgres/0007_artifacts.sql"),
    ),
    (
        8,
        "workers",
        include_str!("../migrations/sqlite/0008_workers.sql"),
        include_str!("../migrations/postgres/0008_workers.sql"),
    ),
    (
        9,
        "executables",
        include_str!("../migrations/sqlite/0009_executables.sql"),
        include_str!("../migrations/postgres/0009_executables.sql"),
    ),
    (
        10,
        "schedules",
        include_str!("../migrations/sqlite/0010_schedules.sql"),
        include_str!("../migrations/postgres/0010_schedules.sql"),
    ),
    (
        11,
        "removals",
        include_str!("../migrations/sqlite/0011_removals.sql"),
        include_str!("../migrations/postgres/0011_removals.sql"),
    ),
    (
        12,
        "usage",
        include_str!("../migrations/sqlite/0012_usage.sql"),
        include_str!("../migrations/postgres/0012_usage.sql"),
    ),
    (
        13,
        "caches",
        include_str!("../migrations/sqlite/0013_caches.sql"),
        include_str!("../migrations/postgres/0013_caches.sql"),
    ),
    (
        14,
        "vault",
        include_str!("../migrations/sqlite/0014_vault.sql"),
        include_str!("../migrations/postgres/0014_vault.sql"),
    ),
    (
        15,
        "waiting",
        include_str!("../migrations/sqlite/0015_waiting.sql"),
        include_str!("../migrations/postgres/0015_waiting.sql"),
    ),
];

/// The newest format that this version knows.
pub(crate) const FORMAT: i64 = ALL[ALL.len() - 1].0;

/// All migrations for SQLite.
pub(crate) fn sqlite() -> Migrator {
    migrator(|(_, _, sql, _)| sql)
}

/// All migrations for PostgreSQL.
pub(crate) fn postgres() -> Migrator {
    let mut migrator = migrator(|(_, _, _, sql)| sql);
    // The lock that it would take is one of the session, which a pooler in between breaks; we hold one already.
    migrator.set_locking(false);
    migrator
}

fn migrator(sql: impl Fn((i64, &'static str, &'static str, &'static str)) -> &'static str) -> Migrator {
    let migrations = ALL.map(|migration| {
        let text = AssertSqlSafe(sql(migration).to_owned()).into_sql_str();
        Migration::new(migration.0, Cow::Borrowed(migration.1), MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(migrations.to_vec())
}
