//! The audit log: read, exported and verified.

use axum::Json as Answer;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use reactorcide_engine::audit::{Entry, Filter, Head, Outcome, Verifier};
use reactorcide_engine::identity::Capability;
use reactorcide_engine::scheduler::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::context::{Context, Query};
use super::{Page, Problem, Route, page};

/// How many entries are walked before a caller is told where to go on.
const WALK: u64 = 50_000;
/// How many are read at once.
const BATCH: u32 = 1000;

/// The routes of the audit log.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/audit", list)
            .named("listAudit", "audit", "Entries of the audit log, newest first")
            .needs(Capability::AuditRead)
            .query::<ListAudit>()
            .answers::<Page<AuditRow>>(200),
        Route::get("/api/v1/audit/head", head)
            .named(
                "getAuditHead",
                "audit",
                "Where the audit log ends: kept elsewhere, it shows later what was cut off",
            )
            .needs(Capability::AuditRead)
            .answers::<AuditHead>(200),
        Route::get("/api/v1/audit/export", export)
            .named("exportAudit", "audit", "Entries as they are hashed, oldest first, one JSON object a line")
            .needs(Capability::AuditRead)
            .query::<ExportAudit>()
            .answers_raw("application/x-ndjson"),
        Route::get("/api/v1/audit/verify", verify)
            .named("verifyAudit", "audit", "Walks the chain of the audit log")
            .needs(Capability::AuditRead)
            .query::<VerifyAudit>()
            .answers::<Verified>(200),
    ]
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRow {
    /// Its number: 1, 2, 3, without a gap.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at: Millis,
    /// Who: `user:ada`, `job:1/RUN/NODE`, `server`.
    pub actor: String,
    /// What: a capability, or what the server does by itself.
    pub action: String,
    /// On what: an address, a run, an account.
    pub target: String,
    /// How it ended.
    pub outcome: OutcomeWord,
    /// What else there is to know.
    pub detail: Value,
    /// The request that it belongs to.
    #[serde(default)]
    pub request: Option<String>,
    /// The hash of the entry before it.
    pub previous: String,
    /// Its own.
    pub hash: String,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeWord {
    /// It was allowed, and done.
    Done,
    /// It was not allowed.
    Denied,
    /// It was allowed, and failed.
    Failed,
}

impl From<OutcomeWord> for Outcome {
    fn from(word: OutcomeWord) -> Self {
        match word {
            OutcomeWord::Done => Self::Done,
            OutcomeWord::Denied => Self::Denied,
            OutcomeWord::Failed => Self::Failed,
        }
    }
}

impl From<Entry> for AuditRow {
    fn from(Entry { seq, draft, previous, hash }: Entry) -> Self {
        Self {
            seq,
            at: draft.at,
            actor: draft.actor,
            action: draft.action,
            target: draft.target,
            outcome: match draft.outcome {
                Outcome::Done => OutcomeWord::Done,
                Outcome::Denied => OutcomeWord::Denied,
                Outcome::Failed => OutcomeWord::Failed,
            },
            detail: draft.detail.value(),
            request: draft.request,
            previous: previous.to_string(),
            hash: hash.to_string(),
        }
    }
}

/// Which entries.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAudit {
    /// Those of an actor.
    pub actor: Option<String>,
    /// Those of an action.
    pub action: Option<String>,
    /// Those on a target.
    pub target: Option<String>,
    /// Those that ended so.
    pub outcome: Option<OutcomeWord>,
    /// Those not before this time, in milliseconds since 1970.
    pub from: Option<Millis>,
    /// Those before this time.
    pub until: Option<Millis>,
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Goes on with an earlier list.
    pub cursor: Option<String>,
}

async fn list(context: Context, Query(query): Query<ListAudit>) -> Result<Answer<Page<AuditRow>>, Problem> {
    context.may(Capability::AuditRead, None)?;
    let limit = page::limit(query.limit)?;
    let ListAudit { actor, action, target, outcome, from, until, cursor, .. } = query;
    let before = page::decode(cursor.as_deref())?;
    let filter = Filter { actor, action, target, outcome: outcome.map(Outcome::from), from, until, before };
    let found = context.api.audit.search(&filter, limit + 1).await?;
    let rows = found.into_iter().map(AuditRow::from).collect();
    Ok(Answer(Page::of(rows, limit, |last: &AuditRow| last.seq)))
}

/// Where the audit log ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHead {
    /// The number of the last entry; 0 for an empty log.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// Both, as `kept` and `after` take them: `NUMBER:HASH`.
    pub head: String,
}

impl From<Head> for AuditHead {
    fn from(head: Head) -> Self {
        Self { seq: head.seq, hash: head.hash.to_string(), head: head.to_string() }
    }
}

async fn head(context: Context) -> Result<Answer<AuditHead>, Problem> {
    context.may(Capability::AuditRead, None)?;
    Ok(Answer(context.api.audit.head().await?.into()))
}

/// From where to export.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportAudit {
    /// Entries of numbers after this one. `x-next-after` of the answer goes on, and is absent at the end.
    #[serde(default)]
    pub after: u64,
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

async fn export(context: Context, Query(query): Query<ExportAudit>) -> Result<Response, Problem> {
    context.may(Capability::AuditRead, None)?;
    let limit = page::limit(query.limit.or(Some(page::MOST)))?;
    let mut entries = context.api.audit.read(query.after, limit + 1).await?;
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let mut lines = Vec::new();
    for entry in &entries {
        serde_json::to_writer(&mut lines, entry).map_err(|error| Problem::internal(error.to_string()))?;
        lines.push(b'\n');
    }
    let mut response = lines.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    if let Some(last) = entries.last().filter(|_| more) {
        headers.insert("x-next-after", HeaderValue::from(last.seq));
    }
    Ok(response)
}

/// What to hold the log against.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyAudit {
    /// Begins after this end, which is trusted: the `head` of an earlier answer. Absent: at the beginning.
    #[schemars(regex(pattern = r"^\d{1,18}:[0-9a-f]{64}$"))]
    pub after: Option<String>,
    /// An end of the log that somebody kept elsewhere.
    #[schemars(regex(pattern = r"^\d{1,18}:[0-9a-f]{64}$"))]
    pub kept: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Whether all that was walked is as it was written.
    pub intact: bool,
    /// Whether the end of the log was reached. If not, go on with `after` = `head`.
    pub complete: bool,
    /// Up to where it is intact.
    pub head: String,
    /// The first number at which the log is broken.
    #[serde(default)]
    pub broken_at: Option<u64>,
    /// What is wrong there.
    #[serde(default)]
    pub why: Option<String>,
}

async fn verify(context: Context, Query(query): Query<VerifyAudit>) -> Result<Answer<Verified>, Problem> {
    context.may(Capability::AuditRead, None)?;
    let read = |text: Option<&str>| text.map(str::parse::<Head>).transpose();
    let wrong = |error: reactorcide_engine::audit::HashError| Problem::invalid(error.to_string());
    let start = read(query.after.as_deref()).map_err(wrong)?.unwrap_or(Head::EMPTY);
    let kept = read(query.kept.as_deref()).map_err(wrong)?;
    let broken = |head: Head, at: u64, why: String| {
        let head = head.to_string();
        Answer(Verified { intact: false, complete: false, head, broken_at: Some(at), why: Some(why) })
    };
    if let Some(kept) = kept.filter(|kept| kept.seq == start.seq && kept.hash != start.hash) {
        let why = "it has another hash than the one that was kept".to_owned();
        return Ok(broken(start, kept.seq, why));
    }
    let mut verifier = Verifier::new(start, kept.as_slice());
    let mut head = start;
    while head.seq - start.seq < WALK {
        let entries = context.api.audit.read(head.seq, BATCH).await?;
        let is_end = entries.len() < BATCH as usize;
        for entry in &entries {
            if let Err(error) = verifier.take(entry) {
                return Ok(broken(head, error.seq, error.why));
            }
            head = Head { seq: entry.seq, hash: entry.hash };
        }
        if is_end {
            return Ok(match verifier.finish() {
                Ok(head) => Answer(Verified {
                    intact: true,
                    complete: true,
                    head: head.to_string(),
                    broken_at: None,
                    why: None,
                }),
                Err(error) => broken(head, error.seq, error.why),
            });
        }
    }
    let head = head.to_string();
    Ok(Answer(Verified { intact: true, complete: false, head, broken_at: None, why: None }))
}
