//! A PostgreSQL database: reaching it, telling our schema from others, and bringing it up to date.
//!
//! A workspace lives in a schema of its own, `reactorcide` unless the URL says `?schema=…`, so that several share a
//! database. Whoever changes the state holds a lock of the transaction, which ends with it whatever happens: there is
//! none that a person must break, and a pooler in between does no harm.

use std::str::FromStr;

use reactorcide_engine::store::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, Postgres, Transaction};

use crate::begin::begin;
use crate::database::Options;
use crate::error::PostgresAttempt;
use crate::migrations::{self, FORMAT};

/// How long a transaction may wait for its own client. One that is frozen or cut off must not hold what others wait for,
/// such as the end of the audit log.
const ABANDONED: &str = "60s";

/// The schema where the URL names none.
const SCHEMA: &str = "reactorcide";
/// How long a server may take to let us in.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);
/// The first part of the key of our locks: "Rctr" in ASCII.
const LOCKS: i32 = 0x5263_7472;

/// One workspace's schema in a PostgreSQL database, up to date.
#[derive(Clone)]
pub struct PostgresDatabase {
    pub(crate) pool: PgPool,
    location: String,
    schema: String,
    options: Options,
}

/// Why a text is not the URL of a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read as one.
    #[error("it is not the URL of a PostgreSQL database: {0}")]
    Url(String),
    /// The schema is not a plain name.
    #[error("the schema {0:?} is not a name of lower-case letters, digits and _")]
    Schema(String),
}

/// A URL in its parts: how to connect, which schema, and how to call it without its password.
struct Target {
    connect: PgConnectOptions,
    schema: String,
    location: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, UrlError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|pair| !pair.is_empty()).partition(|pair| pair.starts_with("schema="));
        let schema = ours.last().map_or(SCHEMA, |pair| &pair["schema=".len()..]).to_owned();
        let is_name = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
                && text.len() <= 63
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if !is_name(&schema) {
            return Err(UrlError::Schema(schema));
        }
        let query = theirs.join("&");
        let rest = if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") };
        // The text of the error must not hold the password.
        let connect = PgConnectOptions::from_str(&rest)
            .map_err(|_| UrlError::Url("write postgres://USER@HOST/DATABASE".to_owned()))?;
        let host = connect.get_socket().map_or_else(
            || format!("{}:{}", connect.get_host(), connect.get_port()),
            |socket| socket.display().to_string(),
        );
        let database = connect.get_database().unwrap_or(connect.get_username());
        let location = format!("postgres://{}@{host}/{database} (schema {schema})", connect.get_username());
        let connect = connect.statement_cache_capacity(512);
        let connect = connect.application_name("reactorcide").options([
            ("search_path", schema.as_str()),
            ("idle_in_transaction_session_timeout", ABANDONED),
            // A rollback of nothing is no news.
            ("client_min_messages", "error"),
        ]);
        Ok(Self { connect, schema, location })
    }
}

impl PostgresDatabase {
    /// Whether a text is a URL that can be used, without trying it.
    pub fn check(url: &str) -> Result<(), UrlError> {
        Target::parse(url).map(|_| ())
    }

    /// Opens a workspace that exists. `None` where nothing was ever written.
    pub async fn open(url: &str, options: Options) -> Result<Option<Self>, StoreError> {
        let database = Self::connect(url, options).await?;
        match database.format().await? {
            Some(FORMAT) => Ok(Some(database)),
            Some(_) => {
                database.migrate().await?;
                Ok(Some(database))
            }
            None => Ok(None),
        }
    }

    /// Opens a workspace, and makes its schema where there is none. The database must exist.
    pub async fn create(url: &str, options: Options) -> Result<Self, StoreError> {
        let database = Self::connect(url, options).await?;
        if database.format().await? != Some(FORMAT) {
            database.migrate().await?;
        }
        Ok(database)
    }

    async fn connect(url: &str, options: Options) -> Result<Self, StoreError> {
        let target = Target::parse(url).map_err(|error| StoreError::Access {
            location: "the state".to_owned(),
            attempt: "reached",
            what: error.to_string(),
        })?;
        let Target { connect, schema, location } = target;
        let attempt = PostgresAttempt { location: &location, what: "reached", waited: options.lock_timeout };
        // A pool tries again and again and in the end says only that it took too long: the first try is our own.
        match tokio::time::timeout(CONNECT, PgConnection::connect_with(&connect)).await {
            Ok(Ok(connection)) => {
                let _ = connection.close().await;
            }
            Ok(Err(error)) => return Err(attempt.failed(error)),
            Err(_) => return Err(attempt.failed(sqlx::Error::PoolTimedOut)),
        }
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(CONNECT)
            .connect_lazy_with(connect);
        Ok(Self { pool, location, schema, options })
    }

    /// The format of our schema; `None` where there is nothing in it.
    async fn format(&self) -> Result<Option<i64>, StoreError> {
        let mut connection =
            self.pool.acquire().await.map_err(|error| self.attempt("reached").failed(error))?;
        self.format_in(&mut connection).await
    }

    async fn format_in(&self, connection: &mut PgConnection) -> Result<Option<i64>, StoreError> {
        let failed = |error| self.attempt("read").failed(error);
        let tables: Vec<String> = sqlx::query_scalar(
            "select table_name::text from information_schema.tables where table_schema = $1",
        )
        .bind(&self.schema)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
        if tables.is_empty() {
            return Ok(None);
        }
        if !tables.iter().any(|name| name == "reactorcide_format") {
            return Err(StoreError::Foreign {
                location: self.location(),
                what: "the schema holds tables of another program".to_owned(),
            });
        }
        let format: i64 = sqlx::query_scalar("select format from reactorcide_format")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        if format > FORMAT {
            return Err(StoreError::Newer { location: self.location(), found: format, known: FORMAT });
        }
        Ok(Some(format))
    }

    /// Makes or changes the schema, in one transaction under our lock.
    async fn migrate(&self) -> Result<(), StoreError> {
        let failed = |error| self.attempt("created").failed(error);
        let mut transaction = self.begin().await?;
        // Another may have done it while we waited.
        if self.format_in(&mut transaction).await? == Some(FORMAT) {
            return Ok(());
        }
        let schema = AssertSqlSafe(format!("create schema if not exists {}", self.schema));
        transaction.execute(schema).await.map_err(failed)?;
        migrations::postgres().run(&mut *transaction).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => failed(error),
            other => StoreError::Corrupt {
                location: self.location(),
                what: format!("its schema is not what it says: {other}"),
            },
        })?;
        for statement in [
            "create table if not exists reactorcide_format (format bigint not null)".to_owned(),
            "delete from reactorcide_format".to_owned(),
            format!("insert into reactorcide_format values ({FORMAT})"),
        ] {
            transaction.execute(AssertSqlSafe(statement)).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Begins a transaction that sees one moment.
    pub(crate) async fn read(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        begin(&self.pool, Some("begin isolation level repeatable read read only")).await
    }

    /// Begins a transaction that adds to a run.
    pub(crate) async fn append(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        begin(&self.pool, None).await.map_err(|error| self.attempt("written").failed(error))
    }

    /// Begins the one transaction that may change the state, waiting for its turn.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let failed = |error| self.attempt("written").failed(error);
        // Every statement sees what is committed by then: what is read after the lock is what the last one wrote.
        let mut transaction =
            begin(&self.pool, Some("begin isolation level read committed")).await.map_err(failed)?;
        let patience = format!("set local lock_timeout = {}", self.options.lock_timeout.as_millis().max(1));
        transaction.execute(AssertSqlSafe(patience)).await.map_err(failed)?;
        let locked = {
            let lock = sqlx::query("select pg_advisory_xact_lock($1, hashtext($2))")
                .bind(LOCKS)
                .bind(&self.schema)
                .execute(&mut *transaction);
            tokio::pin!(lock);
            tokio::select! {
                locked = &mut lock => locked,
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {
                    if let Some(on_wait) = &self.options.on_wait {
                        on_wait();
                    }
                    lock.await
                }
            }
        };
        locked.map_err(failed)?;
        Ok(transaction)
    }

    /// For turning what PostgreSQL says into our words.
    pub(crate) fn attempt(&self, what: &'static str) -> PostgresAttempt<'_> {
        PostgresAttempt { location: &self.location, what, waited: self.options.lock_timeout }
    }

    /// How much room its tables take, in bytes.
    pub(crate) async fn size(&self) -> Result<u64, StoreError> {
        let size: i64 = sqlx::query_scalar(
            "select coalesce(sum(pg_total_relation_size(format('%I.%I', schemaname, tablename)::regclass)), 0)::bigint
             from pg_tables where schemaname = $1",
        )
        .bind(&self.schema)
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.attempt("read").failed(error))?;
        Ok(size.unsigned_abs())
    }

    /// Lets the room of what was removed be used again. Readers and writers go on meanwhile.
    pub(crate) async fn shrink(&self) -> Result<(), StoreError> {
        let vacuum = "vacuum revisions, changes, outside_tasks, outside_journal";
        sqlx::query(vacuum)
            .execute(&self.pool)
            .await
            .map_err(|error| self.attempt("written").failed(error))?;
        Ok(())
    }

    /// What servers on it listen to.
    pub(crate) fn channel(&self) -> String {
        format!("reactorcide_{}", self.schema)
    }

    /// Wakes the servers on it: something was applied. They look by themselves too, so a failure is none.
    pub(crate) async fn wake(&self) {
        let told =
            sqlx::query("select pg_notify($1, 'applied')").bind(self.channel()).execute(&self.pool).await;
        if let Err(error) = told {
            tracing::debug!(%error, "servers could not be woken");
        }
    }

    /// Where it is, for people: without the password.
    pub fn location(&self) -> String {
        self.location.clone()
    }

    /// Closes the connections.
    pub async fn close(self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_has_no_password_and_a_schema_of_its_own() {
        let target =
            Target::parse("postgres://ada:s3cret@db.example.com:5433/ci?schema=team_a&sslmode=disable")
                .expect("a URL");
        assert_eq!(target.location, "postgres://ada@db.example.com:5433/ci (schema team_a)");
        assert_eq!(target.schema, "team_a");
        assert_eq!(Target::parse("postgres://ada@localhost/ci").expect("a URL").schema, "reactorcide");
    }

    #[test]
    fn a_schema_that_would_be_a_statement_is_refused() {
        for schema in ["", "a;drop", "A", "1a", "a-b", "pg\"x"] {
            let parsed = Target::parse(&format!("postgres://localhost/ci?schema={schema}"));
            assert!(matches!(parsed, Err(UrlError::Schema(_))), "{schema:?}");
        }
        let error = Target::parse("postgres://u:s3cret@[bad").err().expect("it is none").to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
