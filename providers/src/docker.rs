//! Docker through its API: every job's container is made, watched and removed here.

mod attach;
mod container;
mod credentials;
mod endpoint;
mod errors;
mod life;
mod network;
mod pull;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::query_parameters::{
    InspectContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StatsOptionsBuilder,
};
use futures_util::StreamExt;
use reactorcide_engine::protocol::usage::Sample;
use reactorcide_engine::provider::{
    Attachment, ContainerId, ContainerSpec, ContainerState, ContainerSummary, EngineInfo, Exit, ImageInfo,
    Owner, Provider, ProviderError, PullPolicy,
};
use tokio::sync::{Mutex, OnceCell};

use self::errors::{Subject, is_missing, status_of};

/// The label that says whose a container or network is.
pub const OWNER_LABEL: &str = "reactorcide.owner";

/// How to reach Docker.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// `unix:///path` or `tcp://host:port`. `None`: the usual sockets.
    pub host: Option<String>,
    /// The directory that holds `config.json` with the registries' credentials. `None`: no credentials.
    pub credentials: Option<PathBuf>,
    /// How long an engine may be away, restarting for instance, before `wait` gives up.
    pub patience: Duration,
}

impl DockerConfig {
    /// As the environment says: `DOCKER_HOST`, `DOCKER_CONFIG` and `HOME`. Docker contexts are not read.
    pub fn from_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let directory = set("DOCKER_CONFIG").map(PathBuf::from);
        Self {
            host: set("DOCKER_HOST").map(|host| host.to_string_lossy().into_owned()),
            credentials: directory.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".docker"))),
            patience: Duration::from_secs(60),
        }
    }
}

/// A Docker engine, connected to at the first call.
#[derive(Debug)]
pub struct DockerProvider {
    config: DockerConfig,
    connection: OnceCell<Connection>,
    /// Held while a network is looked for or made, so that one owner gets one.
    network: Mutex<Option<(Owner, String)>>,
}

#[derive(Debug, Clone)]
struct Connection {
    docker: Docker,
    endpoint: String,
}

/// A provider for the engine that `config` names. Nothing is asked of it yet.
pub fn docker(config: DockerConfig) -> DockerProvider {
    DockerProvider { config, connection: OnceCell::new(), network: Mutex::new(None) }
}

impl DockerProvider {
    async fn connection(&self) -> Result<&Connection, ProviderError> {
        self.connection.get_or_try_init(|| endpoint::connect(self.config.host.as_deref())).await
    }

    async fn docker(&self) -> Result<&Docker, ProviderError> {
        Ok(&self.connection().await?.docker)
    }

    fn subject<'a>(&'a self, operation: &'static str, name: &'a str) -> Subject<'a> {
        let endpoint = self.connection.get().map_or("", |connection| connection.endpoint.as_str());
        Subject { operation, name, endpoint }
    }
}

#[async_trait]
impl Provider for DockerProvider {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn has_overlays(&self) -> bool {
        true
    }

    async fn info(&self) -> Result<EngineInfo, ProviderError> {
        let connection = self.connection().await?;
        let version = connection.docker.version().await;
        let version =
            version.map_err(|error| self.subject("asking the engine's version", "").error(error))?;
        Ok(EngineInfo { version: version.version.unwrap_or_default(), endpoint: connection.endpoint.clone() })
    }

    async fn pull(
        &self,
        image: &str,
        policy: PullPolicy,
        deadline: Duration,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<ImageInfo, ProviderError> {
        let credentials = self.config.credentials.as_deref();
        let subject = self.subject("pulling the image", image);
        pull::pull(self.docker().await?, subject, policy, deadline, credentials, progress).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, ProviderError> {
        let docker = self.docker().await?;
        let network = self.network_for(spec).await?;
        container::create(docker, self.subject("creating the container", &spec.name), spec, network).await
    }

    async fn attach(&self, id: &ContainerId) -> Result<Attachment, ProviderError> {
        attach::attach(self.docker().await?, self.subject("attaching to the container", &id.0)).await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), ProviderError> {
        let docker = self.docker().await?;
        match docker.start_container(&id.0, None).await {
            // 304: it runs already, or has ended.
            Err(error) if status_of(&error) == Some(304) => Ok(()),
            started => started.map_err(|error| self.subject("starting the container", &id.0).error(error)),
        }
    }

    async fn wait(&self, id: &ContainerId) -> Result<Exit, ProviderError> {
        let subject = self.subject("waiting for the container", &id.0);
        life::wait(self.docker().await?, subject, self.config.patience).await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ContainerState, ProviderError> {
        Ok(life::inspect(self.docker().await?, self.subject("inspecting the container", &id.0)).await?.state)
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), ProviderError> {
        let subject = self.subject("stopping the container", &id.0);
        life::stop(self.docker().await?, subject, grace, self.config.patience).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), ProviderError> {
        let docker = self.docker().await?;
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let subject = self.subject("removing the container", &id.0);
        match docker.remove_container(&id.0, Some(options)).await {
            Err(error) if is_missing(&error) => Ok(()),
            // Somebody else is at it already.
            Err(error) if status_of(&error) == Some(409) => life::gone(docker, subject, error).await,
            removed => removed.map_err(|error| subject.error(error)),
        }
    }

    async fn usage(&self, id: &ContainerId) -> Result<Option<Sample>, ProviderError> {
        let docker = self.docker().await?;
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let stats = docker.stats(&id.0, Some(options)).next().await;
        let failed = |error| self.subject("looking at what the container uses", &id.0).error(error);
        Ok(stats.transpose().map_err(failed)?.and_then(usage::sample))
    }

    async fn disk_usage(&self, id: &ContainerId) -> Result<u64, ProviderError> {
        let docker = self.docker().await?;
        let options = InspectContainerOptionsBuilder::new().size(true).build();
        let inspected = docker.inspect_container(&id.0, Some(options)).await;
        let inspected =
            inspected.map_err(|error| self.subject("measuring the container", &id.0).error(error))?;
        Ok(inspected.size_rw.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<ContainerSummary>, ProviderError> {
        let filters = [("label".to_owned(), vec![format!("{OWNER_LABEL}={}", owner.0)])].into();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.docker().await?.list_containers(Some(options)).await;
        let listed = listed.map_err(|error| self.subject("listing the containers", &owner.0).error(error))?;
        Ok(listed.into_iter().filter_map(container::summary).collect())
    }

    async fn release(&self, owner: &Owner) -> Result<(), ProviderError> {
        self.remove_network(owner).await
    }
}
