//! The socket and masking: any request is answered or refused, a refusal repeats no value, and a registered value is in
//! no output, however the stream is cut and whenever it was registered.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use reactorcide_protocol::control::{Request, parse};
use reactorcide_protocol::mask::Values;

#[derive(Debug, Arbitrary)]
struct Input {
    request: Vec<u8>,
    secrets: Vec<Vec<u8>>,
    pieces: Vec<Vec<u8>>,
    late: Vec<u8>,
}

fn holds(text: &[u8], value: &[u8]) -> bool {
    !value.is_empty() && text.windows(value.len()).any(|window| window == value)
}

fuzz_target!(|input: Input| {
    match parse(&input.request) {
        Ok(Request::Register(secrets)) => {
            let _ = Values::new(secrets.iter().map(|secret| secret.expose()));
        }
        Ok(_) => {}
        Err(refusal) => assert!(refusal.message.len() < 1000),
    }
    let values = Values::default();
    let secrets: Vec<&Vec<u8>> = input.secrets.iter().take(8).filter(|secret| values.register(secret).is_ok()).collect();
    let mut masker = values.stream();
    let mut out = Vec::new();
    let half = input.pieces.len() / 2;
    for piece in &input.pieces[..half] {
        masker.push(piece, &mut out);
    }
    let before = out.len();
    let late = values.register(&input.late).is_ok();
    for piece in &input.pieces[half..] {
        masker.push(piece, &mut out);
    }
    masker.flush(&mut out);
    for secret in secrets {
        // A value that `***` is a part of may come to stand there by itself.
        if !secret.contains(&b'*') {
            assert!(!holds(&out, secret), "{secret:?}");
        }
    }
    if late && !input.late.contains(&b'*') {
        assert!(!holds(&out[before..], &input.late));
    }
});
