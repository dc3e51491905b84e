//! What a job may ask for while it runs: more jobs in the same run, and new values of the run's variables.
//!
//! The shapes are those of the earlier system (`type: trigger_job`, `jobs`), so that job code that was
//! written for it goes on working.

mod file;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::Condition;

pub use file::{TriggerError, parse};

/// The file, below the workspace, that the runner reads when the work has ended.
pub const FILE: &str = "triggers.json";

/// One request for jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerRequest {
    /// Always `trigger_job`.
    #[serde(rename = "type", default = "trigger_job")]
    pub kind: String,
    /// Makes the request idempotent: the same id asks for the same jobs once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// The jobs.
    #[serde(default)]
    pub jobs: Vec<TriggeredJob>,
    /// Named groups of jobs and variables. They join the run like `jobs`; [`parse`] puts them there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workflows: Vec<TriggeredWorkflow>,
    /// New values of the run's variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
}

fn trigger_job() -> String {
    "trigger_job".to_owned()
}

/// A group of jobs that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TriggeredWorkflow {
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The jobs.
    #[serde(default)]
    pub jobs: Vec<TriggeredJob>,
    /// New values of the run's variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
}

impl TriggerRequest {
    /// A request for new values of the run's variables.
    pub fn of_vars(vars: BTreeMap<String, Value>) -> Self {
        Self { kind: trigger_job(), operation_id: None, jobs: Vec::new(), workflows: Vec::new(), vars }
    }

    /// How many jobs it asks for, each item of a `for_each` counted.
    pub fn count(&self) -> u64 {
        let grouped = self.workflows.iter().flat_map(|workflow| &workflow.jobs);
        self.jobs
            .iter()
            .chain(grouped)
            .map(|job| job.for_each.as_ref().map_or(1, |items| items.len() as u64))
            .sum()
    }

    /// What is wrong with it by itself, in a sentence. What only the workflow knows is checked by the server.
    pub fn check(&self) -> Result<(), String> {
        file::check(self)
    }

    /// The same request with all groups in `jobs` and `vars`; an error where two say different things.
    pub fn flattened(mut self) -> Result<Self, String> {
        for workflow in std::mem::take(&mut self.workflows) {
            self.jobs.extend(workflow.jobs);
            for (key, value) in workflow.vars {
                match self.vars.get(&key) {
                    Some(other) if *other != value => {
                        return Err(format!("the variable {key:?} is set to two values"));
                    }
                    _ => drop(self.vars.insert(key, value)),
                }
            }
        }
        Ok(self)
    }
}

/// One job that is asked for: either one that the pipeline declares, by name, or an ad-hoc one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TriggeredJob {
    /// Its name in the run.
    #[serde(alias = "name")]
    pub job_name: String,
    /// Jobs it waits for.
    #[serde(default, alias = "needs")]
    pub depends_on: Vec<String>,
    /// What their outcome must be.
    #[serde(default)]
    pub condition: Condition,
    /// Its environment, over what the declaration says.
    #[serde(default, alias = "environment")]
    pub env: BTreeMap<String, String>,
    /// The image of an ad-hoc job.
    #[serde(default, alias = "job_image", skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The command of an ad-hoc job.
    #[serde(default, alias = "job_command", skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// A JobTemplate to make it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The template's parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// Expand it, one job an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<Vec<Value>>,
    /// The environment variable that carries the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_var: Option<String>,
}

/// The caps on what one attempt of a job may trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Jobs in all.
    pub jobs: u32,
    /// How many triggers deep: a declared job is at depth 0, what it triggers at depth 1.
    pub depth: u32,
    /// Bytes of the triggers file.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { jobs: 100, depth: 3, file_bytes: 1 << 20 }
    }
}
