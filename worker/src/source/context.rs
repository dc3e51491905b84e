//! What every kind of source needs beside its address: the cache, the limits, and credentials.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use reactorcide_engine::protocol::spec::Sensitive;
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::error::SourceError;
use super::limits::Limits;

/// What every kind of source needs beside its address.
#[derive(Debug, Clone)]
pub struct Context {
    /// What was fetched before.
    pub cache: Cache,
    /// How much may be fetched.
    pub limits: Limits,
    /// Whether paths of this machine are taken.
    pub allow_local: bool,
    /// Whether this person's own SSH agent and known hosts may be used where there are no credentials.
    pub personal: bool,
    key: Vec<u8>,
}

impl Context {
    /// A context over a directory, which is made.
    pub fn open(directory: &Path, max_bytes: u64, limits: Limits) -> Result<Self, SourceError> {
        let cache = Cache::open(directory, max_bytes)?;
        let key = secret_key(directory)?;
        Ok(Self { cache, limits, allow_local: false, personal: false, key })
    }

    /// The name of a repository in the cache. Other credentials make another name: who cannot read a repository does
    /// not get it from here either. Names tell nothing about credentials without the cache's own key.
    pub fn key(&self, kind: &str, url: &str, credentials: Option<&Credentials>) -> String {
        let mut hash = Sha256::new();
        let secret = credentials.map_or("", |credentials| credentials.0.expose());
        for part in [&self.key[..], kind.as_bytes(), url.as_bytes(), secret.as_bytes()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        format!("{kind}-{}", hex(&hash.finalize()[..12]))
    }
}

/// What opens a repository: a token, `USER:PASSWORD`, or an SSH private key.
#[derive(Clone)]
pub struct Credentials(Sensitive);

impl Credentials {
    /// From a secret's value.
    pub fn new(value: Sensitive) -> Self {
        Self(value)
    }

    /// The key, where it is one.
    pub fn ssh_key(&self) -> Option<&str> {
        let text = self.0.expose();
        text.trim_start().starts_with("-----BEGIN ").then_some(text)
    }

    /// Name and password. A token goes with a name that every forge takes.
    pub fn user_and_password(&self) -> (&str, &str) {
        let text = self.0.expose().trim_end_matches(['\r', '\n']);
        text.split_once(':').unwrap_or(("x-access-token", text))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(credentials)")
    }
}

/// A key of the cache's own, made once.
fn secret_key(directory: &Path) -> Result<Vec<u8>, SourceError> {
    let path = directory.join("key");
    if !path.exists() {
        let mut key = [0; 32];
        let random = Path::new("/dev/urandom");
        File::open(random).and_then(|mut file| file.read_exact(&mut key)).map_err(SourceError::io(random))?;
        let new = directory.join(format!("key-{:016x}", fastrand::u64(..)));
        let mut options = File::options();
        let file = options.create_new(true).write(true).mode(0o600).open(&new);
        let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, &key));
        // Another process may have been faster; its key counts.
        let linked = written.and_then(|()| match fs::hard_link(&new, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
        let _ = fs::remove_file(&new);
        linked.map_err(SourceError::io(&path))?;
    }
    fs::read(&path).map_err(SourceError::io(&path))
}

/// A file that is nowhere but in our memory, and ends with us.
pub(super) fn in_memory(text: &str) -> std::io::Result<OwnedFd> {
    let fd = memfd_create("reactorcide", MemfdFlags::CLOEXEC)?;
    fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(text.as_bytes())?;
    Ok(file.into())
}

/// Where programs that we start find it.
pub(super) fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(text: &str) -> Credentials {
        Credentials::new(Sensitive::new(text))
    }

    #[test]
    fn other_credentials_see_another_cache() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || Context::open(directory.path(), 0, Limits::default()).expect("a context");
        let (one, again) = (open(), open());
        let key = |context: &Context, secret: &str| context.key("git", "u", Some(&credentials(secret)));
        assert_eq!(key(&one, "a"), key(&again, "a"), "a cache outlives its process");
        assert_ne!(key(&one, "a"), key(&one, "b"));
        assert_ne!(key(&one, "a"), one.key("git", "u", None));
        let other = tempfile::tempdir().expect("a directory");
        let other = Context::open(other.path(), 0, Limits::default()).expect("a context");
        assert_ne!(key(&one, "a"), key(&other, "a"), "a name tells nothing about the secret");
    }

    #[test]
    fn credentials_are_a_token_a_pair_or_a_key() {
        assert_eq!(credentials("t0ken\n").user_and_password(), ("x-access-token", "t0ken"));
        assert_eq!(credentials("me:a:b").user_and_password(), ("me", "a:b"));
        assert!(credentials("-----BEGIN OPENSSH PRIVATE KEY-----\n").ssh_key().is_some());
        assert!(credentials("t0ken").ssh_key().is_none());
        assert!(!format!("{:?}", credentials("t0ken")).contains("t0ken"));
    }
}
