//! What a job said that must not be lost with the worker: its requests, what it hands on, its result. One file for each
//! attempt, beside the spool, in the frames' own form.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use reactorcide_engine::protocol::frame::Frame;

/// The file.
#[derive(Debug)]
pub struct Journal {
    file: File,
    bytes: u64,
}

impl Journal {
    /// Opens it, and reads what is there.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Frame>)> {
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        // A worker that was killed may have written half a line.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::Start(whole as u64))?;
        let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let frames = lines.filter_map(|line| Frame::decode(line).ok()).collect();
        Ok((Self { file, bytes: whole as u64 }, frames))
    }

    /// Adds a frame. Where that fails it is kept in memory alone, which is as good until the worker is killed.
    pub fn write(&mut self, line: &[u8]) {
        let mut whole = line.to_vec();
        if !whole.ends_with(b"\n") {
            whole.push(b'\n');
        }
        match self.file.write_all(&whole) {
            Ok(()) => self.bytes += whole.len() as u64,
            Err(error) => {
                tracing::warn!(%error, "what a job said could not be kept for the case that this worker is killed");
                let _ = self.file.set_len(self.bytes);
                let _ = self.file.seek(SeekFrom::Start(self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reactorcide_engine::protocol::frame::{Body, VERSION};

    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_half_a_line_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        let frame = |seq| Frame { v: VERSION, attempt: 1, seq, at: 1, body: Body::Heartbeat {} };
        let mut line = Vec::new();
        frame(4).encode(&mut line);
        {
            let (mut journal, before) = Journal::open(&path).expect("opened");
            assert!(before.is_empty());
            journal.write(&line);
            journal.write(&line[..10]);
        }
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("opened")
            .set_len(line.len() as u64 + 5)
            .expect("cut");
        let (mut journal, before) = Journal::open(&path).expect("opened");
        assert_eq!(before, [frame(4)]);
        journal.write(line.trim_ascii_end());
        assert_eq!(Journal::open(&path).expect("opened").1.len(), 2);
    }
}
