//! Signing keys in a directory that nobody else can read: one file a key, outside of the database, so that a copy of the
//! database is of no use to who would sign tokens.
//!
//! A key's file is made under another name and linked into place, which fails where somebody was faster. A key that is
//! forgotten leaves an empty file, so that its number does not come back. Several servers share one directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use reactorcide_engine::id_token::{SigningKey, SigningKeyStore};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::StoreError;
use serde::{Deserialize, Serialize};

/// Signing keys in a directory.
#[derive(Debug, Clone)]
pub struct KeyDirectory {
    path: PathBuf,
}

/// A key as its file has it.
#[derive(Serialize, Deserialize)]
struct Stored {
    created_at: Millis,
    private: Sensitive,
}

impl KeyDirectory {
    /// Opens a directory, and makes it where there is none. One that others can enter is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let found = fs::symlink_metadata(path)?;
        if !found.is_dir() || found.mode() & 0o077 != 0 {
            let reason = "it must be a directory that nobody else can enter: chmod 0700";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        Ok(Self { path: path.to_owned() })
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number}.json"))
    }

    /// The numbers that were ever given, and the keys that are still there.
    fn read(&self) -> io::Result<(u64, Vec<SigningKey>)> {
        let (mut highest, mut keys) = (0, Vec::new());
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok());
            let Some(number) = number else { continue };
            highest = highest.max(number);
            let bytes = fs::read(self.file(number))?;
            if bytes.is_empty() {
                continue;
            }
            // The error would quote what is there.
            let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{number}.json is damaged"))
            })?;
            keys.push(SigningKey { number, created_at: stored.created_at, private: stored.private });
        }
        keys.sort_unstable_by_key(|key| key.number);
        Ok((highest, keys))
    }

    fn add(&self, key: &SigningKey) -> io::Result<bool> {
        if self.read()?.0 + 1 != key.number {
            return Ok(false);
        }
        let stored = Stored { created_at: key.created_at, private: key.private.clone() };
        let temporary = self.write(&serde_json::to_vec(&stored)?)?;
        let linked = fs::hard_link(&temporary, self.file(key.number));
        fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            linked => linked?,
        }
        File::open(&self.path)?.sync_all()?;
        Ok(true)
    }

    fn forget(&self, number: u64) -> io::Result<()> {
        if !self.file(number).try_exists()? {
            return Ok(());
        }
        let temporary = self.write(b"")?;
        fs::rename(&temporary, self.file(number))?;
        File::open(&self.path)?.sync_all()
    }

    /// Writes a file of a name that nobody looks for.
    fn write(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.path.join(format!("{}.new", uuid::Uuid::new_v4().simple()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(path)
    }

    async fn with<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> io::Result<T> + Send + 'static,
    {
        let (this, shown) = (self.clone(), self.path.display().to_string());
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.map_err(io::Error::other).and_then(|done| done).map_err(|error| StoreError::Access {
            location: shown,
            attempt: operation,
            what: error.to_string(),
        })
    }
}

#[async_trait]
impl SigningKeyStore for KeyDirectory {
    async fn keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        self.with("read", |this| Ok(this.read()?.1)).await
    }

    async fn add(&self, key: &SigningKey) -> Result<bool, StoreError> {
        let key = key.clone();
        self.with("written", move |this| Self::add(this, &key)).await
    }

    async fn forget(&self, number: u64, _: Millis) -> Result<(), StoreError> {
        self.with("written", move |this| Self::forget(this, number)).await
    }

    async fn next(&self) -> Result<u64, StoreError> {
        self.with("read", |this| Ok(this.read()?.0 + 1)).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use reactorcide_engine::id_token::conformance;

    use super::*;

    #[tokio::test]
    async fn signing_keys_are_kept_in_a_directory() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("keys");
        let keys = KeyDirectory::open(&path).expect("it is made");
        conformance::signing_keys_are_kept(&keys).await;
        let again = KeyDirectory::open(&path).expect("it is there");
        assert_eq!(again.keys().await.expect("read"), keys.keys().await.expect("read"));
        for entry in fs::read_dir(&path).expect("a directory") {
            let file = entry.expect("an entry");
            assert_eq!(file.metadata().expect("it is there").mode() & 0o777, 0o600);
            assert!(file.file_name().to_string_lossy().ends_with(".json"), "nothing else is left");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_of_many_makes_each_key() {
        let place = tempfile::tempdir().expect("a directory");
        let keys = KeyDirectory::open(&place.path().join("keys")).expect("it is made");
        for number in 1..=5 {
            let made = futures_util::future::join_all((0..8).map(|who| {
                let key = SigningKey { number, created_at: who, private: Sensitive::new("private") };
                let keys = keys.clone();
                async move { SigningKeyStore::add(&keys, &key).await.expect("an answer") }
            }));
            assert_eq!(made.await.into_iter().filter(|made| *made).count(), 1);
        }
        assert_eq!(keys.keys().await.expect("read").len(), 5);
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let place = tempfile::tempdir().expect("a directory");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        assert!(KeyDirectory::open(place.path()).is_err());
    }
}
