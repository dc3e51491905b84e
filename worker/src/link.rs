//! The worker's end of the control socket of one attempt: it listens, lets only the runner in, and hands on what the
//! runner says.
//!
//! Any process of the job can connect. Who does not prove itself in time is let go, and who connects too often loses
//! its own oldest tries; only a proven connection takes the place of the one before. Nothing here waits for a peer.

use std::collections::VecDeque;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use reactorcide_engine::protocol::frame::MAX_FRAME_BYTES;
use reactorcide_engine::protocol::link::{
    GREETING, Key, MAX_GREETING_BYTES, Nonce, SOCKET, ToRunner, ToWorker, VERSION,
};
use reactorcide_engine::provider::User;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::workspace::host_user;

/// How many may be in the middle of greeting.
const MAX_GREETINGS: usize = 64;
/// How much is read at once.
const READ: usize = 256 << 10;
/// How much may wait to be read by a runner. One that reads nothing is no runner any more.
const MAX_WAITING: usize = 64 << 20;

/// The socket of one attempt.
#[derive(Debug)]
pub struct Link {
    listener: UnixListener,
    key: Key,
    attempt: u32,
    greetings: JoinSet<Option<Greeted>>,
    oldest: VecDeque<AbortHandle>,
    greeted: Option<Greeted>,
    connection: Option<Connection>,
}

/// What the runner says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is there, and has all frames from this one on. Nothing more is heard of it before [`Link::welcome`].
    Connected(u64),
    /// Whole lines.
    Lines(Bytes),
}

/// Somebody who has the key.
#[derive(Debug)]
struct Greeted {
    stream: UnixStream,
    challenge: Nonce,
    nonce: Nonce,
    first: u64,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    input: BytesMut,
    /// How much of the input is known to have no end of a line.
    searched: usize,
    output: BytesMut,
}

impl Link {
    /// Listens in a directory, also where somebody did before, for what runs as this user.
    pub fn listen(directory: &Path, user: User, key: Key, attempt: u32) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
        // The path of a socket may have 107 bytes, and that of the directory has more in many places.
        let handle = File::open(directory)?;
        let directory = Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string());
        let (new, path) = (directory.join("new"), directory.join(SOCKET));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        let host = host_user();
        let mode = if host == user || host.uid == 0 { 0o600 } else { 0o666 };
        fs::set_permissions(&new, Permissions::from_mode(mode))?;
        if host.uid == 0 {
            chown(&new, Some(user.uid), Some(user.gid))?;
        }
        // A runner that looks for it finds the old one or the new one, and never none.
        fs::rename(&new, &path)?;
        Ok(Self {
            listener,
            key,
            attempt,
            greetings: JoinSet::new(),
            oldest: VecDeque::new(),
            greeted: None,
            connection: None,
        })
    }

    /// The next that the runner says. Nothing is lost where it is not waited for to its end.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(lines) = self.lines() {
                return Heard::Lines(lines);
            }
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.greet(stream),
                    // Out of descriptors, say: whoever connects waits until there are some.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                },
                Some(greeted) = self.greetings.join_next(), if !self.greetings.is_empty() => {
                    self.oldest.retain(|greeting| !greeting.is_finished());
                    if let Ok(Some(greeted)) = greeted {
                        let first = greeted.first;
                        // What the one before said and nobody has heard was not acknowledged either.
                        self.connection = None;
                        self.greeted = Some(greeted);
                        return Heard::Connected(first);
                    }
                }
                worked = work(&mut self.connection) => {
                    if worked.is_err() {
                        self.connection = None;
                    }
                }
            }
        }
    }

    /// The next lines of the connection that there is; nothing once it has ended.
    pub async fn next_of_connection(&mut self) -> Option<Bytes> {
        while self.connection.is_some() {
            if let Some(lines) = self.lines() {
                return Some(lines);
            }
            if work(&mut self.connection).await.is_err() {
                self.connection = None;
            }
        }
        None
    }

    /// Lets in who has connected, who then says all frames from `next` on.
    pub fn welcome(&mut self, next: u64) {
        let Some(greeted) = self.greeted.take() else { return };
        let proof = self.key.of_worker(greeted.challenge, greeted.nonce, next);
        self.connection = Some(Connection {
            stream: greeted.stream,
            input: BytesMut::new(),
            searched: 0,
            output: BytesMut::new(),
        });
        self.say(&ToRunner::Welcome { next, proof });
    }

    /// Says something, if anybody is there. What is not read at once waits.
    pub fn say(&mut self, said: &ToRunner) {
        let Some(connection) = &mut self.connection else { return };
        connection.output.extend_from_slice(&said.line());
        connection.flush();
        if connection.output.len() > MAX_WAITING {
            self.connection = None;
        }
    }

    /// Whether the runner is there.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    fn lines(&mut self) -> Option<Bytes> {
        match self.connection.as_mut()?.lines() {
            Ok(lines) => lines,
            Err(_) => {
                self.connection = None;
                None
            }
        }
    }

    fn greet(&mut self, stream: UnixStream) {
        if self.greetings.len() >= MAX_GREETINGS
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        let (key, attempt) = (self.key.clone(), self.attempt);
        let greeting = self.greetings.spawn(async move {
            tokio::time::timeout(GREETING, greet(stream, &key, attempt)).await.ok()?.ok()?
        });
        self.oldest.push_back(greeting);
    }
}

/// Lets a stranger prove that it has the key.
async fn greet(mut stream: UnixStream, key: &Key, attempt: u32) -> io::Result<Option<Greeted>> {
    let challenge = Nonce(random());
    stream.write_all(&ToRunner::Challenge { v: VERSION, nonce: challenge }.line()).await?;
    let mut line = Vec::with_capacity(MAX_GREETING_BYTES);
    while !line.ends_with(b"\n") {
        let room = (MAX_GREETING_BYTES - line.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut line).await? == 0 {
            return Ok(None);
        }
    }
    let Ok(ToWorker::Hello { v, attempt: theirs, first, nonce, proof }) = serde_json::from_slice(&line)
    else {
        return Ok(None);
    };
    let proven =
        v <= VERSION && theirs == attempt && key.is_of_runner(proof, challenge, nonce, attempt, first);
    Ok(proven.then_some(Greeted { stream, challenge, nonce, first }))
}

/// 32 bytes that nobody can guess.
pub fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the kernel has random numbers");
    bytes
}

/// Reads and writes what can be; an error is the end of the connection.
async fn work(connection: &mut Option<Connection>) -> io::Result<()> {
    let Some(connection) = connection else { return std::future::pending().await };
    let writes = !connection.output.is_empty();
    let interest = if writes { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
    let ready = connection.stream.ready(interest).await?;
    if ready.is_writable() {
        connection.flush();
    }
    if ready.is_readable() {
        connection.input.reserve(READ);
        match connection.stream.try_read_buf(&mut connection.input) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Connection {
    /// All whole lines that are there.
    fn lines(&mut self) -> io::Result<Option<Bytes>> {
        let end = self.input[self.searched..].iter().rposition(|byte| *byte == b'\n');
        let Some(end) = end else {
            self.searched = self.input.len();
            // No runner of ours writes that.
            let too_long = self.searched > MAX_FRAME_BYTES;
            return if too_long { Err(ErrorKind::InvalidData.into()) } else { Ok(None) };
        };
        let lines = self.input.split_to(self.searched + end + 1).freeze();
        self.searched = 0;
        Ok(Some(lines))
    }

    /// Writes what can be. Who does not read any more may have said something before it went: that is still read.
    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output) {
                Ok(written) if written > 0 => drop(self.output.split_to(written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => self.output.clear(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
