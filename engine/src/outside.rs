//! What is ours but lies elsewhere: objects behind other systems' APIs, which resources declare.
//!
//! A commit cannot reach them, so it writes down what it *owes*, and a *reconcile* carries that out afterwards: under a
//! lease with a fencing token, each task begun in the journal before its effect and ended after it, and each looking
//! first whether its effect has already happened. Killed anywhere, the next one goes on. What to do is decided here, by
//! functions on values; [`Ledger`] is the database's side of it and [`Outside`] the other system's.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::address::Address;
use crate::canonical;
use crate::config::{Spec, WebhookTargetSpec};
use crate::store::{StoreError, Uid};

mod compare;
pub mod conformance;
mod decide;
mod fake;
mod outward;

pub use compare::{compare, merged};
pub use decide::{Act, Drift, Wishes, act, drifted, is_going, places, planned, ready};
pub use fake::FakeOutside;
pub use outward::outward;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The URL of the collection that it is in.
    pub collection: String,
    /// Its name there; empty while it has none yet.
    pub id: String,
}

impl Place {
    /// A place in a collection. A slash at the end of the URL makes no difference.
    pub fn new(collection: &str, id: &str) -> Self {
        Self { collection: collection.trim_end_matches('/').to_owned(), id: id.to_owned() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.collection)?;
        if self.id.is_empty() { Ok(()) } else { write!(f, "/{}", self.id) }
    }
}

/// An object that a commit has put somewhere, or owes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The resource whose it is.
    pub uid: Uid,
    /// Where it is.
    pub place: Place,
    /// Whether anything was ever tried there: if not, there is nothing to remove.
    pub begun: bool,
    /// The resource's document as it was when the object was last made what it says; absent where that never was.
    pub applied: Option<String>,
    /// What was tried since, as JSON: all of it, since nobody knows what of it came through.
    pub tried: Option<String>,
}

/// Names a task: the serial of the commit that owes it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The serial.
    pub serial: u64,
    /// The number.
    pub ordinal: u32,
}

/// What shall be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The object is there, as the document says.
    Put,
    /// It is gone.
    Remove,
}

impl Goal {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Remove => "remove",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Put, Self::Remove].into_iter().find(|goal| goal.as_str() == text)
    }
}

/// Something that a commit owes to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Which task it is.
    pub id: TaskId,
    /// The resource whose object it is about.
    pub uid: Uid,
    /// The resource's address then.
    pub address: Address,
    /// Where the object is.
    pub place: Place,
    /// What shall be so.
    pub goal: Goal,
    /// The resource's document: what the object shall be, and how to get at it.
    pub document: String,
}

/// What a commit says about the outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outward {
    /// What it owes. A task replaces every older one that is still owed for the same place.
    pub owed: Vec<Owed>,
    /// Objects that are ours no more, and stay as they are; what is owed for them is owed no more.
    pub forgotten: Vec<(Uid, Place)>,
}

/// What a plan would do outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedEffect {
    /// The resource whose object it is about.
    pub address: Address,
    /// What would be done.
    pub effect: EffectKind,
    /// Where.
    pub place: Place,
    /// For what is healed or adopted: from what is there to what is declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<crate::diff::Difference>,
}

/// What is done outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// An object is made.
    Create,
    /// An object is made what the document says by now.
    Replace,
    /// An object is deleted.
    Remove,
    /// Others changed or deleted the object: it is made again what was applied.
    Heal,
    /// An object that others made becomes ours.
    Adopt,
    /// An object is ours no more, and stays.
    Forget,
    /// An earlier change owes it still.
    Resume,
}

/// What was seen of an object when somebody looked.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The object's resource.
    pub uid: Uid,
    /// Where it was looked for.
    pub place: Place,
    /// What was there.
    pub sight: Sight,
}

/// What was there.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    /// An object that is as it was applied.
    Same,
    /// An object that is another, for people.
    Present(Value),
    /// Nothing.
    Absent,
    /// It could not be told, and why.
    Unknown(String),
}

/// An object as the other system shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What it is.
    pub body: Value,
    /// The same for people: without any value of a secret.
    pub shown: Value,
    /// The version that the system gives it, if it does.
    pub version: Option<String>,
}

/// How to get at an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Where it is.
    pub place: Place,
    /// The secret whose value opens the door, as `NAME` or `NAME:KEY`.
    pub token: Option<String>,
    /// How long a request may take.
    pub timeout: Duration,
    /// A system that remembers it can refuse a reconcile that has been overtaken.
    pub fence: Option<Fence>,
}

/// A number that grows with every reconcile of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The workspace's lineage.
    pub workspace: String,
    /// The number.
    pub token: u64,
}

/// On what a write depends, so that it cannot undo what somebody else did since one looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// There is nothing yet.
    Absent,
    /// It is still this version.
    Version(String),
    /// None, where the system gives no versions.
    None,
}

/// Why the other system did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutsideError {
    /// It is not as it was when one looked.
    #[error("{place} was changed by somebody else meanwhile")]
    Moved {
        /// What.
        place: Place,
    },
    /// It may go better another time.
    #[error("{place} does not do it: {what}")]
    Unreachable {
        /// What.
        place: Place,
        /// What was seen.
        what: String,
    },
    /// It refuses.
    #[error("{place} refuses: {what}")]
    Refused {
        /// What.
        place: Place,
        /// What it says.
        what: String,
    },
    /// What would open the door is not known here.
    #[error("there is no value for the secret {secret} that opens {place}")]
    NoToken {
        /// What.
        place: Place,
        /// The secret.
        secret: String,
    },
}

impl OutsideError {
    /// Whether to try again at once.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Moved { .. } | Self::Unreachable { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Moved { .. } => {
                "see who else writes there; `reactorcide drift` shows what they did".to_owned()
            }
            Self::Unreachable { .. } => {
                "see whether the other system runs; the same command then goes on".to_owned()
            }
            Self::Refused { .. } => {
                "correct what it says is wrong, here or there; the same command then goes on".to_owned()
            }
            Self::NoToken { secret, .. } => {
                format!("give it one: --secret {secret}=env:VARIABLE or --secret {secret}=file:PATH")
            }
        }
    }
}

/// Another system that holds objects.
#[async_trait]
pub trait Outside: Send + Sync {
    /// The object there, if there is one.
    async fn look(&self, access: &Access) -> Result<Option<Seen>, OutsideError>;

    /// Makes the object what the body says.
    async fn put(&self, access: &Access, body: &Value, only_if: &Precondition) -> Result<(), OutsideError>;

    /// Deletes the object. That it is gone already is no error.
    async fn remove(&self, access: &Access) -> Result<(), OutsideError>;
}

/// A right to carry out what is owed: one reconcile has it at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who has it.
    pub holder: String,
    /// Grows by one each time that it goes to somebody.
    pub token: u64,
}

/// Whether one got the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// Yes.
    Ours(Lease),
    /// Somebody has it, for so long if they do not renew it.
    Held {
        /// Who.
        holder: String,
        /// How long.
        remaining: Duration,
    },
}

/// What is written down about a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "detail", rename_all = "snake_case")]
pub enum Entry {
    /// An effect is about to be tried: `create`, `replace`, `remove`.
    Begun(String),
    /// It is as it shall be.
    Done,
    /// It could not be done.
    Failed(String),
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLine {
    /// The task.
    pub task: TaskId,
    /// When, in milliseconds since 1970 UTC.
    pub at: u64,
    /// The token of whoever wrote it.
    pub token: u64,
    /// What.
    pub entry: Entry,
}

/// The lease was lost: somebody else goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost")]
pub struct LeaseLost;

/// The task is owed no more: a newer one took its place, or its object was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task is void")]
pub struct Void;

/// Why a line was not written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Somebody else goes on.
    #[error(transparent)]
    Lost(#[from] LeaseLost),
    /// It is about what is owed no more.
    #[error(transparent)]
    Void(#[from] Void),
    /// The database could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a database remembers of what is owed.
///
/// # Contract
/// - `acquire` gives the lease to one at a time, by the database's own clock, with a token greater than any before. It
///   takes it from a holder whose time is over or who is gone; a holder may acquire again.
/// - `write` and `renew` do nothing where the lease is another's by now, and say so.
/// - A line about a task that is void is not written, and that is said: what was not begun by then must not be done.
/// - `Begun` marks the object as begun, and remembers what is tried. `Done` ends the task and, in the same transaction, remembers what the object was made, or forgets it.
/// - Lines are never changed, and stay until history is compacted.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// What is owed still, oldest first.
    async fn owed(&self) -> Result<Vec<Owed>, StoreError>;

    /// The objects that are ours.
    async fn objects(&self) -> Result<Vec<Object>, StoreError>;

    /// Asks for the lease.
    async fn acquire(
        &self,
        holder: &str,
        time: Duration,
        is_gone: &(dyn for<'a> Fn(&'a str) -> bool + Send + Sync),
    ) -> Result<Acquired, StoreError>;

    /// Keeps the lease for so long from now.
    async fn renew(&self, lease: &Lease, time: Duration) -> Result<(), LedgerError>;

    /// Gives the lease back.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Writes a line of the journal.
    async fn write(&self, lease: &Lease, task: TaskId, at: u64, entry: &Entry) -> Result<(), LedgerError>;

    /// The lines of a commit's tasks, oldest first.
    async fn journal(&self, serial: u64) -> Result<Vec<JournalLine>, StoreError>;
}

/// What a stored document says about its object. `None` where its resource has none.
pub fn target_of(document: &str) -> Option<WebhookTargetSpec> {
    match canonical::read_document(document).ok()?.spec {
        Spec::WebhookTarget(spec) => Some(*spec),
        _ => None,
    }
}

/// What a task's document tries to make of the object, with what was tried before: as an [`Object`] remembers it.
pub fn tried(before: Option<&str>, document: &str) -> Option<String> {
    let before = before.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let body = body_of(&target_of(document)?);
    Some(merged(before, &body).to_string())
}

/// All that an object may have been made: what was applied, and what was tried since.
pub fn last_of(object: &Object) -> Option<Value> {
    let applied = object.applied.as_deref().and_then(target_of).map(|spec| body_of(&spec));
    let tried: Option<Value> = object.tried.as_deref().and_then(|text| serde_json::from_str(text).ok());
    match (applied, tried) {
        (Some(applied), Some(tried)) => Some(merged(applied, &tried)),
        (applied, tried) => applied.or(tried),
    }
}

/// The object that a spec declares.
pub fn body_of(spec: &WebhookTargetSpec) -> Value {
    Value::Object(spec.body.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

impl Access {
    /// How to get at an object whose resource says this.
    pub fn new(spec: &WebhookTargetSpec, place: &Place) -> Self {
        Self { place: place.clone(), token: spec.token.clone(), timeout: spec.timeout.to_std(), fence: None }
    }
}

/// Whether what is sent to a URL stays between the two ends, or on this machine.
pub fn keeps_a_token(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return true };
    let host = rest.split('/').next().unwrap_or_default();
    let name = host.strip_prefix('[').map_or_else(
        || host.rsplit_once(':').map_or(host, |(name, _)| name),
        |rest| rest.split(']').next().unwrap_or_default(),
    );
    let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    name == "localhost" || is_loopback
}

#[cfg(test)]
mod tests;
