//! Fetching code with the tools that are here. A worker does this better, with a cache and before the job's container
//! exists; here it is for jobs that run without one.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ignore::WalkBuilder;
use reactorcide_protocol::settings::{SourceKind, SourceSettings};
use reactorcide_protocol::source::{Location, Reference, Schemes};
use reactorcide_protocol::spec::Sensitive;

use super::Failure;
use super::arguments::Said;

/// What git is told in every call, over whatever a repository says.
const GIT_SETTINGS: [&str; 6] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "protocol.allow=never",
    "credential.helper=",
    "submodule.recurse=false",
    "gc.auto=0",
];

/// Lies in a workspace that was made by one of these commands.
const MARK: &str = ".reactorcide-workspace";

/// Directories that are never copied: the history, and our own state.
const LEFT_OUT: [&str; 2] = [".git", ".reactorcide-state"];

/// Whether what is in a directory may be removed: `/job` of a container, or one that we have marked.
pub fn is_workspace(directory: &Path) -> bool {
    directory == Path::new("/job") || directory.join(MARK).is_file()
}

/// Fetches both sources of a job into its workspace, and says what came of it.
pub fn prepare(said: &Said) -> Result<Vec<String>, Failure> {
    let job = Path::new(said.settings.job_dir());
    let mut done = Vec::new();
    for (prefix, place) in [("ci_source", "ci"), ("source", "src")] {
        let source = said.settings.source(prefix).map_err(|problem| Failure::config(problem.message))?;
        if let Some(source) = source.filter(|source| source.kind != SourceKind::None) {
            done.push(fetch(&source, &job.join(place), said.credentials.as_ref())?);
        }
    }
    Ok(done)
}

/// Fetches one source into a directory, whose old contents go.
pub fn fetch(source: &SourceSettings, to: &Path, credentials: Option<&Sensitive>) -> Result<String, Failure> {
    let place = to.display();
    let failed = |error: io::Error| Failure::failed(format!("{place} cannot be written: {error}"));
    match fs::symlink_metadata(to) {
        Ok(metadata) if metadata.is_dir() => {
            let empty = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
            if !empty && !to.parent().is_some_and(is_workspace) {
                return Err(Failure::usage(format!(
                    "{place} is there already, and not in a workspace of ours; name another --job-dir, or remove it"
                )));
            }
            fs::remove_dir_all(to).map_err(failed)?;
        }
        Ok(_) => return Err(Failure::failed(format!("{place} is not a directory"))),
        Err(_) => {}
    }
    fs::create_dir_all(to).map_err(failed)?;
    if let Some(workspace) = to.parent().filter(|workspace| !is_workspace(workspace)) {
        fs::write(workspace.join(MARK), "").map_err(failed)?;
    }
    match source.kind {
        SourceKind::Git => git(source, to, credentials),
        SourceKind::Copy => copy(&local_path(&source.url)?, to),
        SourceKind::Tarball => tarball(source, to),
        SourceKind::Hg => mercurial(source, to),
        SourceKind::Svn => subversion(source, to),
        SourceKind::None => Ok(format!("{place} is empty")),
    }
}

fn location(source: &SourceSettings, schemes: Schemes) -> Result<Location, Failure> {
    // A path of this machine counts from where we are.
    let text = match source.url.contains(':') || source.url.starts_with('-') {
        true => source.url.clone(),
        false => local_path(&source.url)?.display().to_string(),
    };
    Location::parse(&text, schemes, true).map_err(|error| {
        Failure::config(format!("the address of the source cannot be used: {error}; {}", error.hint()))
    })
}

fn reference(source: &SourceSettings) -> Result<Reference, Failure> {
    let text = source.reference.as_deref().unwrap_or("HEAD");
    Reference::parse(text).map_err(|error| Failure::config(error.to_string()))
}

fn local_path(text: &str) -> Result<PathBuf, Failure> {
    let text = text.strip_prefix("file://").unwrap_or(text);
    std::path::absolute(text).map_err(|error| Failure::failed(format!("{text}: {error}")))
}

fn git(source: &SourceSettings, to: &Path, credentials: Option<&Sensitive>) -> Result<String, Failure> {
    let location = location(source, Schemes::Git)?;
    let reference = reference(source)?;
    let git = Git { to, location: &location, credentials };
    git.run("init", &["--quiet", "--template=", "--initial-branch=main", "."])?;
    let url = location.url();
    let wanted = match &reference {
        Reference::Head => vec!["HEAD".to_owned()],
        Reference::Commit(commit) => vec![commit.clone()],
        named => named.candidates(),
    };
    let mut last = None;
    for name in &wanted {
        match git
            .run("fetch", &["--quiet", "--no-tags", "--depth=1", "--no-recurse-submodules", "--", &url, name])
        {
            Ok(_) => {
                git.run("checkout", &["--quiet", "--force", "--detach", "FETCH_HEAD", "--"])?;
                let commit = git.run("rev-parse", &["HEAD"])?;
                let _ = fs::remove_file(to.join(".git/FETCH_HEAD"));
                return Ok(format!("{location} at {} in {}", commit.trim(), to.display()));
            }
            // The next name may be it; the first failure says most.
            Err(failure) => drop(last.get_or_insert(failure)),
        }
    }
    let said = last.map(|failure| failure.message).unwrap_or_default();
    Err(Failure::failed(format!("there is no {reference} in {location}, or it cannot be read: {said}")))
}

struct Git<'a> {
    to: &'a Path,
    location: &'a Location,
    credentials: Option<&'a Sensitive>,
}

impl Git<'_> {
    fn run(&self, command: &str, arguments: &[&str]) -> Result<String, Failure> {
        let mut git = Command::new("git");
        for setting in GIT_SETTINGS {
            git.args(["-c", setting]);
        }
        let protocol = match self.location {
            Location::Remote { scheme, .. } => scheme.as_str(),
            Location::Local(_) => "file",
        };
        git.arg(command)
            .args(arguments)
            .current_dir(self.to)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", protocol)
            .env("GIT_ADVICE", "0")
            .env("LC_ALL", "C")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE");
        if let (Some(credentials), Location::Remote { scheme, host, .. }, "fetch") =
            (self.credentials, self.location, command)
        {
            // Only this one process gets it, and it has ended before any step begins.
            let (user, password) =
                credentials.expose().split_once(':').unwrap_or(("x-access-token", credentials.expose()));
            let header = format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")));
            git.env("GIT_CONFIG_COUNT", "2")
                .env("GIT_CONFIG_KEY_0", format!("http.{scheme}://{host}/.extraHeader"))
                .env("GIT_CONFIG_VALUE_0", header)
                .env("GIT_CONFIG_KEY_1", "http.followRedirects")
                .env("GIT_CONFIG_VALUE_1", "false");
        }
        run(git, "git")
    }
}

fn copy(from: &Path, to: &Path) -> Result<String, Failure> {
    if !from.is_dir() {
        return Err(Failure::config(format!("there is no directory {}", from.display())));
    }
    let failed =
        |path: &Path, error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
    // The workspace may lie inside of what is copied.
    let own = to.canonicalize().map_err(|error| failed(to, &error))?;
    let mut walk = WalkBuilder::new(from);
    walk.hidden(false).require_git(false).git_global(false).follow_links(false);
    walk.filter_entry(move |entry| {
        let is_own = || entry.path().canonicalize().is_ok_and(|path| own.starts_with(path));
        !LEFT_OUT.iter().any(|name| entry.file_name() == *name)
            && (entry.depth() == 0 || !entry.file_type().is_some_and(|kind| kind.is_dir()) || !is_own())
    });
    let mut count = 0_u64;
    for entry in walk.build() {
        let entry = entry.map_err(|error| failed(from, &error))?;
        let Ok(relative) = entry.path().strip_prefix(from) else { continue };
        let (target, Some(kind)) = (to.join(relative), entry.file_type()) else { continue };
        if relative.as_os_str().is_empty() {
            continue;
        }
        let copied = if kind.is_dir() {
            fs::create_dir_all(&target)
        } else if kind.is_symlink() {
            fs::read_link(entry.path()).and_then(|link| symlink(link, &target))
        } else if kind.is_file() {
            count += 1;
            copy_file(entry.path(), &target)
        } else {
            Ok(())
        };
        copied.map_err(|error| failed(&target, &error))?;
    }
    Ok(format!("{count} files of {} in {}", from.display(), to.display()))
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    // Set-user-id and the like do not travel.
    let mode = fs::metadata(to)?.permissions().mode() & 0o777;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
}

fn tarball(source: &SourceSettings, to: &Path) -> Result<String, Failure> {
    let location = location(source, Schemes::Archive)?;
    let Location::Local(path) = &location else {
        return Err(Failure::config(format!(
            "{location} cannot be fetched here: this program looks up no host names; `reactorcide run` fetches it, or download it first"
        )));
    };
    if source.checksum.is_some() {
        return Err(Failure::config(
            "checksums are checked where sources are fetched: use `reactorcide run`",
        ));
    }
    let mut tar = Command::new("tar");
    tar.args(["-x", "--no-same-owner", "--no-same-permissions", "-f"]).arg(path).arg("-C").arg(to);
    run(tar, "tar")?;
    Ok(format!("{location} in {}", to.display()))
}

fn mercurial(source: &SourceSettings, to: &Path) -> Result<String, Failure> {
    let location = location(source, Schemes::Mercurial)?;
    let reference = match reference(source)? {
        Reference::Head => "default".to_owned(),
        other => other.to_string(),
    };
    let url = match &location {
        Location::Local(path) => path.display().to_string(),
        remote => remote.url(),
    };
    let mut hg = Command::new("hg");
    hg.env("HGPLAIN", "1").env("HGRCPATH", "/dev/null");
    hg.args([
        "--config=subrepos.allowed=false",
        "--noninteractive",
        "clone",
        "--quiet",
        "--updaterev",
        &reference,
        "--",
        &url,
    ]);
    hg.arg(to);
    run(hg, "hg")?;
    Ok(format!("{location} at {reference} in {}", to.display()))
}

fn subversion(source: &SourceSettings, to: &Path) -> Result<String, Failure> {
    let location = location(source, Schemes::Subversion)?;
    let revision = match reference(source)? {
        Reference::Head => "HEAD".to_owned(),
        other => other.to_string().trim_start_matches('r').to_owned(),
    };
    if revision != "HEAD" && revision.parse::<u64>().is_err() {
        return Err(Failure::config(format!("{revision:?} is no revision: write a number")));
    }
    let mut svn = Command::new("svn");
    svn.args([
        "export",
        "--force",
        "--quiet",
        "--non-interactive",
        "--ignore-externals",
        "--revision",
        &revision,
        "--",
    ]);
    svn.arg(format!("{}@", location.url())).arg(to);
    run(svn, "svn")?;
    Ok(format!("{location} at {revision} in {}", to.display()))
}

/// Runs a tool and returns what it printed.
pub fn run(mut command: Command, name: &str) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::config(format!(
            "{name} is not installed here; what needs it runs in an image that has it"
        )),
        _ => Failure::failed(format!("{name} cannot be started: {error}")),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said: String = lines.join("; ").chars().filter(|c| !c.is_control()).take(2000).collect();
    Err(Failure::failed(format!("{name} failed: {said}")))
}
