//! What tells the processes that a worker has in one directory, one after another, from any other process of its name.
//!
//! A lease may be given and never arrive: the connection broke off, or the process was killed before it had written down
//! what it got. The tokens of leases begin with the directory's mark, so that the next process there knows which of the
//! leases that the server says it has were given to this directory and to nobody else.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use reactorcide_engine::coordinator::LeaseId;

/// The mark of a directory. Nobody else knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Instance(String);

impl Instance {
    /// The mark of a directory, which is made where there is none.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let path = directory.join("instance");
        match fs::read_to_string(&path) {
            Ok(text) if is_mark(text.trim()) => return Ok(Self(text.trim().to_owned())),
            // Half of it was written.
            Ok(_) => fs::remove_file(&path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mark = random()?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(mark.as_bytes())?;
        Ok(Self(mark))
    }

    /// What the tokens of this directory begin with.
    pub fn mark(&self) -> String {
        format!("{}.", self.0)
    }

    /// A token for the next leases.
    pub fn token(&self) -> io::Result<String> {
        Ok(self.mark() + &random()?)
    }

    /// Whether a lease was given to this directory.
    pub fn has(&self, lease: &LeaseId) -> bool {
        lease.token.starts_with(&self.mark())
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Instance(_)")
    }
}

fn is_mark(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_mark_and_no_other_has_it() {
        let (one, other) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let first = Instance::of(one.path()).expect("a mark");
        assert_eq!(Instance::of(one.path()).expect("a mark"), first);
        assert_ne!(Instance::of(other.path()).expect("a mark"), first);
        let (a, b) = (first.token().expect("a token"), first.token().expect("a token"));
        assert_ne!(a, b);
        let lease =
            |token: &str| LeaseId { run: "r".into(), node: "n".into(), attempt: 1, token: token.into() };
        assert!(first.has(&lease(&a)) && !first.has(&lease("another")));
        assert!(!Instance::of(other.path()).expect("a mark").has(&lease(&b)));
        fs::write(one.path().join("instance"), "half").expect("written");
        assert_ne!(Instance::of(one.path()).expect("a mark"), first);
    }
}
