//! What a container prints, taken as fast as it comes: frames are sorted into what must be acted on and what is only to
//! be read, and nothing here waits for anybody.

use std::collections::BTreeMap;

use reactorcide_engine::protocol::frame::{Body, Data, Frame, JobResult, MAX_FRAME_BYTES, Stream, VERSION};
use reactorcide_engine::protocol::mask::{Masker, Values};
use reactorcide_engine::protocol::query::Query;
use reactorcide_engine::protocol::trigger::TriggerRequest;
use reactorcide_engine::provider::Chunk;
use serde_json::Value;

use crate::spool::SpoolWriter;

/// The most that a job hands on, in bytes of names and JSON.
const MAX_OUTPUT_BYTES: usize = 8 << 20;

/// What a job wants of whoever runs its workflow.
#[derive(Debug, PartialEq)]
pub enum Wanted {
    /// More jobs, or new values of variables.
    Jobs(TriggerRequest),
    /// The answer to a question, which has a number.
    Answer(u64, Query),
}

/// Sorts what one attempt prints.
pub struct Pump {
    attempt: u32,
    spool: SpoolWriter,
    seq: u64,
    input: Input,
    /// What the job handed on.
    pub outputs: BTreeMap<String, Value>,
    output_bytes: usize,
    outputs_are_full: bool,
    /// How the runner says it ended.
    pub result: Option<JobResult>,
}

enum Input {
    /// Frames of our runner; on standard error only what it says when it dies.
    Frames { line: Vec<u8>, skipping: bool, errors: Vec<u8> },
    /// Plain output of an image that runs untouched.
    Plain { stdout: Box<Masker>, stderr: Box<Masker> },
}

impl Pump {
    /// For a container with our runner in it.
    pub fn framed(attempt: u32, spool: SpoolWriter) -> Self {
        Self::new(attempt, spool, Input::Frames { line: Vec::new(), skipping: false, errors: Vec::new() })
    }

    /// For an image that runs untouched: what it prints is masked here.
    pub fn plain(attempt: u32, spool: SpoolWriter, secrets: &Values) -> Self {
        let (stdout, stderr) = (Box::new(secrets.stream()), Box::new(secrets.stream()));
        Self::new(attempt, spool, Input::Plain { stdout, stderr })
    }

    fn new(attempt: u32, spool: SpoolWriter, input: Input) -> Self {
        Self {
            attempt,
            spool,
            seq: 0,
            input,
            outputs: BTreeMap::new(),
            output_bytes: 0,
            outputs_are_full: false,
            result: None,
        }
    }

    /// Takes what was printed; returns what the job wants.
    pub fn push(&mut self, chunk: &Chunk) -> Vec<Wanted> {
        let mut requests = Vec::new();
        match &mut self.input {
            Input::Plain { stdout, stderr } => {
                let (masker, stream) =
                    if chunk.stderr { (stderr, Stream::Stderr) } else { (stdout, Stream::Stdout) };
                let mut masked = Vec::with_capacity(chunk.bytes.len());
                masker.push(&chunk.bytes, &mut masked);
                self.log(stream, &masked);
            }
            Input::Frames { errors, .. } if chunk.stderr => {
                // A dying runner's last words; a few are enough.
                errors.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(64 << 10)]);
                errors.truncate(64 << 10);
            }
            Input::Frames { line, skipping, .. } => {
                let mut complete = Vec::new();
                for piece in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
                    let ends = piece.ends_with(b"\n");
                    if !*skipping {
                        line.extend_from_slice(piece);
                    }
                    if ends && !*skipping {
                        complete.push(std::mem::take(line));
                    } else if line.len() > MAX_FRAME_BYTES {
                        // No runner of ours writes that: it is dropped, whatever it is.
                        line.clear();
                        *skipping = true;
                    }
                    *skipping &= !ends;
                }
                for line in complete {
                    requests.extend(self.frame(&line));
                }
            }
        }
        requests
    }

    fn frame(&mut self, line: &[u8]) -> Option<Wanted> {
        let Ok(frame) = Frame::decode(line) else { return None };
        self.seq = self.seq.max(frame.seq + 1);
        match frame.body {
            Body::Trigger { request } => return Some(Wanted::Jobs(request)),
            Body::Query { id, query } => return Some(Wanted::Answer(id, query)),
            Body::Output { values, .. } => self.hand_on(values),
            Body::Result(result) => self.result = Some(result),
            // What would run next is decided by whoever runs the workflow; the log says it too.
            Body::Heartbeat {} | Body::Unknown | Body::Started { .. } | Body::Next(_) => {}
            Body::Log { .. } | Body::Gap { .. } | Body::StepStarted { .. } | Body::StepFinished { .. } => {
                self.spool.write(line);
            }
        }
        None
    }

    /// Takes outputs, as much of them as there is room for: a job may say as many as it likes.
    fn hand_on(&mut self, values: BTreeMap<String, Value>) {
        for (key, value) in values {
            let bytes = key.len() + serde_json::to_string(&value).map_or(0, |text| text.len());
            if self.output_bytes + bytes > MAX_OUTPUT_BYTES {
                if !std::mem::replace(&mut self.outputs_are_full, true) {
                    self.say(&format!(
                        "error: the outputs of a job take at most {MAX_OUTPUT_BYTES} bytes in all; {key:?} and what comes after it is lost"
                    ));
                }
                return;
            }
            self.output_bytes += bytes;
            self.outputs.insert(key, value);
        }
    }

    /// Adds words of our own to the log.
    pub fn say(&mut self, text: &str) {
        self.log(Stream::System, format!("{text}\n").as_bytes());
    }

    fn log(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.chunks(MAX_FRAME_BYTES / 8) {
            let body = Body::Log { step: None, stream, data: Data::from_bytes(piece) };
            let mut line = Vec::with_capacity(piece.len() + 128);
            Frame { v: VERSION, attempt: self.attempt, seq: self.seq, at: 0, body }.encode(&mut line);
            self.spool.write(&line);
            self.seq += 1;
        }
    }

    /// There will be no more output.
    pub fn finish(mut self) -> (BTreeMap<String, Value>, Option<JobResult>) {
        match &mut self.input {
            Input::Plain { stdout, stderr } => {
                let (mut out, mut err) = (Vec::new(), Vec::new());
                stdout.flush(&mut out);
                stderr.flush(&mut err);
                self.log(Stream::Stdout, &out);
                self.log(Stream::Stderr, &err);
            }
            Input::Frames { errors, .. } => {
                let errors = std::mem::take(errors);
                self.log(Stream::System, &errors);
            }
        }
        let (outputs, result, attempt, seq) = (self.outputs, self.result, self.attempt, self.seq);
        self.spool.close(attempt, seq);
        (outputs, result)
    }
}

#[cfg(test)]
mod tests {
    use reactorcide_engine::protocol::frame::JobOutcome;

    use super::*;
    use crate::spool::{SpoolReader, spool};

    fn pump(directory: &tempfile::TempDir) -> (SpoolWriter, SpoolReader) {
        spool(&directory.path().join("log"), u64::MAX).expect("a spool")
    }

    fn chunk(bytes: &[u8]) -> Chunk {
        Chunk { stderr: false, bytes: bytes.to_vec() }
    }

    async fn text(mut reader: SpoolReader) -> String {
        let mut text = Vec::new();
        while let Some((offset, lines)) = reader.next().await {
            reader.go_on_at(offset + lines.len() as u64);
            for frame in lines.split(|byte| *byte == b'\n').filter_map(|line| Frame::decode(line).ok()) {
                if let Body::Log { data, .. } = frame.body {
                    text.extend_from_slice(&data.bytes());
                }
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn frames_are_sorted_however_they_are_cut() {
        let lines = concat!(
            r#"{"v":1,"attempt":1,"seq":0,"at":0,"type":"log","stream":"stdout","text":"hello\n"}"#,
            "\nnot a frame\n",
            r#"{"v":1,"attempt":1,"seq":1,"at":0,"type":"output","values":{"k":"v"}}"#,
            "\n",
            r#"{"v":1,"attempt":1,"seq":2,"at":0,"type":"trigger","request":{"type":"trigger_job","jobs":[]}}"#,
            "\n",
            r#"{"v":1,"attempt":1,"seq":3,"at":0,"type":"result","outcome":"succeeded","exit_code":0}"#,
            "\n",
        );
        for size in [1, 7, 10_000] {
            let directory = tempfile::tempdir().expect("a directory");
            let (writer, reader) = pump(&directory);
            let mut pump = Pump::framed(1, writer);
            let requests: Vec<_> =
                lines.as_bytes().chunks(size).flat_map(|piece| pump.push(&chunk(piece))).collect();
            assert_eq!(requests.len(), 1);
            let (outputs, result) = pump.finish();
            assert_eq!(outputs["k"], "v");
            assert_eq!(result.map(|result| result.outcome), Some(JobOutcome::Succeeded));
            assert_eq!(text(reader).await, "hello\n");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_takes_no_memory_and_hides_nothing_after_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let (writer, reader) = pump(&directory);
        let mut pump = Pump::framed(1, writer);
        for _ in 0..40 {
            pump.push(&chunk(&vec![b'x'; 100_000]));
            let Input::Frames { line, .. } = &pump.input else { panic!("frames") };
            assert!(line.len() <= MAX_FRAME_BYTES + 100_000);
        }
        pump.push(&chunk(b"\n{\"v\":1,\"attempt\":1,\"seq\":0,\"at\":0,\"type\":\"log\",\"stream\":\"stdout\",\"text\":\"after\"}\n"));
        pump.finish();
        assert_eq!(text(reader).await, "after");
    }

    #[tokio::test]
    async fn plain_output_is_masked_across_pieces() {
        let directory = tempfile::tempdir().expect("a directory");
        let (writer, reader) = pump(&directory);
        let mut pump = Pump::plain(1, writer, &Values::new(["S3CRET"]).expect("long enough"));
        for piece in ["a S3", "CR", "ET b"] {
            pump.push(&chunk(piece.as_bytes()));
        }
        pump.finish();
        assert_eq!(text(reader).await, "a *** b");
    }
}
