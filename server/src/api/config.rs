//! The applied configuration: what is applied, how it came to be, what a change would do, and applying it.

mod applies;
mod effects;
mod history;
mod plans;
mod state;

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::Json as Answer;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Kind, Spec};
use reactorcide_engine::identity::{Capability, Need, decide};
use reactorcide_engine::store::Head;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::context::{Context, Path, Query};
use super::page::{Paging, ProjectPaging};
use super::{Page, Problem, Route, page};

pub use applies::{Applied, Apply};
pub use effects::{Effect, EffectStatus};
pub use history::{ChangeDetail, ChangeRow, RevisionRow};
pub use plans::MakePlan;
pub use state::{
    AppliedObject, AppliedResource, AppliedRevision, AppliedState, CompactionRow, ObservationRow, OwedTask,
};

/// The routes of the configuration.
pub fn routes() -> Vec<Route> {
    let own = vec![
        Route::get("/api/v1/resources", list)
            .named("listResources", "configuration", "Resources that are applied, by address")
            .needs(Capability::ConfigRead)
            .query::<ListResources>()
            .answers::<Page<ResourceRow>>(200),
        Route::get("/api/v1/resources/{*address}", show)
            .named("getResource", "configuration", "A resource as it is applied, or as it once was")
            .needs(Capability::ConfigRead)
            .query::<Which>()
            .answers::<Resource>(200),
        Route::get("/api/v1/projects", projects)
            .named("listProjects", "configuration", "Projects that the caller may see, by name")
            .needs_token()
            .query::<Paging>()
            .answers::<Page<ProjectRow>>(200),
        Route::get("/api/v1/pipelines", pipelines)
            .named(
                "listPipelines",
                "configuration",
                "Pipelines that are applied, with what starts them and their jobs",
            )
            .needs(Capability::ConfigRead)
            .query::<ProjectPaging>()
            .answers::<Page<PipelineRow>>(200),
    ];
    let groups =
        [own, history::routes(), state::routes(), plans::routes(), applies::routes(), effects::routes()];
    groups.into_iter().flatten().collect()
}

/// A kind of resource, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct KindWord(pub Kind);

impl JsonSchema for KindWord {
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        json_schema!({"type": "string", "enum": words})
    }
}

/// A resource in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRow {
    /// Its address.
    pub address: String,
    /// Its kind.
    pub kind: String,
    /// Its project, where it has one.
    #[serde(default)]
    pub project: Option<String>,
    /// Its name.
    pub name: String,
    /// The config set that it belongs to: `workspace`, or `project:NAME`.
    pub owner: String,
    /// Its revision, from 1.
    pub revision: u64,
    /// What its content is known by.
    pub fingerprint: String,
}

impl ResourceRow {
    fn new(address: &Address, head: &Head) -> Self {
        Self {
            address: address.to_string(),
            kind: address.kind.to_string(),
            project: address.project.clone(),
            name: address.name.clone(),
            owner: head.owner.to_string(),
            revision: head.generation,
            fingerprint: head.fingerprint.to_string(),
        }
    }
}

/// A resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// In short.
    #[serde(flatten)]
    pub row: ResourceRow,
    /// Who it is, through renames.
    pub uid: String,
    /// The change that made this revision of it.
    #[serde(default)]
    pub change: Option<String>,
    /// What is declared, every default written out.
    pub document: Value,
}

/// The project that a resource is about: the one that it lives in or is.
fn project_of(address: &Address) -> Option<&str> {
    match address.kind {
        Kind::Project => Some(&address.name),
        _ => address.project.as_deref(),
    }
}

/// Which resources.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListResources {
    /// Those of a kind.
    pub kind: Option<KindWord>,
    /// Those of a project, itself included. Needed by who may not read the whole workspace.
    pub project: Option<String>,
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Goes on with an earlier list.
    pub cursor: Option<String>,
}

async fn list(
    context: Context,
    Query(query): Query<ListResources>,
) -> Result<Answer<Page<ResourceRow>>, Problem> {
    context.may(Capability::ConfigRead, query.project.as_deref())?;
    let limit = page::limit(query.limit)?;
    let after: Option<String> = page::decode(query.cursor.as_deref())?;
    let snapshot = context.api.applied.store().snapshot().await?;
    let mut rows: Vec<ResourceRow> = snapshot
        .heads
        .iter()
        .filter(|(address, _)| query.kind.is_none_or(|kind| kind.0 == address.kind))
        .filter(|(address, _)| query.project.is_none() || project_of(address) == query.project.as_deref())
        .map(|(address, head)| ResourceRow::new(address, head))
        .collect();
    rows.sort_by(|a, b| a.address.cmp(&b.address));
    let rows = rows.into_iter().filter(|row| after.as_ref().is_none_or(|after| row.address > *after));
    Ok(Answer(Page::of(rows.take(limit as usize + 1).collect(), limit, |last| last.address.clone())))
}

/// Which revision.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// A revision, from 1. Default: the one that is applied.
    #[schemars(range(min = 1))]
    pub revision: Option<u64>,
}

async fn show(
    context: Context,
    Path(address): Path<String>,
    Query(query): Query<Which>,
) -> Result<Answer<Resource>, Problem> {
    let address: Address = match address.parse() {
        Ok(address) => address,
        Err(error) => {
            context.may(Capability::ConfigRead, None)?;
            return Err(Problem::not_found(format!("{address:?} is no address: {error}")));
        }
    };
    context.may(Capability::ConfigRead, project_of(&address))?;
    let revisions = context.api.applied.store().revisions(&address).await?;
    let snapshot = context.api.applied.store().snapshot().await?;
    let none = || Problem::not_found(format!("{address} is not applied"));
    let (head, change) = match query.revision {
        None => {
            let head = snapshot.heads.get(&address).ok_or_else(none)?;
            let made = revisions
                .iter()
                .rev()
                .find(|one| one.head.uid == head.uid && one.head.generation == head.generation);
            (head.clone(), made.map(|one| one.change.0.clone()))
        }
        Some(wanted) => {
            let found = revisions.into_iter().rev().find(|one| one.head.generation == wanted);
            let found =
                found.ok_or_else(|| Problem::not_found(format!("{address} has no revision {wanted}")))?;
            (found.head, Some(found.change.0))
        }
    };
    let document =
        serde_json::from_str(&head.document).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(Answer(Resource { row: ResourceRow::new(&address, &head), uid: head.uid.0, change, document }))
}

/// A project in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectRow {
    /// Its name.
    pub name: String,
    /// The git repository of its code.
    #[serde(default)]
    pub git: Option<String>,
    /// Whether its repository may manage its pipelines.
    pub manages_itself: bool,
    /// Its share between projects that wait for the same workers.
    pub weight: u32,
}

async fn projects(
    context: Context,
    Query(query): Query<Paging>,
) -> Result<Answer<Page<ProjectRow>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after: Option<String> = page::decode(query.cursor.as_deref())?;
    let current = context.api.applied.current().await?;
    let rows: BTreeMap<&str, ProjectRow> = current
        .catalog
        .iter()
        .filter_map(|(address, resource)| match &resource.spec {
            Spec::Project(spec) => Some((address.name.as_str(), spec)),
            _ => None,
        })
        .filter(|(name, _)| after.as_deref().is_none_or(|after| *name > after))
        .filter(|(name, _)| decide(&context.caller, Need::project(Capability::ConfigRead, name)).is_allowed())
        .map(|(name, spec)| {
            let row = ProjectRow {
                name: name.to_owned(),
                git: spec.source.as_ref().and_then(|source| source.git.clone()),
                manages_itself: spec.config.is_some(),
                weight: spec.weight,
            };
            (name, row)
        })
        .collect();
    let rows = rows.into_values().take(limit as usize + 1).collect();
    Ok(Answer(Page::of(rows, limit, |last| last.name.clone())))
}

/// A pipeline in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineRow {
    /// Its address.
    pub address: String,
    /// Its project.
    #[serde(default)]
    pub project: Option<String>,
    /// Its name.
    pub name: String,
    /// The types of events that may start it.
    pub events: Vec<String>,
    /// Its jobs.
    pub jobs: Vec<String>,
}

async fn pipelines(
    context: Context,
    Query(query): Query<ProjectPaging>,
) -> Result<Answer<Page<PipelineRow>>, Problem> {
    context.may(Capability::ConfigRead, query.project.as_deref())?;
    let limit = page::limit(query.limit)?;
    let after: Option<String> = page::decode(query.cursor.as_deref())?;
    let current = context.api.applied.current().await?;
    let mut rows: Vec<PipelineRow> = current
        .catalog
        .iter()
        .filter(|(address, _)| query.project.is_none() || address.project == query.project)
        .filter_map(|(address, resource)| match &resource.spec {
            Spec::Pipeline(spec) => Some(PipelineRow {
                address: address.to_string(),
                project: address.project.clone(),
                name: address.name.clone(),
                events: spec.triggers.iter().map(|trigger| crate::start::word(trigger.event)).collect(),
                jobs: spec.jobs.keys().cloned().collect(),
            }),
            _ => None,
        })
        .filter(|row| after.as_ref().is_none_or(|after| row.address > *after))
        .collect();
    rows.sort_by(|a, b| a.address.cmp(&b.address));
    rows.truncate(limit as usize + 1);
    Ok(Answer(Page::of(rows, limit, |last| last.address.clone())))
}
