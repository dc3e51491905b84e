//! A directory that somebody else filled, read and written so that nothing outside of it is ever reached: the kernel keeps
//! every name below it, follows no link, and crosses no mount.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use reactorcide_engine::provider::User;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

/// What one directory may hold.
const MAX_ENTRIES: usize = 500_000;

/// A directory and all that is below it.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

/// What lies in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name there.
    pub name: OsString,
    /// What it is.
    pub kind: FileType,
}

/// Who is to own what is written: nobody else where none is said.
pub type Owner = Option<User>;

impl Tree {
    /// A directory of ours. Its own path may have links in it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::openat(CWD, path, flags, Mode::empty())? })
    }

    /// What a directory holds, in order of names. One that holds too much to be kept in mind is an error.
    pub fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let directory = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system says it there.
                FileType::Unknown => {
                    let found = rustix::fs::statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(found.st_mode)
                }
                kind => kind,
            };
            if entries.len() == MAX_ENTRIES {
                let message = format!("a directory holds more than {MAX_ENTRIES} files");
                return Err(io::Error::other(message));
            }
            entries.push(Entry { name: OsString::from_vec(name.to_vec()), kind });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// A regular file, with its size and whether it can be run. Anything else is an error, and nothing is waited for.
    pub fn file(&self, path: &Path) -> io::Result<(File, u64, bool)> {
        // Whoever opens a pipe waits for its other end, unless they say that they do not.
        let file = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let found = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok((File::from(file), found.st_size.unsigned_abs(), found.st_mode & 0o111 != 0))
    }

    /// What something is, without following it; nothing, where it is not there.
    pub fn kind(&self, path: &Path) -> io::Result<Option<FileType>> {
        let (parent, name) = split(path)?;
        let found = self
            .resolve(parent, OFlags::PATH | OFlags::DIRECTORY)
            .and_then(|parent| Ok(rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?));
        match found {
            Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where a symbolic link leads, in its own words.
    pub fn link_target(&self, path: &Path) -> io::Result<PathBuf> {
        let (parent, name) = split(path)?;
        let parent = self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// A new file, in place of what has its name and is no directory. Its directories are made.
    pub fn create(&self, path: &Path, executable: bool, owner: Owner) -> io::Result<File> {
        let (parent, name) = split(path)?;
        let parent = self.make(parent, owner)?;
        vacate(&parent, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::from(0o600))?;
        give(&file, owner)?;
        rustix::fs::fchmod(&file, Mode::from(if executable { 0o755 } else { 0o644 }))?;
        Ok(File::from(file))
    }

    /// A symbolic link, in place of what has its name and is no directory. It leads wherever it leads, for who follows it.
    pub fn link(&self, path: &Path, target: &Path, owner: Owner) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let parent = self.make(parent, owner)?;
        vacate(&parent, name)?;
        rustix::fs::symlinkat(target, &parent, name)?;
        if let Some(User { uid, gid }) = owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Makes a directory, with those that it is in, and opens it. What is there stays.
    pub fn make(&self, path: &Path, owner: Owner) -> io::Result<OwnedFd> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        match self.resolve(path, directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut so_far = PathBuf::new();
        let mut at = self.resolve(Path::new("."), directory)?;
        for part in path.components() {
            let Component::Normal(part) = part else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it leads out of the workspace"));
            };
            so_far.push(part);
            match rustix::fs::mkdirat(&at, part, Mode::from(0o755)) {
                Ok(()) => {
                    let made = self.resolve(&so_far, OFlags::RDONLY | OFlags::DIRECTORY)?;
                    give(&made, owner)?;
                    if owner.is_none() {
                        // The job may be another user than we are, whom we cannot give it to.
                        rustix::fs::fchmod(&made, Mode::from(0o777))?;
                    }
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            at = self.resolve(&so_far, directory)?;
        }
        Ok(at)
    }

    /// Moves something to where nothing is, or in place of what is no directory.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        let ((parent, name), (new_parent, new_name)) = (split(from)?, split(to)?);
        let (parent, new_parent) = (self.resolve(parent, directory)?, self.resolve(new_parent, directory)?);
        Ok(rustix::fs::renameat(&parent, name, &new_parent, new_name)?)
    }

    /// Removes a directory with all that is in it. What is gone is no error.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let mut directories = vec![path.to_owned()];
        let mut seen = 0;
        while let Some(directory) = directories.get(seen).cloned() {
            seen += 1;
            let entries = match self.list(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                entries => entries?,
            };
            let opened = self.resolve(&directory, OFlags::PATH | OFlags::DIRECTORY)?;
            for entry in entries {
                match entry.kind {
                    FileType::Directory => directories.push(directory.join(entry.name)),
                    _ => vacate(&opened, &entry.name)?,
                }
            }
        }
        // What is deeper comes later.
        for directory in directories.iter().rev() {
            let (parent, name) = split(directory)?;
            let parent = self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?;
            rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let below = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), below) {
                // Somebody renames something elsewhere at the same time.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

/// The directory and the name of a path that names something.
fn split(path: &Path) -> io::Result<(&Path, &std::ffi::OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if path.components().all(|part| matches!(part, Component::Normal(_))) => {
            Ok((parent, name))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it names nothing below the workspace")),
    }
}

/// Removes what has a name, unless it is a directory.
fn vacate(parent: impl AsFd, name: &std::ffi::OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn give(file: impl AsFd, owner: Owner) -> io::Result<()> {
    match owner {
        Some(User { uid, gid }) => {
            Ok(rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
