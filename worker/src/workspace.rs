//! The directory that a job works in: made for one attempt, gone after it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reactorcide_engine::provider::{Overlay, User};

use crate::source::{Code, Held, SourceError};

/// A workspace on the host.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Where it is.
    pub path: PathBuf,
    /// What lies under the layer that the job writes to, where its code is not a copy.
    pub lower: Option<Arc<Held>>,
}

/// What belongs to a workspace and lies beside it. Names of jobs may hold dots.
pub fn beside(workspace: &Path, what: &str) -> PathBuf {
    let mut name = workspace.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    PathBuf::from(name)
}

impl Workspace {
    /// Makes a workspace for a user, with the code under test in `src` and, beside the workspace, trusted job code.
    pub fn create(
        path: &Path,
        source: Option<&Code>,
        lower: Option<Held>,
        ci: Option<&Code>,
        host: User,
        user: User,
    ) -> Result<Self, SourceError> {
        let workspace = Self { path: path.to_owned(), lower: lower.map(Arc::new) };
        let owner = workspace.make(host, user)?;
        if workspace.lower.is_some() {
            workspace.directory("src", owner, host, user)?;
            for name in ["upper", "work"] {
                let path = workspace.layer().join(name);
                fs::create_dir_all(&path).map_err(|source| SourceError::Io { path: path.clone(), source })?;
            }
            workspace.own(&workspace.layer().join("upper"), owner, host, user)?;
        } else if let Some(source) = source {
            source.put(&path.join("src"), owner)?;
        }
        if let Some(ci) = ci {
            // Where it is mounted, read-only: it lies outside of what the job can write.
            workspace.directory("ci", owner, host, user)?;
            ci.put(&workspace.ci(), owner)?;
        }
        Ok(workspace)
    }

    /// Makes a workspace for a user whose code comes later, when containers have it mounted already.
    pub fn ahead(path: &Path, with_ci: bool, host: User, user: User) -> Result<Self, SourceError> {
        let workspace = Self::at(path);
        let owner = workspace.make(host, user)?;
        if with_ci {
            workspace.directory("ci", owner, host, user)?;
            let ci = workspace.ci();
            fs::create_dir(&ci).map_err(SourceError::io(&ci))?;
            workspace.own(&ci, owner, host, user)?;
        }
        Ok(workspace)
    }

    /// Puts code into a workspace that was made ahead. The directories that are mounted stay the same ones.
    pub fn fill(
        path: &Path,
        source: Option<&Code>,
        ci: Option<&Code>,
        host: User,
        user: User,
    ) -> Result<Self, SourceError> {
        let workspace = Self::at(path);
        let owner = (host.uid == 0).then_some(user);
        if let Some(source) = source {
            source.put(&path.join("src"), owner)?;
        }
        if let Some(ci) = ci {
            let (new, mounted) = (beside(path, "ci-new"), workspace.ci());
            ci.put(&new, owner)?;
            for entry in fs::read_dir(&new).map_err(SourceError::io(&new))? {
                let entry = entry.map_err(SourceError::io(&new))?;
                let to = mounted.join(entry.file_name());
                fs::rename(entry.path(), &to).map_err(SourceError::io(&to))?;
            }
            fs::remove_dir(&new).map_err(SourceError::io(&new))?;
        }
        Ok(workspace)
    }

    /// Makes what every workspace has. Returns who it is given to.
    fn make(&self, host: User, user: User) -> Result<Option<User>, SourceError> {
        // A leftover of the same name would be another attempt's.
        for path in [&self.path, &self.ci(), &self.layer(), &self.control()] {
            remove_tree(path).map_err(SourceError::io(path))?;
        }
        let owner = (host.uid == 0).then_some(user);
        self.directory("", owner, host, user)?;
        self.directory("artifacts", owner, host, user)?;
        // Containers may have it mounted before anybody listens there.
        let control = self.control();
        fs::create_dir(&control).map_err(SourceError::io(&control))?;
        Ok(owner)
    }

    /// A workspace that was made.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), lower: None }
    }

    /// The layer over its code, for a container, where that is no copy.
    pub fn overlay(&self, target: &str) -> Option<Overlay> {
        let lower = self.lower.as_ref()?.path.clone();
        let (upper, work) = (self.layer().join("upper"), self.layer().join("work"));
        Some(Overlay { lower, upper, work, target: target.to_owned() })
    }

    /// Where what a job writes over its code lies.
    fn layer(&self) -> PathBuf {
        beside(&self.path, "layer")
    }

    /// Where trusted job code lies.
    pub fn ci(&self) -> PathBuf {
        beside(&self.path, "ci")
    }

    /// Where the worker's socket is, which the job can see and not write.
    pub fn control(&self) -> PathBuf {
        beside(&self.path, "control")
    }

    fn directory(&self, name: &str, owner: Option<User>, host: User, user: User) -> Result<(), SourceError> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(|source| SourceError::Io { path: path.clone(), source })?;
        self.own(&path, owner, host, user)
    }

    fn own(&self, path: &Path, owner: Option<User>, host: User, user: User) -> Result<(), SourceError> {
        let failed = |source| SourceError::Io { path: path.to_owned(), source };
        // Where we may not give it away, everybody must be able to write it: its parent is closed to others.
        let mode = if owner.is_none() && user != host { 0o777 } else { 0o755 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        match owner {
            Some(user) => chown(path, Some(user.uid), Some(user.gid)).map_err(failed),
            None => Ok(()),
        }
    }

    /// The bytes that it takes on disk. What vanishes while it is counted does not count.
    pub fn disk_usage(&self) -> u64 {
        disk_usage(&self.path) + disk_usage(&self.layer())
    }

    /// Removes it. Directories that a job made unreadable are made readable first.
    pub fn remove(&self) -> io::Result<()> {
        let ours = self.remove_ours();
        ours.and(remove_tree(&self.ci())).and(remove_tree(&self.layer())).and(remove_tree(&self.path))
    }

    /// Removes what is for the worker alone: what was said, and where. The lease stays.
    pub fn remove_ours(&self) -> io::Result<()> {
        for what in ["log", "journal"] {
            match fs::remove_file(beside(&self.path, what)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        remove_tree(&self.control())
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
        if fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).is_err() {
            // Somebody else's, such as the kernel's own in a layer: an empty one can be removed all the same.
            let _ = fs::remove_dir(&directory);
            continue;
        }
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
        let workspace = Workspace::create(&path, None, None, None, me, me).expect("made");
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
