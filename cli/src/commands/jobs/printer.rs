//! Frames of a job's log as people read them: lines, whatever pieces they came in.

use std::io::Write;

use reactorcide_engine::protocol::frame::{Body, Frame, Stream};

use crate::exit::Failure;
use crate::output::{push_line, safe};
use crate::report;

/// What of a line is kept until its end comes. A longer one is shown in parts.
const LONGEST: usize = 64 << 10;

/// Prints frames one after another.
#[derive(Default)]
pub struct Printer {
    /// What was not printed yet, since its line has not ended.
    partial: Vec<u8>,
}

impl Printer {
    /// Prints what a frame holds, or the frame itself.
    pub fn frame(&mut self, line: &[u8], json: bool) -> Result<(), Failure> {
        let mut out = crate::stdout::stdout();
        if json {
            return out.write_all(line).and_then(|()| out.write_all(b"\n")).map_err(failed);
        }
        let Ok(frame) = Frame::decode(line) else { return Ok(()) };
        match frame.body {
            Body::Log { stream: Stream::System, data, .. } => {
                for line in String::from_utf8_lossy(&data.bytes()).lines() {
                    report::note(&safe(line));
                }
            }
            Body::Log { data, .. } => out.write_all(self.lines(&data.bytes()).as_bytes()).map_err(failed)?,
            Body::Gap { bytes, reason, .. } => {
                report::note(&format!("{bytes} bytes of output are missing: {}", safe(&reason)));
            }
            _ => {}
        }
        Ok(())
    }

    /// What can be shown by now, with what came.
    fn lines(&mut self, bytes: &[u8]) -> String {
        let mut shown = String::with_capacity(bytes.len());
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if let Some(line) = self.partial.strip_suffix(b"\n") {
                push_line(line, true, &mut shown);
                shown.push('\n');
                self.partial.clear();
            } else if self.partial.len() > LONGEST {
                let rest = self.partial.split_off(whole(&self.partial));
                push_line(&self.partial, true, &mut shown);
                self.partial = rest;
            }
        }
        shown
    }

    /// Prints the line that never ended.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if self.partial.is_empty() {
            return Ok(());
        }
        let mut shown = String::new();
        push_line(&std::mem::take(&mut self.partial), true, &mut shown);
        shown.push('\n');
        crate::stdout::stdout().write_all(shown.as_bytes()).map_err(failed)
    }
}

/// Where a line may be cut without cutting a character or what a terminal would obey.
fn whole(line: &[u8]) -> usize {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    // A colour has few bytes. What is longer is none, and nobody could obey it.
    let tail = line.len().saturating_sub(64);
    let begun = line[tail..].iter().position(|byte| *byte == b'\x1b' || !is_plain(byte));
    begun.map_or(line.len(), |at| tail + at).max(1)
}

fn failed(error: std::io::Error) -> Failure {
    Failure::new(format!("cannot print: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_in_whatever_pieces_they_come() {
        let text = "one\ntwo \u{1b}[31mred\u{1b}[0m ä\n\nlast\n";
        let mut whole = Printer::default();
        let expected = whole.lines(text.as_bytes());
        for size in 1..7 {
            let mut printer = Printer::default();
            let shown: String = text.as_bytes().chunks(size).map(|piece| printer.lines(piece)).collect();
            assert_eq!(shown, expected, "{size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_shown_in_parts_and_not_kept() {
        let line = "0123456789ä".repeat(100_000);
        let mut printer = Printer::default();
        let mut shown = String::new();
        for piece in line.as_bytes().chunks(1000) {
            shown += &printer.lines(piece);
            assert!(printer.partial.len() <= LONGEST + 1000);
        }
        assert!(line.starts_with(&shown) && shown.len() > line.len() - 2 * LONGEST);
    }
}
