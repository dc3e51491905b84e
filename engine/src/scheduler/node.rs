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
    pub instance: Instance,
    /// Environment that a trigger gave it.
    pub env: BTreeMap<String, String>,
    /// Where it is on its way.
    pub status: NodeStatus,
    /// Why it is there, in a sentence.
    pub reason: String,
    /// Why it failed.
    pub failure: Option<FailureReason>,
    /// The exit code of the last attempt.
    pub exit_code: Option<i32>,
    /// The current attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Attempts that are over.
    pub retries: u32,
    /// What it handed on.
    pub outputs: BTreeMap<String, Value>,
    /// When an attempt of it first started.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// How many triggers deep it is.
    pub depth: u32,
    /// What it waits for.
    pub depends_on: Vec<NodeName>,
    /// What the outcome of that must be.
    pub condition: Condition,
    /// The group that it is a part of.
    pub(super) group: Option<usize>,
    /// For a group: its parts, and how many have not ended.
    pub(super) parts: usize,
    pub(super) open_parts: usize,
    pub(super) first_part: usize,
    /// Dependencies that have not ended.
    pub(super) open: usize,
    pub(super) dependents: Vec<usize>,
    /// What it triggered: operations that were carried out, and how many jobs.
    pub(super) operations: BTreeMap<String, String>,
    pub(super) triggered: u32,
    /// A trigger that was refused: the job fails with it in the end.
    pub(super) refused: Option<String>,
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

impl Node {
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
            open_parts: 0,
            first_part: 0,
            open: 0,
            dependents: Vec::new(),
            operations: BTreeMap::new(),
            triggered: 0,
            refused: None,
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
