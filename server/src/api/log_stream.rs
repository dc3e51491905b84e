//! What goes on, told as it happens: decisions on a run and the output of a job, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as Stream};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use reactorcide_engine::logs::{LogError, LogKey, LogStore, Progress};
use reactorcide_engine::runs::RunFilter;
use tokio::sync::broadcast::error::RecvError;

use super::jobs::read;
use super::{Api, TransitionRow, until_closing};
use crate::telemetry::Followed;

/// How often somebody who follows hears that the connection is still there.
const ALIVE: Duration = Duration::from_secs(15);
/// How often is looked for what others decided of whom nobody here is told.
const LOOK: Duration = Duration::from_secs(5);
/// How long to wait before a storage that is in trouble is asked again.
const TROUBLE: Duration = Duration::from_secs(1);
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

/// Why nothing more is told of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// It is finished, and all of it was told.
    Ended,
    /// There is more of it, or may be. Who follows comes again, and goes on where they were.
    BrokenOff,
}

/// A log from a byte on, until it is finished: each event holds whole lines, and its id is where the next one begins.
/// Where it cannot be told to its end, neither does the answer come to one: the connection breaks off.
pub fn follow_log(api: Api, key: LogKey, from: u64) -> Response {
    let following = api.conductor.observer.metrics.follow(Followed::Log);
    let pieces = pieces(api, key, from);
    let body = pieces.map(move |piece| {
        // It goes when the stream does.
        let _ = &following;
        piece.map(|(next, lines)| log_event(next, &lines))
    });
    let alive = stream::unfold((), |()| async {
        tokio::time::sleep(ALIVE).await;
        Some((Ok(Bytes::from_static(b":\n\n")), ()))
    });
    // The end of the log ends the stream; signs of life do not keep it.
    let end = stream::once(async { Err(Over::Ended) });
    let body = stream::select(body.chain(end), alive)
        .take_while(|piece| std::future::ready(!matches!(piece, Err(Over::Ended))))
        .map(|piece| piece.map_err(|_| std::io::Error::other("it broke off")));
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// Whole lines of a log, as they come, and where the next ones begin. A storage that is in trouble is waited for.
fn pieces(api: Api, key: LogKey, from: u64) -> BoxStream<'static, Result<(u64, Bytes), Over>> {
    stream::unfold(Some((api, key, from)), |state| async move {
        let (api, key, from) = state?;
        let mut closing = api.closing.clone();
        loop {
            let piece = tokio::select! {
                piece = piece(&*api.logs, &key, from) => piece,
                () = until_closing(&mut closing) => return Some((Err(Over::BrokenOff), None)),
            };
            let trouble = match piece {
                Ok(Some(bytes)) => {
                    let next = from + bytes.len() as u64;
                    return Some((Ok((next, bytes)), Some((api, key, next))));
                }
                Ok(None) => return None,
                Err(error) => error,
            };
            if !matches!(&trouble, LogError::Storage(error) if error.is_transient()) {
                tracing::warn!(run.id = key.run, job.name = key.node, error = %trouble, "a log cannot be followed");
                return Some((Err(Over::BrokenOff), None));
            }
            tokio::select! {
                () = tokio::time::sleep(TROUBLE) => {}
                () = until_closing(&mut closing) => return Some((Err(Over::BrokenOff), None)),
            }
        }
    })
    .boxed()
}

/// The next whole lines of a log, once there are some; nothing at its end.
async fn piece(logs: &dyn LogStore, key: &LogKey, from: u64) -> Result<Option<Bytes>, LogError> {
    let length = loop {
        let Progress { length, finished } = logs.wait(key, from).await?;
        if length > from {
            break length;
        }
        if finished {
            return Ok(None);
        }
    };
    let wanted = usize::try_from(length - from).unwrap_or(CHUNK).min(CHUNK);
    let mut bytes = logs.read(key, from, wanted).await?;
    // What is appended is whole lines. What is read ends where it does in memory, or where we said.
    if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
        bytes.truncate(at + 1);
        return Ok(Some(bytes));
    }
    let whole = read(logs, key, from, CHUNK as u64).await?;
    Ok(Some(if whole.is_empty() { bytes } else { whole.into() }))
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use reactorcide_engine::logs::MemoryLogs;

    use super::*;

    /// Whose reads end after a few bytes, as those of a store do where its blocks end.
    struct Short(MemoryLogs, usize);

    #[async_trait]
    impl LogStore for Short {
        async fn append(&self, key: &LogKey, offset: u64, bytes: Bytes) -> Result<u64, LogError> {
            self.0.append(key, offset, bytes).await
        }
        async fn read(&self, key: &LogKey, offset: u64, max: usize) -> Result<Bytes, LogError> {
            self.0.read(key, offset, max.min(self.1)).await
        }
        async fn length(&self, key: &LogKey) -> Result<u64, LogError> {
            self.0.length(key).await
        }
        async fn is_finished(&self, key: &LogKey) -> Result<bool, LogError> {
            self.0.is_finished(key).await
        }
        async fn wait(&self, key: &LogKey, offset: u64) -> Result<Progress, LogError> {
            self.0.wait(key, offset).await
        }
        async fn finish(&self, key: &LogKey) -> Result<(), LogError> {
            self.0.finish(key).await
        }
        async fn remove(&self, run: &str) -> Result<(), LogError> {
            self.0.remove(run).await
        }
        async fn runs(&self) -> Result<Vec<String>, LogError> {
            self.0.runs().await
        }
    }

    #[tokio::test]
    async fn who_follows_gets_whole_lines_wherever_a_read_ends() {
        let text = format!("one\ntwo\n{}\nfour\n{}\n", "x".repeat(3 * CHUNK), "y".repeat(100));
        for most in [1, 3, 7, 50_000, usize::MAX] {
            let (logs, key) = (Short(MemoryLogs::default(), most), LogKey::new("r", "job", 1));
            logs.append(&key, 0, text.clone().into()).await.expect("it is taken");
            logs.finish(&key).await.expect("it is over");
            let mut all = Vec::new();
            while let Some(lines) = piece(&logs, &key, all.len() as u64).await.expect("lines") {
                assert_eq!(lines.last(), Some(&b'\n'), "{most}: after {} bytes", all.len());
                all.extend(lines);
            }
            assert!(all == text.as_bytes(), "{most}: {} of {} bytes", all.len(), text.len());
        }
    }
}
