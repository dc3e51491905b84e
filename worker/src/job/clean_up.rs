//! After an attempt: nothing of it is left.

use reactorcide_engine::provider::{ContainerSpec, ProviderError};
use reactorcide_engine::scheduler::Assignment;

use super::Attempt;
use crate::container::container_spec;
use crate::workspace::{Workspace, host_user};

impl Attempt {
    /// Removes what the attempt made. What cannot be removed is said, and found by the next run.
    pub(super) async fn clean_up(&self, assignment: &Assignment) {
        let settings = &self.worker.settings;
        let container =
            container_spec(assignment, &settings.owner, &self.paths(&assignment.job), host_user());
        let keep = settings.keep_workspace;
        let workspace = Workspace::at(&self.workspace);
        let remove_workspace =
            tokio::task::spawn_blocking(
                move || if keep { workspace.remove_ours() } else { workspace.remove() },
            );
        let name = self.container.get().unwrap_or(&container.name);
        let (removed, workspace) = tokio::join!(self.remove_container(name), remove_workspace);
        if let Err(error) = removed {
            tracing::warn!(container = name, %error, "a container could not be removed");
        }
        if let Ok(Err(_)) = workspace
            && let Err(error) = self.remove_as_root(container).await
        {
            tracing::warn!(workspace = %self.workspace.display(), %error, "a workspace could not be removed");
        }
    }

    async fn remove_container(&self, name: &str) -> Result<(), ProviderError> {
        let containers = self.provider().list(&self.worker.settings.owner).await?;
        for container in containers.into_iter().filter(|container| container.name == name) {
            self.provider().remove(&container.id).await?;
        }
        Ok(())
    }

    /// A job that ran as root leaves files that only root can remove: its image, with our runner in it, removes them.
    async fn remove_as_root(&self, mut container: ContainerSpec) -> Result<(), ProviderError> {
        let target = container.mounts[0].target.clone();
        container.name.push_str("-cleanup");
        container.entrypoint = Some(vec![crate::container::RUNNER_PATH.to_owned(), "cleanup".to_owned()]);
        container.command = Some(vec![target]);
        container.user = reactorcide_engine::provider::User { uid: 0, gid: 0 };
        container.network = reactorcide_engine::provider::NetworkMode::None;
        container.environment.clear();
        container.stdin = false;
        let runner = reactorcide_engine::provider::Mount {
            source: self.worker.settings.runner.clone(),
            target: crate::container::RUNNER_PATH.to_owned(),
            read_only: true,
        };
        container.mounts.truncate(1);
        container.mounts.push(runner);
        // Root without capabilities may remove only what is its own; this needs the right to override modes.
        container.capabilities = ["DAC_OVERRIDE", "FOWNER"].map(str::to_owned).to_vec();
        let id = self.provider().create(&container).await?;
        self.provider().start(&id).await?;
        let ended = self.provider().wait(&id).await;
        self.provider().remove(&id).await?;
        ended?;
        let workspace = Workspace::at(&self.workspace);
        workspace.remove().map_err(|error| ProviderError::Engine {
            operation: "removing a workspace",
            reason: error.to_string(),
        })
    }
}
