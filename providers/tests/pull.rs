//! Pulling, against a real registry on loopback and against things that only look like one.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::StreamExt;
use reactorcide_engine::provider::{ImageInfo, Provider, ProviderError, PullPolicy};
use reactorcide_providers::{DockerConfig, DockerProvider, docker};

const LOCAL: &str = "reactorcide/static:local";
const MINUTE: Duration = Duration::from_secs(60);
const USER: &str = "ann";
/// Its letters are such that base64 of them has both `+` and `/` in some positions.
const PASSWORD: &str = "se?cret~>";
/// bcrypt of [`PASSWORD`], the only kind that the registry takes.
const HTPASSWD: &str = "ann:$2y$05$abcdefghijklmnopqrstuubJKVX8Xo0mIUxFwEnfy9f5uEJ75WRy6";

/// Debian's `docker-registry` with its files in a temporary directory.
struct Registry {
    process: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Registry {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), false).await
    }

    /// Starts anew, with the same images; now it asks for a password.
    async fn with_password(mut self) -> Self {
        self.stop();
        let empty = tempfile::tempdir().expect("a directory");
        Self::start_in(std::mem::replace(&mut self.directory, empty), true).await
    }

    async fn start_in(directory: tempfile::TempDir, with_password: bool) -> Self {
        let root = directory.path().display();
        let port = free_port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\n\
             http: {{addr: 127.0.0.1:{port}}}\n"
        );
        if with_password {
            std::fs::write(directory.path().join("htpasswd"), HTPASSWD).expect("written");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n");
        }
        let path = directory.path().join("config.yml");
        std::fs::write(&path, config).expect("written");
        let process = Command::new("docker-registry")
            .args(["serve".as_ref(), path.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is missing: run ./dev setup");
        let deadline = Instant::now() + MINUTE;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { process, port, directory }
    }

    fn image(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Pushes the local image, and removes the name from the engine again.
    async fn push(&self, name: &str, tag: &str) {
        let docker = Docker::connect_with_local_defaults().expect("a client").negotiate_version().await;
        let docker = docker.expect("Docker does not answer: run ./dev setup");
        let repository = self.image(name);
        let options = TagImageOptionsBuilder::new().repo(&repository).tag(tag).build();
        docker.tag_image(LOCAL, Some(options)).await.expect("the local images are missing: run ./dev setup");
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        let mut lines = docker.push_image(&repository, Some(options), None);
        while let Some(line) = lines.next().await {
            line.expect("pushed");
        }
        untag(&format!("{repository}:{tag}"));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An image's name, taken from the engine when the test ends.
struct Pulled(String);

impl Drop for Pulled {
    fn drop(&mut self) {
        untag(&self.0);
    }
}

fn untag(image: &str) {
    let _ = Command::new("docker").args(["image", "rm", "--no-prune", image]).output();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn provider(credentials: Option<&Path>) -> DockerProvider {
    let credentials = credentials.map(Path::to_owned);
    docker(DockerConfig { credentials, ..DockerConfig::from_environment() })
}

async fn pull(
    provider: &DockerProvider,
    image: &str,
    deadline: Duration,
) -> Result<ImageInfo, ProviderError> {
    provider.pull(image, PullPolicy::IfMissing, deadline, &|_| {}).await
}

/// The reason, and whether another try may help.
async fn refusal(provider: &DockerProvider, image: &str, deadline: Duration) -> (String, bool) {
    match pull(provider, image, deadline).await {
        Err(ProviderError::Image { image: named, reason, transient }) => {
            assert_eq!(named, image);
            (reason, transient)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tag_and_by_digest() {
    let registry = Registry::start().await;
    registry.push("a/static", "v1").await;
    let provider = provider(None);
    let tagged = Pulled(registry.image("a/static:v1"));
    let lines = Mutex::new(Vec::new());
    let report = |line| lines.lock().expect("not poisoned").push(line);
    let found = provider.pull(&tagged.0, PullPolicy::Always, MINUTE, &report).await.expect("pulled");
    let lines = lines.into_inner().expect("not poisoned");
    assert_eq!(lines.first(), Some(&format!("pulling {}", tagged.0)));
    assert_eq!(lines.last(), Some(&format!("pulled {}", tagged.0)));
    assert!(!found.command.is_empty());

    let digest = found.digest.clone().expect("it came from a registry");
    let pinned = Pulled(registry.image(&format!("a/static@{digest}")));
    untag(&tagged.0);
    assert_eq!(pull(&provider, &pinned.0, MINUTE).await.expect("pulled"), found);

    let wrong = registry.image(&format!("a/static@sha256:{}", "0".repeat(64)));
    let (reason, transient) = refusal(&provider, &wrong, MINUTE).await;
    assert!(reason.starts_with("the registry has no such image or tag") && !transient, "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_image_is_not_asked_for_again() {
    let registry = Registry::start().await;
    registry.push("b", "latest").await;
    let provider = provider(None);
    let image = Pulled(registry.image("b"));
    let found = pull(&provider, &image.0, MINUTE).await.expect("pulled");
    drop(registry);
    assert_eq!(pull(&provider, &image.0, MINUTE).await.expect("it is there"), found);
    let always =
        provider.pull(&image.0, PullPolicy::Always, MINUTE, &|_| {}).await.expect_err("nobody answers");
    assert!(matches!(&always, ProviderError::Image { transient: true, .. }), "{always:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_registry_lacks() {
    let registry = Registry::start().await;
    registry.push("c", "v1").await;
    let provider = provider(None);
    for image in ["c:v2", "nothing:v1"] {
        let (reason, transient) = refusal(&provider, &registry.image(image), MINUTE).await;
        assert!(reason.starts_with("the registry has no such image or tag") && !transient, "{reason}");
    }
    let (reason, transient) = refusal(&provider, "Not An Image", MINUTE).await;
    assert!(reason.starts_with("that is not an image's name") && !transient, "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_config_file() {
    use base64::Engine;
    let registry = Registry::start().await;
    registry.push("d", "v1").await;
    let registry = registry.with_password().await;
    let server = registry.image("");
    let server = server.trim_end_matches('/');
    let image = Pulled(registry.image("d:v1"));
    let write = |password: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
        let mut file = std::fs::File::create(registry.directory.path().join("config.json")).expect("made");
        write!(file, r#"{{"auths": {{"{server}": {{"auth": "{auth}"}}}}}}"#).expect("written");
    };
    for provider in [provider(None), {
        write("wrong");
        provider(Some(registry.directory.path()))
    }] {
        let (reason, transient) = refusal(&provider, &image.0, MINUTE).await;
        assert!(
            reason.starts_with("the registry asks for credentials or refuses those") && !transient,
            "{reason}"
        );
    }
    write(PASSWORD);
    pull(&provider(Some(registry.directory.path())), &image.0, MINUTE).await.expect("pulled");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens() {
    let image = format!("127.0.0.1:{}/a:v1", free_port());
    let (reason, transient) = refusal(&provider(None), &image, MINUTE).await;
    assert!(reason.starts_with("the registry cannot be reached") && transient, "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_never_answers_meets_the_deadline() {
    // It takes connections, and nothing else.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let image = format!("127.0.0.1:{}/a:v1", listener.local_addr().expect("an address").port());
    let begun = Instant::now();
    let (reason, transient) = refusal(&provider(None), &image, Duration::from_millis(700)).await;
    assert_eq!(reason, "the registry did not deliver it within 700ms");
    assert!(transient);
    assert!(begun.elapsed() < Duration::from_secs(20));
}
