//! `exec`: one job from its spec to its result.

mod asked;
mod asking;
mod backlog;
mod delivery;
mod environment;
mod files;
mod job;
mod lease;
mod leavings;
mod link;
mod memory;
mod plugins;
mod prefixed;
mod processes;
mod program;
mod pump;
mod running;
mod socket;
mod usage;
mod vars;
mod writer;

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use reactorcide_protocol::frame::{self, Body, Frame, JobOutcome, JobResult};
use reactorcide_protocol::query::Message;
use reactorcide_protocol::spec::{self, JobSpec};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde::Deserialize;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit;
use link::Link;
use writer::Writer;

/// The longest spec, in bytes.
const MAX_SPEC_BYTES: u64 = 64 << 20;

/// The longest line that follows the spec, or comes from the worker, in bytes.
const MAX_MESSAGE_BYTES: u64 = 16 << 20;

/// What wakes the job's loop.
pub enum Event {
    /// A signal that asks to stop.
    Stop,
    /// The worker asks to stop, for the first time or again.
    Told,
    /// Some process ended.
    Child,
    /// Some stream ended.
    Stream,
    /// A condition was evaluated.
    Answer(asking::Answered),
    /// The spec was read, or what came instead of it.
    Spec(Box<Result<JobSpec, String>>),
    /// Whoever started the runner says something.
    Message(Box<Message>),
    /// Nothing more will be said to the runner.
    InputEnded,
    /// A program in the job asks for something.
    Request(Box<socket::Asked>),
    /// A line of output asks for jobs.
    Printed(Vec<u8>),
    /// The plugins say something; nothing, where they are gone.
    Plugins(Option<Box<plugins::Said>>),
}

pub use delivery::private_directory;

/// Reads a file that a job may have written: no link, a regular file, up to a limit.
pub fn read_left_behind(path: &std::path::Path, limit: u64) -> Result<Option<Vec<u8>>, String> {
    files::read(path, limit)
}

/// Reads a spec from standard input, runs it, and ends the process.
pub fn exec() -> ExitCode {
    // Before any secret is read: no process of the job may look into this one.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    processes::adopt_orphans();
    let out = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let (events, inbox) = std::sync::mpsc::channel();
    let ready = hidden.map_err(io::Error::from).and_then(|()| watch_signals(events.clone())).and(out);
    let out = match ready {
        Ok(out) => out,
        Err(error) => {
            eprintln!("reactorcide-runner: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some(read) = await_spec(&events, &inbox) else {
        return exit::CANCELLED.into();
    };
    let attempt = read.as_ref().map_or(0, |spec| spec.attempt);
    let link = read.as_ref().ok().and_then(|spec| spec.control.as_ref());
    let link = link.map(|control| Link::new(control, attempt, events.clone())).transpose();
    let (read, link) = match link {
        Ok(link) => (read, link),
        Err(reason) => (Err(reason), None),
    };
    let lease = link.as_ref().map(|link| link.lease.clone());
    if link.is_some() {
        say_that_it_begins(&out, attempt);
    }
    let writer = match Writer::start(out, attempt, link) {
        Ok(writer) => writer,
        Err(error) => {
            eprintln!("reactorcide-runner: cannot start a thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match read {
        Ok(spec) => {
            writer.frame(started());
            job::run(spec, &writer, lease, events, &inbox)
        }
        Err(reason) => {
            eprintln!("reactorcide-runner: {reason}");
            let result = JobResult { outcome: JobOutcome::Config, exit_code: None, reason: Some(reason) };
            writer.frame(Body::Result(result));
            writer.drain(|| Duration::MAX);
            exit::USAGE
        }
    };
    code.into()
}

/// Whoever started the container ahead of its job sees here that it has it: the first frame, which goes to the worker
/// too. Nothing else is printed, so there is room for it.
fn say_that_it_begins(mut out: &File, attempt: u32) {
    let mut line = Vec::new();
    let at = crate::clock::unix_millis();
    Frame { v: frame::VERSION, attempt, seq: 0, at, body: started() }.encode(&mut line);
    let _ = out.write_all(&line);
}

fn started() -> Body {
    Body::Started { runner: env!("CARGO_PKG_VERSION").to_owned() }
}

fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            let event = if signal == SIGCHLD { Event::Child } else { Event::Stop };
            if events.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Waits for the spec, which in a standby container may take long; `None` if told to stop before it came.
fn await_spec(events: &Sender<Event>, inbox: &Receiver<Event>) -> Option<Result<JobSpec, String>> {
    let events = events.clone();
    let thread = std::thread::Builder::new().name("spec".to_owned());
    let reading = thread.spawn(move || read_input(&events));
    if let Err(error) = reading {
        return Some(Err(format!("no thread could be started to read the job spec: {error}")));
    }
    loop {
        match inbox.recv() {
            Ok(Event::Spec(spec)) => return Some(*spec),
            Ok(Event::Stop) | Err(_) => return None,
            Ok(_) => drop(processes::reap()),
        }
    }
}

/// Reads the spec, and then what whoever started the runner has to say. The end of standard input means nothing
/// but that no more will be said.
fn read_input(events: &Sender<Event>) {
    let mut input = io::BufReader::new(io::stdin().lock());
    let spec = read_spec(&mut input);
    if events.send(Event::Spec(Box::new(spec))).is_err() {
        return;
    }
    loop {
        let mut line = Vec::new();
        match input.by_ref().take(MAX_MESSAGE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return drop(events.send(Event::InputEnded)),
            // What is no message of ours is none of our business.
            Ok(_) => {
                if let Ok(message) = serde_json::from_slice(&line)
                    && events.send(Event::Message(Box::new(message))).is_err()
                {
                    return;
                }
            }
        }
    }
}

fn read_spec(input: &mut impl BufRead) -> Result<JobSpec, String> {
    let mut line = Vec::new();
    let read = input.take(MAX_SPEC_BYTES + 1).read_until(b'\n', &mut line);
    read.map_err(|error| format!("the job spec cannot be read: {error}"))?;
    if line.len() as u64 > MAX_SPEC_BYTES {
        return Err(format!("the job spec is longer than {MAX_SPEC_BYTES} bytes"));
    }
    if line.trim_ascii().is_empty() {
        return Err("no job spec on standard input".to_owned());
    }
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    // serde's message may quote a value, and the values are secret: only the place is told.
    let place = |error: serde_json::Error| {
        format!("the job spec is not valid: {:?} error at column {}", error.classify(), error.column())
    };
    let version: Version = serde_json::from_slice(&line).map_err(place)?;
    if version.v > spec::VERSION {
        let (theirs, ours) = (version.v, spec::VERSION);
        return Err(format!("the job spec has version {theirs}, this runner knows {ours}: it is too old"));
    }
    serde_json::from_slice(&line).map_err(place)
}
