//! Files that a job keeps and takes by itself, beside what its declaration says.

use axum::Json as Answer;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use reactorcide_engine::artifacts::{ArtifactError, ArtifactKind, MAX_BYTES, MAX_FILES_BY_TOKEN};
use reactorcide_engine::coordinator::{Keeping, Offered};
use reactorcide_engine::identity::Capability;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::leased;
use crate::api::context::{Context, Path, Query};
use crate::api::link::content_of;
use crate::api::{Page, Problem, Route};

/// The routes of a job's own files.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/job/artifacts", list)
            .named("listOwnArtifacts", "job", "The files that jobs of the run have kept")
            .needs(Capability::JobAsk)
            .answers::<Page<OwnArtifact>>(200),
        Route::get("/api/v1/job/artifacts/{artifact}", content)
            .named("getOwnArtifact", "job", "The content of one of them")
            .needs(Capability::JobAsk)
            .answers_raw("application/octet-stream"),
        Route::post("/api/v1/job/artifacts", keep)
            .named(
                "keepArtifact",
                "job",
                "Keeps a file, as those are kept that the job declares. The same content under the same path is kept once",
            )
            .needs(Capability::JobReport)
            .query::<KeepArtifact>()
            .bytes()
            .problems(&[409, 413]),
    ]
}

/// A file that the job may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct OwnArtifact {
    /// Its id.
    id: String,
    /// The job that has kept it.
    job: String,
    /// Its path below that job's working directory.
    path: String,
    /// How many bytes it has.
    size: u64,
    /// Whether it can be run as a program.
    executable: bool,
}

impl From<Offered> for OwnArtifact {
    fn from(offered: Offered) -> Self {
        let Offered { id, job, name, size, executable } = offered;
        Self { id, job, path: name, size, executable }
    }
}

/// What is to be kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeepArtifact {
    /// What it is called: a path that stays below where it begins.
    #[schemars(length(min = 1, max = 1024))]
    path: String,
    /// Whether it can be run as a program.
    #[serde(default)]
    executable: bool,
}

async fn list(context: Context) -> Result<Answer<Page<OwnArtifact>>, Problem> {
    let (_, lease) = leased(&context, Capability::JobAsk).await?;
    let readable = context.api.files.readable(&context.api.conductor, &lease).await?;
    Ok(Answer(Page::whole(readable.into_iter().map(OwnArtifact::from).collect())))
}

async fn content(context: Context, Path(id): Path<String>) -> Result<Response, Problem> {
    let (_, lease) = leased(&context, Capability::JobAsk).await?;
    let files = &context.api.files;
    let readable = files.readable(&context.api.conductor, &lease).await?;
    if !readable.iter().any(|offered| offered.id == id) {
        return Err(Problem::not_found(format!(
            "no job of the run has kept an artifact {id:?} for this one"
        )));
    }
    let content = files.content(&context.api.conductor, &lease, &id, 0).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(content)).into_response())
}

async fn keep(
    context: Context,
    Query(query): Query<KeepArtifact>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let (_, lease) = leased(&context, Capability::JobReport).await?;
    let files = &context.api.files;
    let KeepArtifact { path, executable } = query;
    reactorcide_engine::artifacts::check_name(&path)?;
    // One after another, so that what was counted is what there is.
    let _turn = files.turn(&lease).ok_or_else(|| {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "busy",
            "the job is keeping another file; one after another",
        )
    })?;
    let (count, bytes) = files.kept(&lease).await?;
    if count >= MAX_FILES_BY_TOKEN {
        let detail = format!("a job keeps {MAX_FILES_BY_TOKEN} files by itself at most");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    if bytes >= MAX_BYTES {
        return Err(ArtifactError::TooLarge { name: path, limit: MAX_BYTES }.into());
    }
    let keeping = Keeping { kind: ArtifactKind::Artifact, name: path, executable, size: None };
    let room = MAX_BYTES - bytes;
    files.keep(&context.api.conductor, &lease, &keeping, room, content_of(body)).await?;
    Ok(StatusCode::NO_CONTENT)
}
