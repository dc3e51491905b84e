//! Artifacts of runs: which there are, and their content.

mod range;

use axum::Json as Answer;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reactorcide_engine::artifacts::{Artifact, ArtifactKind, Filter};
use reactorcide_engine::identity::Capability;
use reactorcide_engine::scheduler::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Context, Path, Query};
use super::jobs::in_path;
use super::runs::run_of;
use super::{Page, Problem, Route, page};

/// The routes of artifacts.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/runs/{run}/artifacts", of_run)
            .named("listArtifacts", "artifacts", "The files that the jobs of a run have kept")
            .needs(Capability::ArtifactsRead)
            .query::<ListArtifacts>()
            .answers::<Page<ArtifactRow>>(200),
        Route::get("/api/v1/runs/{run}/jobs/{job}/artifacts", of_job)
            .named("listJobArtifacts", "artifacts", "The files that a job has kept")
            .needs(Capability::ArtifactsRead)
            .query::<ListArtifacts>()
            .answers::<Page<ArtifactRow>>(200),
        Route::get("/api/v1/runs/{run}/artifacts/{artifact}", content)
            .named(
                "getArtifact",
                "artifacts",
                "The content of a file that a job has kept, or the part of it that `Range` names",
            )
            .needs(Capability::ArtifactsRead)
            .answers_raw("application/octet-stream")
            .problems(&[416]),
        Route::delete("/api/v1/runs/{run}/artifacts/{artifact}", remove)
            .named("removeArtifact", "artifacts", "Removes a file that a job has kept, before its time")
            .needs(Capability::ArtifactsWrite),
    ]
}

/// A file that a job has kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactRow {
    /// Its id.
    pub id: String,
    /// The job.
    pub job: String,
    /// The attempt of the job, from 1.
    pub attempt: u32,
    /// Its path below the job's working directory.
    pub path: String,
    /// How many bytes it has.
    pub size: u64,
    /// The SHA-256 of them, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Whether it can be run as a program.
    pub executable: bool,
    /// Whether the code that made it was the project's own, and not only proposed.
    pub trusted: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_at: Millis,
    /// When it goes; by the server's policy where absent.
    #[serde(default)]
    pub expires_at: Option<Millis>,
    /// Where its content is.
    pub url: String,
}

impl From<Artifact> for ArtifactRow {
    fn from(artifact: Artifact) -> Self {
        Self {
            url: format!("/api/v1/runs/{}/artifacts/{}", artifact.run, artifact.id),
            id: artifact.id,
            job: artifact.node,
            attempt: artifact.attempt,
            path: artifact.name,
            size: artifact.size,
            sha256: artifact.sha256,
            executable: artifact.executable,
            trusted: artifact.trusted,
            created_at: artifact.created_at,
            expires_at: artifact.expires_at,
        }
    }
}

/// Which artifacts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArtifacts {
    /// Those of an attempt. Default: of all.
    #[schemars(range(min = 1))]
    attempt: Option<u32>,
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// Goes on with an earlier list.
    cursor: Option<String>,
}

async fn of_run(
    context: Context,
    Path(run): Path<String>,
    Query(query): Query<ListArtifacts>,
) -> Result<Answer<Page<ArtifactRow>>, Problem> {
    list(&context, run, None, &query).await
}

async fn of_job(
    context: Context,
    Path((run, job)): Path<(String, String)>,
    Query(query): Query<ListArtifacts>,
) -> Result<Answer<Page<ArtifactRow>>, Problem> {
    list(&context, run, Some(job), &query).await
}

async fn list(
    context: &Context,
    run: String,
    job: Option<String>,
    query: &ListArtifacts,
) -> Result<Answer<Page<ArtifactRow>>, Problem> {
    run_of(context, &run, Capability::ArtifactsRead).await?;
    let limit = page::limit(query.limit)?;
    let after: Option<(String, u32, String)> = page::decode(query.cursor.as_deref())?;
    if let Some(job) = job.clone() {
        let (of, name) = (run.clone(), job.clone());
        let is_there = context.api.conductor.look(&run, true, move |known| known.state.node(&name).is_some());
        if !is_there.await? {
            return Err(Problem::not_found(format!("the run {of} has no job {job:?}")));
        }
    }
    let filter =
        Filter { kind: Some(ArtifactKind::Artifact), run: Some(run), node: job, ..Filter::default() };
    let mut rows: Vec<ArtifactRow> =
        context.api.files.store().list(&filter).await?.into_iter().map(ArtifactRow::from).collect();
    if query.attempt == Some(0) {
        return Err(Problem::invalid("attempts count from 1"));
    }
    rows.retain(|row| query.attempt.is_none_or(|attempt| attempt == row.attempt));
    rows.sort_by(|one, other| place(one).cmp(&place(other)));
    if let Some(after) = after {
        rows.retain(|row| place(row) > (after.0.as_str(), after.1, after.2.as_str()));
    }
    rows.truncate(limit as usize + 1);
    Ok(Answer(Page::of(rows, limit, |row| (row.job.clone(), row.attempt, row.path.clone()))))
}

/// Where a row is in a list.
fn place(row: &ArtifactRow) -> (&str, u32, &str) {
    (&row.job, row.attempt, &row.path)
}

/// An artifact of a run, if somebody may do that with it.
async fn found(context: &Context, run: &str, id: &str, capability: Capability) -> Result<Artifact, Problem> {
    run_of(context, run, capability).await?;
    let found = context.api.files.store().stat(id).await?;
    // A cache has no place in a run.
    found
        .filter(|artifact| artifact.run == run && artifact.kind == ArtifactKind::Artifact)
        .ok_or_else(|| Problem::not_found(format!("the run {run} has no artifact {id:?}")))
}

async fn content(
    context: Context,
    Path((run, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let artifact = found(&context, &run, &id, Capability::ArtifactsRead).await?;
    answer(&context, &artifact, &headers).await
}

/// The content of an artifact, or a part of it. It is never shown by a browser: a job wrote it, and nobody read it.
pub(super) async fn answer(
    context: &Context,
    artifact: &Artifact,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let etag = format!("\"{}\"", artifact.sha256);
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    // What was begun with other content is begun anew.
    let unless = headers.get(header::IF_RANGE).and_then(|value| value.to_str().ok());
    let wanted = wanted.filter(|_| unless.is_none_or(|unless| unless == etag));
    let range = range::parse(wanted, artifact.size).map_err(|range::OutOfRange| {
        let detail = format!("the artifact has {} bytes", artifact.size);
        Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail)
    })?;
    let content = context.api.files.store().get(&artifact.id, range.clone()).await?;
    let content = content.ok_or_else(|| Problem::not_found("the artifact is gone"))?;
    let (status, length) = match &range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range.end - range.start),
        None => (StatusCode::OK, artifact.size),
    };
    let mut response = (status, Body::from_stream(content)).into_response();
    let answer = response.headers_mut();
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    set(header::CONTENT_LENGTH, length.to_string());
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    set(header::ETAG, etag);
    set(header::CONTENT_SECURITY_POLICY, "sandbox".to_owned());
    set(header::CONTENT_DISPOSITION, disposition(&artifact.name));
    if let Some(range) = range {
        set(header::CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, artifact.size));
    }
    Ok(response)
}

/// Says that it is to be saved, and under which name.
fn disposition(name: &str) -> String {
    format!("attachment; filename*=UTF-8''{}", in_path(name.rsplit('/').next().unwrap_or(name)))
}

async fn remove(context: Context, Path((run, id)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    let artifact = found(&context, &run, &id, Capability::ArtifactsWrite).await?;
    context.api.files.store().remove(&id).await?;
    let detail =
        json!({"run": run, "job": artifact.node, "attempt": artifact.attempt, "path": artifact.name});
    context.note(Capability::ArtifactsWrite.as_str(), &format!("artifact/{id}"), detail).await?;
    Ok(StatusCode::NO_CONTENT)
}
