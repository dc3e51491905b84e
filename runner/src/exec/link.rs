//! The connection to the worker: made, proven, used until it breaks, and made again for as long as the job goes on.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reactorcide_protocol::link::{
    Control, GREETING, Key, MAX_GREETING_BYTES, Nonce, ToRunner, ToWorker, VERSION,
};
use reactorcide_protocol::query::Message;

use super::lease::Lease;
use super::writer::{Next, Shared};
use super::{Event, MAX_MESSAGE_BYTES};
use crate::clock::Moment;

/// Between two tries to connect: from the first to the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];

/// What is needed to connect.
pub struct Link {
    socket: PathBuf,
    key: Key,
    attempt: u32,
    /// Who is told what the worker says.
    events: Sender<Event>,
    pub lease: Lease,
}

impl Link {
    /// From the job spec.
    pub fn new(control: &Control, attempt: u32, events: Sender<Event>) -> Result<Self, String> {
        let key = Key::from_text(&control.key).ok_or("the key of the control socket is not valid")?;
        let lease = Lease::new(Duration::from_millis(control.stop_after_ms));
        Ok(Self { socket: PathBuf::from(&control.socket), key, attempt, events, lease })
    }
}

/// Why there is no connection.
enum Failure {
    /// Nobody listens at the moment, or who listens is not our worker.
    Now,
    /// There is no way to the socket at all.
    Never(io::Error),
}

/// The ping that an answer is waited for.
type Ping = Arc<Mutex<(u64, Moment)>>;

/// Keeps up the connection and writes to it what there is. Returns only where there is no way to the worker, which is
/// known before anything else.
pub fn run(link: Link, shared: &Arc<Shared>) {
    let link = Arc::new(link);
    let mut pause = PAUSES[0];
    let mut was_connected = false;
    loop {
        match connect(&link, shared.first()) {
            Ok((reader, next)) => {
                (was_connected, pause) = (true, PAUSES[0]);
                shared.connected(next);
                serve(&link, shared, reader);
                shared.cut();
            }
            Err(Failure::Never(error)) if !was_connected => {
                eprintln!("reactorcide-runner: {} cannot be reached: {error}", link.socket.display());
                link.lease.forgo();
                return;
            }
            Err(_) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSES[1]);
            }
        }
    }
}

/// Connects and greets. Returns the number of the first frame that the worker does not have.
fn connect(link: &Link, first: u64) -> Result<(BufReader<UnixStream>, u64), Failure> {
    let stream = UnixStream::connect(&link.socket).map_err(|error| match error.kind() {
        // Nobody listens there, or too many want to be heard: that may change. A path that is not there does not.
        ErrorKind::ConnectionRefused | ErrorKind::WouldBlock | ErrorKind::Interrupted => Failure::Now,
        _ => Failure::Never(error),
    })?;
    greet(link, stream, first).map_err(|_| Failure::Now)
}

fn greet(link: &Link, stream: UnixStream, first: u64) -> io::Result<(BufReader<UnixStream>, u64)> {
    let wrong = || io::Error::from(ErrorKind::InvalidData);
    stream.set_read_timeout(Some(GREETING))?;
    stream.set_write_timeout(Some(GREETING))?;
    let mut reader = BufReader::new(stream);
    let ToRunner::Challenge { v, nonce: challenge } = hear(&mut reader)? else { return Err(wrong()) };
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let (nonce, attempt) = (Nonce(random), link.attempt);
    let proof = link.key.of_runner(challenge, nonce, attempt, first);
    let hello = ToWorker::Hello { v: VERSION, attempt, first, nonce, proof };
    reader.get_mut().write_all(&hello.line())?;
    let ToRunner::Welcome { next, proof } = hear(&mut reader)? else { return Err(wrong()) };
    if v > VERSION || !link.key.is_of_worker(proof, challenge, nonce, next) {
        return Err(wrong());
    }
    reader.get_ref().set_read_timeout(None)?;
    reader.get_ref().set_write_timeout(None)?;
    Ok((reader, next))
}

fn hear(reader: &mut BufReader<UnixStream>) -> io::Result<ToRunner> {
    let mut line = Vec::new();
    reader.by_ref().take(MAX_GREETING_BYTES as u64).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// Writes until the connection breaks, while another thread reads.
fn serve(link: &Arc<Link>, shared: &Arc<Shared>, reader: BufReader<UnixStream>) {
    let Ok(mut stream) = reader.get_ref().try_clone() else { return };
    let ping: Ping = Arc::new(Mutex::new((0, Moment::now())));
    let listening = std::thread::Builder::new().name("listener".to_owned()).spawn({
        let (link, shared, ping) = (Arc::clone(link), Arc::clone(shared), Arc::clone(&ping));
        move || {
            let mut reader = reader;
            listen(&link, &shared, &mut reader, &ping);
            // Whoever writes must not wait for somebody who has gone.
            let _ = reader.get_ref().shutdown(Shutdown::Both);
            shared.cut();
        }
    });
    let Ok(listening) = listening else { return };
    let mut due = Instant::now();
    let mut id = 0;
    loop {
        let written = match shared.next(due) {
            Next::Lines(lines) => stream.write_all(&lines),
            Next::Tick => {
                due = Instant::now() + link.lease.interval();
                id += 1;
                *ping.lock().unwrap_or_else(PoisonError::into_inner) = (id, Moment::now());
                stream.write_all(&ToWorker::Ping { id }.line())
            }
            Next::Cut => break,
        };
        if written.is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    let _ = listening.join();
}

/// Hears the worker until the connection breaks.
fn listen(link: &Link, shared: &Shared, reader: &mut impl BufRead, ping: &Ping) {
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(MAX_MESSAGE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if !line.ends_with(b"\n") => return,
            Ok(_) => {}
        }
        let event = match serde_json::from_slice(&line) {
            Ok(ToRunner::Ack { next }) => {
                shared.acknowledged(next);
                continue;
            }
            Ok(ToRunner::Lease { id, left_ms }) => {
                let (asked, at) = *ping.lock().unwrap_or_else(PoisonError::into_inner);
                if asked == id {
                    link.lease.keep(at, Duration::from_millis(left_ms));
                }
                continue;
            }
            Ok(ToRunner::Answer { id, answer }) => Event::Message(Box::new(Message::Answer { id, answer })),
            Ok(ToRunner::Stop {}) => Event::Told,
            Ok(ToRunner::Challenge { .. } | ToRunner::Welcome { .. } | ToRunner::Unknown) => continue,
            Err(_) => return,
        };
        if link.events.send(event).is_err() {
            return;
        }
    }
}
