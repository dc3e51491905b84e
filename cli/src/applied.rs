//! Opens the applied state that the settings name, and turns what can go wrong into failures.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reactorcide_engine::apply::Refusal;
use reactorcide_engine::config::value::Duration;
use reactorcide_engine::store::{Change, CommitError, Lineage, Snapshot, Store, StoreError};
use reactorcide_state::{Database, Options, SqliteStore};

use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// How long one waits for another apply to end, unless told otherwise.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// The file in the state's directory.
const FILE: &str = "state.db";

/// The state's file. `--state` takes `sqlite:PATH`.
pub fn path(settings: &Settings) -> Result<PathBuf, Failure> {
    let Some(url) = &settings.state else { return Ok(settings.state_directory().join(FILE)) };
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => {
            Ok(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
        }
        _ => Err(Failure::new(format!("{url:?} is not a place for state"))
            .hint("write --state sqlite:PATH")
            .exit(Exit::Usage)),
    }
}

/// Runs a command's asynchronous part.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    runtime.block_on(work)
}

fn options(lock_timeout: Duration) -> Options {
    let on_wait = Arc::new(|| crate::report::note("waiting for another apply to end"));
    Options { on_wait: Some(on_wait), lock_timeout: lock_timeout.to_std() }
}

/// The store, if anything was ever applied. Makes no file.
pub async fn open(settings: &Settings) -> Result<Option<SqliteStore>, Failure> {
    let database = Database::open(&path(settings)?, options(LOCK_TIMEOUT)).await.map_err(store_failure)?;
    Ok(database.map(|database| SqliteStore::new(database, new_lineage())))
}

/// The store, made where there is none. Writers wait so long for their turn.
pub async fn create(settings: &Settings, lock_timeout: Duration) -> Result<SqliteStore, Failure> {
    let path = path(settings)?;
    let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    reactorcide_state::prepare_directory(directory).map_err(store_failure)?;
    let database = Database::create(&path, options(lock_timeout)).await.map_err(store_failure)?;
    Ok(SqliteStore::new(database, new_lineage()))
}

/// The applied state; empty where nothing was ever applied.
pub async fn snapshot(settings: &Settings) -> Result<Snapshot, Failure> {
    match open(settings).await? {
        Some(store) => store.snapshot().await.map_err(store_failure),
        None => Ok(Snapshot::default()),
    }
}

/// The last change that was applied.
pub async fn last_change(settings: &Settings) -> Result<Option<Change>, Failure> {
    let Some(store) = open(settings).await? else { return Ok(None) };
    let last = store.history(None, 1).await.map_err(store_failure)?;
    Ok(last.into_iter().next())
}

fn new_lineage() -> Lineage {
    Lineage(uuid::Uuid::now_v7().to_string())
}

/// What a store's error means for the user.
#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub fn store_failure(error: StoreError) -> Failure {
    let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
    let mut failure = Failure::new(format!("{error}{source}"));
    failure.hint = error.hint().map(str::to_owned);
    if matches!(error, StoreError::Busy { .. }) { failure.exit(Exit::Held) } else { failure }
}

/// What it means that a plan was not applied.
pub fn commit_failure(error: CommitError) -> Failure {
    let refusal = match error {
        CommitError::Store(error) => return store_failure(error),
        CommitError::Refused(refusal) => refusal,
    };
    let failure = Failure::new(refusal.to_string());
    match &refusal {
        Refusal::Obstacles(obstacles) => {
            let hint = obstacles.first().map(|obstacle| obstacle.hint()).unwrap_or_default();
            failure.hint(hint).exit(Exit::NotAccepted)
        }
        Refusal::Consequences { new } if !new.is_empty() => failure
            .hint(format!("nothing was changed; look at a new plan: {}", new.join("; ")))
            .exit(Exit::Moved),
        Refusal::Unreadable(_) => failure,
        _ => failure.hint("nothing was changed; look at a new plan").exit(Exit::Moved),
    }
}
