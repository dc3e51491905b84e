//! What ties together all that is written down of one run, wherever it is written: a trace in the words of W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>).
//!
//! A run has one trace, made when it is accepted or taken from whoever caused it. The ids of the spans in it follow from
//! what they are about, so a server, a worker and a job name the same span alike without telling each other.

mod otlp;
mod run;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use otlp::{Resource, Scalar, Span, request};
pub use run::{queued, spans_of_run, worked};

/// The trace of a run: its id, and the span elsewhere that caused it, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trace {
    id: [u8; 16],
    /// The span elsewhere that caused it.
    pub parent: Option<SpanId>,
    /// Whether who caused it wants it to be recorded.
    pub sampled: bool,
}

/// The id of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

/// A text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not of the form 00-TRACE-SPAN-FLAGS")]
pub struct NoTrace;

/// A part of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// From when it may run until a worker takes it.
    Queued,
    /// Until its container runs.
    Prepare,
    /// Until it has ended.
    Running,
}

impl Phase {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Prepare => "prepare",
            Self::Running => "running",
        }
    }
}

impl Trace {
    /// A trace of its own, of randomness.
    pub fn new(random: [u8; 16]) -> Self {
        // No id is all zeros.
        let id = if random == [0; 16] { [1; 16] } else { random };
        Self { id, parent: None, sampled: true }
    }

    /// The id as 32 hexadecimal digits.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// What is told to whoever does something below a span of this trace.
    pub fn traceparent(&self, span: SpanId) -> String {
        format!("00-{}-{span}-{:02x}", hex(&self.id), u8::from(self.sampled))
    }
}

impl FromStr for Trace {
    type Err = NoTrace;

    /// Reads a `traceparent` of any version: later ones only add to its end.
    fn from_str(text: &str) -> Result<Self, NoTrace> {
        let mut parts = text.split('-');
        let mut part = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length)?;
            part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
        };
        let (version, id, span, flags) = (part(2), part(32), part(16), part(2));
        let (Some(version), Some(id), Some(span), Some(flags)) = (version, id, span, flags) else {
            return Err(NoTrace);
        };
        let (id, span): ([u8; 16], [u8; 8]) = (bytes(id), bytes(span));
        let is_whole = version != "00" || parts.next().is_none();
        if version == "ff" || !is_whole || id == [0; 16] || span == [0; 8] {
            return Err(NoTrace);
        }
        let [flags]: [u8; 1] = bytes(flags);
        Ok(Self { id, parent: Some(SpanId(span)), sampled: flags & 1 == 1 })
    }
}

impl SpanId {
    /// The span of a whole run.
    pub fn of_run(run: &str) -> Self {
        Self::of(&["run", run])
    }

    /// The span of an attempt.
    pub fn of_attempt(run: &str, node: &str, attempt: u32) -> Self {
        Self::of(&["attempt", run, node, &attempt.to_string()])
    }

    /// The span of a part of an attempt.
    pub fn of_phase(run: &str, node: &str, attempt: u32, phase: Phase) -> Self {
        Self::of(&[phase.as_str(), run, node, &attempt.to_string()])
    }

    fn of(parts: &[&str]) -> Self {
        let digest = Sha256::digest(parts.join("\n"));
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(if id == [0; 8] { [1; 8] } else { id })
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// As it is stored and sent: a `traceparent`, whose span is zeros where nobody elsewhere caused it.
impl Serialize for Trace {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.traceparent(self.parent.unwrap_or(SpanId([0; 8]))))
    }
}

impl<'de> Deserialize<'de> for Trace {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let alone = "0000000000000000";
        if text.len() == 55 && text.get(36..52) == Some(alone) {
            let any = text.replacen(&format!("-{alone}-"), "-0000000000000001-", 1);
            let trace: Self = any.parse().map_err(serde::de::Error::custom)?;
            return Ok(Self { parent: None, ..trace });
        }
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What hexadecimal digits say, of which there are twice as many.
fn bytes<const N: usize>(digits: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
        *byte = pair.iter().fold(0, |number, byte| number * 16 + digit(*byte));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_was_given_is_gone_on_with() {
        let trace: Trace = GIVEN.parse().expect("a trace");
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent.map(|span| span.to_string()).as_deref(), Some("00f067aa0ba902b7"));
        assert!(trace.sampled);
        assert_eq!(trace.traceparent(trace.parent.expect("a parent")), GIVEN);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-what-the-future-will-be-like";
        assert!(!later.parse::<Trace>().expect("a later version").sampled);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "é0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(text.parse::<Trace>(), Err(NoTrace), "{text}");
        }
    }

    #[test]
    fn it_is_stored_with_and_without_a_cause() {
        for trace in [GIVEN.parse().expect("a trace"), Trace::new([7; 16]), Trace::new([0; 16])] {
            let text = serde_json::to_string(&trace).expect("JSON");
            assert_eq!(serde_json::from_str::<Trace>(&text).expect("it reads back"), trace, "{text}");
        }
        assert!(serde_json::from_str::<Trace>("\"00\"").is_err());
    }

    #[test]
    fn spans_are_told_apart_and_found_again() {
        let spans = [
            SpanId::of_run("r"),
            SpanId::of_attempt("r", "build", 1),
            SpanId::of_attempt("r", "build", 2),
            SpanId::of_phase("r", "build", 1, Phase::Queued),
            SpanId::of_phase("r", "build", 1, Phase::Prepare),
            SpanId::of_phase("r", "build", 1, Phase::Running),
        ];
        let apart: std::collections::BTreeSet<_> = spans.iter().collect();
        assert_eq!(apart.len(), spans.len());
        assert_eq!(SpanId::of_attempt("r", "build", 1), spans[1]);
    }
}
