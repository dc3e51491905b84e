//! What every worker needs on its machine, whoever it works for: the runner, the Python package, a place for code.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reactorcide_engine::provider::ProviderError;
use reactorcide_state::Storage;
use reactorcide_worker::{SourceContext, SourceLimits};

use crate::exit::Failure;
use crate::settings::Settings;
use crate::{python_package, runner_binary};

/// How long getting an image may take.
pub const PULL_DEADLINE: Duration = Duration::from_secs(600);
/// Log that may wait on disk for a slow reader, a job.
pub const SPOOL_BYTES: u64 = 2 << 30;
/// Fetched code that is kept, in bytes.
const KEPT_SOURCES: u64 = 10 << 30;

/// Whose machine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Somebody's own, with their own SSH keys and paths.
    Personal,
    /// A server's: code comes from elsewhere, with the credentials that a job names.
    Shared,
}

/// Where artifacts and caches of runs on this machine are: `objects` beside the state, as those of its server.
pub fn storage(settings: &Settings) -> Result<Storage, Failure> {
    let directory = absolute(&settings.state_directory())?.join("objects");
    Storage::open(&directory.display().to_string()).map_err(|error| Failure::new(error.to_string()))
}

/// Puts the runner and the Python package into a directory.
pub async fn install(directory: PathBuf) -> Result<(PathBuf, PathBuf), Failure> {
    let target = directory.join("runner");
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(format!("the runner cannot be put into {}: {error}", directory.display()))
            .hint("name another directory, or make room in it")
    };
    let made = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&target)?;
        Ok::<_, std::io::Error>((runner_binary::install(&target)?, python_package::install(&target)?))
    });
    made.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

/// Where fetched code is kept, and what may be fetched.
pub fn sources(directory: &Path, whose: Whose) -> Result<SourceContext, Failure> {
    let opened = SourceContext::open(&directory.join("sources"), KEPT_SOURCES, SourceLimits::default());
    let mut context = opened.map_err(|error| Failure::new(error.explain()))?;
    let personal = whose == Whose::Personal;
    (context.allow_local, context.personal) = (personal, personal);
    Ok(context)
}

/// What a provider's error means for people.
pub fn provider_failure(error: ProviderError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        ProviderError::Unreachable { hint, .. } => failure.hint(hint),
        _ => failure,
    }
}

/// A path that does not depend on where we are.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// How many processors there are.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
