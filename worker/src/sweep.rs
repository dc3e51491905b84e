//! What a killed process left behind: found by its label and its lock, and removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reactorcide_engine::provider::{Owner, Provider, ProviderError};
use rustix::fs::{FlockOperation, flock};

use crate::workspace::remove_tree;

/// What stands in the file of an owner who comes back.
const COMES_BACK: &str = "comes back\n";

/// Says that an owner is alive: a file that is locked for as long as its process lives, however that ends.
#[derive(Debug)]
pub struct OwnerLock {
    /// The owner.
    pub owner: Owner,
    path: PathBuf,
    _file: File,
}

impl OwnerLock {
    /// Takes a new owner's lock below a directory.
    pub fn take(directory: &Path, owner: Owner) -> io::Result<Self> {
        let owners = directory.join("owners");
        fs::create_dir_all(&owners)?;
        let path = owners.join(&owner.0);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { owner, path, _file: file })
    }

    /// Takes the lock of an owner who comes back under the same name: if it is killed, what it left waits for it.
    pub fn take_again(directory: &Path, owner: Owner) -> io::Result<Self> {
        let lock = Self::take(directory, owner)?;
        fs::write(&lock.path, COMES_BACK)?;
        Ok(lock)
    }

    /// Where this owner's workspaces and spools are.
    pub fn workspaces(directory: &Path, owner: &Owner) -> PathBuf {
        directory.join("workspaces").join(&owner.0)
    }

    /// Everything was cleaned up: nobody has to look for it.
    pub fn release(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what dead owners left who do not come back: containers, networks, workspaces. Returns whose that was.
pub async fn sweep(directory: &Path, provider: &dyn Provider) -> Result<Vec<Owner>, ProviderError> {
    let mut swept = Vec::new();
    for entry in fs::read_dir(directory.join("owners")).into_iter().flatten().flatten() {
        let Ok(file) = OpenOptions::new().write(true).open(entry.path()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        if fs::read(entry.path()).is_ok_and(|text| text == COMES_BACK.as_bytes()) {
            continue;
        }
        let owner = Owner(entry.file_name().to_string_lossy().into_owned());
        remove_all(provider, &owner).await?;
        if remove_tree(&OwnerLock::workspaces(directory, &owner)).is_ok() {
            let _ = fs::remove_file(entry.path());
            swept.push(owner);
        }
    }
    Ok(swept)
}

/// Removes every container of an owner, and what they shared.
pub async fn remove_all(provider: &dyn Provider, owner: &Owner) -> Result<(), ProviderError> {
    for container in provider.list(owner).await? {
        provider.stop(&container.id, Duration::ZERO).await?;
        provider.remove(&container.id).await?;
    }
    provider.release(owner).await
}
