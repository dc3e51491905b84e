//! What SQLite says, in the engine's words.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reactorcide_engine::store::StoreError;

/// Primary result codes of SQLite, <https://www.sqlite.org/rescode.html>.
const BUSY: i32 = 5;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;
const PERM: i32 = 3;

/// Kinds of failures, and how many of each there were in this process, whichever database it was.
static FAILURES: [(&str, AtomicU64); 9] = [
    ("busy", AtomicU64::new(0)),
    ("full", AtomicU64::new(0)),
    ("corrupt", AtomicU64::new(0)),
    ("foreign", AtomicU64::new(0)),
    ("broken", AtomicU64::new(0)),
    ("access", AtomicU64::new(0)),
    ("unreachable", AtomicU64::new(0)),
    ("denied", AtomicU64::new(0)),
    ("other", AtomicU64::new(0)),
];

/// How many statements databases did not carry out for this process, by what kept them from it.
pub fn database_failures() -> impl Iterator<Item = (&'static str, u64)> {
    FAILURES.iter().map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)))
}

fn counted(error: StoreError) -> StoreError {
    let kind = match &error {
        StoreError::Busy { .. } => "busy",
        StoreError::Full { .. } => "full",
        StoreError::Corrupt { .. } => "corrupt",
        StoreError::Foreign { .. } => "foreign",
        StoreError::Broken { .. } => "broken",
        StoreError::Access { .. } => "access",
        StoreError::Unreachable { .. } => "unreachable",
        StoreError::Denied { .. } => "denied",
        _ => "other",
    };
    if let Some((_, count)) = FAILURES.iter().find(|(known, _)| *known == kind) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    error
}

/// What was attempted on which file.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) path: &'a Path,
    pub(crate) what: &'static str,
    pub(crate) waited: Duration,
}

impl Attempt<'_> {
    pub(crate) fn failed(self, error: sqlx::Error) -> StoreError {
        counted(self.what_failed(error))
    }

    fn what_failed(self, error: sqlx::Error) -> StoreError {
        let location = self.path.display().to_string();
        let code = error
            .as_database_error()
            .and_then(|error| error.code())
            .and_then(|code| code.parse::<i32>().ok())
            .map(|code| code & 0xff);
        let what = error.as_database_error().map_or_else(|| error.to_string(), |e| e.message().to_owned());
        match code {
            Some(BUSY) => StoreError::Busy { location, waited: self.waited },
            Some(FULL) => StoreError::Full { location },
            Some(CORRUPT) => StoreError::Corrupt { location, what },
            Some(NOTADB) => StoreError::Foreign { location, what: "it is no SQLite database".to_owned() },
            Some(IOERR) => StoreError::Broken { location, attempt: self.what, what },
            Some(READONLY | CANTOPEN | PERM) => StoreError::Access { location, attempt: self.what, what },
            _ => StoreError::Backend { location, attempt: self.what, source: Box::new(error) },
        }
    }
}

/// What was attempted on which PostgreSQL database.
#[derive(Clone, Copy)]
pub(crate) struct PostgresAttempt<'a> {
    pub(crate) location: &'a str,
    pub(crate) what: &'static str,
    pub(crate) waited: Duration,
}

impl PostgresAttempt<'_> {
    /// By the codes of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    pub(crate) fn failed(self, error: sqlx::Error) -> StoreError {
        counted(self.what_failed(error))
    }

    fn what_failed(self, error: sqlx::Error) -> StoreError {
        let location = self.location.to_owned();
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::Tls(_) => StoreError::Unreachable { location, what: error.to_string() },
                error => StoreError::Backend { location, attempt: self.what, source: Box::new(error) },
            };
        };
        let what = database.message().to_owned();
        let code = database.code().unwrap_or_default().into_owned();
        match code.as_str() {
            "55P03" => StoreError::Busy { location, waited: self.waited },
            "53100" => StoreError::Full { location },
            // Connection failures, too many connections, shutting down, starting up, terminated.
            "53300" => StoreError::Unreachable { location, what },
            code if code.starts_with("08") || code.starts_with("57P") => {
                StoreError::Unreachable { location, what }
            }
            // Password, user, no such database, privilege, read-only.
            "28000" | "28P01" | "3D000" | "42501" | "25006" => StoreError::Denied { location, what },
            "XX001" | "XX002" => StoreError::Corrupt { location, what },
            "58030" => StoreError::Broken { location, attempt: self.what, what },
            _ => StoreError::Backend { location, attempt: self.what, source: Box::new(error) },
        }
    }
}
