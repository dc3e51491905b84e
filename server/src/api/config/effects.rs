//! What changes owe to the outside, and how far that is: the server carries it out by itself.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::http::StatusCode;
use reactorcide_engine::address::Address;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::outside::{Entry, Goal, JournalLine, Ledger, Owed, Place, TaskId};
use reactorcide_engine::store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::context::{Context, Query};
use super::super::{Page, Problem, Route};

/// The routes of effects.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/effects", list)
            .named(
                "listEffects",
                "configuration",
                "What is owed to objects elsewhere with what was tried, or how far all is that one change owed",
            )
            .needs(Capability::ConfigRead)
            .query::<ListEffects>()
            .answers::<Page<Effect>>(200),
        Route::post("/api/v1/effects/resume", resume)
            .named("resumeEffects", "configuration", "Tries now what is owed, and would be tried later")
            .needs(Capability::ConfigApply),
    ]
}

/// Which effects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEffects {
    /// All that this change owed, by its serial. Default: what is owed still.
    pub serial: Option<u64>,
}

/// Something that a change does elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Effect {
    /// The serial of the change.
    pub serial: u64,
    /// Its number there.
    pub ordinal: u32,
    /// The resource whose object it is about; absent where it is owed no more.
    #[serde(default)]
    pub address: Option<Address>,
    /// Where the object is; absent where it is owed no more.
    #[serde(default)]
    pub place: Option<Place>,
    /// What shall be so; absent where it is owed no more.
    #[serde(default)]
    pub goal: Option<Goal>,
    /// How far it is.
    pub status: EffectStatus,
    /// What was last begun: `create`, `replace` or `remove`. Absent: nothing had to be done yet.
    #[serde(default)]
    pub did: Option<String>,
    /// How often it failed.
    pub failures: u32,
    /// Why it failed the last time.
    #[serde(default)]
    pub error: Option<String>,
    /// When something was last written down about it, in milliseconds since 1970.
    #[serde(default)]
    pub at: Option<u64>,
}

/// How far an effect is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EffectStatus {
    /// It is still to be done, perhaps once more.
    Owed,
    /// It is as it shall be.
    Done,
    /// A later change took its place.
    Void,
}

impl Effect {
    /// A task that is owed, about which nothing is written down yet.
    pub(super) fn owed(owed: &Owed) -> Self {
        Self {
            serial: owed.id.serial,
            ordinal: owed.id.ordinal,
            address: Some(owed.address.clone()),
            place: Some(owed.place.clone()),
            goal: Some(owed.goal),
            status: EffectStatus::Owed,
            did: None,
            failures: 0,
            error: None,
            at: None,
        }
    }

    fn over(id: TaskId) -> Self {
        Self {
            serial: id.serial,
            ordinal: id.ordinal,
            address: None,
            place: None,
            goal: None,
            status: EffectStatus::Void,
            did: None,
            failures: 0,
            error: None,
            at: None,
        }
    }

    fn note(&mut self, line: JournalLine) {
        self.at = Some(line.at);
        match line.entry {
            Entry::Begun(what) => self.did = Some(what),
            Entry::Done => self.status = EffectStatus::Done,
            Entry::Failed(why) => {
                self.failures += 1;
                self.error = Some(why);
            }
        }
    }
}

async fn list(context: Context, Query(query): Query<ListEffects>) -> Result<Answer<Page<Effect>>, Problem> {
    context.may(Capability::ConfigRead, None)?;
    Ok(Answer(Page::whole(effects(&*context.api.errands.ledger, query.serial).await?)))
}

/// What is owed still, or all of one change.
async fn effects(ledger: &dyn Ledger, serial: Option<u64>) -> Result<Vec<Effect>, StoreError> {
    let owed = ledger.owed().await?;
    let owed = owed.iter().filter(|owed| serial.is_none_or(|serial| owed.id.serial == serial));
    let mut rows: BTreeMap<TaskId, Effect> = owed.map(|owed| (owed.id, Effect::owed(owed))).collect();
    let serials: Vec<u64> = match serial {
        Some(serial) => vec![serial],
        None => {
            let mut serials: Vec<u64> = rows.keys().map(|id| id.serial).collect();
            serials.dedup();
            serials
        }
    };
    for number in serials {
        for line in ledger.journal(number).await? {
            let row = match serial {
                Some(_) => Some(rows.entry(line.task).or_insert_with(|| Effect::over(line.task))),
                None => rows.get_mut(&line.task),
            };
            if let Some(row) = row {
                row.note(line);
            }
        }
    }
    Ok(rows.into_values().collect())
}

async fn resume(context: Context) -> Result<StatusCode, Problem> {
    context.may(Capability::ConfigApply, None)?;
    context.api.errands.wake();
    Ok(StatusCode::NO_CONTENT)
}
