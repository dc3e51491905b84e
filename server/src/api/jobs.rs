//! Jobs of runs: why each did what it did, what it printed, and stopping it.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reactorcide_engine::identity::Capability;
use reactorcide_engine::logs::{LogError, LogKey, LogStore};
use reactorcide_engine::protocol::frame::{Body as FrameBody, Frame};
use reactorcide_engine::protocol::usage::Usage;
use reactorcide_engine::runs::EntryFilter;
use reactorcide_engine::scheduler::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::context::{Context, MaybeJson, Path, Query};
use super::log_stream::follow_log;
use super::problem::within;
use super::queue::{QueueEntry, explained};
use super::runs::{CancelRun, JobRow, TransitionRow, run_of};
use super::{Problem, Route};

/// Decisions that are looked through at once.
const PAGE: u32 = 1000;
/// The most of a log that one request gets.
const MOST: u64 = 16 << 20;
/// What is read more where a frame is longer than what was asked for.
const FRAME: u64 = 64 << 10;

/// The routes of jobs.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/runs/{run}/jobs/{job}", show)
            .named("getJob", "jobs", "A job: where it is, why, what it waits for, what it handed on")
            .needs(Capability::RunsRead)
            .answers::<JobDetail>(200),
        Route::get("/api/v1/runs/{run}/jobs/{job}/log", log)
            .named("getLog", "jobs", "What a job printed: text, frames as JSON lines (`Accept: application/x-ndjson`), or live (`Accept: text/event-stream`)")
            .needs(Capability::LogsRead)
            .query::<ReadLog>()
            .answers_raw("text/plain"),
        Route::post("/api/v1/runs/{run}/jobs/{job}/cancel", cancel)
            .named("cancelJob", "jobs", "Stops one job; the others go on")
            .needs(Capability::RunsCancel)
            .maybe_body::<StopJob>()
            .problems(&[409]),
    ]
}

/// How to stop a job.
pub type StopJob = CancelRun;

/// A job with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobDetail {
    /// In short.
    #[serde(flatten)]
    pub job: JobRow,
    /// What it waits for.
    pub depends_on: Vec<String>,
    /// What it handed on.
    pub outputs: BTreeMap<String, Value>,
    /// Its place in the queue, while it has one.
    #[serde(default)]
    pub queue: Option<QueueEntry>,
    /// Where what it prints is read and followed.
    #[serde(default)]
    pub logs_url: String,
    /// Where the files are listed that it has kept.
    #[serde(default)]
    pub artifacts_url: String,
    /// Every decision on it, oldest first.
    pub decisions: Vec<TransitionRow>,
    /// What each of its attempts used that has ended, over its time.
    #[serde(default)]
    pub used: Vec<AttemptUsage>,
}

/// What an attempt used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptUsage {
    /// The attempt, from 1.
    pub attempt: u32,
    /// What.
    #[serde(flatten)]
    pub usage: Usage,
}

async fn show(
    context: Context,
    Path((run, job)): Path<(String, String)>,
) -> Result<Answer<JobDetail>, Problem> {
    run_of(&context, &run, Capability::RunsRead).await?;
    let name = job.clone();
    let look = context.api.conductor.look(&run, true, move |known| {
        let state = &known.state;
        state.node(&name).map(|node| (node.row(), node.depends_on.clone(), node.outputs.clone()))
    });
    let (row, depends_on, outputs) = look.await?.ok_or_else(|| no_job(&run, &job))?;
    let (of_run, of_job) = (Some(run.clone()), Some(job.clone()));
    let filter = EntryFilter { run: of_run, node: of_job, limit: 1, ..EntryFilter::default() };
    let entry = context.api.conductor.queue.entries(&filter).await?.pop();
    let queue = match entry {
        Some(entry) => explained(&context.api, vec![entry]).await?.pop(),
        None => None,
    };
    let mut decisions = Vec::new();
    let mut from = 0;
    loop {
        let page = context.api.conductor.runs.transitions(&run, from, PAGE).await?;
        let count = page.len() as u64;
        let rows = (from..).zip(page).map(|(ordinal, one)| TransitionRow::new(ordinal, one));
        decisions.extend(rows.filter(|row| row.job.as_deref() == Some(&job)));
        from += count;
        if count < u64::from(PAGE) {
            break;
        }
    }
    let used = context.api.conductor.runs.used(&run, Some(&job)).await?;
    let used: Vec<AttemptUsage> =
        used.into_iter().map(|used| AttemptUsage { attempt: used.attempt, usage: used.usage }).collect();
    let usage = used.last().map(|used| Usage { series: Vec::new(), ..used.usage.clone() });
    let url = format!("/api/v1/runs/{run}/jobs/{}", in_path(&job));
    let (logs_url, artifacts_url) = (format!("{url}/log"), format!("{url}/artifacts"));
    Ok(Answer(JobDetail {
        job: JobRow { usage, ..row.into() },
        depends_on,
        outputs,
        queue,
        logs_url,
        artifacts_url,
        decisions,
        used,
    }))
}

/// A name as it stands in the path of a URL.
pub(super) fn in_path(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

fn no_job(run: &str, job: &str) -> Problem {
    Problem::not_found(format!("the run {run} has no job {job:?}"))
}

/// Which piece of a log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadLog {
    /// The attempt. Default: the last one.
    #[schemars(range(min = 1))]
    pub attempt: Option<u32>,
    /// The first byte of the frames.
    #[serde(default)]
    pub offset: u64,
    /// At most so many bytes of frames.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub limit: Option<u64>,
}

async fn log(
    context: Context,
    Path((run, job)): Path<(String, String)>,
    headers: HeaderMap,
    Query(query): Query<ReadLog>,
) -> Result<Response, Problem> {
    run_of(&context, &run, Capability::LogsRead).await?;
    let name = job.clone();
    let look =
        context.api.conductor.look(&run, true, move |known| known.state.node(&name).map(|node| node.attempt));
    let last = look.await?.ok_or_else(|| no_job(&run, &job))?;
    let attempt = query.attempt.unwrap_or(last.max(1));
    if attempt == 0 || attempt > last.max(1) {
        return Err(Problem::not_found(format!("{job:?} has had {last} attempts")));
    }
    let key = LogKey::new(run, job, attempt);
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        let from = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
        return Ok(follow_log(context.api, key, from.unwrap_or(query.offset)));
    }
    let limit = match query.limit {
        None => MOST,
        Some(limit @ 1..=MOST) => limit,
        Some(_) => return Err(Problem::invalid(format!("limit is from 1 to {MOST} bytes"))),
    };
    let bytes = read(&*context.api.logs, &key, query.offset, limit).await?;
    let next = query.offset + bytes.len() as u64;
    let is_raw = accepts.contains("application/x-ndjson");
    let (media_type, bytes) =
        if is_raw { ("application/x-ndjson", bytes) } else { ("text/plain; charset=utf-8", plain(&bytes)) };
    let mut response = Body::from(bytes).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert("x-next-offset", HeaderValue::from(next));
    Ok(response)
}

/// Whole frames of a log from a byte on: as many as fit in a limit, and one where not even that does.
pub(super) async fn read(
    logs: &dyn LogStore,
    key: &LogKey,
    from: u64,
    limit: u64,
) -> Result<Vec<u8>, LogError> {
    let length = logs.length(key).await?;
    let mut bytes = Vec::new();
    let mut until = length.min(from.saturating_add(limit));
    loop {
        let at = from + bytes.len() as u64;
        let wanted = usize::try_from(until.saturating_sub(at)).unwrap_or(usize::MAX);
        let piece = if wanted == 0 { Vec::new().into() } else { logs.read(key, at, wanted).await? };
        if !piece.is_empty() {
            bytes.extend_from_slice(&piece);
            continue;
        }
        match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => bytes.truncate(end + 1),
            // Half a frame is nothing that anybody could read.
            None if until < length && at >= until => {
                until = length.min(until.saturating_add(FRAME));
                continue;
            }
            None => bytes.clear(),
        }
        return Ok(bytes);
    }
}

/// What was printed, without what surrounds it; gaps are said.
fn plain(frames: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(frames.len());
    for frame in frames.split(|byte| *byte == b'\n').filter_map(|line| Frame::decode(line).ok()) {
        match frame.body {
            FrameBody::Log { data, .. } => text.extend_from_slice(&data.bytes()),
            FrameBody::Gap { bytes, reason, .. } => {
                text.extend_from_slice(format!("\n[{bytes} bytes are missing: {reason}]\n").as_bytes());
            }
            _ => {}
        }
    }
    text
}

async fn cancel(
    context: Context,
    Path((run, job)): Path<(String, String)>,
    MaybeJson(body): MaybeJson<StopJob>,
) -> Result<StatusCode, Problem> {
    run_of(&context, &run, Capability::RunsCancel).await?;
    within("reason", body.reason.as_deref(), 0, 1000)?;
    let name = job.clone();
    let look =
        context.api.conductor.look(&run, true, move |known| known.state.node(&name).map(|node| node.status));
    let status = look.await?.ok_or_else(|| no_job(&run, &job))?;
    if status.is_terminal() {
        return Err(Problem::conflict(format!("the job has already ended: {}", status.as_str())));
    }
    let reason = body.words(if body.force { "killed" } else { "cancelled" }, &context.actor());
    let event = Event::Stop { node: job.clone(), reason, force: body.force };
    context.api.conductor.tell(&run, event).await?;
    let detail = json!({"force": body.force, "reason": body.reason});
    context.note(Capability::RunsCancel.as_str(), &format!("run/{run}/job/{job}"), detail).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use reactorcide_engine::logs::MemoryLogs;

    use super::*;

    #[tokio::test]
    async fn a_page_of_a_log_ends_where_a_frame_does() {
        let (logs, key) = (MemoryLogs::default(), LogKey::new("r", "job", 1));
        let long = "x".repeat(100_000);
        let text = format!("one\ntwo\n{long}\nfour\nfi");
        logs.append(&key, 0, text.clone().into()).await.expect("it is taken");
        for limit in [1, 4, 5, 8, 9, 50_000, 100_009, 1 << 20] {
            let mut all = Vec::new();
            loop {
                let page = read(&logs, &key, all.len() as u64, limit).await.expect("a page");
                if page.is_empty() {
                    break;
                }
                assert_eq!(page.last(), Some(&b'\n'), "{limit}");
                all.extend(page);
            }
            assert_eq!(all, text.strip_suffix("fi").expect("half a frame").as_bytes(), "{limit}");
        }
    }
}
