//! How git is called: with no configuration but ours, no hooks, few transports, and credentials that stand in no
//! argument, no environment and no file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::source::context::{Context, Credentials, in_memory, path_of};
use crate::source::error::SourceError;
use crate::source::tool::{Answer, Call};
use reactorcide_engine::protocol::source::Location;

/// What git is told in every call, over whatever a repository says.
const SETTINGS: [&str; 15] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.symlinks=true",
    "core.askPass=",
    "credential.helper=",
    "protocol.allow=never",
    "submodule.recurse=false",
    "transfer.bundleURI=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.unpackLimit=1",
];

/// git for one repository.
pub struct Git<'a> {
    pub context: &'a Context,
    pub location: &'a Location,
    pub credentials: Option<&'a Credentials>,
    /// A configuration in memory that carries a header, where there is one.
    header: Option<OwnedFd>,
    /// An SSH key in memory, where there is one.
    key: Option<OwnedFd>,
}

impl<'a> Git<'a> {
    pub fn new(
        context: &'a Context,
        location: &'a Location,
        credentials: Option<&'a Credentials>,
    ) -> Result<Self, SourceError> {
        let mut git = Self { context, location, credentials, header: None, key: None };
        let (Location::Remote { scheme, host, .. }, Some(credentials)) = (location, credentials) else {
            return Ok(git);
        };
        let failed = SourceError::io(Path::new("memory for credentials"));
        match (scheme.as_str(), credentials.ssh_key()) {
            ("ssh", Some(key)) => {
                // ssh wants the last line to end.
                git.key = Some(in_memory(&format!("{}\n", key.trim_end())).map_err(failed)?);
            }
            ("ssh", None) | (_, Some(_)) => {
                return Err(SourceError::Unsupported {
                    what: format!("the credentials of {location}"),
                    hint: "an SSH key is for ssh://, a token or USER:PASSWORD for https://".to_owned(),
                });
            }
            (scheme, None) => {
                let (user, password) = credentials.user_and_password();
                let basic = STANDARD.encode(format!("{user}:{password}"));
                let mut text = format!("[http \"{scheme}://{host}/\"]\n");
                let _ = writeln!(text, "\textraHeader = Authorization: Basic {basic}");
                // A header would go wherever the server sends us.
                text.push_str("\tfollowRedirects = false\n");
                git.header = Some(in_memory(&text).map_err(failed)?);
            }
        }
        Ok(git)
    }

    /// A call that stays on this machine.
    pub fn here<'b>(&'b self, directory: &'b Path, arguments: &[&str]) -> Call<'b> {
        self.call(directory, arguments, "file", None)
    }

    /// A call that talks to the repository, with the credentials.
    pub fn there<'b>(&'b self, directory: &'b Path, arguments: &[&str]) -> Call<'b> {
        let protocol = match self.location {
            Location::Remote { scheme, .. } => scheme.as_str(),
            Location::Local(_) => "file",
        };
        self.call(directory, arguments, protocol, self.header.as_ref())
    }

    fn call<'b>(
        &'b self,
        directory: &'b Path,
        arguments: &[&str],
        protocol: &str,
        header: Option<&OwnedFd>,
    ) -> Call<'b> {
        let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
        let arguments = settings.chain(arguments.iter().copied()).map(OsString::from).collect();
        let mut environment: BTreeMap<&'static str, OsString> = [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ADVICE", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_ALLOW_PROTOCOL", protocol),
            ("GIT_PROTOCOL_FROM_USER", "0"),
            ("SSH_ASKPASS", "/bin/false"),
        ]
        .into_iter()
        .map(|(name, value)| (name, OsString::from(value)))
        .collect();
        environment
            .insert("GIT_CONFIG_GLOBAL", header.map_or_else(|| "/dev/null".into(), |fd| path_of(fd).into()));
        environment.insert("GIT_SSH_COMMAND", self.ssh());
        if self.context.personal && self.credentials.is_none() {
            environment.extend(std::env::var_os("SSH_AUTH_SOCK").map(|socket| ("SSH_AUTH_SOCK", socket)));
        }
        Call {
            program: "git",
            package: "git",
            arguments,
            environment,
            directory,
            input: Vec::new(),
            location: self.location,
            deadline: self.context.limits.deadline,
            room: None,
        }
    }

    /// How git reaches a host by SSH. git gives this to a shell.
    fn ssh(&self) -> OsString {
        let mut command = "ssh -o BatchMode=yes -o ForwardAgent=no -o ClearAllForwardings=yes".to_owned();
        if let Some(key) = &self.key {
            let _ = write!(command, " -o IdentitiesOnly=yes -o IdentityFile={}", path_of(key));
        }
        if !self.context.personal && self.key.is_none() {
            // Keys that the machine's user happens to have are nobody's to use.
            command.push_str(" -o PubkeyAuthentication=no -o IdentitiesOnly=yes -o IdentityFile=none");
        }
        if !self.context.personal || self.key.is_some() {
            let hosts = self.context.cache.root().join("known_hosts");
            let hosts = quoted(OsStr::new(&format!("UserKnownHostsFile=\"{}\"", hosts.display())));
            let _ = write!(
                command,
                " -F /dev/null -o IdentityAgent=none -o StrictHostKeyChecking=accept-new -o {hosts}"
            );
        }
        command.into()
    }

    /// What a failed call means.
    pub fn failure(&self, answer: &Answer) -> SourceError {
        explain(self.location, &answer.said)
    }
}

/// What git's words mean.
fn explain(location: &Location, said: &str) -> SourceError {
    let words = said.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|text| words.contains(text));
    // The address may hold what is not to be shown.
    let said = said.replace(&location.url(), &location.to_string());
    let location = location.to_string();
    if says(&["no space left", "quota exceeded"]) {
        return SourceError::Tool { program: "git".to_owned(), location, said };
    }
    if says(&[
        "authentication failed",
        "could not read username",
        "could not read password",
        "permission denied",
        "access denied",
        "error: 401",
        "error: 403",
        "host key verification failed",
    ]) {
        return SourceError::Denied { location, said };
    }
    if says(&["repository not found", "error: 404", "' not found", "does not appear to be a git repository"])
    {
        let hint = "look at the address; a private repository needs `credentials`".to_owned();
        return SourceError::Missing { what: "git repository".to_owned(), location, hint };
    }
    if says(&[
        "could not resolve",
        "connection refused",
        "connection reset",
        "timed out",
        "early eof",
        "hung up",
        "unable to access",
        "network is unreachable",
        "no route to host",
        "could not read from remote repository",
    ]) {
        return SourceError::Unreachable { location, said };
    }
    SourceError::Tool { program: "git".to_owned(), location, said }
}

fn quoted(text: &OsStr) -> String {
    format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_git_are_understood() {
        let location = Location::Remote {
            scheme: "https".into(),
            host: "h".into(),
            url: "https://h/x?key=hidden".into(),
        };
        for (said, expected) in [
            ("fatal: could not read Username for 'https://h': terminal prompts disabled", "Denied"),
            ("fatal: unable to access 'https://h/x/': The requested URL returned error: 403", "Denied"),
            ("fatal: repository 'https://h/x?key=hidden/' not found", "Missing"),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", "Unreachable"),
            ("fatal: write error: No space left on device", "Tool"),
            ("fatal: early EOF", "Unreachable"),
            ("fatal: bad object", "Tool"),
        ] {
            let error = explain(&location, said);
            assert!(format!("{error:?}").starts_with(expected), "{said}: {error:?}");
            assert!(!error.explain().contains("hidden"));
        }
    }
}
