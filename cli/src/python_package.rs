//! The Python package for job code that this binary carries, and putting it where containers can mount it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

include!(concat!(env!("OUT_DIR"), "/python_package.rs"));

/// Puts the package into a directory, as `python-HASH/runnerlib`, and returns the path of `python-HASH`, which is what
/// Python looks into. Several processes may do this at once.
pub fn install(directory: &Path) -> io::Result<PathBuf> {
    let mut hash = Sha256::new();
    for (name, bytes) in FILES {
        hash.update(name.len().to_le_bytes());
        hash.update(name);
        hash.update(bytes);
    }
    let name: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = directory.join(format!("python-{name}"));
    if FILES.iter().all(|(name, bytes)| is_there(&path.join("runnerlib").join(name), bytes)) {
        return Ok(path);
    }
    // A name of its own, and a rename: whoever looks sees all of it or nothing.
    let temporary = directory.join(format!(".python-{name}.{}", std::process::id()));
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir_all(temporary.join("runnerlib"))?;
    for (name, bytes) in FILES {
        fs::write(temporary.join("runnerlib").join(name), bytes)?;
    }
    open_to_all(&temporary)?;
    let _ = fs::remove_dir_all(&path);
    let placed = fs::rename(&temporary, &path);
    if placed.is_err() {
        let _ = fs::remove_dir_all(&temporary);
        // Somebody else may have been faster.
        return if path.is_dir() { Ok(path) } else { placed.map(|()| path) };
    }
    Ok(path)
}

/// Jobs run as other users, who must be able to read it, whatever the umask says.
fn open_to_all(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let package = directory.join("runnerlib");
    for (name, _) in FILES {
        fs::set_permissions(package.join(name), fs::Permissions::from_mode(0o444))?;
    }
    fs::set_permissions(&package, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

fn is_there(path: &Path, bytes: &[u8]) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes.len() as u64)
        && fs::read(path).is_ok_and(|found| found == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_installed_once_and_repaired() {
        let directory = tempfile::tempdir().unwrap();
        let path = install(directory.path()).unwrap();
        assert!(
            path.join("runnerlib/__init__.py").is_file() && path.join("runnerlib/plugin_host.py").is_file()
        );
        assert_eq!(install(directory.path()).unwrap(), path);
        fs::remove_file(path.join("runnerlib/git.py")).unwrap();
        install(directory.path()).unwrap();
        assert!(path.join("runnerlib/git.py").is_file());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
