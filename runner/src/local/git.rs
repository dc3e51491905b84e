//! `git info`, `git files-changed`, `git commits` and `git tags`: questions about a repository.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use lexopt::Arg::{Long, Short, Value as Word};
use lexopt::{Parser, ValueExt};
use reactorcide_protocol::source::Reference;
use serde_json::{Value, json};

use super::{Failure, say, source};
use crate::client::format_of;

struct Asked {
    directory: PathBuf,
    since: Option<String>,
    json: bool,
}

/// Answers a question.
pub fn run(arguments: &[OsString]) -> Result<ExitCode, Failure> {
    let mut parser = Parser::from_args(arguments);
    let mut command = None;
    let mut asked = Asked { directory: default_directory(), since: None, json: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Word(word) if command.is_none() => command = Some(word.string()?),
            Word(word) if asked.since.is_none() => asked.since = Some(word.string()?),
            Long("since" | "base" | "from-ref") => asked.since = Some(parser.value()?.string()?),
            Long("format") => asked.json = parser.value()?.parse_with(format_of)?,
            Long("json") => asked.json = true,
            Short('C') | Long("repo" | "repo-dir") => asked.directory = parser.value()?.into(),
            _ => return Err(argument.unexpected().into()),
        }
    }
    match command.as_deref() {
        Some("info") => info(&asked),
        Some("files-changed") => files_changed(&asked),
        Some("commits") => commits(&asked),
        Some("tags") => tags(&asked),
        _ => Err(Failure::usage("say git info, git files-changed, git commits or git tags")),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Where one is, if that is a repository; else the code of the job.
fn default_directory() -> PathBuf {
    let workspace = std::env::var_os("REACTORCIDE_WORKSPACE").map(|job| PathBuf::from(job).join("src"));
    let here = PathBuf::from(".");
    let inside = |path: &PathBuf| {
        path.canonicalize().is_ok_and(|path| path.ancestors().any(|at| at.join(".git").exists()))
    };
    if inside(&here) { here } else { workspace.filter(inside).unwrap_or(here) }
}

fn git(asked: &Asked, arguments: &[&str]) -> Result<String, Failure> {
    let mut git = Command::new("git");
    // The repository may belong to somebody else, and may say anything about itself.
    git.args([
        "-c",
        "safe.directory=*",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.quotePath=false",
    ]);
    git.arg("--no-optional-locks").arg("-C").arg(&asked.directory).args(arguments);
    git.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
    source::run(git, "git").map(|text| text.trim_end().to_owned())
}

fn info(asked: &Asked) -> Result<(), Failure> {
    let commit = git(asked, &["rev-parse", "--verify", "HEAD"])?;
    let branch = git(asked, &["rev-parse", "--abbrev-ref", "HEAD"])?;
    let branch = Some(branch).filter(|branch| branch != "HEAD");
    let changed = git(asked, &["status", "--porcelain"])?;
    let log = git(asked, &["log", "-1", "--format=%an%x00%ae%x00%cI%x00%s"])?;
    let mut log = log.split('\0').map(str::to_owned);
    let mut next = || log.next().unwrap_or_default();
    let (author, email, date, subject) = (next(), next(), next(), next());
    let remote = git(asked, &["config", "--get", "remote.origin.url"]).ok().filter(|url| !url.is_empty());
    let remote = remote.map(|url| reactorcide_protocol::settings::without_password(&url));
    let tag = git(asked, &["describe", "--tags", "--exact-match"]).ok();
    let shallow = git(asked, &["rev-parse", "--is-shallow-repository"])? == "true";
    let value = json!({
        "commit": commit, "short_commit": commit.get(..12), "branch": branch, "tag": tag, "dirty": !changed.is_empty(),
        "author": author, "email": email, "date": date, "subject": subject, "remote": remote, "shallow": shallow,
    });
    if asked.json {
        return say(&format!("{value:#}\n"));
    }
    let mut text = String::new();
    for key in ["branch", "commit", "tag", "dirty", "author", "email", "date", "subject", "remote", "shallow"]
    {
        let shown = match &value[key] {
            Value::Null => continue,
            Value::String(text) => printable(text),
            other => other.to_string(),
        };
        text.push_str(&format!("{key:<8} {shown}\n"));
    }
    say(&text)
}

fn files_changed(asked: &Asked) -> Result<(), Failure> {
    let since = since(asked)?;
    // What was done since the two parted, and what is not committed yet.
    let base = match git(asked, &["merge-base", &since, "HEAD"]) {
        Ok(base) => base,
        Err(_) => git(asked, &["rev-parse", "--verify", &format!("{since}^{{commit}}")])?,
    };
    let names = git(asked, &["diff", "--name-only", "-z", "--no-ext-diff", &base, "--"])?;
    let new = git(asked, &["ls-files", "--others", "--exclude-standard", "-z"])?;
    let mut files: Vec<&str> =
        names.split('\0').chain(new.split('\0')).filter(|name| !name.is_empty()).collect();
    files.sort_unstable();
    files.dedup();
    if asked.json { say(&format!("{:#}\n", json!(files))) } else { lines(files.iter().copied()) }
}

fn commits(asked: &Asked) -> Result<(), Failure> {
    let range = format!("{}..HEAD", since(asked)?);
    let log = git(asked, &["log", "--format=%H%x00%an%x00%cI%x00%s", &range, "--"])?;
    let commits: Vec<Vec<&str>> = log.lines().map(|line| line.split('\0').collect()).collect();
    if asked.json {
        let at = |fields: &[&str], index: usize| fields.get(index).map(|text| (*text).to_owned());
        let all: Vec<Value> = commits
            .iter()
            .map(|fields| json!({"commit": at(fields, 0), "author": at(fields, 1), "date": at(fields, 2), "subject": at(fields, 3)}))
            .collect();
        return say(&format!("{:#}\n", json!(all)));
    }
    let shown: Vec<String> = commits
        .iter()
        .map(|fields| {
            format!(
                "{} {}",
                fields.first().and_then(|sha| sha.get(..12)).unwrap_or_default(),
                fields.get(3).unwrap_or(&"")
            )
        })
        .collect();
    lines(shown.iter().map(String::as_str))
}

fn tags(asked: &Asked) -> Result<(), Failure> {
    let tags = git(asked, &["tag", "--list", "--sort=-creatordate"])?;
    let tags: Vec<&str> = tags.lines().collect();
    if asked.json { say(&format!("{:#}\n", json!(tags))) } else { lines(tags.iter().copied()) }
}

fn since(asked: &Asked) -> Result<String, Failure> {
    let text = asked.since.as_deref().ok_or_else(|| Failure::usage("say since when: --since origin/main"))?;
    // A relative name, such as HEAD~3, is as good as a plain one.
    let (name, steps) = text.find(['~', '^']).map_or((text, ""), |at| text.split_at(at));
    let reference = Reference::parse(name).map_err(|error| Failure::usage(error.to_string()))?;
    if !steps.chars().all(|c| c.is_ascii_digit() || "~^".contains(c)) {
        return Err(Failure::usage(format!("{text:?} names no commit")));
    }
    Ok(format!("{reference}{steps}"))
}

fn lines<'a>(all: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    say(&all.map(|line| format!("{}\n", printable(line))).collect::<String>())
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
