//! Caches of projects: which there are, and removing one before its time.

use axum::Json as Answer;
use axum::http::StatusCode;
use reactorcide_engine::artifacts::{Artifact, ArtifactKind, Filter};
use reactorcide_engine::identity::Capability;
use reactorcide_engine::scheduler::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Context, Path, Query};
use super::page::ProjectPaging;
use super::{Page, Problem, Route, page};

/// The routes of caches.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/caches", list)
            .named("listCaches", "artifacts", "The caches that jobs have kept, newest first")
            .needs(Capability::ArtifactsRead)
            .query::<ProjectPaging>()
            .answers::<Page<CacheRow>>(200),
        Route::delete("/api/v1/caches/{cache}", remove)
            .named(
                "removeCache",
                "artifacts",
                "Removes a cache: the next job that would take it makes a new one",
            )
            .needs(Capability::ArtifactsWrite),
    ]
}

/// A cache that a job has kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheRow {
    /// Its id.
    pub id: String,
    /// The project; absent for a pipeline without one.
    #[serde(default)]
    pub project: Option<String>,
    /// Its key.
    pub key: String,
    /// Where the code of the job came from that made it: `base`, `head`, `fork` or `unverified`.
    pub origin: String,
    /// The branch, tag or proposal whose jobs share it.
    pub reference: String,
    /// How many bytes it has, packed.
    pub size: u64,
    /// Whether the code that made it was the project's own, and not only proposed.
    pub trusted: bool,
    /// Whether the job that made it could reach no secret.
    pub secretless: bool,
    /// The run that made it.
    pub run: String,
    /// The job.
    pub job: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at: Millis,
}

impl From<Artifact> for CacheRow {
    fn from(cache: Artifact) -> Self {
        Self {
            project: project(&cache).map(str::to_owned),
            id: cache.id,
            key: cache.name,
            origin: cache.namespace.origin.as_str().to_owned(),
            reference: cache.namespace.reference,
            size: cache.size,
            trusted: cache.trusted,
            secretless: cache.secretless,
            run: cache.run,
            job: cache.node,
            created_at: cache.created_at,
        }
    }
}

/// The project of a cache. What a pipeline without one shares with nobody is the workspace's.
fn project(cache: &Artifact) -> Option<&str> {
    Some(cache.namespace.project.as_str()).filter(|project| !project.starts_with("-/"))
}

async fn list(
    context: Context,
    Query(query): Query<ProjectPaging>,
) -> Result<Answer<Page<CacheRow>>, Problem> {
    context.may(Capability::ArtifactsRead, query.project.as_deref())?;
    let limit = page::limit(query.limit)?;
    let after: Option<(Millis, String)> = page::decode(query.cursor.as_deref())?;
    let filter = Filter { kind: Some(ArtifactKind::Cache), project: query.project, ..Filter::default() };
    let found = context.api.files.store().list(&filter).await?;
    let mut rows: Vec<CacheRow> = found
        .into_iter()
        .map(CacheRow::from)
        .filter(|row| after.as_ref().is_none_or(|after| (row.created_at, &row.id) < (after.0, &after.1)))
        .collect();
    rows.truncate(limit as usize + 1);
    Ok(Answer(Page::of(rows, limit, |last| (last.created_at, last.id.clone()))))
}

async fn remove(context: Context, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let found = context.api.files.store().stat(&id).await?;
    // An artifact belongs to a run, and goes by its route.
    let found = found.filter(|found| found.kind == ArtifactKind::Cache);
    context.may(Capability::ArtifactsWrite, found.as_ref().and_then(project))?;
    let cache = found.ok_or_else(|| Problem::not_found(format!("there is no cache {id:?}")))?;
    context.api.files.store().remove(&id).await?;
    let detail = json!({
        "project": project(&cache),
        "key": cache.name,
        "origin": cache.namespace.origin.as_str(),
        "reference": cache.namespace.reference,
    });
    context.note(Capability::ArtifactsWrite.as_str(), &format!("cache/{id}"), detail).await?;
    Ok(StatusCode::NO_CONTENT)
}
