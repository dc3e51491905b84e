//! A node whose dependencies have all ended: it is queued, expanded, or skipped.

use serde_json::Value;

use super::assignment::{context, declaration_of, declared_job};
use super::event::{Command, NodeStatus};
use super::finish::end;
use super::gate;
use super::node::Node;
use super::{MAX_NODES, RunState, Work};
use crate::config::{FailureReason, ForEach};
use crate::protocol::condition::Expression;
use crate::protocol::spec::Condition;
use crate::workflow::{Instance, expand_items, expand_matrix};

pub(super) fn activate(state: &mut RunState, work: &mut Work, index: usize) {
    let node = &state.nodes[index];
    if node.status != NodeStatus::Waiting || node.held || state.links[index].open > 0 {
        return;
    }
    let on_cancel = declared_job(state, node).is_some_and(|job| job.on_cancel);
    if let Some(reason) = state.head.cancelled.clone().filter(|_| !on_cancel) {
        return end(state, work, index, NodeStatus::Cancelled, None, reason);
    }
    if let Err(reason) = dependencies_allow(state, node, on_cancel && state.head.cancelled.is_some()) {
        return end(state, work, index, NodeStatus::Skipped, None, reason);
    }
    match condition_allows(state, node) {
        Ok(None) => {}
        Ok(Some(reason)) => return end(state, work, index, NodeStatus::Skipped, None, reason),
        Err(message) => {
            return end(state, work, index, NodeStatus::Failed, Some(FailureReason::Config), message);
        }
    }
    let instances = instances(state, node);
    if instances.is_ok() && gate::keeps(state, work, index) {
        return;
    }
    match instances {
        Ok(None) => enqueue(state, work, index),
        Ok(Some(instances)) => expand(state, work, index, instances),
        Err(message) => end(state, work, index, NodeStatus::Failed, Some(FailureReason::Config), message),
    }
}

/// Whether the outcome of the dependencies lets a node start; else why not.
fn dependencies_allow(state: &RunState, node: &Node, after_cancel: bool) -> Result<(), String> {
    let dependencies = || node.depends_on.iter().filter_map(|name| state.node(name));
    match node.condition {
        Condition::Always => Ok(()),
        Condition::AllSuccess => {
            match dependencies().find(|dependency| dependency.status != NodeStatus::Succeeded) {
                None => Ok(()),
                Some(dependency) => Err(format!("{} {}", dependency.name, past(dependency.status))),
            }
        }
        Condition::AnyFailed => {
            let bad = |dependency: &Node| {
                dependency.status == NodeStatus::Failed
                    || (after_cancel && dependency.status == NodeStatus::Cancelled)
            };
            if dependencies().any(bad) {
                Ok(())
            } else if node.depends_on.is_empty() {
                Err("it runs after a failure, and waits for no job of this run".to_owned())
            } else {
                Err(format!("none of {} failed", node.depends_on.join(", ")))
            }
        }
    }
}

fn past(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Failed => "failed",
        NodeStatus::Skipped => "was skipped",
        NodeStatus::Cancelled => "was cancelled",
        _ => "did not succeed",
    }
}

/// Nothing where `when` allows the node; else why not. An error where it cannot be told.
fn condition_allows(state: &RunState, node: &Node) -> Result<Option<String>, String> {
    let Some(when) = declared_job(state, node).and_then(|job| job.when.as_deref()) else { return Ok(None) };
    let failed = |error: crate::protocol::condition::ConditionError| format!("when: {error}");
    let holds = Expression::parse(when).map_err(failed)?.evaluate(&context(state, node)).map_err(failed)?;
    Ok((!holds).then(|| format!("when is false: {when}")))
}

/// The parts of a node that expands.
fn instances(state: &RunState, node: &Node) -> Result<Option<Vec<Instance>>, String> {
    let Some(job) = declared_job(state, node) else { return Ok(None) };
    if let Some(matrix) = &job.matrix {
        return expand_matrix(matrix).map(Some);
    }
    let items: Vec<Value> = match &job.for_each {
        None => return Ok(None),
        Some(ForEach::Items(items)) => items.clone(),
        Some(ForEach::Expression(text)) => {
            let failed = |error: crate::protocol::condition::ConditionError| format!("for_each: {error}");
            let expression = Expression::parse(text).map_err(failed)?;
            match expression.evaluate_value(&context(state, node)).map_err(failed)? {
                Value::Array(items) => items,
                // Outputs are text; a list in one is JSON.
                Value::String(text) => match serde_json::from_str(&text) {
                    Ok(Value::Array(items)) => items,
                    _ => return Err("for_each: the text is not a JSON list".to_owned()),
                },
                other => return Err(format!("for_each: a list is needed, not {other}")),
            }
        }
    };
    expand_items(&items, job.item_var.as_deref()).map(Some)
}

fn expand(state: &mut RunState, work: &mut Work, group: usize, instances: Vec<Instance>) {
    if instances.is_empty() {
        return end(state, work, group, NodeStatus::Succeeded, None, "there is no item".to_owned());
    }
    if state.nodes.len() + instances.len() > MAX_NODES {
        let message = format!("the run would have more than {MAX_NODES} jobs");
        return end(state, work, group, NodeStatus::Failed, Some(FailureReason::Config), message);
    }
    let parent = &mut state.nodes[group];
    parent.status = NodeStatus::Running;
    parent.reason = format!("{} parts", instances.len());
    parent.started_at = Some(work.now);
    let parent = state.nodes[group].clone();
    work.record(&parent, format!("expanded into {} parts", instances.len()));
    let first = state.nodes.len();
    let count = instances.len();
    for (number, instance) in instances.into_iter().enumerate() {
        let name = format!("{}[{number}]", parent.name);
        let mut node =
            Node::new(name, parent.origin.clone(), Condition::AllSuccess, parent.depends_on.clone());
        node.instance = instance;
        node.env = parent.env.clone();
        node.depth = parent.depth;
        node.group = Some(group);
        let expected = state.expecting.remove(&node.name);
        let index = state.add(node);
        state.links[index].dependents.extend(expected.into_iter().flatten());
    }
    let parent = &mut state.nodes[group];
    (parent.parts, parent.first_part) = (count, first);
    state.links[group].open_parts = count;
    for index in first..first + count {
        enqueue(state, work, index);
    }
}

pub(super) fn enqueue(state: &mut RunState, work: &mut Work, index: usize) {
    let not_before = gate::wait(state, index).map(|wait| work.now.saturating_add(wait));
    let without = declaration_of(state, &state.nodes[index]).goes_without();
    let node = &mut state.nodes[index];
    node.status = NodeStatus::Queued;
    node.attempt = 1;
    node.reason = match node.depends_on.len() {
        0 => "it waits for nothing".to_owned(),
        _ => "what it waits for has ended".to_owned(),
    };
    node.reason.push_str(&without);
    state.active += 1;
    let node = &state.nodes[index];
    work.record(node, node.reason.clone());
    work.commands.push(Command::Enqueue { node: node.name.clone(), attempt: 1, not_before });
}

/// Fails what waits for a name that nobody can give any more.
pub(super) fn fail_expecting(state: &mut RunState, work: &mut Work) {
    let expecting = std::mem::take(&mut state.expecting);
    for (name, waiting) in expecting {
        for index in waiting {
            if !state.nodes[index].status.is_terminal() {
                let message = format!("it waits for {name:?}, and nobody triggered a job of that name");
                end(state, work, index, NodeStatus::Failed, Some(FailureReason::Config), message);
            }
        }
    }
}
