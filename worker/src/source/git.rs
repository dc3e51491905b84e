//! git: a commit becomes a directory, by way of a mirror of its repository that is kept.
//!
//! The mirror is fetched into by one at a time. A directory for a commit is made from it once, with a `.git` that
//! holds nothing but that commit's history, and then only copied: what other commits of a repository hold is no
//! business of a job, and what a job writes is none of the cache's.

mod call;
mod mirror;
mod submodules;
mod tree;

use super::cache::{Held, Wanted};
use super::context::{Context, Credentials};
use super::error::SourceError;
use call::Git;
use mirror::{Mirror, resolve};
use reactorcide_engine::protocol::source::Location;
use reactorcide_engine::protocol::source::Reference;

pub use submodules::Submodules;

/// A commit of a repository.
#[derive(Debug, Clone)]
pub struct GitSource {
    /// The repository.
    pub location: Location,
    /// What of it.
    pub reference: Reference,
    /// How many commits of history; 0 for all.
    pub depth: u32,
    /// Whether what it points to is fetched too.
    pub submodules: Submodules,
    /// The only hosts that it is fetched from, besides the repository's own, where they are limited.
    pub hosts: Option<Vec<String>>,
}

/// A commit's directory.
#[derive(Debug)]
pub struct Checkout {
    /// The directory, which stays as it is for as long as this lives.
    pub tree: Held,
    /// The commit.
    pub commit: String,
}

/// Makes sure that there is a directory for a commit, and holds it.
pub async fn checkout(
    source: &GitSource,
    context: &Context,
    credentials: Option<&Credentials>,
) -> Result<Checkout, SourceError> {
    let git = Git::new(context, &source.location, credentials)?;
    let target = resolve(&git, &source.reference).await?;
    checkout_at(source, &git, &target, submodules::Level::default()).await
}

/// A commit, and the ref that led to it.
#[derive(Debug, Clone)]
struct Target {
    commit: String,
    name: Option<String>,
}

async fn checkout_at(
    source: &GitSource,
    git: &Git<'_>,
    target: &Target,
    level: submodules::Level,
) -> Result<Checkout, SourceError> {
    let key = git.context.key("git", &source.location.url(), git.credentials);
    let id = format!("{key}-{}-d{}-{}", target.commit, source.depth, submodules::word(source));
    let cache = &git.context.cache;
    let mut commit = target.commit.clone();
    let tree = match cache.want(&id).await? {
        Wanted::Have(tree) => tree,
        Wanted::Make(alone) => {
            let new = alone.start()?;
            {
                let mirror = Mirror::open(git, &key, source.depth, &commit).await?;
                mirror.fetch(git, target).await?;
                commit.clone_from(&target.commit);
                tree::make(git, &mirror, &commit, source.depth, &new).await?;
            }
            submodules::add(source, git, &commit, &new, level).await?;
            alone.publish(&new).await?
        }
    };
    Ok(Checkout { tree, commit })
}

#[cfg(test)]
mod tests;
