//! One node of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::{Millis, NodeName, NodeStatus};
use crate::config::{FailureReason, Job};
use crate::protocol::spec::Condition;
use crate::workflow::Instance;

/// One node: a job, a part of an expanded job, or a group of such parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name in the run.
    pub name: NodeName,
    /// Where it comes from.
    pub origin: Origin,
    /// What makes it different from the other parts of its group.
    #[serde(default, skip_serializing_if = "is_whole")]
    pub instance: Instance,
    /// Environment that a trigger gave it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where it is on its way.
    pub status: NodeStatus,
    /// Why it is there, in a sentence.
    pub reason: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReason>,
    /// The exit code of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The current attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Attempts that are over.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub retries: u32,
    /// What it handed on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Value>,
    /// When an attempt of it first started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Millis>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Millis>,
    /// How many triggers deep it is.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub depth: u32,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<NodeName>,
    /// What the outcome of that must be.
    pub condition: Condition,
    /// The group that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<usize>,
    /// For a group: how many parts it has, and the place of the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) parts: usize,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) first_part: usize,
    /// What it triggered: operations that were carried out, and how many jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) operations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub(super) triggered: u32,
    /// A trigger that was refused: the job fails with it in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
    /// Why somebody wants this job to stop, where somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<String>,
    /// Whether nothing but an approval keeps it from starting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) held: bool,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// How many workers were lost with it.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub(super) lost: u32,
}

/// Where a node comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    /// The workflow declares a job of this name.
    Declared(String),
    /// A job asked for it.
    Triggered {
        /// Which node asked.
        by: NodeName,
        /// What to run, its template applied.
        job: Box<Job>,
        /// What was asked, to compare with what is asked again.
        request: String,
    },
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}

fn is_whole(instance: &Instance) -> bool {
    *instance == Instance::default()
}

impl Node {
    /// What people see of it.
    pub fn row(&self) -> Row {
        Row::of(self)
    }

    pub(super) fn declared(name: NodeName, condition: Condition, depends_on: Vec<NodeName>) -> Self {
        let origin = Origin::Declared(name.clone());
        Self::new(name, origin, condition, depends_on)
    }

    pub(super) fn new(
        name: NodeName,
        origin: Origin,
        condition: Condition,
        depends_on: Vec<NodeName>,
    ) -> Self {
        Self {
            name,
            origin,
            instance: Instance::default(),
            env: BTreeMap::new(),
            status: NodeStatus::Waiting,
            reason: String::new(),
            failure: None,
            exit_code: None,
            attempt: 0,
            retries: 0,
            outputs: BTreeMap::new(),
            started_at: None,
            ended_at: None,
            depth: 0,
            depends_on,
            condition,
            group: None,
            parts: 0,
            first_part: 0,
            operations: BTreeMap::new(),
            triggered: 0,
            refused: None,
            stopped: None,
            held: false,
            approved_by: None,
            lost: 0,
        }
    }
}

/// What people see of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: NodeName,
    /// Where it is on its way.
    pub status: NodeStatus,
    /// Why.
    pub reason: String,
    /// Why it failed.
    pub failure: Option<FailureReason>,
    /// The exit code of the last attempt.
    pub exit_code: Option<i32>,
    /// Attempts so far.
    pub attempts: u32,
    /// When it first started.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

impl Row {
    pub(super) fn of(node: &Node) -> Self {
        Self {
            name: node.name.clone(),
            status: node.status,
            reason: node.reason.clone(),
            failure: node.failure,
            exit_code: node.exit_code,
            attempts: node.attempt,
            started_at: node.started_at,
            ended_at: node.ended_at,
        }
    }
}
