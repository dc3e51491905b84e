//! The mirror of a repository: what was fetched of it, in one place that only we write.

use std::fs;
use std::path::PathBuf;

use super::Target;
use super::call::Git;
use crate::source::cache::Alone;
use crate::source::error::SourceError;
use reactorcide_engine::protocol::source::{Reference, is_commit};

/// Lies in a mirror while something is fetched into it. Where it still lies there afterwards, somebody was killed.
const FETCHING: &str = "reactorcide-fetching";
/// Where fetched commits are noted.
const KEPT: &str = "refs/kept";
/// With so many packs, a mirror of single commits is thrown away rather than put in order.
const MAX_PACKS: usize = 50;

/// A mirror, for us alone.
pub struct Mirror {
    /// Where it is.
    pub path: PathBuf,
    alone: Alone,
    /// Whether it holds whole histories.
    whole: bool,
}

/// Finds the commit that a name means, by asking the repository.
pub async fn resolve(git: &Git<'_>, reference: &Reference) -> Result<Target, SourceError> {
    if let Reference::Commit(commit) = reference {
        return Ok(Target { commit: commit.clone(), name: None });
    }
    let names = reference.candidates();
    let url = git.location.url();
    let peeled: Vec<String> = names.iter().map(|name| format!("{name}^{{}}")).collect();
    let mut arguments = vec!["ls-remote", "--quiet", "--", &url];
    arguments.extend(names.iter().chain(&peeled).map(String::as_str));
    let answer = git.there(git.context.cache.root(), &arguments).run().await?;
    if !answer.success {
        return Err(git.failure(&answer));
    }
    let text = answer.text();
    let refs: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.split_once('\t')).filter(|(sha, _)| is_commit(sha)).collect();
    let at = |wanted: &str| refs.iter().find(|(_, name)| *name == wanted).map(|(sha, _)| (*sha).to_owned());
    names
        .iter()
        .find_map(|name| {
            // An annotated tag points to an object of its own; what it stands for is the commit.
            let commit = at(&format!("{name}^{{}}")).or_else(|| at(name))?;
            Some(Target { commit, name: Some(name.clone()) })
        })
        .ok_or_else(|| SourceError::Missing {
            what: format!("branch or tag {reference}"),
            location: git.location.to_string(),
            hint: match reference {
                Reference::Head => "the repository has no commits, or no default branch".to_owned(),
                _ => "look at the name; a commit is named by its whole SHA".to_owned(),
            },
        })
}

impl Mirror {
    /// Opens a mirror, and makes it where there is none or where a fetch was broken off.
    pub async fn open(git: &Git<'_>, key: &str, depth: u32, commit: &str) -> Result<Self, SourceError> {
        let whole = depth != 1;
        let format = if commit.len() == 64 { "sha256" } else { "sha1" };
        let id = format!("{key}-mirror-{}-{format}", if whole { "whole" } else { "shallow" });
        let alone = git.context.cache.alone(&id).await?;
        let mirror = Self { path: alone.path.clone(), alone, whole };
        let packs = fs::read_dir(mirror.path.join("objects/pack")).into_iter().flatten().count() / 2;
        if mirror.path.join(FETCHING).exists() || (!whole && packs > MAX_PACKS) {
            mirror.alone.discard();
        }
        if !mirror.path.exists() {
            let new = mirror.alone.start()?;
            let format = format!("--object-format={format}");
            let answer = git.here(&new, &["init", "--quiet", "--bare", "--template=", &format]).run().await?;
            if !answer.success {
                return Err(git.failure(&answer));
            }
            fs::rename(&new, &mirror.path).map_err(SourceError::io(&mirror.path))?;
        }
        Ok(mirror)
    }

    /// The name under which it has a commit.
    pub fn name_of(commit: &str) -> String {
        format!("{KEPT}/{commit}")
    }

    /// Makes sure that it has a commit.
    pub async fn fetch(&self, git: &Git<'_>, target: &Target) -> Result<(), SourceError> {
        if self.has(git, &target.commit).await? {
            return Ok(());
        }
        let mark = self.path.join(FETCHING);
        fs::write(&mark, "").map_err(SourceError::io(&mark))?;
        let fetched = self.fetch_marked(git, target).await;
        // A limit that was reached left something half done; whatever git ended by itself it has tidied up.
        match &fetched {
            Err(SourceError::TooLarge { .. } | SourceError::Deadline { .. }) => self.alone.discard(),
            _ => fs::remove_file(&mark).map_err(SourceError::io(&mark))?,
        }
        self.alone.settle().await;
        fetched
    }

    async fn fetch_marked(&self, git: &Git<'_>, target: &Target) -> Result<(), SourceError> {
        let kept = Self::name_of(&target.commit);
        let by_commit = format!("+{}:{kept}", target.commit);
        let answer = self.run_fetch(git, &[&by_commit], self.whole).await?;
        if answer.success {
            return self.tidy(git).await;
        }
        let words = answer.said.to_lowercase();
        // Some servers give only what has a name.
        let by_name_only = words.contains("unadvertised")
            || words.contains("not our ref")
            || words.contains("not our object");
        let dumb = words.contains("dumb http");
        if !by_name_only && !dumb {
            return Err(git.failure(&answer));
        }
        let answer = match &target.name {
            Some(name) => self.run_fetch(git, &[&format!("+{name}:{kept}")], self.whole || dumb).await?,
            None => {
                let all = ["+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"];
                self.run_fetch(git, &all, true).await?
            }
        };
        if !answer.success {
            return Err(git.failure(&answer));
        }
        let missing = || SourceError::Missing {
            what: format!("commit {}", target.commit),
            location: git.location.to_string(),
            hint: "it may have been removed by a forced push, or be in a fork".to_owned(),
        };
        if !self.has_object(git, &target.commit).await? {
            return Err(missing());
        }
        let noted = git.here(&self.path, &["update-ref", &kept, &target.commit]).run().await?;
        if noted.success { self.tidy(git).await } else { Err(missing()) }
    }

    async fn run_fetch(
        &self,
        git: &Git<'_>,
        refspecs: &[&str],
        whole: bool,
    ) -> Result<crate::source::tool::Answer, SourceError> {
        let url = git.location.url();
        let mut arguments = vec!["--git-dir=.", "fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
        arguments.extend(["--no-write-fetch-head", "--no-auto-maintenance"]);
        if !whole {
            arguments.push("--depth=1");
        }
        arguments.extend(["--", &url]);
        arguments.extend(refspecs);
        let mut call = git.there(&self.path, &arguments);
        call.room = Some((self.path.clone(), git.context.limits.bytes));
        call.run().await
    }

    /// Puts many packs into one now and then.
    async fn tidy(&self, git: &Git<'_>) -> Result<(), SourceError> {
        let packs = fs::read_dir(self.path.join("objects/pack")).into_iter().flatten().count() / 2;
        if self.whole && packs > MAX_PACKS {
            let answer =
                git.here(&self.path, &["--git-dir=.", "repack", "-a", "-d", "--quiet"]).run().await?;
            if !answer.success {
                return Err(git.failure(&answer));
            }
        }
        Ok(())
    }

    /// Whether it was asked for a commit before, so that it has it with the history that it should have.
    async fn has(&self, git: &Git<'_>, commit: &str) -> Result<bool, SourceError> {
        let name = Self::name_of(commit);
        let answer = git.here(&self.path, &["--git-dir=.", "rev-parse", "--verify", "--quiet", &name]).run();
        Ok(answer.await?.text() == commit)
    }

    async fn has_object(&self, git: &Git<'_>, commit: &str) -> Result<bool, SourceError> {
        let name = format!("{commit}^{{commit}}");
        let answer = git.here(&self.path, &["--git-dir=.", "cat-file", "-e", &name]).run().await?;
        Ok(answer.success)
    }
}
