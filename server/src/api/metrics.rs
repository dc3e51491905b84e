//! Metrics, for whoever may read them, or for everybody who reaches an address of their own.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reactorcide_engine::identity::Capability;

use super::context::Context;
use super::{Api, Problem, Route};
use tokio::net::TcpListener;

use crate::telemetry::render;

/// What comes back.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The route of metrics.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/metrics", show)
            .named("getMetrics", "server", "Metrics of this server and of the queue, as OpenMetrics")
            .needs(Capability::MetricsRead)
            .answers_raw(OPENMETRICS),
    ]
}

/// What answers at an address that is for metrics alone, and asks nobody who they are.
pub(crate) fn listener(api: Api) -> Router {
    Router::new()
        .route("/metrics", get(|State(api): State<Api>| async move { text(&api).await }))
        .with_state(api)
}

async fn show(context: Context) -> Result<Response, Problem> {
    context.may(Capability::MetricsRead, None)?;
    text(&context.api).await
}

async fn text(api: &Api) -> Result<Response, Problem> {
    let text = render(api).await.map_err(|_| Problem::unavailable("metrics cannot be told"))?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

/// Tells metrics of something else than a server to everybody who reaches an address.
pub async fn tell_metrics(
    listener: TcpListener,
    text: impl Fn() -> String + Clone + Send + Sync + 'static,
) -> std::io::Result<()> {
    let show = move || {
        let text = text();
        async move { ([(header::CONTENT_TYPE, OPENMETRICS)], text) }
    };
    axum::serve(listener, Router::new().route("/metrics", get(show))).await
}
