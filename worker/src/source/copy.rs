//! The code under test: a copy of a working tree, without what git ignores.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use reactorcide_engine::provider::User;

/// Directories that are never copied: the history, and our own state.
const LEFT_OUT: [&str; 2] = [".git", ".reactorcide-state"];

/// Why a tree could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file could not be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("{path} cannot be written")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The tree could not be walked.
    #[error("the source cannot be read")]
    Walk(#[source] ignore::Error),
}

impl CopyError {
    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        let full = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => full(source),
            Self::Walk(error) => error.io_error().is_some_and(full),
        }
    }
}

/// Copies a tree into a directory that exists. What `.gitignore` and its like leave out is left out, also where the
/// tree is no repository. Symbolic links are copied as links and never followed; sockets, devices and named pipes are
/// left out. With an owner, everything is given to it. Returns how many files were copied.
pub fn copy_tree(from: &Path, to: &Path, owner: Option<User>) -> Result<u64, CopyError> {
    let mut walk = WalkBuilder::new(from);
    // What lies above the repository says nothing about it.
    let in_repository = from.ancestors().skip(1).any(|above| above.join(".git").exists());
    let parents = in_repository && !from.join(".git").exists();
    walk.hidden(false).require_git(false).git_global(false).parents(parents).follow_links(false);
    walk.filter_entry(|entry| !LEFT_OUT.iter().any(|name| entry.file_name() == *name));
    let mut copied = 0;
    for entry in walk.build() {
        let entry = entry.map_err(CopyError::Walk)?;
        let Ok(relative) = entry.path().strip_prefix(from) else { continue };
        if relative.as_os_str().is_empty() {
            continue;
        }
        let target = to.join(relative);
        let Some(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            make_directory(entry.path(), &target, owner)?;
        } else if kind.is_symlink() {
            copy_link(entry.path(), &target, owner)?;
        } else if kind.is_file() {
            copy_file(entry.path(), &target, owner)?;
            copied += 1;
        }
    }
    Ok(copied)
}

fn make_directory(from: &Path, to: &Path, owner: Option<User>) -> Result<(), CopyError> {
    let mode = fs::symlink_metadata(from).map_err(read(from))?.mode() & 0o777;
    fs::create_dir_all(to).map_err(write(to))?;
    // The owner must be able to work in it, whatever the original says.
    fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o700)).map_err(write(to))?;
    give(to, owner)
}

fn copy_link(from: &Path, to: &Path, owner: Option<User>) -> Result<(), CopyError> {
    let target = fs::read_link(from).map_err(read(from))?;
    symlink(target, to).map_err(write(to))?;
    match owner {
        Some(user) => lchown(to, Some(user.uid), Some(user.gid)).map_err(write(to)),
        None => Ok(()),
    }
}

fn copy_file(from: &Path, to: &Path, owner: Option<User>) -> Result<(), CopyError> {
    let mut source = File::open(from).map_err(read(from))?;
    let metadata = source.metadata().map_err(read(from))?;
    // Between the walk and now it may have become something that never ends.
    if !metadata.is_file() {
        return Ok(());
    }
    let mut target = File::create_new(to).map_err(write(to))?;
    io::copy(&mut source, &mut target).map_err(write(to))?;
    // Set-user-id and the like do not travel.
    target.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o777)).map_err(write(to))?;
    give(to, owner)
}

fn give(path: &Path, owner: Option<User>) -> Result<(), CopyError> {
    match owner {
        Some(user) => chown(path, Some(user.uid), Some(user.gid)).map_err(write(path)),
        None => Ok(()),
    }
}

fn read(path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Read { path, source }
}

fn write(path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Write { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        for (path, content) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, content).expect("a file");
        }
        directory
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = WalkBuilder::new(directory)
            .standard_filters(false)
            .build()
            .map(|entry| {
                entry
                    .expect("an entry")
                    .path()
                    .strip_prefix(directory)
                    .expect("below")
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| !name.is_empty())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_git_ignores_stays_behind_and_hidden_files_do_not() {
        let from = tree(&[
            (".gitignore", "/target\n*.log\n!keep.log\n"),
            (".hidden", ""),
            (".git/config", ""),
            (".reactorcide-state/state.db", ""),
            ("src/a.rs", "a"),
            ("target/x", ""),
            ("x.log", ""),
            ("keep.log", ""),
            ("sub/.gitignore", "y\n"),
            ("sub/y", ""),
        ]);
        let to = tempfile::tempdir().expect("a directory");
        copy_tree(from.path(), to.path(), None).expect("copied");
        assert_eq!(
            names(to.path()),
            [".gitignore", ".hidden", "keep.log", "src", "src/a.rs", "sub", "sub/.gitignore"]
        );
    }

    #[test]
    fn links_are_copied_and_never_followed() {
        let from = tree(&[("a", "a")]);
        symlink("/etc", from.path().join("outside")).expect("a link");
        symlink("a", from.path().join("inside")).expect("a link");
        let to = tempfile::tempdir().expect("a directory");
        assert_eq!(copy_tree(from.path(), to.path(), None).expect("copied"), 1);
        assert_eq!(names(to.path()), ["a", "inside", "outside"]);
        assert_eq!(fs::read_link(to.path().join("outside")).expect("a link"), Path::new("/etc"));
    }

    #[test]
    fn modes_are_kept_but_not_the_dangerous_ones() {
        let from = tree(&[("run", "")]);
        fs::set_permissions(from.path().join("run"), fs::Permissions::from_mode(0o4755)).expect("a mode");
        let to = tempfile::tempdir().expect("a directory");
        copy_tree(from.path(), to.path(), None).expect("copied");
        assert_eq!(fs::metadata(to.path().join("run")).expect("a file").mode() & 0o7777, 0o755);
    }

    #[test]
    fn pipes_are_left_out_instead_of_waited_for() {
        let from = tree(&[("a", "")]);
        rustix::fs::mkfifoat(rustix::fs::CWD, from.path().join("pipe"), 0o600.into()).expect("a pipe");
        let to = tempfile::tempdir().expect("a directory");
        copy_tree(from.path(), to.path(), None).expect("copied");
        assert_eq!(names(to.path()), ["a"]);
    }
}
