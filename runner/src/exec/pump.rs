//! One thread for each stream of a step: read, mask, hand to the writer.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use std::sync::mpsc::Sender;

use reactorcide_protocol::frame::Stream;
use reactorcide_protocol::mask::Values;

use super::Event;
use super::prefixed::Prefixed;
use super::writer::Writer;

/// What a pipe holds by default, so that one read can take it all.
const READ_BYTES: usize = 64 << 10;

/// What the rest of the runner can see of a stream.
pub struct Pump {
    progress: Arc<Progress>,
    /// `progress.reads` when it was last looked at, and since when it has been that.
    seen: (u64, Instant),
}

#[derive(Default)]
struct Progress {
    ended: AtomicBool,
    /// In the middle of handing something on, which may take as long as the reader likes.
    busy: AtomicBool,
    reads: AtomicU64,
}

/// Whose output it is, and whether requests may be in it.
pub struct Output {
    pub step: Option<String>,
    pub stream: Stream,
    /// What lines with requests begin with.
    pub prefix: Option<String>,
}

impl Pump {
    /// Starts the thread. Events say what the job asks for in its output, and when that has ended.
    pub fn start(
        pipe: OwnedFd,
        output: Output,
        values: &Values,
        writer: Writer,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let (shared, values) = (Arc::clone(&progress), values.clone());
        std::thread::Builder::new().name("pump".to_owned()).spawn(move || {
            run(&File::from(pipe), &output, &values, &writer, &shared, &events);
            shared.ended.store(true, Ordering::Release);
            let _ = events.send(Event::Stream);
        })?;
        Ok(Self { progress, seen: (0, Instant::now()) })
    }

    /// Whether every writer of the stream has closed it and everything was handed on.
    pub fn ended(&self) -> bool {
        self.progress.ended.load(Ordering::Acquire)
    }

    /// Whether nothing came for some time although there was someone to take it: whoever still has the
    /// stream open is silent.
    pub fn quiet(&mut self, time: Duration) -> bool {
        let reads = self.progress.reads.load(Ordering::Acquire);
        if reads != self.seen.0 || self.progress.busy.load(Ordering::Acquire) {
            self.seen = (reads, Instant::now());
        }
        self.ended() || self.seen.1.elapsed() >= time
    }

    /// Starts the count of quiet time anew.
    pub fn look(&mut self) {
        self.seen.1 = Instant::now();
    }
}

fn run(
    mut pipe: &File,
    output: &Output,
    values: &Values,
    writer: &Writer,
    progress: &Progress,
    events: &Sender<Event>,
) {
    let step = output.step.as_deref();
    let mut requests = output.prefix.as_deref().filter(|prefix| !prefix.is_empty()).map(Prefixed::new);
    let mut masker = values.stream();
    let mut read = vec![0; READ_BYTES];
    let mut shown = Vec::new();
    let mut masked = Vec::with_capacity(READ_BYTES);
    let ask = |line: Vec<u8>| drop(events.send(Event::Printed(line)));
    loop {
        let count = match pipe.read(&mut read) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        progress.busy.store(true, Ordering::Release);
        progress.reads.fetch_add(1, Ordering::AcqRel);
        match &mut requests {
            Some(requests) => {
                requests.push(&read[..count], &mut shown).into_iter().for_each(ask);
                masker.push(&shown, &mut masked);
                shown.clear();
            }
            None => masker.push(&read[..count], &mut masked),
        }
        let complete = complete_characters(&masked);
        writer.log(step, output.stream, &masked[..complete]);
        masked.drain(..complete);
        progress.busy.store(false, Ordering::Release);
    }
    if let Some(requests) = &mut requests {
        requests.finish(&mut shown).into_iter().for_each(ask);
        masker.push(&shown, &mut masked);
    }
    masker.flush(&mut masked);
    writer.log(step, output.stream, &masked);
}

/// How many bytes from the start do not end within a UTF-8 character, so that a text that is cut by a read
/// stays text. Bytes that are not UTF-8 are not waited for.
fn complete_characters(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let length = match bytes[at] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return bytes.len(),
        };
        return if length > back { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_character_waits_for_its_rest() {
        for (text, complete) in [("", 0), ("a", 1), ("aé", 3), ("a🦀", 5), ("aé🦀€", 10)] {
            assert_eq!(complete_characters(text.as_bytes()), complete);
        }
        for cut in 1..4 {
            assert_eq!(complete_characters(&"a🦀".as_bytes()[..1 + cut]), 1);
        }
        assert_eq!(complete_characters(b"a\xff"), 2);
        assert_eq!(complete_characters(b"a\x80\x80\x80\x80"), 5);
    }
}
