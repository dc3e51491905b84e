//! The control socket between the runner and its worker: who proves what to whom, and what is said beside frames.
//!
//! Lines of JSON go both ways. The worker listens on a Unix socket in a directory that steps can see and cannot write.
//! Any process of the job can connect to it, so both ends prove that they have the key of the attempt, which travels in
//! the job spec: the worker sends a [`ToRunner::Challenge`], the runner answers [`ToWorker::Hello`], and the worker
//! [`ToRunner::Welcome`]. Each proof covers the random numbers of both ends, so nothing that was said once is of any
//! use again. After it nothing is signed: the connection is in no other process's hands, since the runner is not
//! dumpable. A connection that proves itself takes the place of the one before.
//!
//! The runner then writes frames, from the first that the worker does not have, and now and then a [`ToWorker::Ping`]:
//! a line that begins with `{"type":` is one of these and any other is a frame.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::query::Answer;
use crate::spec::Sensitive;

/// The version of what is said here. Who hears a newer one ends the connection.
pub const VERSION: u32 = 1;

/// The longest line before both ends have proven themselves. A stranger can send no more than that.
pub const MAX_GREETING_BYTES: usize = 1024;

/// How long each line of the greeting may take.
pub const GREETING: Duration = Duration::from_secs(5);

/// The name of the socket in its directory.
pub const SOCKET: &str = "worker";

/// What a job spec says of the socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Absolute path of the socket in the container.
    pub socket: String,
    /// The key of the attempt, see [`Key::to_text`].
    pub key: Sensitive,
    /// The lease, in milliseconds: for so long the job may go on after whoever keeps its lease was last heard of.
    pub stop_after_ms: u64,
}

/// The secret that the two ends of one attempt share.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

/// A number that is used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(#[serde(with = "hex")] pub [u8; 32]);

/// A proof that its writer has the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proof(#[serde(with = "hex")] [u8; 32]);

/// What the worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToRunner {
    /// The first line: prove that you have the key.
    Challenge {
        /// [`VERSION`].
        v: u32,
        /// To be used in the proof.
        nonce: Nonce,
    },
    /// The proof was right.
    Welcome {
        /// The number of the first frame that the worker does not have.
        next: u64,
        /// [`Key::of_worker`].
        proof: Proof,
    },
    /// The worker keeps all frames before this one, also if it is killed.
    Ack {
        /// The number of the first frame that it does not have.
        next: u64,
    },
    /// The answer to a ping.
    Lease {
        /// The number of the ping.
        id: u64,
        /// For so long, from when the ping was *sent*, the lease is known to stand.
        left_ms: u64,
    },
    /// The answer to a `query` frame.
    Answer {
        /// The number of the question.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// The job is to stop, with its grace time. Saying it again changes nothing.
    Stop {},
    /// Something of a newer version; read, never written.
    #[serde(other)]
    Unknown,
}

/// What the runner says beside frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// The answer to the challenge.
    Hello {
        /// [`VERSION`].
        v: u32,
        /// Which attempt it is.
        attempt: u32,
        /// The number of the first frame that the runner still has; those before it were acknowledged.
        first: u64,
        /// To be used in the worker's proof.
        nonce: Nonce,
        /// [`Key::of_runner`].
        proof: Proof,
    },
    /// How long does the lease stand?
    Ping {
        /// Counts them.
        id: u64,
    },
    /// Something of a newer version; read, never written.
    #[serde(other)]
    Unknown,
}

/// Whether a line from the runner is one of [`ToWorker`] and no frame.
pub fn is_control(line: &[u8]) -> bool {
    line.starts_with(b"{\"type\":")
}

impl ToRunner {
    /// As a line.
    pub fn line(&self) -> Vec<u8> {
        line(self)
    }
}

impl ToWorker {
    /// As a line.
    pub fn line(&self) -> Vec<u8> {
        line(self)
    }
}

fn line(said: &impl Serialize) -> Vec<u8> {
    // Writing to memory cannot fail, and every key is a string.
    let mut line = serde_json::to_vec(said).expect("it is always representable");
    line.push(b'\n');
    line
}

impl Key {
    /// From random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As it stands in a job spec: hexadecimal.
    pub fn to_text(&self) -> Sensitive {
        Sensitive::new(hex::to_text(&self.0))
    }

    /// Reads what [`Key::to_text`] wrote.
    pub fn from_text(text: &Sensitive) -> Option<Self> {
        hex::from_text(text.expose()).map(Self)
    }

    /// The runner's proof, for a challenge.
    pub fn of_runner(&self, challenge: Nonce, nonce: Nonce, attempt: u32, first: u64) -> Proof {
        Proof(self.runner(challenge, nonce, attempt, first).finalize().into_bytes().into())
    }

    /// Whether a runner's proof is right. Takes the same time for every wrong one.
    pub fn is_of_runner(
        &self,
        proof: Proof,
        challenge: Nonce,
        nonce: Nonce,
        attempt: u32,
        first: u64,
    ) -> bool {
        self.runner(challenge, nonce, attempt, first).verify_slice(&proof.0).is_ok()
    }

    /// The worker's proof, for a hello.
    pub fn of_worker(&self, challenge: Nonce, nonce: Nonce, next: u64) -> Proof {
        Proof(self.worker(challenge, nonce, next).finalize().into_bytes().into())
    }

    /// Whether a worker's proof is right.
    pub fn is_of_worker(&self, proof: Proof, challenge: Nonce, nonce: Nonce, next: u64) -> bool {
        self.worker(challenge, nonce, next).verify_slice(&proof.0).is_ok()
    }

    /// Stands for values, without being any of them: the same ones give the same.
    pub fn seal<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Proof {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        mac.update(b"reactorcide values 1");
        for value in values {
            mac.update(&(value.len() as u64).to_be_bytes());
            mac.update(value);
        }
        Proof(mac.finalize().into_bytes().into())
    }

    fn runner(&self, challenge: Nonce, nonce: Nonce, attempt: u32, first: u64) -> Hmac<Sha256> {
        let mut mac = self.mac(b"reactorcide runner 1", challenge, nonce);
        mac.update(&attempt.to_be_bytes());
        mac.update(&first.to_be_bytes());
        mac
    }

    fn worker(&self, challenge: Nonce, nonce: Nonce, next: u64) -> Hmac<Sha256> {
        let mut mac = self.mac(b"reactorcide worker 1", challenge, nonce);
        mac.update(&next.to_be_bytes());
        mac
    }

    /// Who says it stands first, so that what one end proved is no proof of the other.
    fn mac(&self, who: &[u8; 20], challenge: Nonce, nonce: Nonce) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        mac.update(who);
        mac.update(&challenge.0);
        mac.update(&nonce.0);
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(sensitive)")
    }
}

/// 32 bytes as text.
mod hex {
    use std::fmt::Write;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn to_text(bytes: &[u8; 32]) -> String {
        bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    pub fn from_text(text: &str) -> Option<[u8; 32]> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(bytes)
    }

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_text(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        from_text(&text).ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CHALLENGE: Nonce = Nonce([1; 32]);
    const NONCE: Nonce = Nonce([2; 32]);

    #[test]
    fn a_proof_is_good_for_one_greeting_of_one_attempt_by_one_end() {
        let key = Key::new([7; 32]);
        let proof = key.of_runner(CHALLENGE, NONCE, 1, 5);
        assert!(key.is_of_runner(proof, CHALLENGE, NONCE, 1, 5));
        assert!(!Key::new([8; 32]).is_of_runner(proof, CHALLENGE, NONCE, 1, 5));
        assert!(!key.is_of_runner(proof, Nonce([3; 32]), NONCE, 1, 5), "an old connection is no use");
        assert!(!key.is_of_runner(proof, CHALLENGE, CHALLENGE, 1, 5));
        assert!(!key.is_of_runner(proof, CHALLENGE, NONCE, 2, 5));
        assert!(!key.is_of_runner(proof, CHALLENGE, NONCE, 1, 6));
        assert!(
            !key.is_of_worker(proof, CHALLENGE, NONCE, 5),
            "and what one proved is no proof of the other"
        );
        let proof = key.of_worker(CHALLENGE, NONCE, 5);
        assert!(key.is_of_worker(proof, CHALLENGE, NONCE, 5));
        assert!(!key.is_of_worker(proof, CHALLENGE, NONCE, 6));
    }

    #[test]
    fn values_are_told_apart_by_where_they_end() {
        let key = Key::new([7; 32]);
        let seal = |values: &[&str]| key.seal(values.iter().map(|value| value.as_bytes()));
        assert_eq!(seal(&["ab", "c"]), seal(&["ab", "c"]));
        assert_ne!(seal(&["ab", "c"]), seal(&["a", "bc"]));
        assert_ne!(seal(&["ab"]), Key::new([8; 32]).seal([&b"ab"[..]]));
    }

    #[test]
    fn a_key_is_text_and_prints_nothing() {
        let key = Key::new(std::array::from_fn(|at| at as u8 * 8));
        assert_eq!(Key::from_text(&key.to_text()), Some(key.clone()));
        assert_eq!(format!("{key:?} {:?}", key.to_text()), "(sensitive) (sensitive)");
        for wrong in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Key::from_text(&Sensitive::new(wrong)), None);
        }
    }

    #[test]
    fn lines_have_a_stable_shape_and_are_told_from_frames() {
        let hello = ToWorker::Hello {
            v: 1,
            attempt: 2,
            first: 3,
            nonce: NONCE,
            proof: Key::new([0; 32]).of_runner(CHALLENGE, NONCE, 2, 3),
        };
        let line = hello.line();
        assert!(is_control(&line) && line.len() < MAX_GREETING_BYTES);
        assert_eq!(serde_json::from_slice::<ToWorker>(&line).unwrap(), hello);
        assert!(is_control(&ToWorker::Ping { id: u64::MAX }.line()));
        assert_eq!(
            serde_json::to_value(ToRunner::Ack { next: 9 }).unwrap(),
            json!({"type": "ack", "next": 9})
        );
        assert_eq!(serde_json::to_value(ToRunner::Stop {}).unwrap(), json!({"type": "stop"}));
        let newer: ToRunner = serde_json::from_value(json!({"type": "later", "x": 1})).unwrap();
        assert_eq!(newer, ToRunner::Unknown);
    }

    proptest::proptest! {
        #[test]
        fn no_frame_is_taken_for_something_else(seq: u64, text in ".*") {
            use crate::frame::{Body, Data, Envelope, Frame, Stream, encode_log};
            let mut line = Vec::new();
            encode_log(Envelope { attempt: 1, seq, at: 0 }, Some(&text), Stream::Stdout, text.as_bytes(), &mut line);
            proptest::prop_assert!(!is_control(&line));
            line.clear();
            let body = Body::Log { step: None, stream: Stream::Stdout, data: Data::Text(text) };
            for body in [body, Body::Heartbeat {}] {
                line.clear();
                Frame { v: 1, attempt: 1, seq, at: 0, body }.encode(&mut line);
                proptest::prop_assert!(!is_control(&line));
            }
        }
    }
}
