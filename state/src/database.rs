//! The file: opening it, telling ours from others, and bringing its schema up to date.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reactorcide_engine::store::StoreError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::begin::begin;
use crate::error::Attempt;
use crate::migrations::{self, FORMAT};

/// `PRAGMA application_id` of our files: "Rctr" in ASCII.
const APPLICATION_ID: i64 = 0x5263_7472;

/// How to use a database.
#[derive(Clone)]
pub struct Options {
    /// How long to wait for another writer.
    pub lock_timeout: Duration,
    /// Called once when another writer has kept this one waiting for a second.
    pub on_wait: Option<Arc<dyn Fn() + Send + Sync>>,
    /// How many connections at most.
    pub connections: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { lock_timeout: Duration::from_secs(30), on_wait: None, connections: 4 }
    }
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// And make it where there is none.
    Create,
    /// That is there.
    Existing,
    /// Without any right to write.
    ReadOnly,
}

/// One open state file, with the current schema.
#[derive(Clone)]
pub struct Database {
    pub(crate) pool: SqlitePool,
    path: PathBuf,
    options: Options,
}

impl Database {
    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a state file that exists. `None` where there is none, or nothing was ever written to it.
    pub async fn open(path: &Path, options: Options) -> Result<Option<Self>, StoreError> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() == 0 => Ok(None),
            Ok(_) => Self::open_existing(path, options).await.map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Access {
                location: path.display().to_string(),
                attempt: "read",
                what: error.to_string(),
            }),
        }
    }

    /// Opens a file with all rights, or, who has none to write, for reading.
    async fn open_existing(path: &Path, options: Options) -> Result<Self, StoreError> {
        let refused = match Self::connect(path, options.clone(), Mode::Existing).await {
            Err(error @ StoreError::Access { .. }) => error,
            other => return other,
        };
        // SQLite shares a write-ahead log by a file beside it, which only writers can make. Where nobody has left a log,
        // the file alone is the whole state.
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        if std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return Err(refused);
        }
        Self::connect(path, options, Mode::ReadOnly).await.map_err(|_| refused)
    }

    /// Opens a state file, and makes it where there is none. Its directory must exist.
    pub async fn create(path: &Path, options: Options) -> Result<Self, StoreError> {
        Self::connect(path, options, Mode::Create).await
    }

    async fn connect(path: &Path, options: Options, mode: Mode) -> Result<Self, StoreError> {
        let what = if mode == Mode::Create && !path.exists() { "created" } else { "read" };
        let attempt = Attempt { path, what, waited: options.lock_timeout };
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(mode == Mode::Create)
            .read_only(mode == Mode::ReadOnly)
            .immutable(mode == Mode::ReadOnly)
            .busy_timeout(options.lock_timeout)
            .foreign_keys(true)
            .synchronous(SqliteSynchronous::Full)
            .statement_cache_capacity(512);
        let pool = SqlitePoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(options.lock_timeout + Duration::from_secs(5))
            .connect_with(connect)
            .await
            .map_err(|error| attempt.failed(error))?;
        let database = Self { pool, path: path.to_owned(), options };
        let mut connection = database.pool.acquire().await.map_err(|error| attempt.failed(error))?;
        database.recognise(&mut connection, attempt).await?;
        drop(connection);
        Ok(database)
    }

    /// Refuses what is not ours, and brings the schema of what is up to date, in one transaction.
    async fn recognise(
        &self,
        connection: &mut SqliteConnection,
        attempt: Attempt<'_>,
    ) -> Result<(), StoreError> {
        let failed = |error| attempt.failed(error);
        if self.format(connection, attempt).await? == Some(FORMAT) {
            return Ok(());
        }
        let mut transaction = connection.begin_with("begin immediate").await.map_err(failed)?;
        // Another process may have done it while we waited.
        if self.format(&mut transaction, attempt).await? == Some(FORMAT) {
            return Ok(());
        }
        migrations::sqlite().run(&mut *transaction).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => failed(error),
            other => StoreError::Corrupt {
                location: self.location(),
                what: format!("its schema is not what it says: {other}"),
            },
        })?;
        for pragma in
            [format!("pragma application_id = {APPLICATION_ID}"), format!("pragma user_version = {FORMAT}")]
        {
            transaction.execute(AssertSqlSafe(pragma)).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        self.keep_a_log(connection, attempt).await
    }

    /// Has writes go to a log beside the file, so that readers never wait for a writer. It is kept in the file, and cannot
    /// be set inside a transaction. SQLite does not wait for others here as it does elsewhere, so we do.
    async fn keep_a_log(
        &self,
        connection: &mut SqliteConnection,
        attempt: Attempt<'_>,
    ) -> Result<(), StoreError> {
        let began = Instant::now();
        loop {
            let set = sqlx::query("pragma journal_mode = wal").execute(&mut *connection).await;
            match set.map_err(|error| attempt.failed(error)) {
                Err(StoreError::Busy { .. }) if began.elapsed() < self.options.lock_timeout => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                set => return set.map(|_| ()),
            }
        }
    }

    /// The format of the file; `None` for one that is empty.
    async fn format(
        &self,
        connection: &mut SqliteConnection,
        attempt: Attempt<'_>,
    ) -> Result<Option<i64>, StoreError> {
        let failed = |error| attempt.failed(error);
        let application: i64 =
            sqlx::query_scalar("pragma application_id").fetch_one(&mut *connection).await.map_err(failed)?;
        let format: i64 =
            sqlx::query_scalar("pragma user_version").fetch_one(&mut *connection).await.map_err(failed)?;
        let tables: i64 = sqlx::query_scalar("select count(*) from sqlite_schema")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        match (application, format) {
            (APPLICATION_ID, format) if format > FORMAT => {
                Err(StoreError::Newer { location: self.location(), found: format, known: FORMAT })
            }
            (APPLICATION_ID, format) => Ok(Some(format)),
            (0, 0) if tables == 0 => Ok(None),
            _ => Err(StoreError::Foreign {
                location: self.location(),
                what: "it is the SQLite database of another program".to_owned(),
            }),
        }
    }

    /// Begins a transaction that sees one moment.
    pub(crate) async fn read(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, sqlx::Error> {
        begin(&self.pool, None).await
    }

    /// Begins a transaction that adds to a run.
    pub(crate) async fn append(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        self.begin().await
    }

    /// Begins the one transaction that may write, waiting for its turn.
    pub(crate) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        let begin = begin(&self.pool, Some("begin immediate"));
        tokio::pin!(begin);
        let begun = tokio::select! {
            begun = &mut begin => begun,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if let Some(on_wait) = &self.options.on_wait {
                    on_wait();
                }
                begin.await
            }
        };
        begun.map_err(|error| self.attempt("written").failed(error))
    }

    /// For turning what SQLite says into our words.
    pub(crate) fn attempt(&self, what: &'static str) -> Attempt<'_> {
        Attempt { path: &self.path, what, waited: self.options.lock_timeout }
    }

    /// How much room its pages take, in bytes.
    pub(crate) async fn size(&self) -> Result<u64, StoreError> {
        let size: i64 =
            sqlx::query_scalar("select page_count * page_size from pragma_page_count(), pragma_page_size()")
                .fetch_one(&self.pool)
                .await
                .map_err(|error| self.attempt("read").failed(error))?;
        Ok(size.unsigned_abs())
    }

    /// Writes the file anew without what was removed. Killed meanwhile, it is as it was.
    pub(crate) async fn shrink(&self) -> Result<(), StoreError> {
        for statement in ["vacuum", "pragma wal_checkpoint(truncate)"] {
            let done = sqlx::query(statement).execute(&self.pool).await;
            done.map_err(|error| self.attempt("written").failed(error))?;
        }
        Ok(())
    }

    /// Nobody can be woken by a file: who wants to know looks now and then.
    pub(crate) async fn wake(&self) {}

    /// Where it is, for people.
    pub fn location(&self) -> String {
        self.path.display().to_string()
    }

    /// Closes it; what is in the write-ahead log goes into the file.
    pub async fn close(self) {
        self.pool.close().await;
    }
}
