//! How fast a stream is masked: `cargo bench -p reactorcide-protocol --bench masking`.
//!
//! Secrets are 20 to 40 random characters, each looked for in all its forms, so 1,000 secrets are some 8,000
//! patterns. The text is build output with a secret every few kilobytes, in pieces of 64 KiB.

use divan::{Bencher, counter::BytesCount};
use reactorcide_protocol::mask::Values;

fn main() {
    divan::main();
}

const PIECE: usize = 64 << 10;

fn secrets(count: usize) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(7);
    let secret = |_| (0..random.usize(20..40)).map(|_| random.alphanumeric()).collect();
    (0..count).map(secret).collect()
}

fn log(secrets: &[String]) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(11);
    let mut text = String::new();
    while text.len() < 8 << 20 {
        let (module, line) = (random.u32(0..1000), random.u32(0..5000));
        text +=
            &format!("   Compiling module_{module} v0.{line}.1 (/job/src/module_{module}/lib.rs:{line})\n");
        if random.u32(0..50) == 0 && !secrets.is_empty() {
            text += &format!("token={} accepted\n", secrets[random.usize(..secrets.len())]);
        }
    }
    text.into_bytes()
}

#[divan::bench(args = [0, 1, 10, 100, 1_000])]
fn stream(bencher: Bencher, count: usize) {
    let secrets = secrets(count);
    let (text, values) = (log(&secrets), Values::new(&secrets).expect("long enough"));
    let mut out = Vec::with_capacity(2 * PIECE);
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let mut masker = values.stream();
        for piece in text.chunks(PIECE) {
            out.clear();
            masker.push(piece, &mut out);
            divan::black_box(&out);
        }
    });
}

/// Values as short as can be masked: the worst case for the search.
#[divan::bench(args = [1, 100])]
fn stream_of_short_secrets(bencher: Bencher, count: usize) {
    let secrets: Vec<String> = secrets(count).into_iter().map(|mut s| s.split_off(s.len() - 5)).collect();
    let (text, values) = (log(&secrets), Values::new(&secrets).expect("long enough"));
    let mut out = Vec::with_capacity(2 * PIECE);
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let mut masker = values.stream();
        for piece in text.chunks(PIECE) {
            out.clear();
            masker.push(piece, &mut out);
            divan::black_box(&out);
        }
    });
}

#[divan::bench(args = [1, 100, 1_000])]
fn register(bencher: Bencher, count: usize) {
    let secrets = secrets(count);
    bencher.bench_local(|| Values::new(&secrets));
}
