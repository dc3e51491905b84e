//! The socket that programs in the job talk to: each connection has a thread, each request an answer, and nothing that
//! a client does or leaves undone costs more than its own connection.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::time::Duration;

use reactorcide_protocol::control::{self, Code, MAX_MESSAGE_BYTES, Refusal, Request};
use reactorcide_protocol::mask::Values;
use reactorcide_protocol::spec::Sensitive;
use serde_json::{Value, json};

use super::Event;

/// The most connections at a time. Each holds one message at most, so this bounds the memory too.
const MAX_CONNECTIONS: usize = 32;
/// How long a client may say nothing.
const IDLE: Duration = Duration::from_secs(60);
/// How long a client may take to read an answer.
const SLOW: Duration = Duration::from_secs(5);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest path that an address of a socket can hold.
const MAX_PATH: usize = 107;

/// A request that waits for the job's loop.
pub struct Asked {
    pub request: Request,
    pub answer: SyncSender<Value>,
}

/// The socket; its file goes with it.
pub struct Socket {
    pub path: PathBuf,
}

impl Socket {
    /// Opens the socket in a directory and serves it.
    pub fn open(directory: &Path, values: &Values, events: &Sender<Event>) -> io::Result<Self> {
        let path = directory.join("socket");
        if path.as_os_str().len() > MAX_PATH {
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, "its path is too long for a socket"));
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let server = Server { values: values.clone(), events: events.clone(), open: Arc::default() };
        let thread = std::thread::Builder::new().name("socket".to_owned());
        thread.spawn(move || server.listen(&listener))?;
        Ok(Self { path })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[derive(Clone)]
struct Server {
    values: Values,
    events: Sender<Event>,
    open: Arc<AtomicUsize>,
}

impl Server {
    fn listen(&self, listener: &UnixListener) {
        for stream in listener.incoming() {
            // Out of descriptors, say: whoever connects waits until there are some.
            let Ok(stream) = stream else {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            let busy = self.open.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS;
            let server = self.clone();
            let turned_away = stream.try_clone();
            let thread = std::thread::Builder::new().name("client".to_owned()).stack_size(256 << 10);
            let spawned = if busy {
                Err(io::ErrorKind::QuotaExceeded.into())
            } else {
                thread.spawn(move || {
                    server.serve(&stream);
                    server.open.fetch_sub(1, Ordering::AcqRel);
                })
            };
            if spawned.is_err() {
                self.open.fetch_sub(1, Ordering::AcqRel);
                if let Ok(stream) = turned_away {
                    turn_away(&stream);
                }
            }
        }
    }

    fn serve(&self, stream: &UnixStream) {
        let _ = stream.set_read_timeout(Some(IDLE));
        let _ = stream.set_write_timeout(Some(SLOW));
        let mut input = io::BufReader::with_capacity(16 << 10, stream);
        let mut first = [0];
        if input.read_exact(&mut first).is_err() {
            return;
        }
        let lines = first[0] == b'{';
        let mut begun = first.to_vec();
        loop {
            let message = if lines { read_line(&mut input, begun) } else { read_framed(&mut input, begun) };
            begun = Vec::new();
            let (answer, go_on) = match message {
                Ok(Some(message)) => (self.answer(&message), true),
                Ok(None) => return,
                Err(refusal) => (refusal.to_value(), false),
            };
            if write(stream, &answer, lines).is_err() || !go_on {
                return;
            }
        }
    }

    fn answer(&self, message: &[u8]) -> Value {
        match control::parse(message) {
            Ok(Request::Register(secrets)) => self.register(&secrets),
            Ok(request) => self.ask(request),
            Err(refusal) => refusal.to_value(),
        }
    }

    /// Done here and not in the job's loop: when the answer is read, the values are masked.
    fn register(&self, secrets: &[Sensitive]) -> Value {
        let values = secrets.iter().map(Sensitive::expose).filter(|value| !value.is_empty());
        let count = values.clone().count();
        match self.values.register_all(values) {
            Ok(()) => json!({"ok": true, "registered": count}),
            Err(error) => {
                Refusal::new(Code::BadRequest, format!("nothing was registered: {error}")).to_value()
            }
        }
    }

    fn ask(&self, request: Request) -> Value {
        let (answer, answered) = sync_channel(1);
        let gone = || Refusal::new(Code::Unavailable, "the job is ending").to_value();
        if self.events.send(Event::Request(Box::new(Asked { request, answer }))).is_err() {
            return gone();
        }
        answered.recv_timeout(PATIENCE).unwrap_or_else(|_| gone())
    }
}

fn turn_away(stream: &UnixStream) {
    let _ = stream.set_nonblocking(true);
    let refusal =
        Refusal::new(Code::Busy, format!("{MAX_CONNECTIONS} connections are open already; try again"));
    let _ = write(stream, &refusal.to_value(), false);
}

/// A message with its length before it, of which some bytes were read. `None` where the client has gone.
fn read_framed(input: &mut impl Read, begun: Vec<u8>) -> Result<Option<Vec<u8>>, Refusal> {
    let mut length = begun;
    if input.by_ref().take(4 - length.len() as u64).read_to_end(&mut length).is_err() || length.len() < 4 {
        return Ok(None);
    }
    let length = length.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
    if length > MAX_MESSAGE_BYTES as u64 {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("a message of {length} bytes; at most {MAX_MESSAGE_BYTES} are taken"),
        ));
    }
    let mut message = Vec::new();
    match input.by_ref().take(length).read_to_end(&mut message) {
        Ok(read) if read as u64 == length => Ok(Some(message)),
        _ => Ok(None),
    }
}

/// A line, of which some bytes were read. The last one may lack its end.
fn read_line(input: &mut impl BufRead, begun: Vec<u8>) -> Result<Option<Vec<u8>>, Refusal> {
    let mut line = begun;
    loop {
        let left = (MAX_MESSAGE_BYTES + 1 - line.len()) as u64;
        match input.by_ref().take(left).read_until(b'\n', &mut line) {
            Ok(_) if line.len() > MAX_MESSAGE_BYTES => {
                let reason = format!("a line has at most {MAX_MESSAGE_BYTES} bytes");
                return Err(Refusal::new(Code::TooLarge, reason));
            }
            Ok(_) if !line.trim_ascii().is_empty() => return Ok(Some(line)),
            Ok(0) | Err(_) => return Ok(None),
            // Blank lines mean nothing, however many there are.
            Ok(_) => line.clear(),
        }
    }
}

fn write(mut stream: &UnixStream, answer: &Value, lines: bool) -> io::Result<()> {
    let text = answer.to_string();
    let mut bytes = Vec::with_capacity(text.len() + 4);
    if lines {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'\n');
    } else {
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    stream.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_mean_nothing_however_many_there_are() {
        let mut text = "\n".repeat(1 << 20);
        text.push_str("{}\n");
        let mut input = text.as_bytes();
        assert_eq!(read_line(&mut input, Vec::new()).unwrap(), Some(b"{}\n".to_vec()));
        assert_eq!(read_line(&mut input, Vec::new()).unwrap(), None);
    }

    #[test]
    fn messages_are_read_in_either_way() {
        let mut input: &[u8] = b"\0\0\x02{}\0\0\0\x01x\0\0";
        assert_eq!(read_framed(&mut input, vec![0]).unwrap().unwrap(), b"{}");
        assert_eq!(read_framed(&mut input, Vec::new()).unwrap().unwrap(), b"x");
        assert_eq!(read_framed(&mut input, Vec::new()), Ok(None));
        let mut long: &[u8] = b"\xff\xff\xff\xff";
        assert_eq!(read_framed(&mut long, Vec::new()).unwrap_err().code, Code::TooLarge);
        let mut cut: &[u8] = b"\0\0\0\x09x";
        assert_eq!(read_framed(&mut cut, Vec::new()), Ok(None));
        let mut lines: &[u8] = b"}\n\n \n{\"a\":1}";
        assert_eq!(read_line(&mut lines, b"{".to_vec()).unwrap().unwrap(), b"{}\n");
        assert_eq!(read_line(&mut lines, Vec::new()).unwrap().unwrap(), b"{\"a\":1}");
        assert_eq!(read_line(&mut lines, Vec::new()), Ok(None));
    }
}
