//! Hearing that something was written to a SQLite database, by whomever: the kernel tells of it, so that nobody has to look.
//!
//! Every transaction is written to the log beside the file before it counts. Whoever wrote it may be killed right after, and
//! it is told all the same. It is not told who wrote, so what we write ourselves is told too.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// What comes closer together than this is told once.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Listens to what is written to a database.
pub(super) struct Written {
    events: AsyncFd<OwnedFd>,
    log: OsString,
}

impl Written {
    /// To the database of this path.
    pub fn to(path: &Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // The directory and not the log, which comes and goes.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        inotify::add_watch(&events, directory.unwrap_or(Path::new(".")), WatchFlags::MODIFY)?;
        let mut log = path.file_name().unwrap_or_default().to_owned();
        log.push("-wal");
        #[expect(
            deprecated,
            reason = "what takes its place is unsafe code; an `OwnedFd` stays open and the same"
        )]
        let events = AsyncFd::new(events)?;
        Ok(Self { events, log })
    }

    /// Calls `wake` after something was written, for as long as it is run.
    pub async fn tell(self, wake: impl Fn()) {
        loop {
            let heard = async {
                let mut ready = self.events.readable().await?;
                let heard = self.read();
                ready.clear_ready();
                heard
            };
            match heard.await {
                Ok(false) => {}
                Ok(true) => {
                    tokio::time::sleep(DEBOUNCE).await;
                    // What was written until here is seen by who is woken now.
                    let _ = self.read();
                    wake();
                }
                Err(error) => {
                    tracing::warn!(%error, "what other processes write to the state is not heard any more");
                    return;
                }
            }
        }
    }

    /// Takes what was told. Whether something of it was about the log, or may have been.
    fn read(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(self.events.get_ref(), &mut buffer);
        let mut heard = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes());
                    heard |= name == Some(self.log.as_bytes())
                        || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                }
                Err(Errno::WOULDBLOCK) => return Ok(heard),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
