//! Registry credentials from `config.json`: what `docker login` wrote there itself. Credential helpers, which
//! are programs, are not called.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;

/// The credentials for an image's registry, if there are any.
pub(super) fn for_image(directory: &Path, image: &str) -> Option<DockerCredentials> {
    let text = std::fs::read_to_string(directory.join("config.json")).ok()?;
    find(&text, registry_of(image))
}

/// The registry's host, with the port if one is given.
pub(super) fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

fn find(config: &str, registry: &str) -> Option<DockerCredentials> {
    let config: ConfigFile = serde_json::from_str(config).ok()?;
    let (server, entry) = config.auths.into_iter().find(|(server, _)| host_of(server) == registry)?;
    let decoded = entry.auth.and_then(|auth| String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok());
    let pair =
        decoded.and_then(|pair| pair.split_once(':').map(|(user, pass)| (user.to_owned(), pass.to_owned())));
    let (username, password) =
        pair.map_or((entry.username, entry.password), |(user, pass)| (Some(user), Some(pass)));
    if username.is_none() && entry.identitytoken.is_none() {
        return None;
    }
    Some(DockerCredentials {
        username,
        password,
        identitytoken: entry.identitytoken,
        serveraddress: Some(server),
        ..Default::default()
    })
}

fn host_of(server: &str) -> &str {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    match bare.split('/').next().unwrap_or(bare) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_of_images() {
        assert_eq!(registry_of("alpine:3"), "docker.io");
        assert_eq!(registry_of("library/alpine"), "docker.io");
        assert_eq!(registry_of("localhost/x"), "localhost");
        assert_eq!(registry_of("127.0.0.1:5000/a/b@sha256:00"), "127.0.0.1:5000");
    }

    #[test]
    fn finds_what_docker_login_wrote() {
        let auth = STANDARD.encode("ann:se:cret");
        let config =
            format!(r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}},"r.example":{{}}}}}}"#);
        let found = find(&config, "docker.io").unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("ann"), Some("se:cret")));
        assert!(find(&config, "r.example").is_none(), "kept by a helper");
        assert!(find("not json", "docker.io").is_none());
    }
}
