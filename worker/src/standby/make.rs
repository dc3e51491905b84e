//! Making and removing the containers that wait, and what belongs to them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reactorcide_engine::provider::{ContainerId, ProviderError, PullPolicy};

use super::ready::Running;
use super::shape::{LABEL, Shape};
use super::{Shared, Waiting};
use crate::sweep::OwnerLock;
use crate::workspace::{Workspace, beside, host_user};

impl Shared {
    /// Makes a container and starts it. An error leaves nothing.
    pub(super) async fn make(&self, shape: &Shape) -> Result<Waiting, ProviderError> {
        let (settings, image) = (&self.settings, shape.image());
        let pulled = self.provider.pull(image, settings.pull, settings.pull_deadline, &|_| ()).await?.id;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let workspace = self.workspace(&id);
        let running = self.run(shape, &id, &workspace).await;
        let running = match running {
            Ok(running) => running,
            Err(error) => {
                remove_workspace(workspace).await;
                return Err(error);
            }
        };
        // The name may have come to stand for another image between the two.
        match self.local(image).await {
            Ok(is_now) if is_now == pulled => Ok(Waiting { running, image: pulled }),
            other => {
                self.remove(running, true).await;
                let changed = || ProviderError::Engine {
                    operation: "starting a container ahead of jobs",
                    reason: format!("the image {image:?} changed meanwhile"),
                };
                Err(other.err().unwrap_or_else(changed))
            }
        }
    }

    async fn run(&self, shape: &Shape, id: &str, workspace: &Path) -> Result<Running, ProviderError> {
        let (path, user) = (workspace.to_owned(), shape.user());
        let with_ci = shape.own_mounts().iter().any(|mount| mount == ".ci");
        let made =
            tokio::task::spawn_blocking(move || Workspace::ahead(&path, with_ci, host_user(), user)).await;
        let failed = |reason: String| ProviderError::Engine { operation: "making a workspace", reason };
        match made {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.is_no_space() => {
                return Err(ProviderError::NoSpace { reason: error.explain() });
            }
            Ok(Err(error)) => return Err(failed(error.explain())),
            Err(error) => return Err(failed(error.to_string())),
        }
        let name = format!("{}-standby-{id}", self.settings.owner.0);
        let container = self.provider.create(&shape.container(&name, id, workspace)).await?;
        match self.start_container(&container).await {
            Ok((attached, exit)) => {
                Ok(Running { id: container, name, attached, exit, workspace: workspace.to_owned() })
            }
            Err(error) => {
                let _ = self.provider.remove(&container).await;
                Err(error)
            }
        }
    }

    async fn start_container(&self, id: &ContainerId) -> Result<Started, ProviderError> {
        let attached = self.provider.attach(id).await?;
        let (provider, container) = (Arc::clone(&self.provider), id.clone());
        // Not all that we share: what waits must not keep itself.
        let changed = Arc::clone(&self.changed);
        let exit = tokio::spawn(async move {
            let ended = provider.wait(&container).await;
            changed.notify_one();
            ended
        });
        match self.provider.start(id).await {
            Ok(()) => Ok((attached, exit)),
            Err(error) => {
                exit.abort();
                Err(error)
            }
        }
    }

    /// What the engine has under an image's name, without asking anybody else.
    pub(super) async fn local(&self, image: &str) -> Result<String, ProviderError> {
        let deadline = self.settings.pull_deadline;
        Ok(self.provider.pull(image, PullPolicy::Never, deadline, &|_| ()).await?.id)
    }

    /// Removes a container, and its workspace where no job has it. What cannot be removed is found when the owner's
    /// leftovers are.
    pub(super) async fn remove(&self, running: Running, with_workspace: bool) {
        let Running { id, name, attached, exit, workspace } = running;
        exit.abort();
        drop(attached);
        if let Err(error) = self.provider.remove(&id).await {
            tracing::warn!(container = name, %error, "a container that waited could not be removed");
        }
        if with_workspace {
            remove_workspace(workspace).await;
        }
    }

    fn workspace(&self, id: &str) -> PathBuf {
        OwnerLock::workspaces(&self.settings.directory, &self.settings.owner).join(format!("standby-{id}"))
    }
}

type Started = (
    reactorcide_engine::provider::Attachment,
    tokio::task::JoinHandle<Result<reactorcide_engine::provider::Exit, ProviderError>>,
);

async fn remove_workspace(path: PathBuf) {
    let removed =
        tokio::task::spawn_blocking(move || Workspace::at(&path).remove().map_err(|error| (path, error)));
    if let Ok(Err((path, error))) = removed.await {
        tracing::warn!(workspace = %path.display(), %error, "a workspace could not be removed");
    }
}

/// Moves everything that a waiting container has mounted to where its job looks for it. It stays mounted.
pub(super) fn move_workspace(shape: &Shape, from: &Path, to: &Path) -> io::Result<()> {
    for mount in shape.own_mounts() {
        match mount.strip_prefix('.') {
            None => std::fs::rename(from, to)?,
            Some(what) => std::fs::rename(beside(from, what), beside(to, what))?,
        }
    }
    Ok(())
}

/// Removes what waited for an earlier worker of the same name. What had been taken has another workspace, and is left to
/// whoever looks after that.
pub(super) async fn remove_leftovers(shared: &Shared) -> Result<(), ProviderError> {
    for container in shared.provider.list(&shared.settings.owner).await? {
        let Some(id) = container.labels.get(LABEL) else { continue };
        let workspace = shared.workspace(id);
        if workspace.is_dir() {
            shared.provider.remove(&container.id).await?;
            remove_workspace(workspace).await;
        }
    }
    Ok(())
}

/// The bytes that are free where a directory is, for everybody; as many as there can be where that cannot be told.
pub(super) fn free_bytes(directory: &Path) -> u64 {
    rustix::fs::statvfs(directory).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}
