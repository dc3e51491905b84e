//! Tokens: what is shown once, what is stored, and what they may be used for.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Capability, Principal, TokenId};
use crate::printable::printable;
use crate::protocol::spec::Sensitive;
use crate::scheduler::Millis;

/// How many tokens that still work one principal may have.
pub const MAX_TOKENS: u32 = 100;

/// How often at most it is written down that a token was used.
pub const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

/// How every token begins, so that people and scanners know one when they see it.
const PREFIX: &str = "rct_";
/// Digits of an id.
const ID: usize = 32;
/// Characters of 256 bits.
const SECRET: usize = 43;

/// A token, without what opens the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Whom it belongs to.
    pub principal: Principal,
    /// What people call it. It gives nothing and need not be unique.
    pub name: String,
    /// What it may be used for, of what its principal may.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Millis,
    /// From when on it is of no use.
    pub expires_at: Option<Millis>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Millis>,
    /// Since when it is revoked.
    pub revoked_at: Option<Millis>,
}

impl Token {
    /// Whether it is neither expired nor revoked.
    pub fn is_live(&self, now: Millis) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }

    /// Whether a use now is worth a write: at most once in [`USE_NOTED_EVERY`].
    pub fn should_note_use(&self, now: Millis) -> bool {
        self.last_used_at.is_none_or(|at| now.saturating_sub(at) >= note_every())
    }
}

/// Why a text cannot be what a token is called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token is called by 1 to 128 characters, none of which controls a terminal")]
pub struct TokenNameError;

/// Whether people may call a token so.
pub fn check_token_name(name: &str) -> Result<(), TokenNameError> {
    let length = name.chars().count();
    let is_plain = printable(name) == name;
    if (1..=128).contains(&length) && is_plain && !name.trim().is_empty() {
        Ok(())
    } else {
        Err(TokenNameError)
    }
}

/// [`USE_NOTED_EVERY`] in milliseconds.
pub(super) fn note_every() -> Millis {
    Millis::try_from(USE_NOTED_EVERY.as_millis()).unwrap_or(Millis::MAX)
}

/// What a token may be used for. It only ever takes away from what its principal may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The capabilities; `None` is all that its principal has.
    pub capabilities: Option<BTreeSet<Capability>>,
    /// The only project; `None` is all.
    pub project: Option<String>,
}

impl Scope {
    /// Whether it holds nothing that another does not.
    pub fn is_within(&self, other: &Self) -> bool {
        let capabilities = match (&self.capabilities, &other.capabilities) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(these), Some(those)) => these.is_subset(those),
        };
        capabilities && (other.project.is_none() || self.project == other.project)
    }

    /// The capabilities as text, for storage: names with a space between; `None` is all.
    pub fn capabilities_text(&self) -> Option<String> {
        let names =
            |set: &BTreeSet<Capability>| set.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(" ");
        self.capabilities.as_ref().map(names)
    }

    /// Reads back what [`Scope::capabilities_text`] wrote. A name that this version does not know is left out, which
    /// takes away and never adds.
    pub fn read(capabilities: Option<&str>, project: Option<String>) -> Self {
        let read = |text: &str| text.split_whitespace().filter_map(|name| name.parse().ok()).collect();
        Self { capabilities: capabilities.map(read), project }
    }
}

/// A token as its holder presents it: `rct_`, the id, `_`, and 256 random bits in base64url. It does not print itself.
#[derive(Clone)]
pub struct TokenText {
    id: TokenId,
    secret: TokenSecret,
}

/// The random part of a token. It does not print itself, and is compared in constant time.
#[derive(Clone)]
pub struct TokenSecret([u8; 32]);

/// What is stored of the random part: its SHA-256. 256 random bits need no salt and no slow hash.
#[derive(Clone)]
pub struct SecretHash([u8; 32]);

/// A token to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The token.
    pub token: Token,
    /// What its secret is known by.
    pub hash: SecretHash,
}

/// Why a text is no token. It never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: one is `rct_`, 32 hexadecimal digits, `_` and 43 characters of base64url")]
pub struct TokenParseError;

impl TokenText {
    /// A new token. `secret` comes from the system's source of randomness.
    pub fn new(id: uuid::Uuid, secret: [u8; 32]) -> Self {
        Self { id: TokenId(id.simple().to_string()), secret: TokenSecret(secret) }
    }

    /// Reads what somebody presents. Nothing is looked up for what this refuses.
    pub fn parse(text: &str) -> Result<Self, TokenParseError> {
        let rest = text.strip_prefix(PREFIX).ok_or(TokenParseError)?;
        if rest.len() != ID + 1 + SECRET || !rest.is_ascii() {
            return Err(TokenParseError);
        }
        let (id, rest) = rest.split_at(ID);
        let is_digit = |c: u8| c.is_ascii_digit() || matches!(c, b'a'..=b'f');
        let secret = rest.strip_prefix('_').ok_or(TokenParseError)?;
        if !id.bytes().all(is_digit) {
            return Err(TokenParseError);
        }
        let mut bytes = [0; 32];
        let written = BASE64_URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes).map_err(|_| TokenParseError)?;
        if written != bytes.len() {
            return Err(TokenParseError);
        }
        Ok(Self { id: TokenId(id.to_owned()), secret: TokenSecret(bytes) })
    }

    /// The id, by which it is looked up.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// The random part.
    pub fn secret(&self) -> &TokenSecret {
        &self.secret
    }

    /// What is stored of the random part.
    pub fn hash(&self) -> SecretHash {
        self.secret.hash()
    }

    /// The whole text, to be shown once.
    pub fn reveal(&self) -> Sensitive {
        Sensitive::new(format!("{PREFIX}{}_{}", self.id, BASE64_URL_SAFE_NO_PAD.encode(self.secret.0)))
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_(sensitive)", self.id)
    }
}

impl TokenSecret {
    /// What is stored of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0).into())
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(sensitive)")
    }
}

impl SecretHash {
    /// As it is stored: 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads back what [`SecretHash::to_hex`] wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// In constant time.
impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hash)")
    }
}

#[cfg(test)]
mod tests;
