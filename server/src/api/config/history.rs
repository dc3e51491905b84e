//! How the applied configuration came to be: one change an apply.

use axum::Json as Answer;
use reactorcide_engine::address::Address;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::store::{Change, Counts, Revision};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::context::{Context, Path, Query};
use super::super::{Page, Problem, Route, page};
use super::project_of;

/// The routes of changes.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/changes", list)
            .named("listChanges", "configuration", "What was applied, newest first")
            .needs(Capability::ConfigRead)
            .query::<ListChanges>()
            .answers::<Page<ChangeRow>>(200),
        Route::get("/api/v1/changes/{change}", show)
            .named(
                "getChange",
                "configuration",
                "An apply with what it wrote, by its id or the beginning of it",
            )
            .needs(Capability::ConfigRead)
            .answers::<ChangeDetail>(200),
    ]
}

/// An apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeRow {
    /// Its id.
    pub id: String,
    /// Its number, from 1.
    pub serial: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Who.
    pub actor: String,
    /// Why, in their words.
    #[serde(default)]
    pub message: Option<String>,
    /// The commit that the configuration came from.
    #[serde(default)]
    pub commit: Option<String>,
    /// The fingerprint of the plan that was applied.
    pub plan: String,
    /// How many resources it touched.
    pub counts: Counts,
}

impl From<Change> for ChangeRow {
    fn from(change: Change) -> Self {
        Self {
            id: change.id.0,
            serial: change.serial,
            at: change.at,
            actor: change.author.actor,
            message: change.author.message,
            commit: change.author.commit,
            plan: change.plan.to_string(),
            counts: change.counts,
        }
    }
}

/// An apply with what it wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeDetail {
    /// In short.
    #[serde(flatten)]
    pub change: ChangeRow,
    /// What it wrote, by address.
    pub revisions: Vec<RevisionRow>,
}

/// What an apply did to one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevisionRow {
    /// Its address then.
    pub address: String,
    /// `create`, `update`, `rename` or `delete`.
    pub operation: String,
    /// Its revision, from 1: `getResource` shows it.
    pub revision: u64,
    /// What its content is known by.
    pub fingerprint: String,
}

impl From<Revision> for RevisionRow {
    fn from(revision: Revision) -> Self {
        Self {
            address: revision.address.to_string(),
            operation: revision.operation.as_str().to_owned(),
            revision: revision.head.generation,
            fingerprint: revision.head.fingerprint.to_string(),
        }
    }
}

/// Which changes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListChanges {
    /// Those of one resource. Needed by who may not read the whole workspace.
    pub address: Option<String>,
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Goes on with an earlier list.
    pub cursor: Option<String>,
}

async fn list(
    context: Context,
    Query(query): Query<ListChanges>,
) -> Result<Answer<Page<ChangeRow>>, Problem> {
    let address: Option<Address> = match query.address.as_deref().map(str::parse).transpose() {
        Ok(address) => address,
        Err(error) => {
            context.may(Capability::ConfigRead, None)?;
            return Err(Problem::invalid(format!("address: {error}")));
        }
    };
    context.may(Capability::ConfigRead, address.as_ref().and_then(project_of))?;
    let limit = page::limit(query.limit)?;
    let before: Option<u64> = page::decode(query.cursor.as_deref())?;
    let store = context.api.applied.store();
    let ask = match before {
        None => limit + 1,
        Some(before) => {
            let newest = store.history(None, 1).await?.first().map_or(0, |change| change.serial);
            // All that came since are before the page.
            let skipped = newest.saturating_sub(before).saturating_add(1);
            u32::try_from(skipped.saturating_add(u64::from(limit) + 1)).unwrap_or(u32::MAX)
        }
    };
    let changes = store.history(address.as_ref(), ask).await?;
    let changes = changes.into_iter().filter(|change| before.is_none_or(|before| change.serial < before));
    let rows = changes.take(limit as usize + 1).map(ChangeRow::from).collect();
    Ok(Answer(Page::of(rows, limit, |last: &ChangeRow| last.serial)))
}

async fn show(context: Context, Path(change): Path<String>) -> Result<Answer<ChangeDetail>, Problem> {
    context.may(Capability::ConfigRead, None)?;
    let found = context.api.applied.store().change(&change).await?;
    let (change, revisions) = found.ok_or_else(|| {
        Problem::not_found(format!("there is no change {change:?}")).hint("`/api/v1/changes` lists them")
    })?;
    let revisions = revisions.into_iter().map(RevisionRow::from).collect();
    Ok(Answer(ChangeDetail { change: change.into(), revisions }))
}
