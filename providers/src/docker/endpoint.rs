//! Which socket Docker listens at, and what to say when it does not.

use std::io;
use std::path::Path;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use reactorcide_engine::provider::ProviderError;

use super::Connection;

/// Seconds until an answer must begin. Starting a container on a loaded machine takes long.
const TIMEOUT: u64 = 120;
const CREDENTIALS: &str = "x-registry-auth";

/// Connects to `host`, or to the first of the usual sockets that answers.
pub(super) async fn connect(host: Option<&str>) -> Result<Connection, ProviderError> {
    let candidates = match host {
        Some(host) => vec![host.to_owned()],
        None => usual_sockets(std::env::var("XDG_RUNTIME_DIR").ok().as_deref()),
    };
    let mut failures = Vec::new();
    for endpoint in candidates {
        match try_one(&endpoint).await {
            Ok(docker) => return Ok(Connection { docker, endpoint }),
            Err(failure) => failures.push((endpoint, failure)),
        }
    }
    Err(unreachable(&failures))
}

#[derive(Debug, PartialEq)]
enum Failure {
    Socket(io::ErrorKind),
    Scheme,
    Other(String),
}

fn usual_sockets(runtime_directory: Option<&str>) -> Vec<String> {
    let rootless = runtime_directory.filter(|path| path.starts_with('/'));
    let sockets = ["unix:///var/run/docker.sock".to_owned()].into_iter();
    sockets.chain(rootless.map(|path| format!("unix://{path}/docker.sock"))).collect()
}

async fn try_one(endpoint: &str) -> Result<Docker, Failure> {
    if let Some(path) = endpoint.strip_prefix("unix://") {
        // The client hides why it could not connect, and the reason decides what to do about it.
        tokio::net::UnixStream::connect(Path::new(path))
            .await
            .map_err(|error| Failure::Socket(error.kind()))?;
    }
    let docker = if endpoint.starts_with("unix://") {
        Docker::connect_with_unix(endpoint, TIMEOUT, API_DEFAULT_VERSION)
    } else if endpoint.starts_with("tcp://") {
        Docker::connect_with_http(endpoint, TIMEOUT, API_DEFAULT_VERSION)
    } else {
        return Err(Failure::Scheme);
    };
    let docker = docker.map_err(|error| Failure::Other(error.to_string()))?;
    let docker = docker.with_request_modifier(readable_credentials);
    docker.negotiate_version().await.map_err(|error| Failure::Other(super::errors::with_sources(&error)))
}

/// The client sends credentials in the standard alphabet of base64. The engine reads the one for URLs, and takes
/// what has `+` or `/` for no credentials at all.
fn readable_credentials(mut request: BollardRequest) -> BollardRequest {
    let header = request.headers().get(CREDENTIALS).and_then(|value| value.to_str().ok());
    if let Some(Ok(readable)) = header.map(|value| value.replace('+', "-").replace('/', "_").parse()) {
        request.headers_mut().insert(CREDENTIALS, readable);
    }
    request
}

fn unreachable(failures: &[(String, Failure)]) -> ProviderError {
    let endpoints: Vec<_> = failures.iter().map(|(endpoint, _)| endpoint.as_str()).collect();
    let reasons: Vec<_> = failures.iter().map(|(endpoint, failure)| (endpoint, reason(failure))).collect();
    let reason = match &reasons[..] {
        [(_, only)] => only.clone(),
        several => {
            let each = several.iter().map(|(endpoint, reason)| format!("{endpoint}: {reason}"));
            each.collect::<Vec<_>>().join("; ")
        }
    };
    ProviderError::Unreachable { endpoint: endpoints.join(", "), reason, hint: hint(failures) }
}

fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Socket(io::ErrorKind::NotFound) => "there is no such socket".to_owned(),
        Failure::Socket(io::ErrorKind::PermissionDenied) => "permission denied".to_owned(),
        Failure::Socket(io::ErrorKind::ConnectionRefused) => "nothing listens on the socket".to_owned(),
        Failure::Socket(kind) => kind.to_string(),
        Failure::Scheme => "only unix:// and tcp:// addresses are supported".to_owned(),
        Failure::Other(reason) => reason.clone(),
    }
}

fn hint(failures: &[(String, Failure)]) -> String {
    let any = |wanted: &Failure| failures.iter().any(|(_, failure)| failure == wanted);
    if any(&Failure::Socket(io::ErrorKind::PermissionDenied)) {
        "add yourself to the group docker (sudo usermod -aG docker \"$USER\") and log in again, or use rootless Docker"
    } else if any(&Failure::Scheme) {
        "set DOCKER_HOST to unix:///path/to/docker.sock or tcp://host:port"
    } else {
        "start Docker (sudo systemctl start docker), or set DOCKER_HOST to where it listens; \
         docker contexts are not read"
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> Failure {
        Failure::Socket(io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn tries_the_rootless_socket_second() {
        let sockets = usual_sockets(Some("/run/user/1000"));
        assert_eq!(sockets, ["unix:///var/run/docker.sock", "unix:///run/user/1000/docker.sock"]);
        assert_eq!(usual_sockets(Some("relative")), ["unix:///var/run/docker.sock"]);
    }

    #[test]
    fn says_what_to_do_about_a_forbidden_socket() {
        let failures = [
            ("unix:///a".to_owned(), denied()),
            ("unix:///b".to_owned(), Failure::Socket(io::ErrorKind::NotFound)),
        ];
        let ProviderError::Unreachable { endpoint, reason, hint } = unreachable(&failures) else { panic!() };
        assert_eq!(endpoint, "unix:///a, unix:///b");
        assert_eq!(reason, "unix:///a: permission denied; unix:///b: there is no such socket");
        assert!(hint.contains("group docker"), "{hint}");
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let error = connect(Some("unix:///nonexistent/docker.sock")).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no container engine answers at unix:///nonexistent/docker.sock: there is no such socket"
        );
    }

    #[tokio::test]
    async fn another_scheme_is_refused() {
        let ProviderError::Unreachable { hint, .. } = connect(Some("ssh://host")).await.unwrap_err() else {
            panic!()
        };
        assert!(hint.contains("tcp://"), "{hint}");
    }
}
