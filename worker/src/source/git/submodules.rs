//! Repositories inside a repository: each is fetched like any other, under the same rules, and put into its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::call::Git;
use super::{GitSource, Target, checkout_at};
use crate::source::error::SourceError;
use crate::source::path::{inside, is_real_directory};
use crate::source::replicate::replicate;
use crate::workspace::disk_usage;
use reactorcide_engine::protocol::source::{Location, Schemes, is_commit};
use sha2::{Digest, Sha256};

/// The most levels of repositories in repositories.
const MAX_LEVELS: u32 = 8;
/// The most submodules of one repository.
const MAX_SUBMODULES: usize = 256;

/// Whether what a repository points to is fetched too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Submodules {
    /// No: their directories stay empty.
    #[default]
    Off,
    /// Yes, and theirs too.
    Recursive,
}

/// What is fetched with a repository, as a part of a name.
pub(super) fn word(source: &GitSource) -> String {
    match (source.submodules, &source.hosts) {
        (Submodules::Off, _) => "alone".to_owned(),
        (Submodules::Recursive, None) => "recursive".to_owned(),
        (Submodules::Recursive, Some(hosts)) => {
            let digest = Sha256::digest(hosts.join("\n"));
            let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("recursive-on-{digest}")
        }
    }
}

/// How deep we are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Level(u32);

/// A repository inside a repository.
#[derive(Debug)]
struct Submodule {
    path: String,
    commit: String,
}

/// Fetches what a commit points to, and puts it into the commit's directory.
pub async fn add(
    source: &GitSource,
    git: &Git<'_>,
    commit: &str,
    new: &Path,
    level: Level,
) -> Result<(), SourceError> {
    if source.submodules == Submodules::Off {
        return Ok(());
    }
    let found = links(git, commit, new).await?;
    if found.is_empty() {
        return Ok(());
    }
    let addresses = addresses(git, commit, new).await?;
    for submodule in found {
        let path = submodule.path.clone();
        Box::pin(add_one(source, git, submodule, &addresses, new, level)).await.map_err(|error| {
            SourceError::Submodule { path, location: git.location.to_string(), source: Box::new(error) }
        })?;
    }
    Ok(())
}

async fn add_one(
    source: &GitSource,
    git: &Git<'_>,
    submodule: Submodule,
    addresses: &BTreeMap<String, String>,
    new: &Path,
    level: Level,
) -> Result<(), SourceError> {
    let limits = git.context.limits;
    let too_large = |limit: String| SourceError::TooLarge { location: git.location.to_string(), limit };
    if level.0 >= MAX_LEVELS {
        return Err(too_large(format!("{MAX_LEVELS} levels of submodules")));
    }
    let address = addresses.get(&submodule.path).ok_or_else(|| SourceError::Missing {
        what: format!("address of {}", submodule.path),
        location: format!(".gitmodules of {}", git.location),
        hint: "git submodule add writes one".to_owned(),
    })?;
    let location = source.location.resolve(address, Schemes::Git);
    let location = location.map_err(|error| SourceError::location(address, error))?;
    if !is_taken(&location, source) {
        return Err(SourceError::Unsupported {
            what: format!("a submodule at {location}"),
            hint: "it is fetched from the host of its repository, and from those that submodule_hosts of the source names"
                .to_owned(),
        });
    }
    // Credentials are for the host that they were given for.
    let credentials = git.credentials.filter(|_| location.same_host(git.location));
    let inner = GitSource { location, ..source.clone() };
    let target = Target { commit: submodule.commit, name: None };
    let inner_git = Git::new(git.context, &inner.location, credentials)?;
    let checkout = checkout_at(&inner, &inner_git, &target, Level(level.0 + 1)).await?;
    let relative = inside(submodule.path.as_bytes()).map_err(|reason| SourceError::Archive {
        location: git.location.to_string(),
        reason: format!("{:?} {reason}", submodule.path),
    })?;
    let place = new.join(&relative);
    if !is_real_directory(new, &relative) {
        return Err(SourceError::Archive {
            location: git.location.to_string(),
            reason: format!("{:?} is reached over a link", submodule.path),
        });
    }
    let (from, whole) = (checkout.tree.path.clone(), new.to_owned());
    let copied = tokio::task::spawn_blocking(move || -> Result<u64, SourceError> {
        fs::remove_dir(&place).map_err(SourceError::io(&place))?;
        replicate(&from, &place, None)?;
        Ok(disk_usage(&whole))
    });
    let bytes = copied.await.map_err(|error| SourceError::io(&PathBuf::new())(error.into()))??;
    if bytes > limits.bytes { Err(too_large(limits.bytes_in_words())) } else { Ok(()) }
}

/// Whether a submodule may be fetched from where it is.
fn is_taken(location: &Location, source: &GitSource) -> bool {
    let Some(hosts) = &source.hosts else { return true };
    let is_named = match location {
        Location::Remote { host, .. } => hosts.iter().any(|named| named.eq_ignore_ascii_case(host)),
        Location::Local(_) => false,
    };
    is_named || location.same_host(&source.location)
}

/// Where a commit points to other repositories.
async fn links(git: &Git<'_>, commit: &str, new: &Path) -> Result<Vec<Submodule>, SourceError> {
    let mut found = Vec::new();
    let call = git.here(new, &["ls-tree", "-r", "-z", "--full-tree", commit]);
    let answer = call.pieces(0, |entry| {
        let entry = String::from_utf8_lossy(entry.strip_suffix(b"\0").unwrap_or(entry)).into_owned();
        if let Some((about, path)) = entry.split_once('\t')
            && let Some(commit) = about.strip_prefix("160000 commit ")
            && is_commit(commit)
        {
            found.push(Submodule { path: path.to_owned(), commit: commit.to_owned() });
        }
        found.len() <= MAX_SUBMODULES
    });
    let answer = answer.await?;
    if found.len() > MAX_SUBMODULES {
        let limit = format!("{MAX_SUBMODULES} submodules");
        return Err(SourceError::TooLarge { location: git.location.to_string(), limit });
    }
    if answer.success { Ok(found) } else { Err(git.failure(&answer)) }
}

/// The addresses that `.gitmodules` gives to paths. It is read as data; nothing else in it counts.
async fn addresses(git: &Git<'_>, commit: &str, new: &Path) -> Result<BTreeMap<String, String>, SourceError> {
    let blob = format!("--blob={commit}:.gitmodules");
    let pattern = r"^submodule\..*\.(path|url)$";
    let answer =
        git.here(new, &["config", "-z", "--no-includes", &blob, "--get-regexp", pattern]).run().await?;
    let mut modules: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
    for entry in answer.output.split(|byte| *byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        let Some((key, value)) = entry.split_once('\n') else { continue };
        let Some((name, field)) = key.rsplit_once('.') else { continue };
        let module = modules.entry(name.to_owned()).or_default();
        match field {
            "path" => module.0 = Some(value.to_owned()),
            "url" => module.1 = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(modules.into_values().filter_map(|(path, url)| Some((path?, url?))).collect())
}
