//! The trace that a request goes on with, for whatever is started while it is answered.

use axum::http::HeaderMap;
use reactorcide_engine::trace::Trace;

tokio::task_local! {
    static CURRENT: Trace;
}

/// What the header `traceparent` says.
pub(crate) fn given(headers: &HeaderMap) -> Option<Trace> {
    headers.get("traceparent")?.to_str().ok()?.parse().ok()
}

/// Answers a request within its trace, if it has one.
pub(crate) async fn within<T>(trace: Option<Trace>, answer: impl Future<Output = T>) -> T {
    match trace {
        Some(trace) => CURRENT.scope(trace, answer).await,
        None => answer.await,
    }
}

/// The trace of a run that is started now.
pub(crate) fn fresh() -> Trace {
    CURRENT.try_with(Trace::clone).unwrap_or_else(|_| Trace::new(uuid::Uuid::new_v4().into_bytes()))
}
