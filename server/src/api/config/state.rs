//! The applied state as a whole, for who plans on another machine: what a plan is made from, and nothing else.

use axum::Json as Answer;
use axum::http::StatusCode;
use reactorcide_engine::address::Address;
use reactorcide_engine::fingerprint::Fingerprint;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::outside::{Goal, Object, Observation, Owed, Place, Sight, TaskId};
use reactorcide_engine::store::{
    ChangeId, Compaction, Head, Lineage, Operation, Owner, Revision, Snapshot, StoreError, Uid,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::context::{Context, Path, Query};
use super::super::page::Paging;
use super::super::{Page, Problem, Route, page};
use super::project_of;
use crate::observe::observe;

/// The routes of the state.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/state", show)
            .named("getState", "configuration", "All that is applied at one moment: what plans are made from")
            .needs(Capability::ConfigRead)
            .query::<When>()
            .answers::<AppliedState>(200)
            .problems(&[404, 410]),
        Route::get("/api/v1/revisions/{*address}", revisions)
            .named("listRevisions", "configuration", "Every revision of a resource, whole, oldest first")
            .needs(Capability::ConfigRead)
            .query::<Paging>()
            .answers::<Page<AppliedRevision>>(200),
        Route::get("/api/v1/compactions", compactions)
            .named("listCompactions", "configuration", "What of the history was forgotten, newest first")
            .needs(Capability::ConfigRead)
            .answers::<Page<CompactionRow>>(200),
        Route::get("/api/v1/observations", observations)
            .named(
                "observe",
                "configuration",
                "Looks at the objects elsewhere that were applied, with what opens the doors of the server",
            )
            .needs(Capability::ConfigPlan)
            .query::<Observe>()
            .answers::<Page<ObservationRow>>(200),
    ]
}

/// A resource as it is applied, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedResource {
    /// Its address.
    pub address: Address,
    /// Who it is, through renames.
    pub uid: Uid,
    /// Its revision, from 1.
    pub revision: u64,
    /// What its content is known by.
    pub fingerprint: Fingerprint,
    /// The config set that it belongs to: `workspace`, or `project:NAME`.
    pub owner: Owner,
    /// What is declared: canonical JSON, byte for byte as its fingerprint was made.
    pub document: String,
}

impl AppliedResource {
    fn new(address: Address, head: Head) -> Self {
        let Head { uid, generation, fingerprint, owner, document } = head;
        Self { address, uid, revision: generation, fingerprint, owner, document }
    }

    /// Its address, and the rest as a state has it.
    pub fn into_head(self) -> (Address, Head) {
        let Self { address, uid, revision, fingerprint, owner, document } = self;
        (address, Head { uid, generation: revision, fingerprint, owner, document })
    }
}

/// An object elsewhere that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedObject {
    /// The resource whose it is.
    pub uid: Uid,
    /// Where it is.
    pub place: Place,
    /// Whether anything was ever tried there.
    pub begun: bool,
    /// The document of the resource when the object was last made what it says.
    #[serde(default)]
    pub applied: Option<String>,
    /// What was tried since.
    #[serde(default)]
    pub tried: Option<String>,
}

/// Something that is owed to the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwedTask {
    /// The serial of the change that owes it.
    pub serial: u64,
    /// Its number there.
    pub ordinal: u32,
    /// The resource whose object it is about.
    pub uid: Uid,
    /// The resource's address then.
    pub address: Address,
    /// Where the object is.
    pub place: Place,
    /// `put`: it shall be there as the document says. `remove`: it shall be gone.
    pub goal: Goal,
    /// The resource's document.
    pub document: String,
}

/// All that is applied at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedState {
    /// The workspace, for ever; absent while nothing was ever applied.
    #[serde(default)]
    pub lineage: Option<Lineage>,
    /// The number of the last change.
    pub serial: u64,
    /// The resources, by address.
    pub resources: Vec<AppliedResource>,
    /// The objects elsewhere that are ours.
    pub objects: Vec<AppliedObject>,
    /// What is still to be done elsewhere, oldest first.
    pub owed: Vec<OwedTask>,
}

impl From<Snapshot> for AppliedState {
    fn from(snapshot: Snapshot) -> Self {
        let resources = snapshot.heads.into_iter().map(|(address, head)| AppliedResource::new(address, head));
        let objects = snapshot.objects.into_iter().map(|object| {
            let Object { uid, place, begun, applied, tried } = object;
            AppliedObject { uid, place, begun, applied, tried }
        });
        let owed = snapshot.owed.into_iter().map(|owed| {
            let Owed { id, uid, address, place, goal, document } = owed;
            OwedTask { serial: id.serial, ordinal: id.ordinal, uid, address, place, goal, document }
        });
        Self {
            lineage: snapshot.lineage,
            serial: snapshot.serial,
            resources: resources.collect(),
            objects: objects.collect(),
            owed: owed.collect(),
        }
    }
}

impl From<AppliedState> for Snapshot {
    fn from(state: AppliedState) -> Self {
        let objects = state.objects.into_iter().map(|object| {
            let AppliedObject { uid, place, begun, applied, tried } = object;
            Object { uid, place, begun, applied, tried }
        });
        let owed = state.owed.into_iter().map(|owed| {
            let OwedTask { serial, ordinal, uid, address, place, goal, document } = owed;
            Owed { id: TaskId { serial, ordinal }, uid, address, place, goal, document }
        });
        Self {
            lineage: state.lineage,
            serial: state.serial,
            heads: state.resources.into_iter().map(AppliedResource::into_head).collect(),
            objects: objects.collect(),
            owed: owed.collect(),
        }
    }
}

/// Which moment.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// As the change of this number left it; 0 is the empty state. Default: as it is.
    pub serial: Option<u64>,
}

async fn show(context: Context, Query(query): Query<When>) -> Result<Answer<AppliedState>, Problem> {
    context.may(Capability::ConfigRead, None)?;
    let store = context.api.applied.store();
    let now = store.snapshot().await?;
    let snapshot = match query.serial {
        None => now,
        Some(0) => Snapshot::default(),
        Some(serial) if serial > now.serial => {
            return Err(Problem::not_found(format!("there is no change {serial}"))
                .hint("`/api/v1/changes` lists them"));
        }
        Some(serial) => store.at(serial).await.map_err(forgotten)?,
    };
    Ok(Answer(snapshot.into()))
}

/// What cannot be told any more is not the server's failure.
fn forgotten(error: StoreError) -> Problem {
    match error {
        StoreError::Compacted { .. } => {
            let hint = error.hint().unwrap_or_default();
            Problem::new(StatusCode::GONE, "compacted", error.to_string()).hint(hint)
        }
        error => error.into(),
    }
}

/// A revision of a resource, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedRevision {
    /// The change that made it.
    pub change: ChangeId,
    /// `create`, `update`, `rename` or `delete`.
    pub operation: Operation,
    /// The resource as it was then.
    #[serde(flatten)]
    pub resource: AppliedResource,
}

impl From<Revision> for AppliedRevision {
    fn from(revision: Revision) -> Self {
        let Revision { change, operation, address, head } = revision;
        Self { change, operation, resource: AppliedResource::new(address, head) }
    }
}

impl From<AppliedRevision> for Revision {
    fn from(revision: AppliedRevision) -> Self {
        let AppliedRevision { change, operation, resource } = revision;
        let (address, head) = resource.into_head();
        Self { change, operation, address, head }
    }
}

async fn revisions(
    context: Context,
    Path(address): Path<String>,
    Query(query): Query<Paging>,
) -> Result<Answer<Page<AppliedRevision>>, Problem> {
    let address: Address = match address.parse() {
        Ok(address) => address,
        Err(error) => {
            context.may(Capability::ConfigRead, None)?;
            return Err(Problem::not_found(format!("{address:?} is no address: {error}")));
        }
    };
    context.may(Capability::ConfigRead, project_of(&address))?;
    let limit = page::limit(query.limit)?;
    let from: usize = page::decode(query.cursor.as_deref())?.unwrap_or_default();
    let all = context.api.applied.store().revisions(&address).await?;
    let rows = all.into_iter().map(AppliedRevision::from).skip(from).take(limit as usize + 1).collect();
    Ok(Answer(Page::of(rows, limit, |_: &AppliedRevision| from + limit as usize)))
}

/// What of the history was forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompactionRow {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Who said so.
    pub actor: String,
    /// The first change whose outcome can still be told.
    pub until: u64,
    /// How many changes it removed.
    pub changes: u64,
    /// How many revisions it removed.
    pub revisions: u64,
}

impl From<Compaction> for CompactionRow {
    fn from(Compaction { at, actor, until, changes, revisions }: Compaction) -> Self {
        Self { at, actor, until, changes, revisions }
    }
}

impl From<CompactionRow> for Compaction {
    fn from(CompactionRow { at, actor, until, changes, revisions }: CompactionRow) -> Self {
        Self { at, actor, until, changes, revisions }
    }
}

async fn compactions(context: Context) -> Result<Answer<Page<CompactionRow>>, Problem> {
    context.may(Capability::ConfigRead, None)?;
    let all = context.api.applied.store().compactions().await?;
    Ok(Answer(Page::whole(all.into_iter().map(CompactionRow::from).collect())))
}

/// What to look at.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observe {
    /// The object of one resource, by its address. Default: all.
    pub address: Option<String>,
}

/// What was seen of an object elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationRow {
    /// The object's resource.
    pub uid: Uid,
    /// Where it was looked for.
    pub place: Place,
    /// `same`: it is as it was applied. `changed`: it is another. `gone`. `unknown`: it could not be told.
    pub sight: SightWord,
    /// What it is now, where others changed it: without any value of a secret.
    #[serde(default)]
    pub seen: Option<Value>,
    /// Why it could not be told.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words say it")]
pub enum SightWord {
    Same,
    Changed,
    Gone,
    Unknown,
}

impl From<Observation> for ObservationRow {
    fn from(Observation { uid, place, sight }: Observation) -> Self {
        let row = |sight, seen, reason| Self { uid, place, sight, seen, reason };
        match sight {
            Sight::Same => row(SightWord::Same, None, None),
            Sight::Present(seen) => row(SightWord::Changed, Some(seen), None),
            Sight::Absent => row(SightWord::Gone, None, None),
            Sight::Unknown(reason) => row(SightWord::Unknown, None, Some(reason)),
        }
    }
}

impl From<ObservationRow> for Observation {
    fn from(ObservationRow { uid, place, sight, seen, reason }: ObservationRow) -> Self {
        let sight = match sight {
            SightWord::Same => Sight::Same,
            SightWord::Changed => Sight::Present(seen.unwrap_or_default()),
            SightWord::Gone => Sight::Absent,
            SightWord::Unknown => Sight::Unknown(reason.unwrap_or_default()),
        };
        Self { uid, place, sight }
    }
}

async fn observations(
    context: Context,
    Query(query): Query<Observe>,
) -> Result<Answer<Page<ObservationRow>>, Problem> {
    // Objects elsewhere belong to the workspace, whatever is named.
    context.may(Capability::ConfigPlan, None)?;
    let only: Option<Address> = query
        .address
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error| Problem::invalid(format!("address: {error}")))?;
    let snapshot = context.api.applied.store().snapshot().await?;
    let only: Vec<Address> = only.into_iter().collect();
    let seen = observe(&snapshot, &only, &*context.api.errands.outside).await;
    Ok(Answer(Page::whole(seen.into_iter().map(ObservationRow::from).collect())))
}
