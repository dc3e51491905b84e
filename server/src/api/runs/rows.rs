//! Runs, their jobs and what was decided on them, as people and programs are told.

use std::collections::BTreeMap;

use reactorcide_engine::config::FailureReason;
use reactorcide_engine::protocol::usage::Usage;
use reactorcide_engine::removals::RemovalRecord;
use reactorcide_engine::runs::RunRecord;
use reactorcide_engine::scheduler::{self, Gate, Millis, RunState, Transition};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The address of the pipeline.
    pub pipeline: String,
    /// The project.
    #[serde(default)]
    pub project: Option<String>,
    /// The type of the event that started it.
    pub event: String,
    /// Who started it.
    pub actor: String,
    /// The run that it repeats.
    #[serde(default)]
    pub retry_of: Option<String>,
    /// Where it is on its way: `running`, `succeeded`, `failed`, `cancelled`.
    pub status: String,
    /// When it began, in milliseconds since 1970.
    pub started_at: Millis,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Millis>,
}

impl From<RunRecord> for Run {
    fn from(run: RunRecord) -> Self {
        Self {
            id: run.id,
            pipeline: run.pipeline,
            project: run.project,
            event: run.event,
            actor: run.actor,
            retry_of: run.retry_of,
            status: run.status.as_str().to_owned(),
            started_at: run.started_at,
            ended_at: run.ended_at,
        }
    }
}

/// A run with its jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunDetail {
    /// In short.
    #[serde(flatten)]
    pub run: Run,
    /// The event that started it, as conditions see it.
    pub trigger: BTreeMap<String, Value>,
    /// What its lines in logs and its spans elsewhere are found by: the id of its W3C trace.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// What keeps it from beginning, where something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Its inputs.
    pub inputs: BTreeMap<String, Value>,
    /// Its variables now.
    pub vars: BTreeMap<String, Value>,
    /// Its jobs, in the order in which they came to be.
    pub jobs: Vec<JobRow>,
    /// What retention removed of it.
    #[serde(default)]
    pub removed: Vec<RemovedRow>,
}

/// What keeps a run from beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitsFor {
    /// `approval`, or `place` in its group.
    pub gate: String,
    /// Why it needs an approval, or the group.
    pub reason: String,
    /// Whose code it is, by their name at the forge.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The commit that an approval is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub head: String,
    /// The commit that it is proposed for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub base: String,
    /// The profile that bounds every job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

impl WaitsFor {
    /// What a run waits for now.
    pub(super) fn of(state: &RunState) -> Option<Self> {
        let admission = state.admission.clone();
        Some(match (state.gate()?, admission) {
            (Gate::Approval, Some(admission)) => Self {
                gate: "approval".to_owned(),
                reason: admission.reason,
                author: admission.author,
                head: admission.head,
                base: admission.base,
                profile: admission.profile,
            },
            (gate, _) => Self {
                gate: if gate == Gate::Place { "place" } else { "approval" }.to_owned(),
                reason: state
                    .workflow
                    .slot(&state.event, &state.id)
                    .map(|slot| slot.group)
                    .unwrap_or_default(),
                author: String::new(),
                head: String::new(),
                base: String::new(),
                profile: None,
            },
        })
    }
}

/// Something that is kept no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedRow {
    /// `logs` or `artifact`.
    pub what: String,
    /// The name of an artifact.
    #[serde(default)]
    pub name: Option<String>,
    /// When that was decided, in milliseconds since 1970.
    pub at: Millis,
    /// Why.
    pub reason: String,
}

impl From<RemovalRecord> for RemovedRow {
    fn from(removal: RemovalRecord) -> Self {
        let what = removal.subject.split(':').next().unwrap_or_default().to_owned();
        Self { what, name: removal.name, at: removal.decided_at, reason: removal.reason }
    }
}

/// A job of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRow {
    /// Its name.
    pub name: String,
    /// `waiting`, `queued`, `running`, `succeeded`, `failed`, `skipped`, `cancelled`.
    pub status: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Why it failed, in a word.
    #[serde(default)]
    pub failure: Option<String>,
    /// The exit code of its last attempt.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// How many attempts there were.
    pub attempts: u32,
    /// When it first started.
    #[serde(default)]
    pub started_at: Option<Millis>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Millis>,
    /// What its last attempt used that has ended, where that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl From<scheduler::Row> for JobRow {
    fn from(row: scheduler::Row) -> Self {
        Self {
            name: row.name,
            status: row.status.as_str().to_owned(),
            reason: row.reason,
            failure: row.failure.map(failure_word),
            exit_code: row.exit_code,
            attempts: row.attempts,
            started_at: row.started_at,
            ended_at: row.ended_at,
            usage: None,
        }
    }
}

/// The word for a reason of failure.
pub(crate) fn failure_word(reason: FailureReason) -> String {
    let value = serde_json::to_value(reason).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// A decision on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransitionRow {
    /// Its place among the decisions on this run, from 0.
    pub ordinal: u64,
    /// When, in milliseconds since 1970.
    pub at: Millis,
    /// The job; absent for the run as a whole.
    #[serde(default)]
    pub job: Option<String>,
    /// The attempt, where it is about one.
    #[serde(default)]
    pub attempt: Option<u32>,
    /// What it became.
    pub to: String,
    /// Why.
    pub reason: String,
}

impl TransitionRow {
    /// A decision and its place.
    pub(in crate::api) fn new(ordinal: u64, transition: Transition) -> Self {
        let Transition { at, node, attempt, to, reason } = transition;
        Self { ordinal, at, job: node, attempt, to, reason }
    }
}
