//! Frames as people read them.

use std::collections::HashMap;
use std::io::Write;

use reactorcide_protocol::frame::{Body, Frame, JobOutcome, JobResult, StepOutcome, Stream};

use reactorcide_protocol::query::Message;

use super::around::Around;
use super::next::Following;

/// Prints the frames of one job.
pub struct Printer {
    name: String,
    json: bool,
    /// Whether the last byte of a step's stream was the end of a line.
    ended: HashMap<(String, Stream), bool>,
    following: Following,
    /// Who starts what follows, where somebody does.
    around: Option<Around>,
    /// How the job ended.
    pub result: Option<JobResult>,
}

impl Printer {
    pub fn new(name: &str, json: bool, around: Option<Around>) -> Self {
        let following = Following::default();
        Self { name: name.to_owned(), json, ended: HashMap::new(), following, around, result: None }
    }

    /// Prints a line that a frame is in. A reader that has gone is not told anything any more. Returns the answer to
    /// what the job asks, for its input.
    pub fn line(&mut self, line: &[u8]) -> Option<Message> {
        let frame = Frame::decode(line).ok()?;
        if self.json {
            let _ = std::io::stdout().write_all(line);
        }
        if let (Body::Query { id, query }, Some(around)) = (&frame.body, self.around) {
            return Some(Message::Answer { id: *id, answer: around.answer(query) });
        }
        self.frame(frame);
        None
    }

    fn frame(&mut self, frame: Frame) {
        match frame.body {
            Body::Log { step, stream, data } if !self.json => self.log(step, stream, &data.bytes()),
            Body::Gap { bytes, reason, .. } if !self.json => {
                note(&format!("{bytes} bytes are missing: {reason}"))
            }
            Body::StepFinished { step, outcome, reason, duration_ms, .. } if !self.json => {
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let (mark, word) = match outcome {
                    StepOutcome::Succeeded => ("✓", "success"),
                    StepOutcome::Failed => ("✗", "failed"),
                    StepOutcome::Skipped => ("-", "skipped"),
                    StepOutcome::Cancelled => ("✗", "cancelled"),
                };
                note(&format!("{mark} Step: {step} ({word}, {duration_ms} ms){reason}"));
            }
            Body::Trigger { request } => match self.around {
                Some(around) => around.trigger(&request),
                None => self.following.asked(request),
            },
            Body::Output { values, .. } => {
                if let Some(around) = self.around {
                    around.output(&serde_json::json!(values));
                }
            }
            Body::Next(next) => match self.around {
                Some(around) => around.next(&next),
                None => self.following.said(next),
            },
            Body::Result(result) => {
                if !self.json {
                    let reason =
                        result.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
                    let (mark, word) = match result.outcome {
                        JobOutcome::Succeeded => ("✓", "success"),
                        _ => ("✗", "failed"),
                    };
                    note(&format!("{mark} Job: {} ({word}){reason}", self.name));
                    let text = self.following.text(&self.name);
                    let _ = std::io::stderr().write_all(text.as_bytes());
                }
                self.result = Some(result);
            }
            _ => {}
        }
    }

    /// The output of a job's single command as it is; of a step, each line with its name.
    fn log(&mut self, step: Option<String>, stream: Stream, bytes: &[u8]) {
        let mut out: Box<dyn Write> = match stream {
            Stream::Stdout => Box::new(std::io::stdout()),
            Stream::Stderr | Stream::System => Box::new(std::io::stderr()),
        };
        let mut text = Vec::with_capacity(bytes.len() + 64);
        match step {
            None => text.extend_from_slice(bytes),
            Some(step) => {
                let prefix = format!("{step} | ");
                let ended = self.ended.entry((step, stream)).or_insert(true);
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    if *ended {
                        text.extend_from_slice(prefix.as_bytes());
                    }
                    text.extend_from_slice(line);
                    *ended = line.ends_with(b"\n");
                }
            }
        }
        let _ = out.write_all(&text).and_then(|()| out.flush());
    }
}

fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
