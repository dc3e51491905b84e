//! What runs containers, as a trait: docker, nerdctl and Kubernetes are alike behind it.
//!
//! The contract that every provider keeps, and that the conformance suite checks:
//!
//! - A container's name is its idempotency key. `create` with a name that exists and is ours returns the
//!   handle of the existing one; it never makes two. A name that is another owner's is an error.
//! - `stop` and `remove` succeed on what is already gone.
//! - Every object that a provider creates carries the owner's labels, and `list` finds it by them even after
//!   the process that created it died. Nothing without our labels is ever touched.
//! - Methods may be called at once for different containers. For one container the caller calls them in order,
//!   apart from `stop`, which may come at any time.
//! - Dropping a future leaves at most one object behind, which `list` finds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use reactorcide_protocol::usage::Sample;

/// The fake provider: containers that are closures, for tests of everything above a provider.
pub mod fake;

/// Runs containers.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug {
    /// `docker`, `nerdctl`, `kubernetes` or `fake`.
    fn name(&self) -> &'static str;

    /// Asks the engine who it is. The error says which address was tried and what to do.
    async fn info(&self) -> Result<EngineInfo, ProviderError>;

    /// Makes an image available and returns what it is. With [`PullPolicy::IfMissing`] a local image is used
    /// as it is. `progress` is called now and then with a line for people.
    async fn pull(
        &self,
        image: &str,
        policy: PullPolicy,
        deadline: Duration,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<ImageInfo, ProviderError>;

    /// Whether it can mount an [`Overlay`].
    fn has_overlays(&self) -> bool {
        false
    }

    /// Creates a container, not yet started.
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, ProviderError>;

    /// Attaches to a container before it starts, so that nothing it prints is lost. The reader must be read
    /// without waiting for anything slow: a stalled reader freezes the job.
    async fn attach(&self, id: &ContainerId) -> Result<Attachment, ProviderError>;

    /// Starts it. Starting what runs already is no error; what has ended must not be started again.
    async fn start(&self, id: &ContainerId) -> Result<(), ProviderError>;

    /// Waits until it has ended, however often the connection to the engine breaks meanwhile; [`Unreachable`]
    /// only after the provider's patience is over. May be called before the start and by several at once. What
    /// is removed meanwhile is [`Missing`], or its exit if that was seen.
    ///
    /// [`Unreachable`]: ProviderError::Unreachable
    /// [`Missing`]: ProviderError::Missing
    async fn wait(&self, id: &ContainerId) -> Result<Exit, ProviderError>;

    /// What it is doing.
    async fn inspect(&self, id: &ContainerId) -> Result<ContainerState, ProviderError>;

    /// SIGTERM, then SIGKILL after `grace`; returns once it has ended. With a zero grace: SIGKILL at once.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), ProviderError>;

    /// Removes it, running or not, with what belongs to it alone.
    async fn remove(&self, id: &ContainerId) -> Result<(), ProviderError>;

    /// Bytes written to the container's own file system, beside its workspace.
    async fn disk_usage(&self, id: &ContainerId) -> Result<u64, ProviderError>;

    /// What a container that runs has used so far, where the provider can tell that cheaply. `at_ms` is not filled in.
    async fn usage(&self, _id: &ContainerId) -> Result<Option<Sample>, ProviderError> {
        Ok(None)
    }

    /// All containers of an owner, running or not.
    async fn list(&self, owner: &Owner) -> Result<Vec<ContainerSummary>, ProviderError>;

    /// Removes what is shared between the containers of an owner, such as a network. While one is left that
    /// uses it, does nothing and is no error.
    async fn release(&self, owner: &Owner) -> Result<(), ProviderError>;
}

/// Whose containers they are: one worker, or one local run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub String);

/// The provider's own name of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(pub String);

/// Who the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version, for people.
    pub version: String,
    /// Where it was reached.
    pub endpoint: String,
}

/// When to ask a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Only for an image that is not there.
    #[default]
    IfMissing,
    /// Always.
    Always,
    /// Never: an image that is not there is an error.
    Never,
}

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its content-addressed id.
    pub id: String,
    /// Its digest at the registry, where it came from one.
    pub digest: Option<String>,
    /// Its own command, entrypoint first.
    pub command: Vec<String>,
}

/// A container to create.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    /// Unique name; the idempotency key.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Further labels, such as the run and the job.
    pub labels: BTreeMap<String, String>,
    /// The image.
    pub image: String,
    /// The first process. `None`: the image's own entrypoint and command.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments behind the entrypoint (ours or the image's). `None`: the image's own.
    pub command: Option<Vec<String>>,
    /// Environment; nothing secret, since the engine's API shows it.
    pub environment: BTreeMap<String, String>,
    /// Where the first process starts. `None`: as the image says.
    pub working_dir: Option<String>,
    /// User and group.
    pub user: User,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// Directories in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Directories that are mounted with a layer over them; only for a provider that has layers.
    pub overlays: Vec<Overlay>,
    /// What it may use.
    pub limits: Limits,
    /// Its network.
    pub network: NetworkMode,
    /// The image's file system is read-only; `/tmp` is a small tmpfs then.
    pub read_only: bool,
    /// Host devices.
    pub devices: Vec<String>,
    /// Linux capabilities beyond none.
    pub capabilities: Vec<String>,
    /// Keep standard input open, for the job spec.
    pub stdin: bool,
}

/// User and group in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A host path in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Path on the host.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: String,
    /// Cannot be written.
    pub read_only: bool,
}

/// A directory in memory, of the container alone and gone with it: nothing of it lies on a disk or in a layer. Only the
/// container's user can enter it (0700); nothing in it can be executed, be a device or change who runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Absolute path in the container.
    pub target: String,
    /// The most that it holds, in bytes. It counts as memory of the container.
    pub bytes: u64,
}

/// A host directory in a container that can be written there without being changed: what is written goes to a layer of
/// this container's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// What is seen until it is written over. It must not change meanwhile.
    pub lower: PathBuf,
    /// An empty directory that takes what is written.
    pub upper: PathBuf,
    /// An empty directory beside it that the kernel needs.
    pub work: PathBuf,
    /// Absolute path in the container.
    pub target: String,
}

/// What a container may use. `None` means no limit of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory, swap included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// A container's network. The host's own is not on offer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// A namespace of its own with a way out, and no way to other jobs.
    #[default]
    Isolated,
    /// A namespace of its own with loopback only.
    None,
}

/// Both ends of an attached container.
pub struct Attachment {
    /// Its standard input, where the spec asked for one.
    pub input: Option<Box<dyn Input>>,
    /// What it prints from now on, in order; nothing is replayed. The end of the stream, also where a connection
    /// broke, means "look again", not "it has ended". Dropping the attachment ends the container's input.
    pub output: BoxStream<'static, Result<Chunk, ProviderError>>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").finish_non_exhaustive()
    }
}

/// A container's standard input.
#[async_trait]
pub trait Input: Send {
    /// Writes all bytes and flushes.
    async fn write_all(&mut self, bytes: &[u8]) -> Result<(), ProviderError>;
    /// Closes it.
    async fn close(&mut self) -> Result<(), ProviderError>;
}

/// Some bytes that a container printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// True for standard error.
    pub stderr: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The first process's exit code; 128 + signal where it was killed.
    pub code: i64,
    /// The kernel killed one of its processes for lack of memory. The job may have exited with 0 all the same.
    pub oom: bool,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Created, not started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited(Exit),
    /// There is none of that id.
    Missing,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its labels, ours included.
    pub labels: BTreeMap<String, String>,
    /// Whether it runs.
    pub running: bool,
}

/// What went wrong with an engine. Each says what was being done, to what, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No engine answered.
    #[error("no container engine answers at {endpoint}: {reason}")]
    Unreachable {
        /// What was tried.
        endpoint: String,
        /// What happened.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The image cannot be had: missing, refused, or too slow.
    #[error("image {image:?} cannot be had: {reason}")]
    Image {
        /// The image.
        image: String,
        /// What the engine or registry said.
        reason: String,
        /// Whether another try may help.
        transient: bool,
    },
    /// The container cannot be created or started as asked: the fault of the job's author.
    #[error("container cannot be started: {reason}")]
    Refused {
        /// What the engine said.
        reason: String,
    },
    /// The disk of the engine is full.
    #[error("no space left on the container engine's disk: {reason}")]
    NoSpace {
        /// What the engine said.
        reason: String,
    },
    /// There is no such container.
    #[error("container {0} is gone")]
    Missing(String),
    /// Anything else.
    #[error("{operation} failed: {reason}")]
    Engine {
        /// What was being done.
        operation: &'static str,
        /// What the engine said.
        reason: String,
    },
}
