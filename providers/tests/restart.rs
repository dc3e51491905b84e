//! An engine that goes away in the middle: a proxy before the real socket cuts every connection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use reactorcide_engine::provider::{
    ContainerId, ContainerSpec, ContainerState, Limits, NetworkMode, Owner, Provider, ProviderError, User,
};
use reactorcide_providers::{DockerConfig, docker};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

const MINUTE: Duration = Duration::from_secs(60);

/// A socket that passes everything on to the engine's, until it is dropped.
struct Proxy {
    task: JoinHandle<()>,
    path: PathBuf,
}

impl Proxy {
    fn listen(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut engine =
                        UnixStream::connect(engine_socket()).await.expect("Docker: run ./dev setup");
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
                });
            }
        });
        Self { task, path: path.to_owned() }
    }

    /// Cuts all connections and takes no more.
    async fn cut(self) {
        self.task.abort();
        let _ = self.task.await;
        std::fs::remove_file(self.path).expect("removed");
    }
}

fn engine_socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
}

fn config(socket: &Path, patience: Duration) -> DockerConfig {
    DockerConfig { host: Some(format!("unix://{}", socket.display())), credentials: None, patience }
}

fn spec(name: &str, script: &str) -> ContainerSpec {
    let owner = format!("test-restart-{}-{name}", std::process::id());
    ContainerSpec {
        name: owner.clone(),
        owner: Owner(owner),
        labels: BTreeMap::new(),
        image: "reactorcide/busybox:local".to_owned(),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]),
        command: Some(vec![script.to_owned()]),
        environment: BTreeMap::new(),
        working_dir: None,
        user: User { uid: 1001, gid: 1001 },
        mounts: Vec::new(),
        tmpfs: Vec::new(),
        overlays: Vec::new(),
        limits: Limits::default(),
        network: NetworkMode::None,
        read_only: false,
        devices: Vec::new(),
        capabilities: Vec::new(),
        stdin: true,
    }
}

/// Removes the container past the proxy, also where the test fails.
struct Removed(ContainerId);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["rm", "--force", "--volumes", &self.0.0]).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_outlives_the_connection() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("docker.sock");
    let proxy = Proxy::listen(&socket);
    let provider = docker(config(&socket, MINUTE));
    let spec = spec("outlives", "echo ready; read line; exit 7");
    let id = provider.create(&spec).await.expect("created: run ./dev setup if the image is missing");
    let removed = Removed(id.clone());
    let first = provider.attach(&id).await.expect("attached");
    provider.start(&id).await.expect("started");
    let (waiting, cutting) = (provider.wait(&id), async {
        let mut output = first.output;
        let ready = output.next().await.expect("a chunk").expect("a chunk");
        assert_eq!(ready.bytes, b"ready\n");
        proxy.cut().await;
        // Cut is the end of the stream, not an error and not the end of the container.
        assert!(output.next().await.is_none());
        let away = provider.inspect(&id).await.expect_err("nobody answers");
        assert!(matches!(away, ProviderError::Unreachable { .. }), "{away:?}");
        let back = Proxy::listen(&socket);
        provider.stop(&id, Duration::ZERO).await.expect("stopped");
        back
    });
    let both = tokio::time::timeout(MINUTE, futures_util::future::join(waiting, cutting)).await;
    let (exit, _back) = both.expect("ends");
    // The end of the attached connection is the end of its input (7), if that comes before the kill (137).
    assert!(matches!(exit.expect("it is known").code, 137 | 7 | 1));
    assert!(matches!(provider.inspect(&id).await, Ok(ContainerState::Exited(_))));
    drop(removed);
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("docker.sock");
    let proxy = Proxy::listen(&socket);
    let provider = docker(config(&socket, Duration::from_millis(300)));
    let id = provider.create(&spec("patience", "sleep 1000")).await.expect("created: run ./dev setup if not");
    let _removed = Removed(id.clone());
    provider.start(&id).await.expect("started");
    let (waited, ()) = futures_util::future::join(provider.wait(&id), proxy.cut()).await;
    assert!(matches!(&waited, Err(ProviderError::Unreachable { .. })), "{waited:?}");
}
