//! How fast log data is made into frames and read again: `cargo bench -p reactorcide-protocol --bench frames`.

use divan::{Bencher, counter::BytesCount};
use reactorcide_protocol::frame::{Envelope, Frame, Stream, encode_log};

fn main() {
    divan::main();
}

const ENVELOPE: Envelope = Envelope { attempt: 1, seq: 123_456, at: 1_800_000_000_000 };

/// One frame's worth of output, in lines.
fn text(bytes: usize) -> String {
    "   Compiling module_17 v0.44.1 (/job/src/module_17/lib.rs:44)\n".chars().cycle().take(bytes).collect()
}

#[divan::bench(args = [80, 64 << 10])]
fn encode(bencher: Bencher, bytes: usize) {
    let text = text(bytes);
    let mut line = Vec::new();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        line.clear();
        encode_log(ENVELOPE, Some("unit"), Stream::Stdout, text.as_bytes(), &mut line);
        divan::black_box(line.len())
    });
}

#[divan::bench(args = [80, 64 << 10])]
fn decode(bencher: Bencher, bytes: usize) {
    let mut line = Vec::new();
    encode_log(ENVELOPE, Some("unit"), Stream::Stdout, text(bytes).as_bytes(), &mut line);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| Frame::decode(&line));
}

/// What decoding costs without the short cut for log frames.
#[divan::bench(args = [80, 64 << 10])]
fn decode_by_serde_alone(bencher: Bencher, bytes: usize) {
    let mut line = Vec::new();
    encode_log(ENVELOPE, Some("unit"), Stream::Stdout, text(bytes).as_bytes(), &mut line);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| serde_json::from_slice::<Frame>(&line));
}
