//! Standard output that remembers whether all of it arrived, so that a full disk is not taken for success.

use std::io::{self, StdoutLock, Write};
use std::sync::Mutex;

use anstream::AutoStream;

/// The first thing that went wrong. That nobody reads on is no failure.
static TROUBLE: Mutex<Option<io::Error>> = Mutex::new(None);

/// Standard output, with colours where they are wanted.
pub fn stdout() -> Stdout<AutoStream<StdoutLock<'static>>> {
    Stdout(anstream::stdout().lock())
}

/// The same for what has colours only where they are wanted: nothing is looked for in it.
pub fn raw() -> Stdout<StdoutLock<'static>> {
    Stdout(io::stdout().lock())
}

/// What keeps track.
pub struct Stdout<W>(W);

impl<W: Write> Write for Stdout<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        remembered(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        remembered(self.0.flush())
    }
}

fn remembered<T>(result: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &result
        && !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted)
        && let Ok(mut trouble) = TROUBLE.lock()
    {
        trouble.get_or_insert_with(|| io::Error::new(error.kind(), error.to_string()));
    }
    result
}

/// What went wrong with what was printed, if anything did.
pub fn trouble() -> Option<io::Error> {
    let _ = stdout().flush();
    TROUBLE.lock().ok()?.take()
}
