//! The audit log: who did what, in a chain of hashes in which nothing can be changed, removed or moved unseen.
//!
//! [`link`] makes the hash of an entry from the one before it; [`verify`] walks a log and finds the first place where
//! the chain is broken. Both are pure. What is stored is behind [`AuditLog`].

pub mod conformance;
mod detail;
mod memory;

pub use detail::Detail;
pub use memory::MemoryAudit;

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::scheduler::Millis;
use crate::store::StoreError;

/// Keeps the log. It only ever grows.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Adds entries in their order, all or none, and says where the log ends then. Any number of servers add at once:
    /// numbers have no gap, and no two entries follow the same one. What is returned is durable.
    async fn append(&self, drafts: &[Draft]) -> Result<Head, StoreError>;

    /// Where the log ends.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Entries of numbers after one, in their order, at most `limit`. From 0 on it is the whole log.
    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// Entries that a filter lets through, the newest first, at most `limit`.
    async fn search(&self, filter: &Filter, limit: u32) -> Result<Vec<Entry>, StoreError>;
}

/// What happened, before it has its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// When.
    pub at: Millis,
    /// Who: `user:ada`, `job:1/RUN/NODE`, `server`.
    pub actor: String,
    /// What, as a stable dotted name: a capability, or what the server does by itself.
    pub action: String,
    /// On what: an address, a run, an account.
    pub target: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What else there is to know. Never a secret.
    pub detail: Detail,
    /// The request that it belongs to.
    pub request: Option<String>,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was allowed, and done.
    Done,
    /// It was not allowed.
    Denied,
    /// It was allowed, and failed.
    Failed,
}

impl Outcome {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    /// Reads back what [`Outcome::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Done, Self::Denied, Self::Failed].into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number: 1, 2, 3, without a gap.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub draft: Draft,
    /// The hash of the entry before it; [`Hash::START`] for the first.
    pub previous: Hash,
    /// Its own.
    pub hash: Hash,
}

/// Where a log ends. Kept elsewhere, it shows later whether the end was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the last entry; 0 for an empty log.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Head {
    /// That of an empty log.
    pub const EMPTY: Self = Self { seq: 0, hash: Hash::START };
}

/// `SEQ:HASH`.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl std::str::FromStr for Head {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (seq, hash) = text.split_once(':').ok_or(HashError)?;
        Ok(Self { seq: seq.parse().map_err(|_| HashError)?, hash: hash.parse()? })
    }
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first entry follows.
    pub const START: Self = Self([0; 32]);
}

/// 64 hexadecimal digits.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no hash, or no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a hash as 64 hexadecimal digits, and the end of a log as NUMBER:HASH")]
pub struct HashError;

impl std::str::FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |c: u8| c.is_ascii_digit() || matches!(c, b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(is_digit) {
            return Err(HashError);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| HashError)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which entries to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Only those of this action.
    pub action: Option<String>,
    /// Only those on this target.
    pub target: Option<String>,
    /// Only those that ended so.
    pub outcome: Option<Outcome>,
    /// Only those not before this time.
    pub from: Option<Millis>,
    /// Only those before this time.
    pub until: Option<Millis>,
    /// Only those of numbers before this one.
    pub before: Option<u64>,
}

impl Filter {
    /// Whether it lets an entry through.
    pub fn admits(&self, entry: &Entry) -> bool {
        let Draft { at, actor, action, target, outcome, .. } = &entry.draft;
        let is =
            |wanted: &Option<String>, found: &String| wanted.as_ref().is_none_or(|wanted| wanted == found);
        is(&self.actor, actor)
            && is(&self.action, action)
            && is(&self.target, target)
            && self.outcome.is_none_or(|wanted| wanted == *outcome)
            && self.from.is_none_or(|from| *at >= from)
            && self.until.is_none_or(|until| *at < until)
            && self.before.is_none_or(|before| entry.seq < before)
    }
}

/// The hash of an entry that follows another.
///
/// Each field stands with its length before it, so that no text can be read as two ways to fill the fields; the form
/// has a name and a version of its own.
pub fn link(previous: Hash, seq: u64, draft: &Draft) -> Hash {
    let Draft { at, actor, action, target, outcome, detail, request } = draft;
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    field(b"reactorcide audit 1");
    field(&previous.0);
    field(&seq.to_be_bytes());
    field(&at.to_be_bytes());
    field(actor.as_bytes());
    field(action.as_bytes());
    field(target.as_bytes());
    field(outcome.as_str().as_bytes());
    field(detail.as_str().as_bytes());
    // An absent request is no empty one.
    field(&[u8::from(request.is_some())]);
    field(request.as_deref().unwrap_or_default().as_bytes());
    Hash(hasher.finalize().into())
}

/// Entries from drafts, following a head.
pub fn chain(head: Head, drafts: &[Draft]) -> Vec<Entry> {
    let mut head = head;
    let follow = |draft: &Draft| {
        let draft = storable(draft);
        let (seq, previous) = (head.seq + 1, head.hash);
        let hash = link(previous, seq, &draft);
        head = Head { seq, hash };
        Entry { seq, draft, previous, hash }
    };
    drafts.iter().map(follow).collect()
}

/// The same in what every database can hold: no text of PostgreSQL has a NUL, and what somebody asked for may.
fn storable(draft: &Draft) -> Draft {
    let text = |text: &String| text.replace('\0', "\u{fffd}");
    Draft {
        actor: text(&draft.actor),
        action: text(&draft.action),
        target: text(&draft.target),
        request: draft.request.as_ref().map(text),
        ..draft.clone()
    }
}

/// Where a log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log is broken at entry {seq}: {why}")]
pub struct Broken {
    /// The first number at which it is.
    pub seq: u64,
    /// What is wrong.
    pub why: String,
}

/// Walks a log entry by entry, and holds it against the heads that somebody kept.
#[derive(Debug, Clone)]
pub struct Verifier {
    head: Head,
    kept: Vec<Head>,
}

impl Verifier {
    /// Begins after a head: [`Head::EMPTY`] for a whole log. `kept` are earlier ends of it that somebody trusts.
    pub fn new(after: Head, kept: &[Head]) -> Self {
        let mut kept = kept.to_vec();
        kept.sort_unstable_by_key(|head| std::cmp::Reverse(head.seq));
        Self { head: after, kept }
    }

    /// Takes the next entry.
    pub fn take(&mut self, entry: &Entry) -> Result<(), Broken> {
        let expected = self.head.seq + 1;
        let broken = |why: String| Err(Broken { seq: expected, why });
        if entry.seq != expected {
            return broken(format!("entry {} stands here", entry.seq));
        }
        if entry.previous != self.head.hash {
            return broken("it does not follow the entry before it".to_owned());
        }
        if link(entry.previous, entry.seq, &entry.draft) != entry.hash {
            return broken("it is not what was written".to_owned());
        }
        self.head = Head { seq: entry.seq, hash: entry.hash };
        self.compare_kept()
    }

    /// Ends: the whole log was walked.
    pub fn finish(mut self) -> Result<Head, Broken> {
        self.compare_kept()?;
        match self.kept.last() {
            None => Ok(self.head),
            Some(kept) => Err(Broken {
                seq: self.head.seq + 1,
                why: format!("the log ends here, and it once had entry {}", kept.seq),
            }),
        }
    }

    fn compare_kept(&mut self) -> Result<(), Broken> {
        while let Some(kept) = self.kept.pop_if(|kept| kept.seq <= self.head.seq) {
            if kept.seq == self.head.seq && kept.hash != self.head.hash {
                let why = "it has another hash than the one that was kept".to_owned();
                return Err(Broken { seq: kept.seq, why });
            }
        }
        Ok(())
    }
}

/// Verifies a whole log. Any entry that was changed, removed, added or moved is found; what was cut off at the end is
/// found if `kept` holds a head that is later.
pub fn verify<'a>(entries: impl IntoIterator<Item = &'a Entry>, kept: Option<Head>) -> Result<Head, Broken> {
    let mut verifier = Verifier::new(Head::EMPTY, kept.as_slice());
    entries.into_iter().try_for_each(|entry| verifier.take(entry))?;
    verifier.finish()
}

#[cfg(test)]
mod tests;
