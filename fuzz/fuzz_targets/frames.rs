//! Frames: whatever a line holds, reading it ends; what was read is written and read again as the same; and output of a
//! step never becomes anything but a log frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reactorcide_protocol::frame::{Body, Envelope, Frame, MAX_FRAME_BYTES, Stream, encode_log};

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = Frame::decode(data)
        && !matches!(frame.body, Body::Unknown)
    {
        let mut line = Vec::new();
        frame.encode(&mut line);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let again = Frame::decode(&line).expect("what we wrote");
        let mut second = Vec::new();
        again.encode(&mut second);
        assert_eq!(line, second);
    }
    let envelope = Envelope { attempt: 1, seq: 2, at: 3 };
    let mut line = Vec::new();
    let piece = &data[..data.len().min(64 << 10)];
    encode_log(envelope, Some("step"), Stream::Stdout, piece, &mut line);
    assert!(line.len() <= MAX_FRAME_BYTES && line.iter().filter(|byte| **byte == b'\n').count() == 1);
    match Frame::decode(&line).expect("a frame").body {
        Body::Log { data, .. } => assert_eq!(data.bytes(), piece),
        other => panic!("{other:?}"),
    }
});
