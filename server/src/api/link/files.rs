//! Artifacts and caches over `/worker/v1`: content comes and goes as bytes, in pieces that nobody gathers.

use axum::Json as Answer;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use reactorcide_engine::artifacts::{ArtifactKind, Content};
use reactorcide_engine::coordinator::{Coordinator, Keeping, LeaseId, Offered};
use reactorcide_engine::identity::Capability;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::desk;
use crate::api::context::{Context, Json, Query};
use crate::api::{Problem, Route};

/// The routes of what jobs keep and take.
pub fn routes() -> Vec<Route> {
    let lease = |route: Route| route.needs(Capability::JobsLease);
    vec![
        lease(Route::post("/worker/v1/keep", keep))
            .named("workerKeep", "link", "A worker hands over a file or a cache of a job, to be kept")
            .query::<Piece>()
            .bytes(),
        lease(Route::post("/worker/v1/inputs", inputs))
            .named("workerInputs", "link", "A worker wants to know the files that a job takes from others")
            .answers_raw("application/json"),
        lease(Route::post("/worker/v1/cache", cache))
            .named("workerCache", "link", "A worker wants to know the best cache for a job")
            .answers_raw("application/json"),
        lease(Route::post("/worker/v1/content", content))
            .named("workerContent", "link", "A worker takes the content of what was offered to a job")
            .answers_raw("application/octet-stream"),
    ]
}

/// What comes, and of which lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct Piece {
    /// The run.
    run: String,
    /// The node.
    node: String,
    /// The attempt.
    attempt: u32,
    /// The lease's token.
    token: String,
    /// `artifact` or `cache`.
    kind: String,
    /// Its name: a path, or a key.
    name: String,
    /// Whether it can be run as a program.
    #[serde(default)]
    executable: bool,
    /// How many bytes come, where that is known.
    #[serde(default)]
    size: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct OfLease {
    lease: LeaseId,
}

#[derive(Debug, Deserialize)]
struct WantedCache {
    lease: LeaseId,
    key: String,
    #[serde(default)]
    restore_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct WantedContent {
    lease: LeaseId,
    id: String,
    #[serde(default)]
    from: u64,
}

async fn keep(context: Context, Query(piece): Query<Piece>, body: Body) -> Result<StatusCode, Problem> {
    let desk = desk(&context)?;
    let Piece { run, node, attempt, token, kind, name, executable, size } = piece;
    let kind = ArtifactKind::parse(&kind);
    let kind = kind.ok_or_else(|| Problem::invalid("the kind is artifact or cache"))?;
    let lease = LeaseId { run, node, attempt, token };
    let keeping = Keeping { kind, name, executable, size };
    desk.keep(&lease, &keeping, content_of(body)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn inputs(context: Context, Json(body): Json<OfLease>) -> Result<Answer<Vec<Offered>>, Problem> {
    let desk = desk(&context)?;
    Ok(Answer(desk.inputs(&body.lease).await?))
}

async fn cache(context: Context, Json(body): Json<WantedCache>) -> Result<Answer<Option<Offered>>, Problem> {
    let desk = desk(&context)?;
    Ok(Answer(desk.cache(&body.lease, &body.key, &body.restore_keys).await?))
}

async fn content(context: Context, Json(body): Json<WantedContent>) -> Result<Response, Problem> {
    let desk = desk(&context)?;
    let content = desk.content(&body.lease, &body.id, body.from).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(content)).into_response())
}

/// The bytes of a request as they come.
pub(in crate::api) fn content_of(body: Body) -> Content {
    body.into_data_stream().map(|piece| piece.map_err(std::io::Error::other)).boxed()
}
