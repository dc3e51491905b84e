//! The audit log, in a state on this machine or behind a server.

use std::sync::Arc;

use reactorcide_engine::audit::{AuditLog, Filter, Head, Outcome, Verifier};
use reactorcide_server::api::{AuditHead, AuditRow, OutcomeWord, Verified};

use crate::applied::{self, store_failure};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// Entries that are read at once.
const BATCH: u32 = 1000;

/// Where the log is.
pub enum Log {
    /// On this machine.
    Local(Arc<dyn AuditLog>),
    /// Behind a server.
    Server(Client),
}

/// Which entries to list.
#[derive(Debug, Default)]
pub struct Wanted {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub target: Option<String>,
    pub outcome: Option<OutcomeWord>,
    pub limit: usize,
}

impl Log {
    /// The one that the settings name.
    pub async fn open(settings: &Settings) -> Result<Self, Failure> {
        if let Some(client) = Client::wanted(settings)? {
            return Ok(Self::Server(client));
        }
        let nothing =
            || Failure::new("there is no state here, and so no log").hint("--server asks that of a server");
        let found = applied::open(settings).await?.ok_or_else(nothing)?;
        Ok(Self::Local(found.state.audit()))
    }

    /// Entries, the newest first.
    pub async fn list(&self, wanted: Wanted) -> Result<Vec<AuditRow>, Failure> {
        let Wanted { actor, action, target, outcome, limit } = wanted;
        match self {
            Self::Local(log) => {
                let outcome = outcome.map(Outcome::from);
                let filter = Filter { actor, action, target, outcome, ..Filter::default() };
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                let found = log.search(&filter, limit).await.map_err(store_failure)?;
                Ok(found.into_iter().map(AuditRow::from).collect())
            }
            Self::Server(client) => {
                let word = |outcome| serde_json::to_value(outcome).ok()?.as_str().map(str::to_owned);
                let mut query = Vec::new();
                query.extend(actor.map(|actor| ("actor", actor)));
                query.extend(action.map(|action| ("action", action)));
                query.extend(target.map(|target| ("target", target)));
                query.extend(outcome.and_then(word).map(|outcome| ("outcome", outcome)));
                client.all("/audit", &query, limit).await
            }
        }
    }

    /// Where it ends.
    pub async fn head(&self) -> Result<String, Failure> {
        match self {
            Self::Local(log) => Ok(log.head().await.map_err(store_failure)?.to_string()),
            Self::Server(client) => {
                let head: AuditHead = client.get("/audit/head", &[]).await?;
                Ok(head.head)
            }
        }
    }

    /// Walks all of it.
    pub async fn verify(&self, kept: Option<&str>) -> Result<Verified, Failure> {
        match self {
            Self::Local(log) => {
                let kept = kept.map(str::parse::<Head>).transpose();
                walk(&**log, kept.map_err(|error| Failure::new(error.to_string()).exit(Exit::Usage))?).await
            }
            Self::Server(client) => {
                let mut after: Option<String> = None;
                loop {
                    let mut query = Vec::new();
                    query.extend(after.clone().map(|after| ("after", after)));
                    query.extend(kept.map(|kept| ("kept", kept.to_owned())));
                    let found: Verified = client.get("/audit/verify", &query).await?;
                    if found.complete || !found.intact {
                        return Ok(found);
                    }
                    after = Some(found.head);
                }
            }
        }
    }

    /// A piece of it after a number, as lines of JSON, and where the next one begins.
    pub async fn export(&self, after: u64) -> Result<(Vec<u8>, Option<u64>), Failure> {
        match self {
            Self::Local(log) => {
                let entries = log.read(after, BATCH).await.map_err(store_failure)?;
                let mut lines = Vec::new();
                for entry in &entries {
                    serde_json::to_writer(&mut lines, entry)
                        .map_err(|error| Failure::new(format!("an entry cannot be written: {error}")))?;
                    lines.push(b'\n');
                }
                let next = entries.last().filter(|_| entries.len() == BATCH as usize).map(|last| last.seq);
                Ok((lines, next))
            }
            Self::Server(client) => {
                let query = [("after", after.to_string())];
                let response = client.bytes("/audit/export", &query, "application/x-ndjson").await?;
                let next = response.headers().get("x-next-after");
                let next = next.and_then(|value| value.to_str().ok()?.parse().ok());
                let bytes = response.bytes().await;
                let bytes = bytes.map_err(|error| Failure::new(format!("the export broke off: {error}")))?;
                Ok((bytes.to_vec(), next))
            }
        }
    }
}

async fn walk(log: &dyn AuditLog, kept: Option<Head>) -> Result<Verified, Failure> {
    let mut verifier = Verifier::new(Head::EMPTY, kept.as_slice());
    let mut head = Head::EMPTY;
    let end = log.head().await.map_err(store_failure)?;
    let found = |head: Head, broken: Option<(u64, String)>| {
        let (broken_at, why) = broken.unzip();
        Verified { intact: broken_at.is_none(), complete: true, head: head.to_string(), broken_at, why }
    };
    loop {
        let entries = log.read(head.seq, BATCH).await.map_err(store_failure)?;
        for entry in &entries {
            if let Err(broken) = verifier.take(entry) {
                return Ok(found(head, Some((broken.seq, broken.why))));
            }
            head = Head { seq: entry.seq, hash: entry.hash };
        }
        if entries.len() < BATCH as usize {
            break;
        }
    }
    if head.seq < end.seq {
        let why = format!("the log ends here, and it once had entry {}", end.seq);
        return Ok(found(head, Some((head.seq + 1, why))));
    }
    Ok(match verifier.finish() {
        Ok(head) => found(head, None),
        Err(broken) => found(head, Some((broken.seq, broken.why))),
    })
}
