//! Requests in a step's output, where the job opted in: lines that begin with a prefix that was chosen at random for
//! this attempt. They are taken out of the output; everything else passes unchanged.

/// The longest request in a line, in bytes.
const MAX_LINE: usize = 1 << 20;

/// Takes prefixed lines out of one stream, however it is cut.
pub struct Prefixed {
    prefix: Vec<u8>,
    state: State,
}

enum State {
    /// At the start of a line, of which so many bytes are the prefix's.
    Start(usize),
    /// In a line that is only to be shown.
    Shown,
    /// In a request; what is too long is cut, and so is no valid request.
    Request(Vec<u8>),
}

impl Prefixed {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.as_bytes().to_vec(), state: State::Start(0) }
    }

    /// Takes a piece of the stream: what is to be shown is added to `shown`, what is asked for is returned.
    pub fn push(&mut self, mut piece: &[u8], shown: &mut Vec<u8>) -> Vec<Vec<u8>> {
        let mut requests = Vec::new();
        while let Some(&byte) = piece.first() {
            match &mut self.state {
                State::Start(matched) if byte == self.prefix[*matched] => {
                    *matched += 1;
                    piece = &piece[1..];
                    if *matched == self.prefix.len() {
                        self.state = State::Request(Vec::new());
                    }
                }
                State::Start(matched) => {
                    shown.extend_from_slice(&self.prefix[..*matched]);
                    self.state = State::Shown;
                }
                State::Shown => {
                    let end = line_end(piece);
                    shown.extend_from_slice(&piece[..end]);
                    if piece[end - 1] == b'\n' {
                        self.state = State::Start(0);
                    }
                    piece = &piece[end..];
                }
                State::Request(line) => {
                    let end = line_end(piece);
                    let room = (MAX_LINE + 1).saturating_sub(line.len());
                    line.extend_from_slice(&piece[..end.min(room)]);
                    if piece[end - 1] == b'\n' {
                        requests.push(std::mem::take(line));
                        self.state = State::Start(0);
                    }
                    piece = &piece[end..];
                }
            }
        }
        requests
    }

    /// The stream has ended: a request may lack its line break.
    pub fn finish(&mut self, shown: &mut Vec<u8>) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.state, State::Start(0)) {
            State::Start(matched) => {
                shown.extend_from_slice(&self.prefix[..matched]);
                None
            }
            State::Shown => None,
            State::Request(line) => Some(line),
        }
    }
}

fn line_end(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_however_the_stream_is_cut() {
        let text = b"a\n::p::{1}\n::p:x ::p::no\n\n::p::{2}\r\n::p\n:::p::no\n::p::last";
        for size in 1..text.len() {
            let mut filter = Prefixed::new("::p::");
            let (mut shown, mut requests) = (Vec::new(), Vec::new());
            for piece in text.chunks(size) {
                requests.extend(filter.push(piece, &mut shown));
            }
            requests.extend(filter.finish(&mut shown));
            assert_eq!(shown, b"a\n::p:x ::p::no\n\n::p\n:::p::no\n", "{size}");
            assert_eq!(requests, [&b"{1}\n"[..], b"{2}\r\n", b"last"], "{size}");
        }
    }

    #[test]
    fn what_only_begins_like_a_request_is_shown() {
        let mut filter = Prefixed::new("::p::");
        let mut shown = Vec::new();
        assert!(filter.push(b"::p", &mut shown).is_empty());
        assert!(shown.is_empty());
        assert!(filter.finish(&mut shown).is_none());
        assert_eq!(shown, b"::p");
    }

    #[test]
    fn an_endless_request_takes_no_memory() {
        let mut filter = Prefixed::new("::p::");
        let mut shown = Vec::new();
        filter.push(b"::p::", &mut shown);
        for _ in 0..40 {
            filter.push(&[b'x'; 100_000], &mut shown);
        }
        let line = filter.push(b"\n", &mut shown).remove(0);
        assert!(line.len() <= MAX_LINE + 1 && shown.is_empty());
    }
}
