//! What goes on, told as it happens: decisions on a run and the output of a job, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as Stream};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use reactorcide_engine::logs::{LogKey, Progress};
use reactorcide_engine::runs::RunFilter;
use tokio::sync::broadcast::error::RecvError;

use super::{Api, TransitionRow, until_closing};
use crate::telemetry::Followed;

/// How often somebody who follows hears that the connection is still there.
const ALIVE: Duration = Duration::from_secs(15);
/// How often is looked for what others decided of whom nobody here is told.
const LOOK: Duration = Duration::from_secs(5);
/// Decisions that are told at once.
const PAGE: u32 = 500;
/// Bytes of a log that are told at once.
const CHUNK: usize = 256 << 10;

/// Decisions on a run from one on, until it has ended.
pub fn follow_run(api: Api, run: String, from: u64) -> impl IntoResponse {
    let notices = api.conductor.notices();
    let following = api.conductor.observer.metrics.follow(Followed::Run);
    let pages = stream::unfold(Some((api, run, from, notices)), |state| async move {
        let (api, run, mut from, mut notices) = state?;
        let mut closing = api.closing.clone();
        loop {
            let Ok(found) = api.conductor.runs.transitions(&run, from, PAGE).await else { return None };
            let ended = found.iter().any(|transition| transition.ends_run());
            if !found.is_empty() {
                let rows: Vec<TransitionRow> =
                    (from..).zip(found).map(|(ordinal, one)| TransitionRow::new(ordinal, one)).collect();
                from += rows.len() as u64;
                return Some((rows, (!ended).then_some((api, run, from, notices))));
            }
            if is_over(&api, &run).await {
                return None;
            }
            tokio::select! {
                () = news(&mut notices, &run) => {}
                () = tokio::time::sleep(LOOK) => {}
                () = until_closing(&mut closing) => return None,
            }
        }
    });
    let events = pages.flat_map(move |rows| {
        // It goes when the stream does.
        let _ = &following;
        stream::iter(rows).map(|row| Ok::<_, Infallible>(event(&row)))
    });
    Stream::new(events.boxed()).keep_alive(KeepAlive::new().interval(ALIVE))
}

fn event(row: &TransitionRow) -> Sse {
    let text = serde_json::to_string(row).unwrap_or_default();
    Sse::default().id(row.ordinal.to_string()).event("transition").data(text)
}

async fn news(notices: &mut tokio::sync::broadcast::Receiver<crate::conductor::Notice>, run: &str) {
    loop {
        match notices.recv().await {
            Ok(notice) if notice.is_about(run) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Whether a run has nothing more to tell.
async fn is_over(api: &Api, run: &str) -> bool {
    let found = api.conductor.runs.runs(&RunFilter::of(run)).await.unwrap_or_default();
    found.first().is_none_or(|run| run.ended_at.is_some())
}

/// A log from a byte on, until it is finished: each event holds whole lines, and its id is where the next one begins.
pub fn follow_log(api: Api, key: LogKey, from: u64) -> Response {
    let following = api.conductor.observer.metrics.follow(Followed::Log);
    let pieces = pieces(api, key, from);
    let body = pieces.map(move |(next, lines)| {
        // It goes when the stream does.
        let _ = &following;
        Ok::<_, Infallible>(log_event(next, &lines))
    });
    let alive = stream::unfold((), |()| async {
        tokio::time::sleep(ALIVE).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b":\n\n")), ()))
    });
    // The end of the log ends the stream; signs of life do not keep it.
    let end = stream::once(async { Err(()) });
    let body = stream::select(
        body.map(|piece| piece.map_err(|_| ())).chain(end),
        alive.map(|sign| sign.map_err(|_| ())),
    );
    let body = body
        .take_while(|piece| std::future::ready(piece.is_ok()))
        .map(|piece| piece.map_err(|()| std::io::Error::other("over")));
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// Whole lines of a log, as they come, and where the next ones begin.
fn pieces(api: Api, key: LogKey, from: u64) -> BoxStream<'static, (u64, Bytes)> {
    stream::unfold(Some((api, key, from)), |state| async move {
        let (api, key, from) = state?;
        let mut closing = api.closing.clone();
        loop {
            let progress = tokio::select! {
                progress = api.logs.wait(&key, from) => progress.ok()?,
                () = until_closing(&mut closing) => return None,
            };
            let Progress { length, finished } = progress;
            if length <= from {
                if finished {
                    return None;
                }
                continue;
            }
            let wanted = usize::try_from(length - from).unwrap_or(CHUNK).min(CHUNK);
            let mut bytes = api.logs.read(&key, from, wanted).await.ok()?;
            // What is appended is whole lines; only a piece of our own making may cut one.
            let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => at + 1,
                None => bytes.len(),
            };
            bytes.truncate(whole);
            let next = from + bytes.len() as u64;
            return Some(((next, bytes), Some((api, key, next))));
        }
    })
    .boxed()
}

/// Lines hold no line feed but their own: each becomes one `data:` line.
fn log_event(next: u64, lines: &Bytes) -> Bytes {
    let mut event = Vec::with_capacity(lines.len() + lines.len() / 16 + 64);
    event.extend_from_slice(format!("id: {next}\nevent: log\n").as_bytes());
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    event.into()
}
