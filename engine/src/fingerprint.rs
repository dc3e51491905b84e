//! Fingerprints: SHA-256 over canonical bytes, so that equal meaning is equal text.
//!
//! A resource's fingerprint covers its kind, name, project, description, labels, deletion policy and its
//! spec, typed and with defaults filled in. It does not cover `renamed_from`, comments, formatting, the order
//! of keys, the file or the place in it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::canonical;
use crate::config::Resource;

/// Put in front of what is hashed, so that a fingerprint of one thing is never one of another.
const RESOURCE_DOMAIN: &[u8] = b"reactorcide/resource/v1\n";
const PLAN_DOMAIN: &[u8] = b"reactorcide/plan/v1\n";

/// A SHA-256, written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a resource.
    pub fn of(resource: &Resource) -> Self {
        Self::of_document(&canonical::document(resource))
    }

    /// The fingerprint of a resource whose canonical document is at hand.
    pub fn of_document(document: &str) -> Self {
        Self::hash(RESOURCE_DOMAIN, document.as_bytes())
    }

    /// The fingerprint of a plan's content.
    pub(crate) fn of_plan(content: &str) -> Self {
        Self::hash(PLAN_DOMAIN, content.as_bytes())
    }

    fn hash(domain: &[u8], content: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(domain);
        hasher.update(content);
        Self(hasher.finalize().into())
    }

    /// The first 12 digits: enough for people to tell two apart.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hex digits")]
pub struct ParseFingerprintError;

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ParseFingerprintError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ParseFingerprintError)?;
            if pair.starts_with('+') {
                return Err(ParseFingerprintError);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseFingerprintError)?;
        }
        Ok(Self(bytes))
    }
}

impl schemars::JsonSchema for Fingerprint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fingerprint".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "A SHA-256."})
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
