//! What the engine's errors mean: its texts become variants that the worker can decide on.

use std::error::Error as _;

use bollard::errors::Error;
use reactorcide_engine::provider::ProviderError;

/// What was being done, to what and where: the part of an error that the engine does not know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) operation: &'static str,
    /// A container's id or name, an image, or an owner.
    pub(super) name: &'a str,
    pub(super) endpoint: &'a str,
}

impl Subject<'_> {
    /// For everything but pulls.
    #[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
    pub(super) fn error(&self, error: Error) -> ProviderError {
        let text = text_of(&error);
        if is_connection(&error) {
            return ProviderError::Unreachable {
                endpoint: self.endpoint.to_owned(),
                reason: with_sources(&error),
                hint: "look whether Docker still runs (sudo systemctl status docker)".to_owned(),
            };
        }
        if text.contains("no space left on device") {
            return ProviderError::NoSpace { reason: text };
        }
        if let Some(reason) = refusal(&text) {
            return ProviderError::Refused { reason };
        }
        match status_of(&error) {
            Some(404) if text.contains("No such container") => ProviderError::Missing(self.name.to_owned()),
            Some(400) => ProviderError::Refused { reason: text },
            _ => ProviderError::Engine { operation: self.operation, reason: text },
        }
    }
}

/// The status of the engine's answer.
pub(super) fn status_of(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether there is no such object.
pub(super) fn is_missing(error: &Error) -> bool {
    status_of(error) == Some(404)
}

/// Whether no answer came, as opposed to one that says no.
pub(super) fn is_connection(error: &Error) -> bool {
    matches!(
        error,
        Error::HyperLegacyError { .. }
            | Error::HyperResponseError { .. }
            | Error::IOError { .. }
            | Error::RequestTimeoutError
            | Error::SocketNotFoundError(_)
    )
}

/// The engine's own words.
pub(super) fn text_of(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => with_sources(other),
    }
}

/// An error and its causes in one line.
pub(super) fn with_sources(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// What the job's author asked for that cannot be had, as a sentence.
fn refusal(text: &str) -> Option<String> {
    if text.contains("No command specified") {
        return Some("the image has no command of its own, and the job gives none".to_owned());
    }
    if let Some((_, path)) = text.split_once("bind source path does not exist: ") {
        return Some(format!("the directory to mount does not exist for the engine: {path}"));
    }
    if text.contains("unable to find user") || text.contains("no matching entries in passwd file") {
        return Some(format!("the user does not exist in the image ({text})"));
    }
    if text.contains("error gathering device information") {
        return Some(format!("a device cannot be had ({text})"));
    }
    let is_exec =
        ["executable file not found", "exec: ", "exec format error", "unable to start container process"];
    if !is_exec.iter().any(|part| text.contains(part)) {
        return None;
    }
    let program =
        text.split_once("exec: \"").and_then(|(_, rest)| rest.split_once('"')).map(|(program, _)| program);
    let program =
        program.map_or_else(|| "the program".to_owned(), |program| format!("the program {program:?}"));
    Some(if text.contains("executable file not found") {
        format!("{program} is not in the image's PATH")
    } else if text.contains("no such file or directory") {
        format!("{program} does not exist in the image, or what it needs to start does not")
    } else if text.contains("permission denied") {
        format!(
            "{program} may not be executed: permission denied (no execute bit, a directory, or the wrong user)"
        )
    } else if text.contains("is a directory") {
        format!("{program} is a directory")
    } else if text.contains("exec format error") {
        format!("{program} is for another processor, or a script without #! line")
    } else {
        format!("{program} could not be started ({text})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(status_code: u16, message: &str) -> ProviderError {
        let subject = Subject { operation: "starting the container", name: "c1", endpoint: "unix:///x" };
        subject.error(Error::DockerResponseServerError { status_code, message: message.to_owned() })
    }

    #[test]
    fn a_missing_program_is_the_authors_fault() {
        let text = "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \
                    \"rustc\": executable file not found in $PATH: unknown";
        assert_eq!(
            start(400, text).to_string(),
            "container cannot be started: the program \"rustc\" is not in the image's PATH"
        );
        let text = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start \
                    container process: exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown";
        let reason =
            "the program \"/bin/sh\" does not exist in the image, or what it needs to start does not";
        assert_eq!(start(400, text), ProviderError::Refused { reason: reason.to_owned() });
    }

    #[test]
    fn a_full_disk_is_not() {
        let text = "write /var/lib/docker/overlay2/x: no space left on device";
        assert_eq!(start(500, text), ProviderError::NoSpace { reason: text.to_owned() });
    }

    #[test]
    fn what_is_gone_is_missing_and_the_rest_is_told_as_it_is() {
        assert_eq!(start(404, "No such container: c1"), ProviderError::Missing("c1".to_owned()));
        let other = ProviderError::Engine { operation: "starting the container", reason: "odd".to_owned() };
        assert_eq!(start(500, "odd"), other);
    }
}
