//! The token of one attempt of a job, made from its lease and from nothing else.
//!
//! It names the attempt, and proves that whoever made it knows the secret of the lease: the worker that has the lease,
//! and the server that gave it. So nothing is stored for it, no claim writes a row more, any server can check it, and it
//! is of no use as soon as the lease is over. The job that has the token cannot get from it to the lease.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{JobAttempt, TokenParseError};
use crate::coordinator::LeaseId;
use crate::protocol::spec::Sensitive;

/// How every token of a job begins.
const PREFIX: &str = "rcj_";
/// The longest that is looked at.
const MAX_BYTES: usize = 2048;

/// A token of a job as it is presented. It does not print itself.
#[derive(Clone)]
pub struct JobToken {
    attempt: JobAttempt,
    proof: Vec<u8>,
}

impl JobToken {
    /// The text of the token of the attempt that a lease is on.
    pub fn issue(lease: &LeaseId) -> Sensitive {
        let LeaseId { run, node, attempt, .. } = lease;
        let named = format!("{run}\n{attempt}\n{node}");
        let proof = mac(lease).finalize().into_bytes();
        let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Sensitive::new(format!("{PREFIX}{}.{}", encoded(named.as_bytes()), encoded(&proof)))
    }

    /// Whether a text is meant to be one.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads what somebody presents. It proves nothing yet.
    pub fn parse(text: &str) -> Result<Self, TokenParseError> {
        let rest = text.strip_prefix(PREFIX).filter(|_| text.len() <= MAX_BYTES).ok_or(TokenParseError)?;
        let (named, proof) = rest.split_once('.').ok_or(TokenParseError)?;
        let decoded = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenParseError);
        let named = String::from_utf8(decoded(named)?).map_err(|_| TokenParseError)?;
        let mut parts = named.splitn(3, '\n');
        let mut part = || parts.next().ok_or(TokenParseError);
        let (run, attempt, node) = (part()?, part()?, part()?);
        let attempt = attempt.parse().map_err(|_| TokenParseError)?;
        let attempt = JobAttempt { run: run.to_owned(), node: node.to_owned(), attempt };
        Ok(Self { attempt, proof: decoded(proof)? })
    }

    /// The attempt that it names.
    pub fn attempt(&self) -> &JobAttempt {
        &self.attempt
    }

    /// Whether it is the token of the attempt that a lease is on. In constant time.
    pub fn is_of(&self, lease: &LeaseId) -> bool {
        let JobAttempt { run, node, attempt } = &self.attempt;
        let names_it = (run, node, attempt) == (&lease.run, &lease.node, &lease.attempt);
        names_it && mac(lease).verify_slice(&self.proof).is_ok()
    }
}

impl fmt::Debug for JobToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}(sensitive) of {:?}", self.attempt)
    }
}

/// Leases that were given together have one secret, so the attempt is a part of it.
fn mac(lease: &LeaseId) -> Hmac<Sha256> {
    let LeaseId { run, node, attempt, token } = lease;
    let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("a key may have any length");
    mac.update(b"reactorcide job token 1");
    for part in [run.as_bytes(), node.as_bytes(), &attempt.to_be_bytes()] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(node: &str, token: &str) -> LeaseId {
        LeaseId { run: "r".into(), node: node.into(), attempt: 2, token: token.into() }
    }

    #[test]
    fn a_token_opens_its_own_attempt_under_its_own_lease_and_nothing_else() {
        let text = JobToken::issue(&lease("test[0]", "fence"));
        let token = JobToken::parse(text.expose()).expect("a token");
        assert_eq!(token.attempt().node, "test[0]");
        assert!(token.is_of(&lease("test[0]", "fence")));
        assert!(!token.is_of(&lease("test[0]", "later")), "another lease on the same attempt");
        assert!(!token.is_of(&lease("test[1]", "fence")), "a lease that was given together with it");
        assert!(!token.is_of(&LeaseId { attempt: 3, ..lease("test[0]", "fence") }));
        assert!(!text.expose().contains("fence") && !format!("{token:?}").contains(&text.expose()[8..]));
    }

    #[test]
    fn what_is_none_is_refused() {
        let text = JobToken::issue(&lease("n", "fence"));
        let (named, proof) = text.expose().split_once('.').expect("two parts");
        for wrong in
            ["", "rcj_", "rcj_.", "rcj_AA.AA", "rct_x", named, &format!("{named}.!"), &"rcj_".repeat(1000)]
        {
            assert!(JobToken::parse(wrong).is_err(), "{wrong}");
        }
        for letters in 1..proof.len() {
            let cut = JobToken::parse(&format!("{named}.{}", &proof[..letters]));
            assert!(cut.is_err() || cut.is_ok_and(|cut| !cut.is_of(&lease("n", "fence"))), "{letters}");
        }
    }
}
