//! The directory that a job works in: made for one attempt, gone after it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use reactorcide_engine::provider::User;

use crate::source::{CopyError, copy_tree};

/// A workspace on the host.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Where it is.
    pub path: PathBuf,
}

impl Workspace {
    /// Makes a workspace for a user, with a copy of the source where there is one.
    pub fn create(path: &Path, source: Option<&Path>, host: User, user: User) -> Result<Self, CopyError> {
        let workspace = Self { path: path.to_owned() };
        // A leftover of the same name would be another attempt's.
        if path.exists() {
            fs::remove_dir_all(path).map_err(|source| CopyError::Write { path: path.to_owned(), source })?;
        }
        let owner = (host.uid == 0).then_some(user);
        workspace.directory("", owner, host, user)?;
        workspace.directory("artifacts", owner, host, user)?;
        if let Some(source) = source {
            workspace.directory("src", owner, host, user)?;
            copy_tree(source, &path.join("src"), owner)?;
        }
        Ok(workspace)
    }

    fn directory(&self, name: &str, owner: Option<User>, host: User, user: User) -> Result<(), CopyError> {
        let path = self.path.join(name);
        let failed = |source| CopyError::Write { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(failed)?;
        // Where we may not give it away, everybody must be able to write it: its parent is closed to others.
        let mode = if owner.is_none() && user != host { 0o777 } else { 0o755 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        match owner {
            Some(user) => chown(&path, Some(user.uid), Some(user.gid)).map_err(failed),
            None => Ok(()),
        }
    }

    /// The bytes that it takes on disk. What vanishes while it is counted does not count.
    pub fn disk_usage(&self) -> u64 {
        let mut pending = vec![self.path.clone()];
        let mut bytes = 0;
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                bytes += metadata.blocks() * 512;
                if metadata.is_dir() {
                    pending.push(entry.path());
                }
            }
        }
        bytes
    }

    /// Removes it. Directories that a job made unreadable are made readable first.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.path)
    }
}

/// Removes a tree without following links; success where it is gone already.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path)
        }
        Err(error) => Err(error),
    }
}

fn open_up(path: &Path) {
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
}

/// The user that this process runs as.
pub fn host_user() -> User {
    User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_has_its_directories_and_goes_without_a_trace() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("w");
        let me = host_user();
        let workspace = Workspace::create(&path, None, me, me).expect("made");
        assert!(path.join("artifacts").is_dir() && !path.join("src").exists());
        fs::create_dir(path.join("locked")).expect("a directory");
        fs::write(path.join("locked/file"), vec![1; 100_000]).expect("a file");
        assert!(workspace.disk_usage() >= 100_000);
        fs::set_permissions(path.join("locked"), fs::Permissions::from_mode(0o000)).expect("a mode");
        workspace.remove().expect("removed");
        workspace.remove().expect("removing what is gone is no error");
        assert!(!path.exists());
    }
}
