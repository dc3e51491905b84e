//! Subversion: a revision becomes a directory. Needs the `svn` command.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use reactorcide_engine::protocol::source::{Location, Reference};

use super::cache::{Held, Wanted};
use super::context::{Context, Credentials};
use super::error::SourceError;
use super::tool::{Answer, Call};

/// A revision of a directory of a repository.
#[derive(Debug, Clone)]
pub struct SubversionSource {
    /// The directory's address, with its branch in its path.
    pub location: Location,
    /// A revision number, or the newest.
    pub reference: Reference,
}

/// How long it may take to hear whether an address sends elsewhere.
const PROBE: std::time::Duration = std::time::Duration::from_secs(30);

/// Makes sure that there is a directory for a revision, and holds it. Also returns the revision.
pub async fn checkout(
    source: &SubversionSource,
    context: &Context,
    credentials: Option<&Credentials>,
) -> Result<(Held, String), SourceError> {
    if credentials.is_some() {
        stays_there(&source.location).await?;
    }
    let svn = Svn { source, context, credentials };
    let wanted = svn.revision()?;
    // What stood at the address at that revision, wherever it is by now. The peg also keeps an `@` in the address from
    // being one.
    let at = |revision: &str| format!("{}@{revision}", source.location.url());
    let url = at(&wanted);
    let answer = svn
        .call(&[
            "info",
            // Not the last change of that directory: what stands at an address may be put there from elsewhere.
            "--show-item=revision",
            "--no-newline",
            "--revision",
            &wanted,
            "--",
            &url,
        ])
        .run()
        .await?;
    let revision = answer.text();
    if !answer.success || revision.parse::<u64>().is_err() {
        return Err(svn.failure(&answer, &wanted));
    }
    let key = context.key("svn", &source.location.url(), credentials);
    let held = match context.cache.want(&format!("{key}-r{revision}")).await? {
        Wanted::Have(held) => held,
        Wanted::Make(alone) => {
            let new = alone.start()?;
            let target = new.display().to_string();
            let url = at(&revision);
            let arguments = [
                "export",
                "--force",
                "--quiet",
                "--ignore-externals",
                "--revision",
                &revision,
                "--",
                &url,
                &target,
            ];
            let mut call = svn.call(&arguments);
            call.room = Some((new.clone(), context.limits.bytes));
            let answer = call.run().await?;
            if !answer.success {
                return Err(svn.failure(&answer, &revision));
            }
            alone.publish(&new).await?
        }
    };
    Ok((held, revision))
}

/// Refuses an address that sends elsewhere: the tool would follow, and take the credentials along.
async fn stays_there(location: &Location) -> Result<(), SourceError> {
    let Ok(url) = reqwest::Url::parse(&location.url()) else { return Ok(()) };
    if !matches!(url.scheme(), "http" | "https") {
        return Ok(());
    }
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PROBE).build();
    let Ok(client) = client else { return Ok(()) };
    let shown = location.to_string();
    let unreachable = |error: reqwest::Error| SourceError::Unreachable {
        location: shown.clone(),
        said: error.without_url().to_string(),
    };
    let response = client.request(reqwest::Method::OPTIONS, url).send().await.map_err(unreachable)?;
    if !response.status().is_redirection() {
        return Ok(());
    }
    let said = "it sends elsewhere, and the credentials would go along: name the address that it sends to"
        .to_owned();
    Err(SourceError::Denied { location: location.to_string(), said })
}

struct Svn<'a> {
    source: &'a SubversionSource,
    context: &'a Context,
    credentials: Option<&'a Credentials>,
}

impl Svn<'_> {
    fn revision(&self) -> Result<String, SourceError> {
        match &self.source.reference {
            Reference::Head => Ok("HEAD".to_owned()),
            other => {
                let text = other.to_string();
                let number = text.strip_prefix('r').unwrap_or(&text);
                match number.parse::<u64>() {
                    Ok(number) => Ok(number.to_string()),
                    Err(_) => Err(SourceError::Missing {
                        what: format!("revision {text}"),
                        location: self.source.location.to_string(),
                        hint: "a revision is a number; a branch is a part of the address".to_owned(),
                    }),
                }
            }
        }
    }

    fn call<'b>(&'b self, arguments: &[&str]) -> Call<'b> {
        let nothing = self.context.cache.root().join("no-configuration");
        let mut all: Vec<OsString> = Vec::new();
        let mut input = Vec::new();
        let (command, rest) =
            arguments.split_first().map_or(("help", arguments), |(first, rest)| (*first, rest));
        all.push(command.into());
        all.extend([
            "--non-interactive".into(),
            "--no-auth-cache".into(),
            "--config-dir".into(),
            nothing.into(),
        ]);
        if let Some(credentials) = self.credentials {
            let (user, password) = credentials.user_and_password();
            all.extend([OsString::from(format!("--username={user}")), "--password-from-stdin".into()]);
            input = format!("{password}\n").into_bytes();
        }
        all.extend(rest.iter().map(OsString::from));
        Call {
            program: "svn",
            package: "subversion",
            arguments: all,
            environment: BTreeMap::from([("SVN_SSH", "ssh -o BatchMode=yes -o ForwardAgent=no".into())]),
            directory: Path::new("/"),
            input,
            location: &self.source.location,
            deadline: self.context.limits.deadline,
            room: None,
        }
    }

    fn failure(&self, answer: &Answer, revision: &str) -> SourceError {
        let location = self.source.location.to_string();
        let said = answer.said.replace(&self.source.location.url(), &location);
        let says = |any: &[&str]| any.iter().any(|text| said.contains(text));
        if says(&["E160006", "E195012", "E205000"]) {
            let hint = "look at the number of the revision".to_owned();
            return SourceError::Missing { what: format!("revision {revision}"), location, hint };
        }
        if says(&[
            "E170001",
            "E215004",
            "E175013",
            "E170013: Unable to connect to a repository at URL; svn: E215004",
        ]) {
            return SourceError::Denied { location, said };
        }
        if says(&["E200009", "E160013", "E170000", "E180001", "E200014", "W170000"]) {
            let hint = "look at the address: it names the directory with the branch".to_owned();
            return SourceError::Missing { what: "such directory".to_owned(), location, hint };
        }
        if says(&["E170013", "E000111", "E670002", "E175002", "E730"]) {
            return SourceError::Unreachable { location, said };
        }
        SourceError::Tool { program: "svn".to_owned(), location, said }
    }
}
