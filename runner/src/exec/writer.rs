//! All frames go through one writer: it numbers them, never mixes two, and keeps a slow reader from stopping
//! anything but the steps' own output.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reactorcide_protocol::frame::{self, Body, Data, Envelope, Frame, Stream};
use rustix::event::{PollFd, PollFlags, poll};

use crate::clock;

/// How much log data may wait for the reader before the streams of steps are held up. Two buffers of this
/// size exist at most (one is filled while the other is written), each exceeded by at most one frame a
/// stream, plus frames that are not logs, which never wait.
const MAX_WAITING: usize = 256 << 10;

/// The most log data in one frame: six times that, if every byte needs an escape, is well below
/// [`frame::MAX_FRAME_BYTES`].
pub const MAX_LOG_BYTES: usize = 64 << 10;

/// A handle to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something is to be written.
    filled: Condvar,
    /// Something was written.
    drained: Condvar,
    attempt: u32,
}

struct Queue {
    waiting: Vec<u8>,
    /// Handed to the operating system at the moment.
    writing: bool,
    next: u64,
    last: Instant,
    /// The reader is gone; everything is dropped from then on.
    broken: bool,
}

impl Writer {
    /// Starts the thread that writes to `out`.
    pub fn start(out: File, attempt: u32) -> io::Result<Self> {
        let queue =
            Queue { waiting: Vec::new(), writing: false, next: 0, last: Instant::now(), broken: false };
        let shared =
            Shared { queue: Mutex::new(queue), filled: Condvar::new(), drained: Condvar::new(), attempt };
        let writer = Self { shared: Arc::new(shared) };
        let shared = Arc::clone(&writer.shared);
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || shared.run(&out))?;
        Ok(writer)
    }

    /// Writes a frame that is not a step's output. Never waits.
    pub fn frame(&self, body: Body) {
        let mut queue = self.shared.lock();
        let envelope = self.shared.envelope(&mut queue);
        let Envelope { attempt, seq, at } = envelope;
        if !queue.broken {
            Frame { v: frame::VERSION, attempt, seq, at, body }.encode(&mut queue.waiting);
        }
        self.shared.filled.notify_one();
    }

    /// A message of the runner itself to the person who reads the log. The text must be masked.
    pub fn say(&self, step: Option<&str>, text: &str) {
        let data = Data::Text(format!("{text}\n"));
        self.frame(Body::Log { step: step.map(str::to_owned), stream: Stream::System, data });
    }

    /// Writes masked output of a step, and waits while too much is waiting for the reader.
    pub fn log(&self, step: Option<&str>, stream: Stream, bytes: &[u8]) {
        for piece in bytes.chunks(MAX_LOG_BYTES) {
            let mut queue = self.shared.lock();
            while queue.waiting.len() >= MAX_WAITING && !queue.broken {
                queue = self.shared.drained.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let envelope = self.shared.envelope(&mut queue);
            if !queue.broken {
                frame::encode_log(envelope, step, stream, piece, &mut queue.waiting);
            }
            self.shared.filled.notify_one();
        }
    }

    /// How long nothing was written.
    pub fn silence(&self) -> Duration {
        self.shared.lock().last.elapsed()
    }

    /// Waits until everything is written, at most until `deadline`.
    pub fn drain(&self, deadline: Option<Instant>) {
        let mut queue = self.shared.lock();
        while (!queue.waiting.is_empty() || queue.writing) && !queue.broken {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            queue = match left {
                Some(left) if left.is_zero() => return,
                Some(left) => {
                    let waited = self.shared.drained.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.shared.drained.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn envelope(&self, queue: &mut Queue) -> Envelope {
        let seq = queue.next;
        queue.next += 1;
        queue.last = Instant::now();
        Envelope { attempt: self.attempt, seq, at: clock::unix_millis() }
    }

    fn run(&self, out: &File) {
        let mut writing = Vec::new();
        loop {
            let mut queue = self.lock();
            while queue.waiting.is_empty() {
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut queue.waiting, &mut writing);
            queue.writing = true;
            drop(queue);
            self.drained.notify_all();
            let written = write_all(out, &writing);
            writing.clear();
            writing.shrink_to(2 * MAX_WAITING);
            let mut queue = self.lock();
            queue.writing = false;
            if written.is_err() {
                queue.broken = true;
                queue.waiting = Vec::new();
            }
            drop(queue);
            self.drained.notify_all();
        }
    }
}

/// Writes everything, also where the descriptor is non-blocking because someone shares it.
fn write_all(mut out: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::from_borrowed_fd(out.as_fd(), PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
