//! What is wrong with settings, all of it at once, and their values once nothing is.

use std::time::Duration;

use serde_json::Value;

use super::{Origin, Settings};

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Which.
    pub setting: String,
    /// What, in a sentence.
    pub message: String,
}

impl Problem {
    pub(super) fn new(setting: &str, message: impl Into<String>) -> Self {
        Self { setting: setting.to_owned(), message: message.into() }
    }
}

/// How code is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// git.
    Git,
    /// A directory.
    Copy,
    /// An archive.
    Tarball,
    /// Mercurial.
    Hg,
    /// Subversion.
    Svn,
    /// Not at all.
    None,
}

impl SourceKind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "git" => Self::Git,
            "copy" => Self::Copy,
            "tarball" => Self::Tarball,
            "hg" => Self::Hg,
            "svn" => Self::Svn,
            "none" => Self::None,
            _ => return None,
        })
    }
}

/// Where code comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// How.
    pub kind: SourceKind,
    /// Where; empty for none.
    pub url: String,
    /// Which branch, tag or commit.
    pub reference: Option<String>,
    /// What it must be.
    pub checksum: Option<String>,
}

impl Settings {
    /// Everything that is wrong.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = self.problems.clone();
        let has_command = match self.get("job_command").map(|setting| &setting.value) {
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(Value::Array(words)) => !words.is_empty(),
            _ => false,
        };
        let has_steps = self.get("steps").is_some();
        let from_file =
            |key: &str| self.get(key).is_some_and(|setting| matches!(setting.origin, Origin::File(_)));
        if has_command && has_steps && from_file("job_command") && from_file("steps") {
            found.push(Problem::new(
                "steps",
                "a job file has job_command or steps, not both: the steps would not run",
            ));
        }
        if !has_command && !has_steps {
            found.push(Problem::new(
                "job_command",
                "there is nothing to run: give --job-command, REACTORCIDE_JOB_COMMAND, or job_command in a job file",
            ));
        }
        for key in ["job_dir", "code_dir", "artifacts_dir"] {
            if let Some(path) = self.text(key)
                && let Err(message) = self.place(key, path)
            {
                found.push(Problem::new(key, message));
            }
        }
        for (path, _) in &self.environment_files {
            if let Err(message) = inside(self.job_dir(), path) {
                found.push(Problem::new("job_env", message));
            }
        }
        for prefix in ["source", "ci_source"] {
            if let Err(problem) = self.source(prefix) {
                found.push(problem);
            }
        }
        if let Err(message) = self.timeout() {
            found.push(Problem::new("timeout", message));
        }
        for (name, setting) in &self.environment {
            if setting.value.as_str().is_some_and(|value| value.contains('\0')) {
                found.push(Problem::new("job_env", format!("the value of {name} contains a NUL byte")));
            }
        }
        found
    }

    /// The workspace.
    pub fn job_dir(&self) -> &str {
        self.text("job_dir").unwrap_or("/job")
    }

    /// Where the command starts: what was said, or the source where there is one, or the workspace.
    pub fn code_dir(&self) -> String {
        let job = self.job_dir().trim_end_matches('/');
        let has_source =
            self.source("source").ok().flatten().is_some_and(|source| source.kind != SourceKind::None);
        match self.text("code_dir") {
            Some(path) => inside(job, path).unwrap_or_else(|_| path.to_owned()),
            None if has_source => format!("{job}/src"),
            None => job.to_owned(),
        }
    }

    /// Where code comes from: `source` or `ci_source`. `None` where nothing was said.
    pub fn source(&self, prefix: &str) -> Result<Option<SourceSettings>, Problem> {
        let field = |name: &str| self.text(&format!("{prefix}_{name}")).filter(|text| !text.is_empty());
        let setting = format!("{prefix}_type");
        let (kind, url) = (field("type"), field("url"));
        let Some(name) = kind.or(url.map(|_| "git")) else {
            return match field("ref") {
                Some(_) => Err(Problem::new(
                    &setting,
                    format!("a ref ({prefix}_ref) means nothing without a URL ({prefix}_url)"),
                )),
                None => Ok(None),
            };
        };
        let Some(kind) = SourceKind::named(name) else {
            let message = format!("there is no source type {name:?}: git, copy, tarball, hg, svn or none");
            return Err(Problem::new(&setting, message));
        };
        if url.is_none() && kind != SourceKind::None {
            return Err(Problem::new(
                &format!("{prefix}_url"),
                format!("a source of type {name} needs {prefix}_url"),
            ));
        }
        Ok(Some(SourceSettings {
            kind,
            url: url.unwrap_or_default().to_owned(),
            reference: field("ref").map(str::to_owned),
            checksum: field("checksum").map(str::to_owned),
        }))
    }

    /// How long it may take: seconds, or a number with `s`, `m` or `h`.
    pub fn timeout(&self) -> Result<Option<Duration>, String> {
        time(self.text("timeout"))
    }

    fn place(&self, key: &str, path: &str) -> Result<(), String> {
        if key == "job_dir" {
            let whole = path.starts_with('/') && !path.trim_matches('/').is_empty();
            return if whole && !has_parent(path) {
                Ok(())
            } else {
                Err(format!("{path:?} is not an absolute path below /, without `..`"))
            };
        }
        inside(self.job_dir(), path).map(drop)
    }
}

/// A path, absolute or below a directory, that stays inside that directory; otherwise what is wrong with it.
pub fn inside(directory: &str, path: &str) -> Result<String, String> {
    let directory = directory.trim_end_matches('/');
    if path.is_empty() || path.contains('\0') || has_parent(path) {
        return Err(format!("{path:?} is not a path inside {directory}"));
    }
    // `/job` is the workspace, wherever that is.
    let path = match path.strip_prefix("/job") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{directory}{rest}"),
        _ => path.to_owned(),
    };
    let path = path.as_str();
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let whole = whole.trim_end_matches('/').to_owned();
    if whole == directory || whole.starts_with(&format!("{directory}/")) {
        Ok(whole)
    } else {
        Err(format!("{path:?} is not inside {directory}"))
    }
}

fn has_parent(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// How long something may take: seconds, or a number with `s`, `m` or `h`.
pub fn time(text: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|seconds| *seconds > 0)
    {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => Err(format!("{text:?} is not a time: write seconds, or 90s, 20m, 1h")),
    }
}
