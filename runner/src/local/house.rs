//! `checkout`, `copy` and `cleanup`: the workspace without a job.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use reactorcide_protocol::settings::{SourceKind, SourceSettings};

use super::arguments::Said;
use super::{Failure, say, source};
use crate::cleanup as clean;

/// Fetches the source into the workspace.
pub fn checkout(said: Said) -> Result<ExitCode, Failure> {
    let fetched = source::prepare(&said)?;
    if fetched.is_empty() {
        return Err(Failure::usage("there is no source: give --source-url or --git-url"));
    }
    for line in fetched {
        say(&format!("{line}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies a directory into the workspace.
pub fn copy(said: Said) -> Result<ExitCode, Failure> {
    let from = said.words.first().cloned().or_else(|| said.settings.text("source_url").map(str::to_owned));
    let from = from.ok_or_else(|| Failure::usage("say what: copy DIRECTORY"))?;
    let source = SourceSettings { kind: SourceKind::Copy, url: from, reference: None, checksum: None };
    let to = Path::new(said.settings.job_dir()).join("src");
    say(&format!("{}\n", source::fetch(&source, &to, None)?))?;
    Ok(ExitCode::SUCCESS)
}

/// Empties directories: those that were named, or what a job leaves in its workspace.
pub fn cleanup(said: Said) -> Result<ExitCode, Failure> {
    if !said.words.is_empty() {
        let words: Vec<&str> = said.words.iter().map(String::as_str).collect();
        return Ok(clean::cleanup(&words));
    }
    let job = PathBuf::from(said.settings.job_dir());
    // A mistake in a setting must not empty somebody's home.
    let is_workspace = source::is_workspace(&job);
    if !job.exists()
        || (!is_workspace && std::fs::read_dir(&job).is_ok_and(|mut entries| entries.next().is_none()))
    {
        say("nothing to clean\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !is_workspace {
        return Err(Failure::usage(format!(
            "{} is no workspace that was made by this program; name the directory to empty it all the same",
            job.display()
        )));
    }
    Ok(clean::cleanup(&[job.to_str().unwrap_or_default()]))
}
