//! What a job printed, on disk between the pump that must never wait and whoever reads it slowly.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use reactorcide_engine::protocol::frame::{Body, Frame, VERSION};
use serde::Deserialize;
use tokio::sync::watch;

/// How much is looked through at once for the end of a line.
const CHUNK: usize = 64 << 10;
/// The most that is handed over at once. It holds any frame, and a mebibyte of short ones: a storage that is written to
/// now and then writes so much at once, and a log that has piled up is not kept back to the pace of its writes.
const PIECE: usize = (1 << 20) + CHUNK;

/// Bytes that are there, and whether there will be more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Extent {
    bytes: u64,
    closed: bool,
}

/// The writing end.
#[derive(Debug)]
pub struct SpoolWriter {
    file: File,
    extent: Arc<watch::Sender<Extent>>,
    cap: u64,
    dropped: u64,
}

/// The reading end.
#[derive(Debug)]
pub struct SpoolReader {
    file: File,
    extent: watch::Receiver<Extent>,
    offset: u64,
}

/// Opens a spool, and goes on at its end where there is something. Beyond `cap` bytes frames are dropped, and a gap says
/// how many bytes.
pub fn spool(path: &Path, cap: u64) -> io::Result<(SpoolWriter, SpoolReader)> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
    // A worker that was killed may have written half a line.
    let bytes = whole_lines(&file)?;
    file.set_len(bytes)?;
    file.seek(SeekFrom::Start(bytes))?;
    let extent = Arc::new(watch::Sender::new(Extent { bytes, closed: false }));
    let receiver = extent.subscribe();
    Ok((
        SpoolWriter { file, extent, cap, dropped: 0 },
        SpoolReader { file: File::open(path)?, extent: receiver, offset: 0 },
    ))
}

/// Where the last whole line ends.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut piece = vec![0; CHUNK];
    while end > 0 {
        let from = end.saturating_sub(CHUNK as u64);
        let piece = &mut piece[..usize::try_from(end - from).unwrap_or(CHUNK)];
        file.read_exact_at(piece, from)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

impl SpoolWriter {
    /// The number after the last frame here that the job wrote, if there is one. Words of the worker have no time.
    pub fn next_frame(&self) -> Option<u64> {
        #[derive(Deserialize)]
        struct Numbered {
            seq: u64,
            at: i64,
        }
        let bytes = self.extent.borrow().bytes;
        let mut window = 4 * CHUNK as u64;
        loop {
            let from = bytes.saturating_sub(window);
            let mut text = vec![0; usize::try_from(bytes - from).ok()?];
            self.file.read_exact_at(&mut text, from).ok()?;
            // Where the window does not begin at a line, the first piece is no frame, or one that an earlier one holds.
            let lines = text.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty());
            let mut frames = lines.filter_map(|line| serde_json::from_slice::<Numbered>(line).ok());
            match frames.find(|frame| frame.at != 0) {
                Some(frame) => return Some(frame.seq + 1),
                None if from == 0 => return None,
                None => window *= 4,
            }
        }
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.extent.borrow().bytes
    }

    /// Adds frames. Fails never: what finds no room is counted.
    pub fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let written = self.extent.borrow().bytes;
        if written + lines.len() as u64 > self.cap {
            self.dropped += lines.len() as u64;
            return;
        }
        match self.file.write_all(lines) {
            Ok(()) => self.extent.send_modify(|extent| extent.bytes = written + lines.len() as u64),
            Err(_) => {
                // Half a line may be there: what follows begins where the last whole one ended.
                let _ = self.file.set_len(written);
                let _ = self.file.seek(SeekFrom::Start(written));
                self.dropped += lines.len() as u64;
            }
        }
    }

    /// There will be no more.
    pub fn close(mut self, attempt: u32, seq: u64) {
        if self.dropped > 0 {
            let reason = "the log outgrew the disk space that is set aside for it".to_owned();
            let body = Body::Gap { step: None, bytes: self.dropped, reason };
            let mut line = Vec::new();
            Frame { v: VERSION, attempt, seq, at: 0, body }.encode(&mut line);
            self.cap = u64::MAX;
            self.write(&line);
        }
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.extent.send_modify(|extent| extent.closed = true);
    }
}

impl SpoolReader {
    /// The next whole lines and where they begin, as soon as there are some; `None` at the end. The same again, until
    /// [`SpoolReader::go_on_at`] says that somebody has them.
    pub async fn next(&mut self) -> Option<(u64, Vec<u8>)> {
        loop {
            let extent = *self.extent.borrow_and_update();
            if extent.bytes > self.offset {
                return Some((self.offset, self.read(extent.bytes)?));
            }
            if extent.closed {
                return None;
            }
            if self.extent.changed().await.is_err() && self.extent.borrow().bytes <= self.offset {
                return None;
            }
        }
    }

    /// Goes on at the beginning of some line.
    pub fn go_on_at(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// What is written is written in whole lines: what is read up to the last line's end is as well.
    fn read(&mut self, until: u64) -> Option<Vec<u8>> {
        let mut wanted = PIECE;
        loop {
            let there = usize::try_from(until - self.offset).unwrap_or(usize::MAX);
            let mut bytes = vec![0; there.min(wanted)];
            self.file.read_exact_at(&mut bytes, self.offset).ok()?;
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                bytes.truncate(end + 1);
                return Some(bytes);
            }
            if bytes.len() == there {
                return None;
            }
            wanted *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use reactorcide_engine::protocol::frame::{Data, Stream};

    use super::*;

    fn line(text: &str, seq: u64) -> Vec<u8> {
        let body = Body::Log { step: None, stream: Stream::Stdout, data: Data::from_bytes(text.as_bytes()) };
        let mut line = Vec::new();
        Frame { v: VERSION, attempt: 1, seq, at: 1, body }.encode(&mut line);
        line
    }

    async fn rest(mut reader: SpoolReader) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some((offset, lines)) = reader.next().await {
            reader.go_on_at(offset + lines.len() as u64);
            frames.extend(lines.split(|byte| *byte == b'\n').filter_map(|line| Frame::decode(line).ok()));
        }
        frames
    }

    #[tokio::test]
    async fn what_nobody_has_yet_is_read_again_and_lines_of_any_length_are_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut writer, mut reader) = spool(&directory.path().join("log"), u64::MAX).expect("a spool");
        let (short, long) = (line("short", 0), line(&"x".repeat(5 * PIECE), 1));
        writer.write(&short);
        writer.write(&long);
        let first = reader.next().await.expect("it is there");
        assert_eq!(first, (0, short.clone()));
        assert_eq!(reader.next().await.expect("it is there"), first);
        reader.go_on_at(short.len() as u64);
        assert_eq!(reader.next().await.expect("it is there"), (short.len() as u64, long));
        reader.go_on_at(0);
        assert_eq!(reader.next().await.expect("it is there"), first);
    }

    /// Else a bucket, which is written to twice a second, would get a twentieth of what it could take.
    #[tokio::test]
    async fn what_has_piled_up_is_handed_over_a_mebibyte_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut writer, mut reader) = spool(&directory.path().join("log"), u64::MAX).expect("a spool");
        let lines = line(&"x".repeat(1000), 0).repeat(3000);
        writer.write(&lines);
        writer.close(1, 1);
        let mut at = 0;
        while let Some((offset, piece)) = reader.next().await {
            assert_eq!(piece, lines[at..at + piece.len()], "{offset}");
            at += piece.len();
            assert!(piece.len() >= 1 << 20 || at == lines.len(), "{} of {}", piece.len(), lines.len());
            reader.go_on_at(at as u64);
        }
        assert_eq!(at, lines.len());
    }

    #[tokio::test]
    async fn what_is_written_is_read_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut writer, reader) = spool(&directory.path().join("log"), u64::MAX).expect("a spool");
        let reading = tokio::spawn(rest(reader));
        for seq in 0..1000 {
            writer.write(&line("x".repeat(100).as_str(), seq));
        }
        writer.close(1, 1000);
        let frames = reading.await.expect("read");
        assert_eq!(frames.iter().map(|frame| frame.seq).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_spool_goes_on_where_it_was_left_and_knows_the_last_frame_of_the_job() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let (one, two) = (line("one", 0), line(&"two".repeat(CHUNK), 7));
        let mut words = Vec::new();
        let body = Body::Gap { step: None, bytes: 1, reason: String::new() };
        Frame { v: VERSION, attempt: 1, seq: 8, at: 0, body }.encode(&mut words);
        let (mut writer, _) = spool(&path, u64::MAX).expect("a spool");
        assert_eq!(writer.next_frame(), None);
        for line in [&one, &two, &words, &words] {
            writer.write(line);
        }
        assert_eq!(writer.next_frame(), Some(8));
        drop(writer);
        let whole = std::fs::read(&path).expect("the file");
        // Killed in the middle of the next line.
        std::fs::write(&path, [&whole, &two[..two.len() - 1]].concat()).expect("written");
        let (mut writer, mut reader) = spool(&path, u64::MAX).expect("a spool");
        assert_eq!((writer.next_frame(), writer.bytes()), (Some(8), whole.len() as u64));
        reader.go_on_at(writer.bytes());
        writer.write(&one);
        assert_eq!(reader.next().await, Some((whole.len() as u64, one)));
    }

    #[tokio::test]
    async fn beyond_the_cap_a_gap_says_how_much_is_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let one = line("hello", 0);
        let (mut writer, reader) =
            spool(&directory.path().join("log"), one.len() as u64 + 10).expect("a spool");
        writer.write(&one);
        writer.write(&line("lost", 1));
        writer.close(1, 2);
        let frames = rest(reader).await;
        let lost = line("lost", 1).len() as u64;
        assert!(matches!(frames[1].body, Body::Gap { bytes, .. } if bytes == lost), "{frames:?}");
    }
}
