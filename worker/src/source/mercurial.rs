//! Mercurial: a revision becomes a directory, by way of a clone that is kept. Needs the `hg` command.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use reactorcide_engine::protocol::source::{Location, Reference};

use super::cache::{Held, Wanted};
use super::context::{Context, Credentials, in_memory, path_of};
use super::error::SourceError;
use super::tool::{Answer, Call};
use crate::workspace::disk_usage;

/// What every call is told: nobody is asked, no repository in a repository is followed; `HGRCPATH` leaves
/// nobody's configuration, and `HGRCSKIPREPO` none of a repository here, which could name programs.
const SETTINGS: [&str; 5] = [
    "--config=ui.clonebundles=false",
    "--config=subrepos.allowed=false",
    "--config=ui.ssh=ssh -o BatchMode=yes -o ForwardAgent=no",
    "--config=ui.interactive=false",
    "--noninteractive",
];

/// A revision of a repository.
#[derive(Debug, Clone)]
pub struct MercurialSource {
    /// The repository.
    pub location: Location,
    /// Branch, tag, bookmark or revision.
    pub reference: Reference,
}

/// Makes sure that there is a directory for a revision, and holds it. Also returns the revision.
pub async fn checkout(
    source: &MercurialSource,
    context: &Context,
    credentials: Option<&Credentials>,
) -> Result<(Held, String), SourceError> {
    let hg = Hg::new(source, context, credentials)?;
    let url = hg.url();
    let wanted = match &source.reference {
        Reference::Head => "default".to_owned(),
        other => other.to_string(),
    };
    let answer = hg
        .call(context.cache.root(), &["identify", "--debug", "--id", "--rev", &wanted, "--", &url])
        .run()
        .await?;
    let revision = answer.text();
    if !answer.success || revision.len() != 40 {
        return Err(hg.failure(&answer, &wanted));
    }
    let key = context.key("hg", &source.location.url(), credentials);
    let held = match context.cache.want(&format!("{key}-{revision}")).await? {
        Wanted::Have(held) => held,
        Wanted::Make(alone) => {
            let new = alone.start()?;
            hg.export(&key, &url, &revision, &new).await?;
            alone.publish(&new).await?
        }
    };
    Ok((held, revision))
}

struct Hg<'a> {
    source: &'a MercurialSource,
    context: &'a Context,
    /// A configuration in memory with credentials, where there are some.
    configuration: Option<std::os::fd::OwnedFd>,
}

impl<'a> Hg<'a> {
    fn new(
        source: &'a MercurialSource,
        context: &'a Context,
        credentials: Option<&Credentials>,
    ) -> Result<Self, SourceError> {
        let configuration = match (credentials, &source.location) {
            (Some(credentials), Location::Remote { scheme, host, .. }) if scheme.starts_with("http") => {
                let (user, password) = credentials.user_and_password();
                if user.contains(['\n', '\r']) || password.contains(['\n', '\r']) {
                    return Err(unsupported(source, "hg takes a token or USER:PASSWORD of one line"));
                }
                let text = format!(
                    "[auth]\nsource.prefix = {scheme}://{host}/\nsource.username = {user}\nsource.password = {password}\n"
                );
                Some(in_memory(&text).map_err(SourceError::io(Path::new("memory for credentials")))?)
            }
            (Some(_), _) => return Err(unsupported(source, "hg takes credentials for https:// alone")),
            (None, _) => None,
        };
        Ok(Self { source, context, configuration })
    }

    fn url(&self) -> String {
        match &self.source.location {
            Location::Local(path) => path.display().to_string(),
            remote => remote.url(),
        }
    }

    fn call<'b>(&'b self, directory: &'b Path, arguments: &[&str]) -> Call<'b> {
        let configuration = self.configuration.as_ref().map_or_else(|| "/dev/null".to_owned(), path_of);
        let environment: BTreeMap<&'static str, OsString> = [
            ("HGPLAIN", "1".into()),
            ("HGRCPATH", configuration.into()),
            ("HGRCSKIPREPO", "1".into()),
            ("HGENCODING", "UTF-8".into()),
        ]
        .into();
        // What is said before the command counts for it.
        let settings = SETTINGS.iter().copied();
        Call {
            program: "hg",
            package: "mercurial",
            arguments: settings.chain(arguments.iter().copied()).map(OsString::from).collect(),
            environment,
            directory,
            input: Vec::new(),
            location: &self.source.location,
            deadline: self.context.limits.deadline,
            room: None,
        }
    }

    async fn export(&self, key: &str, url: &str, revision: &str, new: &Path) -> Result<(), SourceError> {
        let limits = self.context.limits;
        let clone = self.context.cache.alone(&format!("{key}-clone")).await?;
        if !clone.path.join(".hg").exists() {
            clone.discard();
            let path = clone.path.display().to_string();
            let mut call =
                self.call(self.context.cache.root(), &["clone", "--noupdate", "--quiet", "--", url, &path]);
            call.room = Some((clone.path.clone(), limits.bytes));
            let answer = call.run().await?;
            if !answer.success {
                clone.discard();
                return Err(self.failure(&answer, revision));
            }
        }
        let known = self.call(&clone.path, &["log", "--rev", revision, "--template", "{node}"]).run().await?;
        if !known.success {
            let mut call = self.call(&clone.path, &["pull", "--quiet", "--", url]);
            call.room = Some((clone.path.clone(), limits.bytes));
            let answer = call.run().await?;
            if !answer.success {
                return Err(self.failure(&answer, revision));
            }
        }
        let target = new.display().to_string();
        let arguments =
            ["archive", "--quiet", "--config=ui.archivemeta=false", "--rev", revision, "--", &target];
        let mut call = self.call(&clone.path, &arguments);
        call.room = Some((new.to_owned(), limits.bytes));
        let answer = call.run().await?;
        clone.settle().await;
        if !answer.success {
            return Err(self.failure(&answer, revision));
        }
        if disk_usage(new) > limits.bytes {
            let location = self.source.location.to_string();
            return Err(SourceError::TooLarge { location, limit: limits.bytes_in_words() });
        }
        Ok(())
    }

    fn failure(&self, answer: &Answer, revision: &str) -> SourceError {
        let said = answer.said.replace(&self.source.location.url(), &self.source.location.to_string());
        let location = self.source.location.to_string();
        let words = said.to_lowercase();
        let says = |any: &[&str]| any.iter().any(|text| words.contains(text));
        if says(&["unknown revision", "filtered revision", "no revision", "ambiguous identifier"]) {
            let hint = "look at the name of the branch, tag, bookmark or revision".to_owned();
            return SourceError::Missing { what: format!("revision {revision}"), location, hint };
        }
        if says(&["authorization", "http error 401", "http error 403", "permission denied"]) {
            return SourceError::Denied { location, said };
        }
        if says(&["not found", "http error 404", "no such file"]) {
            let hint = "look at the address".to_owned();
            return SourceError::Missing { what: "Mercurial repository".to_owned(), location, hint };
        }
        if says(&["connection", "timed out", "name or service not known", "error: "]) {
            return SourceError::Unreachable { location, said };
        }
        SourceError::Tool { program: "hg".to_owned(), location, said }
    }
}

fn unsupported(source: &MercurialSource, hint: &str) -> SourceError {
    SourceError::Unsupported {
        what: format!("the credentials of {}", source.location),
        hint: hint.to_owned(),
    }
}
