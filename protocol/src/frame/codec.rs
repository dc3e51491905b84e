//! Frames as lines. Almost all bytes that cross this border are log data, so `log` frames are written by hand
//! and read without serde's buffering; everything else goes through serde.

use std::borrow::Cow;
use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::{Body, Data, Frame, Stream, VERSION};

/// What every frame has beside its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// The attempt of the job that writes.
    pub attempt: u32,
    /// The number of the frame.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub at: i64,
}

impl Frame {
    /// Appends the frame as one line, newline included.
    pub fn encode(&self, line: &mut Vec<u8>) {
        if let Body::Log { step, stream, data } = &self.body
            && self.v == VERSION
        {
            let envelope = Envelope { attempt: self.attempt, seq: self.seq, at: self.at };
            match data {
                Data::Text(text) => log(envelope, step.as_deref(), *stream, line, |line| {
                    line.extend_from_slice(b"\"text\":\"");
                    escape(text, line);
                }),
                Data::Base64(base64) => log(envelope, step.as_deref(), *stream, line, |line| {
                    line.extend_from_slice(b"\"base64\":\"");
                    escape(base64, line);
                }),
            }
            return;
        }
        // Writing to memory cannot fail, and every key of a body is a string.
        serde_json::to_writer(&mut *line, self).expect("a frame is always representable");
        line.push(b'\n');
    }

    /// Reads one line, with or without its newline.
    pub fn decode(line: &[u8]) -> Result<Self, serde_json::Error> {
        let head: Head<'_> = serde_json::from_slice(line)?;
        let (Some(stream), "log") = (head.stream, &*head.kind) else {
            return serde_json::from_slice(line);
        };
        let data = match (head.text, head.base64) {
            (Some(text), None) => Data::Text(text.into_owned()),
            (None, Some(base64)) => Data::Base64(base64.into_owned()),
            _ => return serde_json::from_slice(line),
        };
        let body = Body::Log { step: head.step.map(Cow::into_owned), stream, data };
        Ok(Self { v: head.v, attempt: head.attempt, seq: head.seq, at: head.at, body })
    }
}

/// Appends a `log` frame as one line, as [`Frame::encode`] does, without an owned copy of the bytes.
pub fn encode_log(envelope: Envelope, step: Option<&str>, stream: Stream, bytes: &[u8], line: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => log(envelope, step, stream, line, |line| {
            line.extend_from_slice(b"\"text\":\"");
            escape(text, line);
        }),
        Err(_) => log(envelope, step, stream, line, |line| {
            line.extend_from_slice(b"\"base64\":\"");
            let from = line.len();
            line.resize(from + bytes.len().div_ceil(3) * 4, 0);
            let written = BASE64_STANDARD.encode_slice(bytes, &mut line[from..]);
            line.truncate(from + written.expect("four characters for each three bytes suffice"));
        }),
    }
}

fn log(
    envelope: Envelope,
    step: Option<&str>,
    stream: Stream,
    line: &mut Vec<u8>,
    data: impl FnOnce(&mut Vec<u8>),
) {
    let Envelope { attempt, seq, at } = envelope;
    write!(line, r#"{{"v":{VERSION},"attempt":{attempt},"seq":{seq},"at":{at},"type":"log""#)
        .expect("writing to memory cannot fail");
    if let Some(step) = step {
        line.extend_from_slice(b",\"step\":\"");
        escape(step, line);
        line.push(b'"');
    }
    line.extend_from_slice(match stream {
        Stream::Stdout => b",\"stream\":\"stdout\",",
        Stream::Stderr => b",\"stream\":\"stderr\",",
        Stream::System => b",\"stream\":\"system\",",
    });
    data(line);
    line.extend_from_slice(b"\"}\n");
}

/// Appends the inside of a JSON string.
fn escape(text: &str, line: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        line.extend_from_slice(&bytes[copied..index]);
        copied = index + 1;
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            _ => {
                let digits = b"0123456789abcdef";
                line.extend_from_slice(b"\\u00");
                line.push(digits[usize::from(byte >> 4)]);
                line.push(digits[usize::from(byte & 15)]);
            }
        }
    }
    line.extend_from_slice(&bytes[copied..]);
}

/// The fields of an envelope and of a `log` frame, borrowed where they need no unescaping.
#[derive(Deserialize)]
struct Head<'a> {
    v: u32,
    attempt: u32,
    seq: u64,
    at: i64,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    step: Option<Cow<'a, str>>,
    #[serde(default)]
    stream: Option<Stream>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    base64: Option<Cow<'a, str>>,
}

impl Data {
    /// Text where the bytes are UTF-8, else base64.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(BASE64_STANDARD.encode(bytes)),
        }
    }

    /// The bytes; base64 that is not valid gives none.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Text(text) => Cow::Borrowed(text.as_bytes()),
            Self::Base64(base64) => Cow::Owned(BASE64_STANDARD.decode(base64).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::{JobOutcome, JobResult, StepOutcome};

    fn frame(body: Body) -> Frame {
        Frame { v: VERSION, attempt: 2, seq: 7, at: 1_700_000_000_000, body }
    }

    #[test]
    fn a_log_frame_is_one_line_with_the_documented_keys() {
        let mut line = Vec::new();
        let envelope = Envelope { attempt: 1, seq: 3, at: 5 };
        encode_log(envelope, Some("unit"), Stream::Stderr, b"a \"b\"\n\x1b[0m", &mut line);
        let expected = r#"{"v":1,"attempt":1,"seq":3,"at":5,"type":"log","step":"unit","stream":"stderr","text":"a \"b\"\n\u001b[0m"}"#;
        assert_eq!(String::from_utf8(line).unwrap(), format!("{expected}\n"));
    }

    #[test]
    fn every_body_survives() {
        let bodies = [
            Body::Started { runner: "0.1.0".into() },
            Body::Gap { step: None, bytes: 9, reason: "lost".into() },
            Body::StepStarted { step: "a".into() },
            Body::StepFinished {
                step: "a".into(),
                outcome: StepOutcome::Failed,
                exit_code: Some(1),
                reason: Some("exited with code 1".into()),
                duration_ms: 12,
            },
            Body::Output {
                step: None,
                values: BTreeMap::from([("k".into(), serde_json::json!({"a": [1]}))]),
            },
            Body::Heartbeat {},
            Body::Result(JobResult { outcome: JobOutcome::Succeeded, exit_code: Some(0), reason: None }),
        ];
        for body in bodies {
            let (before, mut line) = (frame(body), Vec::new());
            before.encode(&mut line);
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert_eq!(Frame::decode(&line).unwrap(), before);
        }
    }

    #[test]
    fn an_unknown_type_is_read_and_an_unknown_field_ignored() {
        let line = br#"{"v":1,"attempt":1,"seq":0,"at":0,"type":"from_the_future","x":{}}"#;
        assert_eq!(Frame::decode(line).unwrap().body, Body::Unknown);
        let line = br#"{"v":1,"attempt":1,"seq":0,"at":0,"type":"log","stream":"stdout","text":"a","x":1}"#;
        assert!(matches!(Frame::decode(line).unwrap().body, Body::Log { .. }));
        assert!(Frame::decode(b"{").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_survive(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,20}[\\x00-\\x7f]{0,20}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let mut line = Vec::new();
                encode_log(Envelope { attempt: 2, seq: 7, at: 1 }, Some(&text), Stream::Stdout, bytes, &mut line);
                let read = Frame::decode(&line).unwrap();
                let Body::Log { step, data, .. } = &read.body else { panic!("a log frame") };
                prop_assert_eq!(step.as_deref(), Some(text.as_str()));
                prop_assert_eq!(&*data.bytes(), bytes);
                // The generic reader and writer agree with the fast ones.
                prop_assert_eq!(&serde_json::from_slice::<Frame>(&line).unwrap(), &read);
                let mut again = Vec::new();
                read.encode(&mut again);
                prop_assert_eq!(line, again);
            }
        }
    }
}
