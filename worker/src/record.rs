//! What a worker must know of an attempt to go on with it after a restart: one file beside the attempt's workspace. It
//! has no value of a secret.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reactorcide_engine::coordinator::{Lease, LeaseId};
use reactorcide_engine::protocol::link::{Key, Proof};
use reactorcide_engine::protocol::spec::Sensitive;
use reactorcide_engine::scheduler::{Assignment, AttemptResult};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::files::Restored;
use crate::link::random;
use crate::workspace::beside;

/// The version of the file.
const VERSION: u32 = 1;

/// What is kept of an attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    v: u32,
    /// The lease.
    pub lease: LeaseId,
    /// What runs under it.
    pub assignment: Assignment,
    stop_after_ms: u64,
    key: Sensitive,
    /// When its container was started.
    #[serde(default)]
    begun: Option<Begun>,
    /// The name of its container, where that is not its own.
    #[serde(default)]
    pub container: Option<String>,
    /// Stands for the values that its output must not show.
    #[serde(default)]
    pub shown_without: Option<Proof>,
    /// The tree in the cache that its code lies over.
    #[serde(default)]
    pub lower: Option<String>,
    /// What its cache is called, and whether there was one.
    #[serde(default)]
    pub restored: Option<Restored>,
    /// How it ended. From then on it is only to be reported.
    #[serde(default)]
    pub result: Option<AttemptResult>,
}

/// A moment on the boot-time clock, which means something until the next boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    boot: String,
    at_ms: u64,
}

impl Record {
    /// Of an attempt that begins now.
    pub fn new(lease: &Lease) -> Self {
        Self {
            v: VERSION,
            lease: lease.id.clone(),
            assignment: lease.assignment.clone(),
            stop_after_ms: u64::try_from(lease.stop_after.as_millis()).unwrap_or(u64::MAX),
            key: Key::new(random()).to_text(),
            begun: None,
            container: None,
            shown_without: None,
            lower: None,
            restored: None,
            result: None,
        }
    }

    /// The lease, as it was given.
    pub fn lease(&self) -> Lease {
        Lease { id: self.lease.clone(), assignment: self.assignment.clone(), stop_after: self.stop_after() }
    }

    /// How long what runs may go on without its lease being kept.
    pub fn stop_after(&self) -> Duration {
        Duration::from_millis(self.stop_after_ms)
    }

    /// The key of the attempt.
    pub fn key(&self) -> Key {
        // What is no key any more opens nothing.
        Key::from_text(&self.key).unwrap_or_else(|| Key::new(random()))
    }

    /// Its container was started.
    pub fn begin(&mut self) {
        self.begun = Some(Begun { boot: boot(), at_ms: now_ms() });
    }

    /// How long ago its container was started; nothing, where that was never written down.
    pub fn age(&self) -> Option<Duration> {
        let begun = self.begun.as_ref()?;
        // Nothing outlives a boot of the machine.
        let age = if begun.boot == boot() { now_ms().saturating_sub(begun.at_ms) } else { u64::MAX };
        Some(Duration::from_millis(age))
    }

    /// The file for a workspace.
    pub fn path(workspace: &Path) -> PathBuf {
        beside(workspace, "lease")
    }

    /// All that is kept below a directory. What cannot be read is nobody's any more.
    pub fn all(directory: &Path) -> Vec<Self> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let files = paths.filter(|path| path.extension() == Some(OsStr::new("lease")) && path.is_file());
        files.filter_map(|path| read(&path)).collect()
    }

    /// Writes it, whole or not at all. It outlives this process.
    pub fn write(&self, workspace: &Path) -> io::Result<()> {
        let path = Self::path(workspace);
        let new = beside(&path, "new");
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&new, &path)
    }

    /// Lets what is written outlive the machine as well. That takes as long as the disk does.
    pub fn settle(workspace: &Path) -> io::Result<()> {
        let path = Self::path(workspace);
        File::open(&path)?.sync_data()?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    /// The attempt is over, and its coordinator knows.
    pub fn remove(workspace: &Path) {
        let _ = fs::remove_file(Self::path(workspace));
    }
}

fn read(path: &Path) -> Option<Record> {
    match serde_json::from_slice::<Record>(&fs::read(path).ok()?) {
        Ok(record) if record.v <= VERSION => Some(record),
        Ok(record) => {
            tracing::warn!(path = %path.display(), version = record.v, "a lease of a newer version is left alone");
            None
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a lease cannot be read");
            None
        }
    }
}

fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// Changes with each boot of the machine.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::spec::tests::assignment;

    fn record() -> Record {
        let id = LeaseId { run: "r".into(), node: "n.[0]".into(), attempt: 1, token: "t".into() };
        let assignment = assignment(serde_json::json!({"image": "i", "command": "c"}));
        Record::new(&Lease { id, assignment, stop_after: Duration::from_secs(60) })
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_by_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let workspace = directory.path().join("n.x");
        let mut record = record();
        record.write(&workspace).expect("written");
        record.begin();
        record.write(&workspace).expect("written");
        assert_eq!(fs::metadata(Record::path(&workspace)).expect("it").mode() & 0o777, 0o600);
        fs::write(directory.path().join("half.lease"), "{\"v\":1,").expect("written");
        fs::write(directory.path().join("other.log"), "x").expect("written");
        let [read] = &Record::all(directory.path())[..] else { panic!("one") };
        assert_eq!((read.lease(), read.key()), (record.lease(), record.key()));
        assert!(read.age().expect("begun") < Duration::from_secs(60));
        Record::remove(&workspace);
        assert!(Record::all(directory.path()).is_empty());
    }

    #[test]
    fn nothing_is_younger_than_the_boot() {
        let mut record = record();
        assert_eq!(record.age(), None);
        record.begun = Some(Begun { boot: "another".into(), at_ms: now_ms() });
        assert!(record.age().expect("begun") > Duration::from_secs(1 << 40));
    }
}
