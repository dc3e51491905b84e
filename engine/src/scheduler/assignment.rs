//! What exactly a node runs: its job with everything filled in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::event::NodeName;
use super::node::{Node, Origin};
use super::{Millis, RunState};
use crate::config::Job;
use crate::placeholder;
use crate::trace::Trace;
use crate::workflow::{Declaration, Profile, replace_matrix};

/// What a node runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The run.
    pub run: String,
    /// The node.
    pub node: NodeName,
    /// The attempt.
    pub attempt: u32,
    /// The job, every placeholder but those of secrets replaced, its environment complete.
    pub job: Job,
    /// What it may have.
    pub profile: Profile,
    /// Whether a job asked for it while the run went on.
    pub triggered: bool,
    /// How many triggers deep it is.
    pub depth: u32,
    /// The event that started the run.
    pub event: Value,
    /// The run's variables now.
    pub vars: BTreeMap<String, Value>,
    /// What came of the jobs that it waited for.
    pub needs: BTreeMap<String, Value>,
    /// The run's inputs.
    pub inputs: BTreeMap<String, Value>,
    /// When it was put together.
    pub at: Millis,
    /// The trace of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// What a node runs now. `None` where there is no such node.
pub fn assignment(state: &RunState, name: &str, now: Millis) -> Option<Result<Assignment, String>> {
    let node = state.node(name)?;
    Some(job_of(state, node).map(|job| Assignment {
        run: state.id.clone(),
        node: node.name.clone(),
        attempt: node.attempt,
        job,
        profile: profile_of(state, node),
        triggered: matches!(node.origin, Origin::Triggered { .. }),
        depth: node.depth,
        event: state.event.clone(),
        vars: state.head.vars.clone(),
        needs: needs(state, node),
        inputs: state.inputs.clone(),
        at: now,
        trace: state.trace.clone(),
    }))
}

/// What a node declares, before anything is filled in.
pub(crate) fn declared_job<'a>(state: &'a RunState, node: &'a Node) -> Option<&'a Job> {
    match &node.origin {
        Origin::Declared(name) => state.workflow.jobs.get(name).map(|declaration| &declaration.job),
        Origin::Triggered { job, .. } => Some(job),
    }
}

/// What a node may have: of a triggered one, what who asked for it may have, and who asked for that.
fn profile_of(state: &RunState, node: &Node) -> Profile {
    declaration_of(state, node).effective_profile()
}

/// The declaration that says what a node may have; a triggered one has that of who asked for it, and of whom that was asked
/// by.
pub(super) fn declaration_of<'a>(state: &'a RunState, node: &'a Node) -> &'a Declaration {
    let mut node = node;
    loop {
        match &node.origin {
            Origin::Declared(name) => {
                let declaration = state.workflow.jobs.get(name);
                return declaration.expect("a declared node has its declaration");
            }
            Origin::Triggered { by, .. } => {
                node = state.node(by).expect("who triggers is a node of the run");
            }
        }
    }
}

fn job_of(state: &RunState, node: &Node) -> Result<Job, String> {
    let declared = declared_job(state, node).ok_or_else(|| format!("there is no job {:?}", node.name))?;
    let mut job = replace_matrix(declared, &node.instance.matrix)?;
    // What a running job gave (variables, items, a trigger's environment) is data: a secret's placeholder in it stays
    // text, or whoever writes an output could name a secret.
    let var = |text: &str| {
        placeholder::replace(text, |namespace, name| {
            (namespace == "var")
                .then(|| state.head.vars.get(name).map(|value| placeholder::escape(&text_of(value))))
                .flatten()
        })
    };
    job.image = job.image.map(|image| var(&image));
    for value in job.environment.values_mut() {
        *value = var(value);
    }
    let given = node.env.iter().chain(&node.instance.environment);
    job.environment.extend(given.map(|(name, value)| (name.clone(), placeholder::escape(value))));
    // Only now is it known what variables and a matrix made of the image, the devices, and so on.
    match declaration_of(state, node).refusal(&job) {
        Some(refusal) => Err(refusal),
        None => Ok(job),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `needs` as conditions see it: result and outputs of each dependency; of a group, those of its parts too.
pub(super) fn needs(state: &RunState, node: &Node) -> BTreeMap<String, Value> {
    let entry = |name: &String| {
        let dependency = state.node(name)?;
        let mut value = result(dependency);
        if dependency.parts > 0 {
            let parts = &state.nodes()[dependency.first_part..dependency.first_part + dependency.parts];
            value.insert("jobs".to_owned(), parts.iter().map(|part| Value::Object(result(part))).collect());
        }
        Some((name.clone(), Value::Object(value)))
    };
    node.depends_on.iter().filter_map(entry).collect()
}

fn result(node: &Node) -> Map<String, Value> {
    let value = json!({"result": node.status.as_str(), "outputs": node.outputs, "exit_code": node.exit_code});
    value.as_object().cloned().unwrap_or_default()
}

/// The context of a condition of a node.
pub(super) fn context(state: &RunState, node: &Node) -> Value {
    let environment = declared_job(state, node).map(|job| &job.environment);
    json!({
        "event": state.event,
        "vars": state.head.vars,
        "needs": needs(state, node),
        "inputs": state.inputs,
        "env": environment,
    })
}
