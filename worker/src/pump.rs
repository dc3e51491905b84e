//! What a container says, taken as fast as it comes: frames are sorted into what must be acted on and what is only to
//! be read, and nothing here waits for anybody.
//!
//! Frames are numbered. One that is known already is passed over, and a number that is missing leaves a gap in the log.

use std::collections::BTreeMap;

use reactorcide_engine::protocol::frame::{
    Body, Data, Envelope, Frame, JobOutcome, JobResult, MAX_FRAME_BYTES, Stream, VERSION, encode_log,
};
use reactorcide_engine::protocol::link::{ToWorker, is_control};
use reactorcide_engine::protocol::mask::{Masker, Values};
use reactorcide_engine::protocol::query::Query;
use reactorcide_engine::protocol::trigger::TriggerRequest;
use reactorcide_engine::protocol::usage::{Sample, Series, Usage};
use reactorcide_engine::provider::Chunk;
use serde_json::Value;

use crate::journal::Journal;
use crate::spool::SpoolWriter;

/// The most that a job hands on, in bytes of names and JSON.
const MAX_OUTPUT_BYTES: usize = 8 << 20;

/// Why the output of an image that runs untouched is not shown after its worker was restarted.
const UNKNOWN_SECRETS: &str = "its worker was restarted and does not know all values that it must not show; the rest of the output is left out";

/// What a job wants of whoever runs its workflow, or of its worker.
#[derive(Debug, PartialEq)]
pub enum Wanted {
    /// More jobs, or new values of variables. They are numbered.
    Jobs(u32, TriggerRequest),
    /// The answer to a question, which has a number.
    Answer(u64, Query),
    /// How long its lease stands; the question has a number.
    Lease(u64),
}

/// Sorts what one attempt prints.
pub struct Pump {
    attempt: u32,
    spool: SpoolWriter,
    journal: Option<Journal>,
    /// The number of the first frame that we do not have.
    next: u64,
    input: Input,
    requests: u32,
    /// What the job handed on.
    outputs: BTreeMap<String, Value>,
    output_bytes: usize,
    outputs_are_full: bool,
    /// How the runner says it ended.
    result: Option<JobResult>,
    /// What the job has used.
    used: Series,
}

enum Input {
    /// Frames of our runner; on standard error only what it says when it dies.
    Frames { line: Vec<u8>, skipping: bool, errors: Vec<u8> },
    /// Plain output of an image that runs untouched.
    Plain { stdout: Box<Masker>, stderr: Box<Masker> },
    /// The same, where nobody knows what to mask: so many bytes that nobody may see.
    Hidden { bytes: u64 },
}

impl Pump {
    /// For a container with our runner in it. What `spool` and `journal` hold already is not taken again.
    pub fn framed(attempt: u32, spool: SpoolWriter, journal: Option<Journal>) -> Self {
        let input = Input::Frames { line: Vec::new(), skipping: false, errors: Vec::new() };
        Self::new(attempt, spool, journal, input)
    }

    /// For an image that runs untouched: what it prints is masked here, or not shown where nobody knows what to mask.
    pub fn plain(attempt: u32, spool: SpoolWriter, secrets: Option<&Values>) -> Self {
        let input = match secrets {
            Some(secrets) => {
                let (stdout, stderr) = (Box::new(secrets.stream()), Box::new(secrets.stream()));
                Input::Plain { stdout, stderr }
            }
            None => Input::Hidden { bytes: 0 },
        };
        Self::new(attempt, spool, None, input)
    }

    fn new(attempt: u32, spool: SpoolWriter, journal: Option<Journal>, input: Input) -> Self {
        Self {
            attempt,
            next: spool.next_frame().unwrap_or(0),
            spool,
            journal,
            input,
            requests: 0,
            outputs: BTreeMap::new(),
            output_bytes: 0,
            outputs_are_full: false,
            result: None,
            used: Series::default(),
        }
    }

    /// Takes frames that were kept by a worker that was killed. Returns what the job wanted, all of it again.
    pub fn recall(&mut self, frames: Vec<Frame>) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for frame in frames {
            self.next = self.next.max(frame.seq + 1);
            wanted.extend(self.act(frame.body));
        }
        wanted
    }

    /// Takes what was printed; returns what the job wants.
    pub fn push(&mut self, chunk: &Chunk) -> Vec<Wanted> {
        let mut complete = Vec::new();
        match &mut self.input {
            Input::Plain { stdout, stderr } => {
                let (masker, stream) =
                    if chunk.stderr { (stderr, Stream::Stderr) } else { (stdout, Stream::Stdout) };
                let mut masked = Vec::with_capacity(chunk.bytes.len());
                masker.push(&chunk.bytes, &mut masked);
                self.log(stream, &masked);
            }
            Input::Hidden { bytes } => *bytes += chunk.bytes.len() as u64,
            Input::Frames { errors, .. } if chunk.stderr => {
                // A dying runner's last words; a few are enough.
                errors.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(64 << 10)]);
                errors.truncate(64 << 10);
            }
            Input::Frames { line, skipping, .. } => {
                for piece in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
                    let ends = piece.ends_with(b"\n");
                    if !*skipping {
                        line.extend_from_slice(piece);
                    }
                    if ends && !*skipping {
                        complete.append(line);
                    } else if line.len() > MAX_FRAME_BYTES {
                        // No runner of ours writes that: it is dropped, whatever it is.
                        line.clear();
                        *skipping = true;
                    }
                    *skipping &= !ends;
                }
            }
        }
        self.lines(&complete)
    }

    /// Takes whole lines from the runner; returns what the job wants.
    pub fn lines(&mut self, lines: &[u8]) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        // What is only to be read is handed on in one piece, as far as nothing stands between.
        let (mut from, mut at) = (0, 0);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let taken = self.line(line);
            if taken.missing > 0 {
                self.spool.write(&lines[from..at]);
                from = at;
                self.gap(0, format!("{} frames of the runner did not arrive", taken.missing));
            }
            if taken.place != Place::Spool {
                self.spool.write(&lines[from..at]);
                from = at + line.len();
            }
            if let (Place::Journal, Some(journal)) = (taken.place, &mut self.journal) {
                journal.write(line);
            }
            at += line.len();
            wanted.extend(taken.wanted);
        }
        self.spool.write(&lines[from..at]);
        wanted
    }

    /// Where a line goes, and what the job wants by it.
    fn line(&mut self, line: &[u8]) -> Taken {
        let nothing = Taken { place: Place::Nowhere, missing: 0, wanted: None };
        if is_control(line) {
            let ping = match serde_json::from_slice(line) {
                Ok(ToWorker::Ping { id }) => Some(Wanted::Lease(id)),
                _ => None,
            };
            return Taken { wanted: ping, ..nothing };
        }
        let Ok(frame) = Frame::decode(line) else { return nothing };
        if frame.seq < self.next {
            return nothing;
        }
        let missing = frame.seq - self.next;
        self.next = frame.seq + 1;
        let place = match &frame.body {
            Body::Log { .. } | Body::Gap { .. } | Body::StepStarted { .. } | Body::StepFinished { .. } => {
                Place::Spool
            }
            Body::Trigger { .. } | Body::Output { .. } | Body::Result(_) | Body::Usage(_) => Place::Journal,
            // What would run next is decided by whoever runs the workflow; the log says it too.
            Body::Heartbeat {}
            | Body::Unknown
            | Body::Started { .. }
            | Body::Next(_)
            | Body::Query { .. } => Place::Nowhere,
        };
        Taken { place, missing, wanted: self.act(frame.body) }
    }

    fn act(&mut self, body: Body) -> Option<Wanted> {
        match body {
            Body::Trigger { request } => {
                self.requests += 1;
                return Some(Wanted::Jobs(self.requests - 1, request));
            }
            Body::Query { id, query } => return Some(Wanted::Answer(id, query)),
            Body::Output { values, .. } => self.hand_on(values),
            Body::Result(result) => self.result = Some(result),
            Body::Usage(sample) => self.used.push(sample),
            _ => {}
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

    /// Whoever has acknowledged for us had all frames before this one. Returns the first that we do not have.
    pub fn next_from(&mut self, first: u64) -> u64 {
        self.next = self.next.max(first);
        self.next
    }

    /// The number of the first frame that we do not have.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How the runner said that the job ended, if it has.
    pub fn outcome(&self) -> Option<JobOutcome> {
        self.result.as_ref().map(|result| result.outcome)
    }

    /// Adds words of our own to the log.
    pub fn say(&mut self, text: &str) {
        let data = Data::Text(format!("{text}\n"));
        self.add(Body::Log { step: None, stream: Stream::System, data });
    }

    /// Marks output that is missing, and how many bytes of it, where that is known.
    pub fn gap(&mut self, bytes: u64, reason: String) {
        self.add(Body::Gap { step: None, bytes, reason });
    }

    /// What is ours has no time and takes no number from the runner's.
    fn add(&mut self, body: Body) {
        let mut line = Vec::new();
        Frame { v: VERSION, attempt: self.attempt, seq: self.next, at: 0, body }.encode(&mut line);
        self.spool.write(&line);
    }

    /// What an image printed that runs untouched. It has no runner, so the numbers are ours.
    fn log(&mut self, stream: Stream, bytes: &[u8]) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(now.as_millis()).unwrap_or(i64::MAX).max(1);
        for piece in bytes.chunks(MAX_FRAME_BYTES / 8) {
            let mut line = Vec::with_capacity(piece.len() + 128);
            let envelope = Envelope { attempt: self.attempt, seq: self.next, at };
            encode_log(envelope, None, stream, piece, &mut line);
            self.spool.write(&line);
            self.next += 1;
        }
    }

    /// Takes what somebody else has seen the job use.
    pub fn used(&mut self, sample: Sample) {
        self.used.push(sample);
    }

    /// There will be no more output.
    pub fn finish(mut self) -> Finished {
        match &mut self.input {
            Input::Plain { stdout, stderr } => {
                let (mut out, mut err) = (Vec::new(), Vec::new());
                stdout.flush(&mut out);
                stderr.flush(&mut err);
                self.log(Stream::Stdout, &out);
                self.log(Stream::Stderr, &err);
            }
            Input::Hidden { bytes: 0 } => {}
            Input::Hidden { bytes } => {
                let bytes = *bytes;
                self.gap(bytes, UNKNOWN_SECRETS.to_owned());
            }
            Input::Frames { errors, .. } => {
                for piece in std::mem::take(errors).chunks(MAX_FRAME_BYTES / 8) {
                    let data = Data::from_bytes(piece);
                    self.add(Body::Log { step: None, stream: Stream::System, data });
                }
            }
        }
        self.spool.close(self.attempt, self.next);
        Finished { outputs: self.outputs, result: self.result, usage: self.used.usage() }
    }
}

/// What is left of what was printed.
#[derive(Debug, Default, PartialEq)]
pub struct Finished {
    /// What the job handed on.
    pub outputs: BTreeMap<String, Value>,
    /// How the runner says that it ended.
    pub result: Option<JobResult>,
    /// What it used, where that was seen.
    pub usage: Option<Usage>,
}

/// What came of a line of the runner.
struct Taken {
    place: Place,
    /// How many frames should have come before it.
    missing: u64,
    wanted: Option<Wanted>,
}

/// Where a line of the runner goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// To whoever reads the log.
    Spool,
    /// Where it outlives this process.
    Journal,
    /// It is of no use any more.
    Nowhere,
}

#[cfg(test)]
mod tests {
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
            let mut pump = Pump::framed(1, writer, None);
            let requests: Vec<_> =
                lines.as_bytes().chunks(size).flat_map(|piece| pump.push(&chunk(piece))).collect();
            assert_eq!(requests.len(), 1);
            let Finished { outputs, result, .. } = pump.finish();
            assert_eq!(outputs["k"], "v");
            assert_eq!(result.map(|result| result.outcome), Some(JobOutcome::Succeeded));
            assert_eq!(text(reader).await, "hello\n");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_takes_no_memory_and_hides_nothing_after_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let (writer, reader) = pump(&directory);
        let mut pump = Pump::framed(1, writer, None);
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
        let mut pump = Pump::plain(1, writer, Some(&Values::new(["S3CRET"]).expect("long enough")));
        for piece in ["a S3", "CR", "ET b"] {
            pump.push(&chunk(piece.as_bytes()));
        }
        pump.finish();
        assert_eq!(text(reader).await, "a *** b");
    }
}
