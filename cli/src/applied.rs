//! Opens the applied state that the settings name, and turns what can go wrong into failures.

use std::path::Path;
use std::sync::Arc;

use reactorcide_engine::apply::Refusal;
use reactorcide_engine::config::value::Duration;
use reactorcide_engine::store::{CommitError, Lineage, Snapshot, Store, StoreError};
use reactorcide_state::{Location, LocationError, Options, State};

use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// How long one waits for another apply to end, unless told otherwise.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// The file in the state's directory.
const FILE: &str = "state.db";

/// Where the state is. `--state` takes `sqlite:PATH` and `postgres://…`.
pub fn location(settings: &Settings) -> Result<Location, Failure> {
    let Some(text) = &settings.state else {
        return Ok(Location::Sqlite(settings.state_directory().join(FILE)));
    };
    text.parse().map_err(|error: LocationError| {
        // The text may hold a password: only what stands before it is shown.
        let scheme = text.split(':').next().unwrap_or_default();
        Failure::new(format!("--state {scheme}:… is not a place for state: {error}"))
            .hint("write --state sqlite:PATH, or postgres://USER@HOST/DATABASE with the password in PGPASSWORD or ~/.pgpass")
            .exit(Exit::Usage)
    })
}

/// An open state with the store in it.
pub struct Applied {
    /// The state.
    pub state: State,
    /// What is applied in it.
    pub store: Arc<dyn Store>,
}

impl Applied {
    fn new(state: State) -> Self {
        Self { store: state.store(Lineage(uuid::Uuid::now_v7().to_string())), state }
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
    Options { on_wait: Some(on_wait), lock_timeout: lock_timeout.to_std(), ..Options::default() }
}

/// The state, if anything was ever applied. Makes no file.
pub async fn open(settings: &Settings) -> Result<Option<Applied>, Failure> {
    let state = State::open(&location(settings)?, options(LOCK_TIMEOUT)).await.map_err(store_failure)?;
    Ok(state.map(Applied::new))
}

/// The state, made where there is none. Writers wait so long for their turn.
pub async fn create(settings: &Settings, lock_timeout: Duration) -> Result<Applied, Failure> {
    let location = location(settings)?;
    if let Location::Sqlite(path) = &location {
        let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        reactorcide_state::prepare_directory(directory).map_err(store_failure)?;
    }
    let state = State::create(&location, options(lock_timeout)).await.map_err(store_failure)?;
    Ok(Applied::new(state))
}

/// The state of a server, made where there is none: many ask at once.
pub async fn for_server(settings: &Settings) -> Result<State, Failure> {
    let location = location(settings)?;
    if let Location::Sqlite(path) = &location {
        let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        reactorcide_state::prepare_directory(directory).map_err(store_failure)?;
    }
    let connections = if matches!(location, Location::Postgres(_)) { 16 } else { 4 };
    let options = Options { lock_timeout: LOCK_TIMEOUT.to_std(), on_wait: None, connections };
    State::create(&location, options).await.map_err(store_failure)
}

/// The applied state; empty where nothing was ever applied.
pub async fn snapshot(settings: &Settings) -> Result<Snapshot, Failure> {
    match open(settings).await? {
        Some(applied) => applied.store.snapshot().await.map_err(store_failure),
        None => Ok(Snapshot::default()),
    }
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
        Refusal::Unreadable(_) | Refusal::Untrue { .. } | Refusal::Invalid { .. } => failure,
        Refusal::Expired { .. } => {
            failure.hint("nothing was changed; look at a new plan").exit(Exit::NotAccepted)
        }
        _ => failure.hint("nothing was changed; look at a new plan").exit(Exit::Moved),
    }
}
