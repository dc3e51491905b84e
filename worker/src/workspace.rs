//! The directory that a job works in: made for one attempt, gone after it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use reactorcide_engine::provider::User;

use crate::source::{Code, SourceError};

/// A workspace on the host.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Where it is.
    pub path: PathBuf,
}

impl Workspace {
    /// Makes a workspace for a user, with the code under test in `src` and, beside the workspace, trusted job code.
    pub fn create(
        path: &Path,
        source: Option<&Code>,
        ci: Option<&Code>,
        host: User,
        user: User,
    ) -> Result<Self, SourceError> {
        let workspace = Self { path: path.to_owned() };
        // A leftover of the same name would be another attempt's.
        for path in [path, &workspace.ci()] {
            remove_tree(path).map_err(|source| SourceError::Io { path: path.to_owned(), source })?;
        }
        let owner = (host.uid == 0).then_some(user);
        workspace.directory("", owner, host, user)?;
        workspace.directory("artifacts", owner, host, user)?;
        if let Some(source) = source {
            source.put(&path.join("src"), owner)?;
        }
        if let Some(ci) = ci {
            // Where it is mounted, read-only: it lies outside of what the job can write.
            workspace.directory("ci", owner, host, user)?;
            ci.put(&workspace.ci(), owner)?;
        }
        Ok(workspace)
    }

    /// Where trusted job code lies.
    pub fn ci(&self) -> PathBuf {
        self.path.with_extension("ci")
    }

    fn directory(&self, name: &str, owner: Option<User>, host: User, user: User) -> Result<(), SourceError> {
        let path = self.path.join(name);
        let failed = |source| SourceError::Io { path: path.clone(), source };
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
        disk_usage(&self.path)
    }

    /// Removes it. Directories that a job made unreadable are made readable first.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.ci()).and(remove_tree(&self.path))
    }
}

/// The bytes that a tree takes on disk. What vanishes while it is counted does not count.
pub fn disk_usage(path: &Path) -> u64 {
    let mut pending = vec![path.to_owned()];
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
        let workspace = Workspace::create(&path, None, None, me, me).expect("made");
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
