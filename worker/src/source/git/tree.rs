//! The directory of a commit, made from a mirror: what is in it is counted before it is written.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::call::Git;
use super::mirror::Mirror;
use crate::source::error::SourceError;

/// Settings of every repository that jobs get. Times of change do not survive a copy, so git does not look at them.
const CONFIG: &str = "[core]\n\tcheckStat = minimal\n\ttrustctime = false\n";

/// Makes the directory of a commit.
pub async fn make(
    git: &Git<'_>,
    mirror: &Mirror,
    commit: &str,
    depth: u32,
    new: &Path,
) -> Result<(), SourceError> {
    measure(git, mirror, commit).await?;
    let format = format!("--object-format={}", if commit.len() == 64 { "sha256" } else { "sha1" });
    run(git, new, &["init", "--quiet", "--template=", &format]).await?;
    let origin = format!("file://{}", mirror.path.display());
    let refspec = format!("+{}:refs/reactorcide/source", Mirror::name_of(commit));
    let depth = format!("--depth={depth}");
    let mut arguments = vec!["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
    arguments.extend(["--no-write-fetch-head", "--no-auto-maintenance"]);
    if depth != "--depth=0" {
        arguments.push(&depth);
    }
    arguments.extend(["--", &origin, &refspec]);
    run(git, new, &arguments).await?;
    configure(git, new)?;
    run(git, new, &["-c", "checkout.workers=0", "checkout", "--quiet", "--force", "--detach", commit, "--"])
        .await
}

/// Counts what a commit holds, so that a few kilobytes cannot become a full disk.
async fn measure(git: &Git<'_>, mirror: &Mirror, commit: &str) -> Result<(), SourceError> {
    let limits = git.context.limits;
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    let call =
        git.here(&mirror.path, &["--git-dir=.", "ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit]);
    let answer = call.pieces(0, |entry| {
        entries += 1;
        // `MODE TYPE OBJECT SIZE<tab>PATH`
        let size = entry.split(|byte| *byte == b'\t').next().unwrap_or_default();
        let size = size.rsplit(|byte| *byte == b' ').next().and_then(|text| std::str::from_utf8(text).ok());
        bytes = bytes.saturating_add(size.and_then(|text| text.parse().ok()).unwrap_or(0));
        entries <= limits.entries && bytes <= limits.bytes
    });
    let answer = answer.await?;
    let too_large = |limit| SourceError::TooLarge { location: git.location.to_string(), limit };
    if entries > limits.entries {
        return Err(too_large(limits.entries_in_words()));
    }
    if bytes > limits.bytes {
        return Err(too_large(limits.bytes_in_words()));
    }
    if answer.success { Ok(()) } else { Err(git.failure(&answer)) }
}

/// Says where it came from, without anybody's credentials.
fn configure(git: &Git<'_>, new: &Path) -> Result<(), SourceError> {
    let path = new.join(".git/config");
    let mut text = fs::read_to_string(&path).map_err(SourceError::io(&path))?;
    text.push_str(CONFIG);
    let url = git.location.to_string().replace('"', "%22");
    let _ = write!(
        text,
        "[remote \"origin\"]\n\turl = \"{url}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
    );
    fs::write(&path, text).map_err(SourceError::io(&path))
}

async fn run(git: &Git<'_>, directory: &Path, arguments: &[&str]) -> Result<(), SourceError> {
    let mut call = git.here(directory, arguments);
    call.room = Some((directory.to_owned(), git.context.limits.bytes.saturating_mul(2)));
    let answer = call.run().await?;
    if answer.success { Ok(()) } else { Err(git.failure(&answer)) }
}
