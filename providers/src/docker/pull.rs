//! Getting an image: from the engine or a registry, with progress, a deadline and an error that says why not.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use reactorcide_engine::provider::{ImageInfo, ProviderError, PullPolicy};

use super::credentials;
use super::errors::{Subject, is_missing, status_of, text_of};

/// Between two lines of progress.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// Makes the image available.
pub(super) async fn pull(
    docker: &Docker,
    subject: Subject<'_>,
    policy: PullPolicy,
    deadline: Duration,
    credentials: Option<&Path>,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<ImageInfo, ProviderError> {
    let image = subject.name;
    if policy != PullPolicy::Always {
        match docker.inspect_image(image).await {
            Ok(found) => return Ok(info(image, found)),
            Err(error) if is_missing(&error) && policy == PullPolicy::IfMissing => {}
            Err(error) if is_missing(&error) => {
                let reason = "the engine does not have it, and it may not be pulled".to_owned();
                return Err(ProviderError::Image { image: image.to_owned(), reason, transient: false });
            }
            Err(error) => return Err(image_error(subject, error)),
        }
    }
    progress(format!("pulling {image}"));
    let fetched = tokio::time::timeout(deadline, fetch(docker, image, credentials, progress)).await;
    fetched
        .map_err(|_| ProviderError::Image {
            image: image.to_owned(),
            reason: format!("the registry did not deliver it within {deadline:?}"),
            transient: true,
        })?
        .map_err(|error| image_error(subject, error))?;
    let found = docker.inspect_image(image).await.map_err(|error| image_error(subject, error))?;
    Ok(info(image, found))
}

async fn fetch(
    docker: &Docker,
    image: &str,
    credentials: Option<&Path>,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<(), Error> {
    let credentials = credentials.and_then(|directory| credentials::for_image(directory, image));
    let options = CreateImageOptionsBuilder::new().from_image(&with_tag(image)).build();
    let mut lines = docker.create_image(Some(options), None, credentials);
    let mut layers = Layers::default();
    let mut last = Instant::now();
    while let Some(line) = lines.next().await {
        layers.see(line?);
        if last.elapsed() >= BETWEEN_LINES {
            last = Instant::now();
            progress(format!("pulling {image}: {}", layers.line()));
        }
    }
    progress(format!("pulled {image}"));
    Ok(())
}

/// Without a tag the engine would pull all of them.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// How far each layer is.
#[derive(Default)]
struct Layers {
    done: HashMap<String, bool>,
    bytes: HashMap<String, (i64, i64)>,
}

impl Layers {
    fn see(&mut self, line: CreateImageInfo) {
        let (Some(id), Some(status)) = (line.id, line.status) else { return };
        match status.as_str() {
            "Pulling fs layer" | "Waiting" => {
                self.done.entry(id).or_insert(false);
            }
            "Pull complete" | "Already exists" => {
                self.done.insert(id, true);
            }
            "Downloading" => {
                let detail = line.progress_detail.unwrap_or_default();
                self.bytes.insert(id, (detail.current.unwrap_or(0), detail.total.unwrap_or(0)));
            }
            "Download complete" => {
                if let Some((current, total)) = self.bytes.get_mut(&id) {
                    *current = *total;
                }
            }
            _ => {}
        }
    }

    fn line(&self) -> String {
        let done = self.done.values().filter(|done| **done).count();
        let (current, total) =
            self.bytes.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        let mebibytes = |bytes: i64| bytes / (1 << 20);
        format!("{done} of {} layers, {} of {} MiB", self.done.len(), mebibytes(current), mebibytes(total))
    }
}

fn info(image: &str, found: ImageInspect) -> ImageInfo {
    let digests = found.repo_digests.unwrap_or_default();
    let wanted = repository_of(image);
    let digest = digests.iter().filter_map(|entry| entry.split_once('@')).find(|(of, _)| *of == wanted);
    let config = found.config.unwrap_or_default();
    let entrypoint = config.entrypoint.unwrap_or_default();
    ImageInfo {
        id: found.id.unwrap_or_default(),
        digest: digest.map(|(_, digest)| digest.to_owned()),
        command: entrypoint.into_iter().chain(config.cmd.unwrap_or_default()).collect(),
    }
}

/// The image's name as the engine shows it, without tag and digest.
fn repository_of(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let name =
        name.strip_prefix("docker.io/").map_or(name, |rest| rest.strip_prefix("library/").unwrap_or(rest));
    let start_of_last = name.rfind('/').map_or(0, |slash| slash + 1);
    name[start_of_last..].find(':').map_or(name, |colon| &name[..start_of_last + colon])
}

fn image_error(subject: Subject<'_>, error: Error) -> ProviderError {
    let text = text_of(&error);
    if super::errors::is_connection(&error) || text.contains("no space left on device") {
        return subject.error(error);
    }
    let (reason, transient) = explain(&text, status_of(&error));
    ProviderError::Image { image: subject.name.to_owned(), reason, transient }
}

/// A sentence, and whether another try may help.
fn explain(text: &str, status: Option<u16>) -> (String, bool) {
    let any = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let (sentence, transient) =
        if any(&["manifest unknown", "name unknown", "not found: manifest", "not found"]) {
            ("the registry has no such image or tag", false)
        } else if any(&["no matching manifest", "does not match the specified platform"]) {
            ("the image is not made for this engine's processor", false)
        } else if any(&["invalid reference format", "invalid checksum digest"]) {
            ("that is not an image's name", false)
        } else if any(&["toomanyrequests", "too many requests"]) {
            ("the registry allows no more pulls for now", true)
        } else if any(&[
            "pull access denied",
            "no basic auth",
            "unauthorized",
            "authentication required",
            "denied",
        ]) {
            (
                "the registry asks for credentials or refuses those given; log in with docker login \
          (credential helpers are not read)",
                false,
            )
        } else if any(&["connection refused", "no route to host", "network is unreachable"]) {
            ("the registry cannot be reached", true)
        } else if any(&["no such host"]) {
            ("the registry's host name is unknown", false)
        } else if any(&[
            "timeout",
            "deadline exceeded",
            "Client.Timeout",
            "EOF",
            "connection reset",
            "server misbehaving",
        ]) {
            ("the registry does not answer as it should", true)
        } else {
            ("the engine could not pull it", status.is_some_and(|status| status >= 500))
        };
    (format!("{sentence} ({text})"), transient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_means_latest() {
        assert_eq!(with_tag("alpine"), "alpine:latest");
        assert_eq!(with_tag("localhost:5000/a"), "localhost:5000/a:latest");
        assert_eq!(with_tag("localhost:5000/a:1"), "localhost:5000/a:1");
        assert_eq!(with_tag("a@sha256:00"), "a@sha256:00");
    }

    #[test]
    fn repositories_of_images() {
        assert_eq!(repository_of("localhost:5000/a/b:1@sha256:00"), "localhost:5000/a/b");
        assert_eq!(repository_of("docker.io/library/alpine:3"), "alpine");
    }

    #[test]
    fn explains_and_says_whether_to_try_again() {
        let refused = "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused";
        assert!(explain(refused, Some(500)).1);
        let denied = "pull access denied for x, repository does not exist or may require 'docker login'";
        assert!(explain(denied, Some(404)).0.starts_with("the registry asks for credentials"));
        assert!(!explain("manifest for x:9 not found: manifest unknown", Some(404)).1);
    }

    #[test]
    fn progress_is_summed_up() {
        let mut layers = Layers::default();
        let line = |id: &str, status: &str| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            ..Default::default()
        };
        layers.see(line("a", "Pulling fs layer"));
        layers.see(line("b", "Pulling fs layer"));
        layers.see(line("a", "Pull complete"));
        assert_eq!(layers.line(), "1 of 2 layers, 0 of 0 MiB");
    }
}
