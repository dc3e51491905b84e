//! From what a configuration declares to code that can be put into a workspace.

use std::path::{Path, PathBuf};

use reactorcide_engine::config::Source;
use reactorcide_engine::protocol::source::{Location, Reference, Schemes};
use reactorcide_engine::provider::User;

use super::archive::{self, ArchiveSource};
use super::cache::{Held, Wanted};
use super::context::{Context, Credentials};
use super::copy::copy_tree;
use super::error::SourceError;
use super::git::{self, GitSource, Submodules};
use super::mercurial::{self, MercurialSource};
use super::replicate::replicate;
use super::subversion::{self, SubversionSource};

/// Fewer files are copied sooner than a layer is mounted.
const WORTH_A_LAYER: usize = 200;
/// Fewer files are copied sooner than a container is started, on a machine that is busy as well: a file takes 0.03 ms
/// where nothing else happens, and fifteen times that where much does.
const WORTH_A_START: usize = 500;

/// Code, ready to be put where a job works.
#[derive(Debug)]
pub enum Code {
    /// A directory of this machine that somebody may be working in: what git ignores stays behind.
    Local(PathBuf),
    /// A directory of the cache, and what it is in words.
    Fetched {
        /// The directory; it stays as it is for as long as this lives.
        tree: Held,
        /// Commit, revision or checksum.
        version: String,
    },
}

impl Code {
    /// Puts it into a place where there is nothing yet, and gives it to an owner.
    pub fn put(&self, to: &Path, owner: Option<User>) -> Result<u64, SourceError> {
        match self {
            Self::Local(path) => {
                std::fs::create_dir(to).map_err(SourceError::io(to))?;
                if let Some(user) = owner {
                    let given = std::os::unix::fs::chown(to, Some(user.uid), Some(user.gid));
                    given.map_err(SourceError::io(to))?;
                }
                Ok(copy_tree(path, to, owner)?)
            }
            Self::Fetched { tree, .. } => replicate(&tree.path, to, owner),
        }
    }

    /// A tree that may lie under a layer in a container of this user, for as long as what is returned lives; nothing
    /// where that is not possible or not worth it. For users other than that of most jobs the cache keeps a copy each.
    pub async fn under_a_layer(
        &self,
        context: &Context,
        host: User,
        user: User,
    ) -> Result<Option<Held>, SourceError> {
        let Self::Fetched { tree, .. } = self else { return Ok(None) };
        let plain = tree.path.to_str().is_some_and(|path| !path.contains([',', ':', '\\', '"']));
        // Who is not root can neither give files away nor remove what another user wrote.
        if !plain || (host.uid != 0 && host != user) || !has_more_than(&tree.path, WORTH_A_LAYER) {
            return Ok(None);
        }
        if host.uid != 0 || context.cache.owner == Some(user) {
            return context.cache.have(&tree.id()).await;
        }
        let id = format!("{}-for-{}-{}", tree.id(), user.uid, user.gid);
        match context.cache.want(&id).await? {
            Wanted::Have(held) => Ok(Some(held)),
            Wanted::Make(alone) => {
                let new = alone.start()?;
                std::fs::remove_dir(&new).map_err(SourceError::io(&new))?;
                let (from, to) = (tree.path.clone(), new.clone());
                let copied = tokio::task::spawn_blocking(move || replicate(&from, &to, Some(user))).await;
                copied.map_err(|error| SourceError::io(&new)(error.into()))??;
                alone.publish_as_it_is(&new).await.map(Some)
            }
        }
    }

    /// Whether a copy of it takes so long that a layer in a container which is yet to be started is sooner there.
    pub fn is_large(&self) -> bool {
        matches!(self, Self::Fetched { tree, .. } if has_more_than(&tree.path, WORTH_A_START))
    }

    /// What it is, for people.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Local(_) => None,
            Self::Fetched { version, .. } => Some(version),
        }
    }
}

/// Gets what a source declares; nothing where it declares nothing. `commit` is what counts where it names no ref.
pub async fn fetch(
    source: &Source,
    commit: Option<&str>,
    context: &Context,
    credentials: Option<&Credentials>,
) -> Result<Option<Code>, SourceError> {
    let reference = |location: &Location| {
        let text =
            source.reference.as_deref().or(commit).or(source.default_branch.as_deref()).unwrap_or("HEAD");
        Reference::parse(text)
            .map_err(|source| SourceError::Reference { location: location.to_string(), source })
    };
    let at = |text: &str, schemes| {
        Location::parse(text, schemes, context.allow_local)
            .map_err(|error| SourceError::location(text, error))
    };
    let fetched = |(tree, version)| Ok(Some(Code::Fetched { tree, version }));
    if let Some(url) = &source.git {
        let location = at(url, Schemes::Git)?;
        let reference = reference(&location)?;
        let submodules = if source.submodules { Submodules::Recursive } else { Submodules::Off };
        let hosts = source.submodule_hosts.clone();
        let git = GitSource { location, reference, depth: source.depth.unwrap_or(1), submodules, hosts };
        let checkout = git::checkout(&git, context, credentials).await?;
        fetched((checkout.tree, checkout.commit))
    } else if let Some(url) = &source.tarball {
        let archive =
            ArchiveSource { location: at(url, Schemes::Archive)?, checksum: source.checksum.clone() };
        fetched(archive::unpacked(&archive, context, credentials).await?)
    } else if let Some(url) = &source.hg {
        let location = at(url, Schemes::Mercurial)?;
        let reference = reference(&location)?;
        fetched(mercurial::checkout(&MercurialSource { location, reference }, context, credentials).await?)
    } else if let Some(url) = &source.svn {
        let location = at(url, Schemes::Subversion)?;
        // A commit of the event is no revision of Subversion.
        let text = source.reference.as_deref().unwrap_or("HEAD");
        let reference = Reference::parse(text);
        let reference =
            reference.map_err(|source| SourceError::Reference { location: location.to_string(), source })?;
        fetched(subversion::checkout(&SubversionSource { location, reference }, context, credentials).await?)
    } else if let Some(path) = &source.copy {
        local(path, context).map(Some)
    } else {
        Ok(None)
    }
}

fn has_more_than(root: &Path, count: usize) -> bool {
    let (mut pending, mut seen) = (vec![root.to_owned()], 0);
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            seen += 1;
            if seen > count {
                return true;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    false
}

fn local(path: &str, context: &Context) -> Result<Code, SourceError> {
    if !context.allow_local {
        return Err(SourceError::Unsupported {
            what: format!("the directory {path:?} of this machine"),
            hint: "copy is for runs on one's own machine; use git or an archive".to_owned(),
        });
    }
    let path = std::path::absolute(path).map_err(SourceError::io(Path::new(path)))?;
    if path.is_dir() {
        return Ok(Code::Local(path));
    }
    Err(SourceError::Missing {
        what: "directory".to_owned(),
        location: path.display().to_string(),
        hint: "look at the path; it counts from where the command was started".to_owned(),
    })
}
