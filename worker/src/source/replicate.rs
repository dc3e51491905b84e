//! Copies of prepared trees: as fast as files can be made, with nothing shared that a job could write through.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, lchown, symlink};
use std::path::{Path, PathBuf};

use reactorcide_engine::provider::User;

use super::error::SourceError;

/// Files of so many bytes are read and written at once.
const SMALL: u64 = 256 << 10;
/// Fewer files are copied by one thread.
const WORTH_A_THREAD: usize = 200;

/// Copies a tree that nobody changes meanwhile to a place where there is nothing, and gives it to an owner. Links are
/// copied as links. Returns how many files were copied.
pub fn replicate(from: &Path, to: &Path, owner: Option<User>) -> Result<u64, SourceError> {
    let mut files = Vec::new();
    let mut directories = vec![(from.to_owned(), to.to_owned())];
    let mut index = 0;
    while let Some((from, to)) = directories.get(index).cloned() {
        index += 1;
        make_directory(&from, &to, owner)?;
        for entry in fs::read_dir(&from).map_err(SourceError::io(&from))? {
            let entry = entry.map_err(SourceError::io(&from))?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type().map_err(SourceError::io(&from))?;
            if kind.is_dir() {
                directories.push((from, to));
            } else if kind.is_symlink() {
                copy_link(&from, &to, owner)?;
            } else if kind.is_file() {
                files.push((from, to));
            }
        }
    }
    copy_all(&files, owner)?;
    Ok(files.len() as u64)
}

fn copy_all(files: &[(PathBuf, PathBuf)], owner: Option<User>) -> Result<(), SourceError> {
    let threads =
        std::thread::available_parallelism().map_or(1, usize::from).min(files.len() / WORTH_A_THREAD + 1);
    let share = files.len().div_ceil(threads).max(1);
    let copy =
        |files: &[(PathBuf, PathBuf)]| files.iter().try_for_each(|(from, to)| copy_file(from, to, owner));
    std::thread::scope(|scope| {
        let others: Vec<_> =
            files.chunks(share).skip(1).map(|files| scope.spawn(move || copy(files))).collect();
        let mut result = files.chunks(share).next().map_or(Ok(()), copy);
        for other in others {
            let theirs = other
                .join()
                .unwrap_or_else(|_| Err(SourceError::io(Path::new("a copy"))(io::ErrorKind::Other.into())));
            result = result.and(theirs);
        }
        result
    })
}

fn make_directory(from: &Path, to: &Path, owner: Option<User>) -> Result<(), SourceError> {
    let failed = |error| SourceError::io(to)(error);
    let mode = fs::symlink_metadata(from).map_err(SourceError::io(from))?.mode() & 0o777;
    fs::create_dir(to).map_err(failed)?;
    // The owner must be able to work in it, whatever the original says.
    fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o755)).map_err(failed)?;
    owner.map_or(Ok(()), |user| chown(to, Some(user.uid), Some(user.gid))).map_err(failed)
}

fn copy_link(from: &Path, to: &Path, owner: Option<User>) -> Result<(), SourceError> {
    let failed = |error| SourceError::io(to)(error);
    let target = fs::read_link(from).map_err(SourceError::io(from))?;
    symlink(target, to).map_err(failed)?;
    owner.map_or(Ok(()), |user| lchown(to, Some(user.uid), Some(user.gid))).map_err(failed)
}

fn copy_file(from: &Path, to: &Path, owner: Option<User>) -> Result<(), SourceError> {
    let failed = |error| SourceError::io(to)(error);
    let mut source = File::open(from).map_err(SourceError::io(from))?;
    let metadata = source.metadata().map_err(SourceError::io(from))?;
    // Set-user-id and the like do not travel.
    let mode = (metadata.mode() & 0o777) | 0o600;
    let mut target = File::options().write(true).create_new(true).mode(mode).open(to).map_err(failed)?;
    // The kernel's own copy shares blocks where a file system can, and costs more than it saves for small files.
    if metadata.len() > SMALL {
        io::copy(&mut source, &mut target).map_err(failed)?;
    } else if metadata.len() > 0 {
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1);
        source.read_to_end(&mut bytes).map_err(SourceError::io(from))?;
        target.write_all(&bytes).map_err(failed)?;
    }
    // The umask may have taken something away.
    target.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
    owner.map_or(Ok(()), |user| fchown(&target, Some(user.uid), Some(user.gid))).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_copied_with_links_and_modes_and_shares_nothing() {
        let from = tempfile::tempdir().expect("a directory");
        fs::create_dir(from.path().join("d")).expect("a directory");
        for index in 0..500 {
            fs::write(from.path().join(format!("d/{index}")), format!("{index}")).expect("a file");
        }
        fs::write(from.path().join("run"), "x").expect("a file");
        fs::set_permissions(from.path().join("run"), fs::Permissions::from_mode(0o4555)).expect("a mode");
        symlink("/etc", from.path().join("link")).expect("a link");
        let parent = tempfile::tempdir().expect("a directory");
        let to = parent.path().join("to");
        assert_eq!(replicate(from.path(), &to, None).expect("copied"), 501);
        assert_eq!(fs::read_to_string(to.join("d/499")).expect("a file"), "499");
        assert_eq!(fs::read_link(to.join("link")).expect("a link"), Path::new("/etc"));
        assert_eq!(fs::metadata(to.join("run")).expect("a file").mode() & 0o7777, 0o755);
        fs::write(to.join("d/0"), "changed").expect("a file");
        assert_eq!(fs::read_to_string(from.path().join("d/0")).expect("a file"), "0");
        assert!(replicate(from.path(), &to, None).is_err(), "nothing is written over");
    }
}
