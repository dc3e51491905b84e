//! All frames go through one writer: it numbers them, never mixes two, and keeps a slow reader from stopping
//! anything but the steps' own output.
//!
//! Frames go to standard output, and are forgotten once they are written, or to the worker's socket, and are kept until
//! the worker has acknowledged them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reactorcide_protocol::frame::{Body, Data, Stream};
use rustix::event::{PollFd, PollFlags, poll};

use super::backlog::Backlog;
use super::link::{self, Link};
use crate::clock;

/// How much may wait for a reader of standard output before the streams of steps are held up, each exceeded by at most
/// one frame a stream, plus frames that are not logs, which never wait.
const WINDOW: usize = 512 << 10;
/// The same for a worker that is there and acknowledges.
const LINK_WINDOW: usize = 1 << 20;
/// How much is kept for a worker that is gone. Beyond that logs are dropped, until half of it is free again.
const MOST: usize = 8 << 20;
/// A worker that acknowledges nothing for so long counts as gone while it is silent.
const STALL: Duration = Duration::from_secs(5);
/// How often whoever drains looks how long it may still wait.
const LOOK: Duration = Duration::from_millis(250);

/// The most log data in one frame: six times that, if every byte needs an escape, is well below
/// [`reactorcide_protocol::frame::MAX_FRAME_BYTES`].
pub const MAX_LOG_BYTES: usize = 64 << 10;

/// A handle to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

/// What the writer's threads share.
pub struct Shared {
    queue: Mutex<Queue>,
    /// Something is to be written, or the connection has changed.
    filled: Condvar,
    /// Something was written or acknowledged.
    drained: Condvar,
}

struct Queue {
    backlog: Backlog,
    reader: Reader,
    /// Output is dropped until there is more room.
    dropping: bool,
    /// When something was last written or acknowledged.
    moved: Instant,
    /// When something was last said.
    last: Instant,
}

/// Who takes the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Standard output.
    Stream,
    /// Standard output, whose reader has gone: everything is dropped from then on.
    Nobody,
    /// A worker that is connected.
    Worker,
    /// A worker that is connected and takes nothing.
    Stalled,
    /// A worker that may come back.
    Away,
}

/// Whether there is room for a piece of a log.
enum Room {
    Yes,
    Wait,
    No,
}

/// What the thread that writes has to do.
pub enum Next {
    /// Write these lines.
    Lines(Arc<Vec<u8>>),
    /// The time is over.
    Tick,
    /// The connection is over.
    Cut,
}

impl Writer {
    /// Starts the thread that writes: to `out`, or to the worker where there is one.
    pub fn start(out: File, attempt: u32, link: Option<Link>) -> io::Result<Self> {
        let now = Instant::now();
        let reader = if link.is_some() { Reader::Away } else { Reader::Stream };
        let queue = Queue { backlog: Backlog::new(attempt), reader, dropping: false, moved: now, last: now };
        let shared = Shared { queue: Mutex::new(queue), filled: Condvar::new(), drained: Condvar::new() };
        let writer = Self { shared: Arc::new(shared) };
        let shared = Arc::clone(&writer.shared);
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            // Of what goes to a worker the first frame was printed too.
            let printed = u64::from(link.is_some());
            if let Some(link) = link {
                // Comes back only where there is no worker to be had.
                link::run(link, &shared);
            }
            shared.run(&out, printed);
        })?;
        Ok(writer)
    }

    /// Writes a frame that is not a step's output. Never waits.
    pub fn frame(&self, body: Body) {
        let mut queue = self.shared.lock();
        queue.last = Instant::now();
        if queue.reader != Reader::Nobody {
            queue.backlog.frame(clock::unix_millis(), body);
        }
        self.shared.filled.notify_one();
    }

    /// Says that the job goes on, unless what was said before waits for a reader.
    pub fn heartbeat(&self) {
        let mut queue = self.shared.lock();
        queue.last = Instant::now();
        if queue.backlog.held() == 0 && queue.reader != Reader::Nobody {
            queue.backlog.frame(clock::unix_millis(), Body::Heartbeat {});
            self.shared.filled.notify_one();
        }
    }

    /// A message of the runner itself to the person who reads the log. The text must be masked. Never waits.
    pub fn say(&self, step: Option<&str>, text: &str) {
        let mut queue = self.shared.lock();
        queue.last = Instant::now();
        // A job can make the runner say a lot.
        if queue.backlog.held() >= MOST {
            queue.backlog.drop_log(step, text.len() + 1);
        } else if queue.reader != Reader::Nobody {
            let data = Data::Text(format!("{text}\n"));
            let body = Body::Log { step: step.map(str::to_owned), stream: Stream::System, data };
            queue.backlog.frame(clock::unix_millis(), body);
        }
        self.shared.filled.notify_one();
    }

    /// Writes masked output of a step, and waits while too much is waiting for the reader.
    pub fn log(&self, step: Option<&str>, stream: Stream, bytes: &[u8]) {
        for piece in bytes.chunks(MAX_LOG_BYTES) {
            let mut queue = self.shared.lock();
            let begun = Instant::now();
            queue.last = begun;
            let has_room = loop {
                match queue.room() {
                    Room::Yes => break true,
                    Room::No => break false,
                    Room::Wait => queue = self.shared.wait_for_room(queue, begun),
                }
            };
            if has_room {
                queue.backlog.log(clock::unix_millis(), step, stream, piece);
                self.shared.filled.notify_one();
            } else if queue.reader != Reader::Nobody {
                queue.backlog.drop_log(step, piece.len());
            }
        }
    }

    /// How long nothing was written.
    pub fn silence(&self) -> Duration {
        self.shared.lock().last.elapsed()
    }

    /// Waits until nothing is held any more, for as long as `left` says that there is time.
    pub fn drain(&self, left: impl Fn() -> Duration) {
        let mut queue = self.shared.lock();
        while queue.backlog.held() > 0 && queue.reader != Reader::Nobody {
            let left = left().min(LOOK);
            if left.is_zero() {
                return;
            }
            let waited = self.shared.drained.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Queue {
    fn room(&mut self) -> Room {
        let held = self.backlog.held();
        match self.reader {
            Reader::Nobody => Room::No,
            Reader::Stream if held < WINDOW => Room::Yes,
            Reader::Worker if held < LINK_WINDOW => Room::Yes,
            Reader::Stream | Reader::Worker => Room::Wait,
            Reader::Stalled | Reader::Away => {
                let most = if self.dropping { MOST / 2 } else { MOST };
                self.dropping = held >= most;
                if self.dropping { Room::No } else { Room::Yes }
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the reader. A worker that takes nothing is not waited for.
    fn wait_for_room<'a>(&self, mut queue: MutexGuard<'a, Queue>, begun: Instant) -> MutexGuard<'a, Queue> {
        if queue.reader == Reader::Stream {
            return self.drained.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let patience = STALL.saturating_sub(queue.moved.max(begun).elapsed());
        if patience.is_zero() {
            queue.reader = Reader::Stalled;
            return queue;
        }
        self.drained.wait_timeout(queue, patience).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The number of the first frame that is held.
    pub fn first(&self) -> u64 {
        self.lock().backlog.first()
    }

    /// A worker has come that has all frames before this one.
    pub fn connected(&self, next: u64) {
        let mut queue = self.lock();
        queue.backlog.rewind(next);
        queue.reader = Reader::Worker;
        queue.moved = Instant::now();
        self.drained.notify_all();
    }

    /// The worker keeps all frames before this one.
    pub fn acknowledged(&self, next: u64) {
        let mut queue = self.lock();
        queue.backlog.acknowledge(next);
        queue.moved = Instant::now();
        if queue.reader == Reader::Stalled {
            queue.reader = Reader::Worker;
        }
        self.drained.notify_all();
    }

    /// The worker has gone.
    pub fn cut(&self) {
        self.lock().reader = Reader::Away;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// What is to be written to the worker, waited for until `deadline`.
    pub fn next(&self, deadline: Instant) -> Next {
        let mut queue = self.lock();
        loop {
            if queue.reader == Reader::Away {
                return Next::Cut;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Tick;
            }
            if let Some((lines, _)) = queue.backlog.take() {
                return Next::Lines(lines);
            }
            queue = self.filled.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes to standard output what was not printed before.
    fn run(&self, out: &File, mut printed: u64) {
        self.lock().reader = Reader::Stream;
        loop {
            let mut queue = self.lock();
            let (lines, next) = loop {
                match queue.backlog.take() {
                    Some(taken) if printed == 0 => break taken,
                    Some(_) => queue.backlog.rewind(std::mem::take(&mut printed)),
                    None => queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(queue);
            let written = write_all(out, &lines);
            drop(lines);
            let mut queue = self.lock();
            queue.backlog.acknowledge(next);
            if written.is_err() {
                queue.reader = Reader::Nobody;
                queue.backlog.acknowledge(u64::MAX);
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
