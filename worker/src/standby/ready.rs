//! A container that was taken from those that wait, up to the moment in which it has its job.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reactorcide_engine::provider::{
    Attachment, Chunk, ContainerId, ContainerState, Exit, Provider, ProviderError,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Standby;

/// How long a runner may take until it says that it has its job.
const PATIENCE: Duration = Duration::from_secs(5);

/// A container that runs, and everything that is needed to follow it.
pub struct Running {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its streams.
    pub attached: Attachment,
    /// How it ends.
    pub exit: JoinHandle<Result<Exit, ProviderError>>,
    /// The workspace that it has mounted.
    pub workspace: PathBuf,
}

impl Running {
    /// Whether it has not been seen to end.
    pub fn is_alive(&self) -> bool {
        !self.exit.is_finished()
    }
}

/// A container that one job has for itself. If it is dropped, it is removed; the workspace is the job's already.
pub struct Ready {
    running: Option<Running>,
    /// What the image is that it was made from.
    pub image: String,
    standby: Standby,
}

impl Ready {
    pub(super) fn new(running: Running, image: String, standby: Standby) -> Self {
        Self { running: Some(running), image, standby }
    }

    /// The name of the container.
    pub fn name(&self) -> Option<&str> {
        self.running.as_ref().map(|running| running.name.as_str())
    }

    /// Gives it the job. Nothing where the job has certainly not begun: it needs another container. An error where that
    /// is not certain.
    pub async fn hand_over(mut self, spec: &[u8]) -> Result<Option<Running>, ProviderError> {
        let Some(mut running) = self.running.take() else { return Ok(None) };
        let (provider, standby) = (Arc::clone(&self.standby.0.provider), self.standby.clone());
        if let Some(input) = &mut running.attached.input {
            // Whoever cannot be written to has ended, which is seen from what it says.
            let _ = input.write_all(spec).await;
        }
        let mut said = Vec::new();
        let began = timeout(PATIENCE, begins(&mut running.attached, &mut said)).await;
        let began = match began {
            Ok(began) => began,
            Err(_) => stop(provider.as_ref(), &mut running, &mut said).await?,
        };
        if began {
            let rest = std::mem::replace(&mut running.attached.output, stream::empty().boxed());
            running.attached.output = stream::iter(said.into_iter().map(Ok)).chain(rest).boxed();
            return Ok(Some(running));
        }
        let ended = provider.inspect(&running.id).await;
        let certain = match ended {
            // Whatever ends well had a job.
            Ok(ContainerState::Exited(exit)) => exit.code != 0,
            Ok(ContainerState::Missing | ContainerState::Created) => true,
            Ok(ContainerState::Running) | Err(_) => false,
        };
        let name = running.name.clone();
        standby.0.remove(running, false).await;
        if certain {
            tracing::info!(
                container = name,
                "a container that waited did not take its job: another is started"
            );
            return Ok(None);
        }
        Err(lost("the connection to it broke in that moment"))
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.standby.drop_later(running);
        }
    }
}

/// Waits for the first frame; false where the output ends before. What a dying runner says on standard error is none.
async fn begins(attached: &mut Attachment, said: &mut Vec<Chunk>) -> bool {
    while let Some(Ok(chunk)) = attached.output.next().await {
        let is_frame = !chunk.stderr;
        said.push(chunk);
        if is_frame {
            return true;
        }
    }
    false
}

/// It says nothing. Whether it began is known once it can say nothing more.
async fn stop(
    provider: &dyn Provider,
    running: &mut Running,
    said: &mut Vec<Chunk>,
) -> Result<bool, ProviderError> {
    provider.stop(&running.id, Duration::ZERO).await?;
    match timeout(PATIENCE, begins(&mut running.attached, said)).await {
        Ok(false) => Ok(false),
        Ok(true) | Err(_) => Err(lost("it said so too late, and was stopped")),
    }
}

fn lost(how: &str) -> ProviderError {
    let reason = format!("nobody knows whether the job began in the container that waited for it: {how}");
    ProviderError::Engine { operation: "handing over a job", reason }
}
