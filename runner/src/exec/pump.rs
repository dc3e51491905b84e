//! One thread for each stream of a step: read, mask, hand to the writer.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reactorcide_protocol::frame::Stream;
use reactorcide_protocol::mask::Values;

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

impl Pump {
    /// Starts the thread. `wake` is called when the stream has ended.
    pub fn start(
        pipe: OwnedFd,
        step: Option<String>,
        stream: Stream,
        values: &Values,
        writer: Writer,
        wake: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let (shared, values) = (Arc::clone(&progress), values.clone());
        std::thread::Builder::new().name("pump".to_owned()).spawn(move || {
            run(&File::from(pipe), step.as_deref(), stream, &values, &writer, &shared);
            shared.ended.store(true, Ordering::Release);
            wake();
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
    step: Option<&str>,
    stream: Stream,
    values: &Values,
    writer: &Writer,
    progress: &Progress,
) {
    let mut masker = values.stream();
    let mut read = vec![0; READ_BYTES];
    let mut masked = Vec::with_capacity(READ_BYTES);
    loop {
        let count = match pipe.read(&mut read) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        progress.busy.store(true, Ordering::Release);
        progress.reads.fetch_add(1, Ordering::AcqRel);
        masker.push(&read[..count], &mut masked);
        let complete = complete_characters(&masked);
        writer.log(step, stream, &masked[..complete]);
        masked.drain(..complete);
        progress.busy.store(false, Ordering::Release);
    }
    masker.flush(&mut masked);
    writer.log(step, stream, &masked);
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
