//! The static runner that this binary carries, and putting it where containers can mount it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The program that is process 1 of job containers.
pub fn bytes() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/reactorcide-runner"))
}

/// Puts the runner into a directory, as `reactorcide-runner-HASH`, and returns its path. A file that is there
/// already is kept if it has the right contents and replaced if not; several processes may do this at once.
pub fn install(directory: &Path) -> io::Result<PathBuf> {
    let digest = Sha256::digest(bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = directory.join(format!("reactorcide-runner-{name}"));
    if is_installed(&path)? {
        return Ok(path);
    }
    fs::create_dir_all(directory)?;
    // A name of its own, and a rename: whoever looks sees all of it or nothing.
    let temporary = directory.join(format!(".reactorcide-runner-{name}.{}", std::process::id()));
    let written = write(&temporary).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map(|()| path)
}

fn is_installed(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()
            && metadata.permissions().mode() & 0o777 == 0o555
            && metadata.len() == bytes().len() as u64
            && fs::read(path)? == bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write(path: &Path) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = File::options().write(true).create_new(true).mode(0o555).open(path)?;
    file.write_all(bytes())?;
    // The mode above is subject to the umask.
    file.set_permissions(PermissionsExt::from_mode(0o555))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small_and_static() {
        assert!(bytes().len() < 6 << 20, "{} bytes", bytes().len());
        assert_eq!(&bytes()[..5], b"\x7fELF\x02");
        let number = |at: usize, length: usize| {
            let field = &bytes()[at..at + length];
            field.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
        };
        let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
        let kinds: Vec<usize> = (0..count).map(|index| number(headers + index * size, 4)).collect();
        const LOAD: usize = 1;
        const INTERPRETER: usize = 3;
        assert!(kinds.contains(&LOAD) && !kinds.contains(&INTERPRETER), "{kinds:?}");
    }

    #[test]
    fn it_is_installed_once_and_repaired() {
        let directory = tempfile::tempdir().unwrap();
        let deeper = directory.path().join("a/b");
        let path = install(&deeper).unwrap();
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let first = inode(&path);
        assert_eq!(install(&deeper).unwrap(), path);
        assert_eq!(inode(&path), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o555);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(&path, b"something else").unwrap();
        install(&deeper).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes());
        assert_eq!(fs::read_dir(&deeper).unwrap().count(), 1);
    }

    #[test]
    fn it_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = install(directory.path()).unwrap();
        let output = std::process::Command::new(path).arg("--version").env_clear().output().unwrap();
        assert_eq!(output.stdout, format!("reactorcide-runner {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    }
}
