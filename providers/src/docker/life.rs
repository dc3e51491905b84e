//! What a container is doing, until it does nothing any more.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerStateStatusEnum as Status;
use bollard::query_parameters::{KillContainerOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::StreamExt;
use reactorcide_engine::provider::{ContainerState, Exit, ProviderError};
use tokio::time::{Instant, sleep, timeout};

use super::errors::{Subject, is_missing, status_of};

/// Between two looks at what the engine gives no signal for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the kernel may take to end what was killed.
const KILLED_ENDS: Duration = Duration::from_secs(30);

/// A state, and why it could not be started.
pub(super) struct Inspected {
    pub(super) state: ContainerState,
    start_error: Option<String>,
}

/// What it is doing.
pub(super) async fn inspect(docker: &Docker, subject: Subject<'_>) -> Result<Inspected, ProviderError> {
    let inspected = match docker.inspect_container(subject.name, None).await {
        Ok(inspected) => inspected,
        Err(error) if is_missing(&error) => {
            return Ok(Inspected { state: ContainerState::Missing, start_error: None });
        }
        Err(error) => return Err(subject.error(error)),
    };
    let state = inspected.state.unwrap_or_default();
    let exit = Exit { code: state.exit_code.unwrap_or(-1), oom: state.oom_killed.unwrap_or(false) };
    let now = match state.status {
        Some(Status::CREATED) => ContainerState::Created,
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING) => {
            ContainerState::Running
        }
        Some(Status::EXITED | Status::DEAD | Status::REMOVING) => ContainerState::Exited(exit),
        Some(Status::EMPTY) | None if state.running == Some(true) => ContainerState::Running,
        Some(Status::EMPTY) | None => ContainerState::Exited(exit),
    };
    Ok(Inspected { state: now, start_error: state.error.filter(|error| !error.is_empty()) })
}

/// With cgroup v1 the engine hears of a lack of memory by another way than of the end, and sometimes later.
async fn why_killed(docker: &Docker, subject: Subject<'_>, exit: Exit) -> Exit {
    const SIGKILL: i64 = 128 + 9;
    for _ in 0..4 {
        if exit.code != SIGKILL || exit.oom {
            break;
        }
        sleep(LOOK_AGAIN).await;
        match inspect(docker, subject).await {
            Ok(Inspected { state: ContainerState::Exited(again), .. }) if again.oom => return again,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    exit
}

/// Waits until it has ended. The engine's answer to a wait is only a reason to look: it also comes when the
/// engine restarts. What cannot be reached is asked again for as long as `patience` allows.
pub(super) async fn wait(
    docker: &Docker,
    subject: Subject<'_>,
    patience: Duration,
) -> Result<Exit, ProviderError> {
    let mut away_since = None;
    loop {
        let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let _ = docker.wait_container(subject.name, Some(options)).next().await;
        match inspect(docker, subject).await {
            Ok(Inspected { state: ContainerState::Exited(exit), .. }) => {
                return Ok(why_killed(docker, subject, exit).await);
            }
            Ok(Inspected { state: ContainerState::Missing, .. }) => {
                return Err(ProviderError::Missing(subject.name.to_owned()));
            }
            Ok(Inspected { state: ContainerState::Created, start_error: Some(reason) }) => {
                return Err(ProviderError::Refused { reason });
            }
            Ok(_) => away_since = None,
            Err(error @ ProviderError::Unreachable { .. }) => {
                let since = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= patience {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// SIGTERM, then SIGKILL. Not the engine's own stop, which knows whole seconds only.
pub(super) async fn stop(
    docker: &Docker,
    subject: Subject<'_>,
    grace: Duration,
    patience: Duration,
) -> Result<(), ProviderError> {
    if !grace.is_zero() {
        if !kill(docker, subject, "SIGTERM").await? {
            return Ok(());
        }
        if let Ok(ended) = timeout(grace, wait(docker, subject, patience)).await {
            return ended_or_gone(ended);
        }
    }
    if !kill(docker, subject, "SIGKILL").await? {
        return Ok(());
    }
    let ended = timeout(KILLED_ENDS, wait(docker, subject, patience)).await;
    ended.map_or_else(
        |_| {
            let reason = format!("{} still runs {} s after SIGKILL", subject.name, KILLED_ENDS.as_secs());
            Err(ProviderError::Engine { operation: subject.operation, reason })
        },
        ended_or_gone,
    )
}

/// Waits until what is being removed is gone.
pub(super) async fn gone(docker: &Docker, subject: Subject<'_>, error: Error) -> Result<(), ProviderError> {
    let deadline = Instant::now() + KILLED_ENDS;
    while Instant::now() < deadline {
        if inspect(docker, subject).await?.state == ContainerState::Missing {
            return Ok(());
        }
        sleep(LOOK_AGAIN).await;
    }
    Err(subject.error(error))
}

/// Sends a signal; false if there is nothing that runs.
async fn kill(docker: &Docker, subject: Subject<'_>, signal: &str) -> Result<bool, ProviderError> {
    let options = KillContainerOptionsBuilder::new().signal(signal).build();
    match docker.kill_container(subject.name, Some(options)).await {
        Ok(()) => Ok(true),
        Err(error) if matches!(status_of(&error), Some(404 | 409)) => Ok(false),
        Err(error) => Err(subject.error(error)),
    }
}

fn ended_or_gone(ended: Result<Exit, ProviderError>) -> Result<(), ProviderError> {
    match ended {
        Ok(_) | Err(ProviderError::Missing(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
