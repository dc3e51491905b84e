//! Somebody wants the run to stop, or one job of it: at first gently, then at once.

use super::activate::fail_expecting;
use super::assignment::declared_job;
use super::event::{Command, NodeStatus};
use super::finish::end;
use super::{RunState, Work};
use crate::config::FailureReason;

/// What has not started is cancelled, what runs is asked to stop. Jobs with `on_cancel` still start, unless the run is
/// to stop at once.
pub(super) fn cancel(state: &mut RunState, work: &mut Work, reason: &str, force: bool) {
    // What nobody let begin has nothing to clean up.
    let force = force || state.head.gate.is_some();
    let head = state.head();
    (head.begun, head.gate) = (true, None);
    head.cancelled.get_or_insert_with(|| reason.to_owned());
    for index in 0..state.nodes.len() {
        let node = &state.nodes[index];
        if node.status.is_terminal() || node.parts > 0 {
            continue;
        }
        let spared = !force && !node.held && declared_job(state, node).is_some_and(|job| job.on_cancel);
        match node.status {
            NodeStatus::Running if !spared => {
                let (node, attempt) = (node.name.clone(), node.attempt);
                work.commands.push(Command::Stop { node, attempt, force });
            }
            NodeStatus::Queued if !spared => {
                let (name, attempt) = (node.name.clone(), node.attempt);
                work.commands.push(Command::Stop { node: name, attempt, force });
                end(state, work, index, NodeStatus::Cancelled, None, reason.to_owned());
            }
            NodeStatus::Waiting if !spared => {
                end(state, work, index, NodeStatus::Cancelled, None, reason.to_owned());
            }
            // What is spared and waits for nothing more starts by the ordinary way.
            NodeStatus::Waiting if state.links[index].open == 0 => work.ready.push_back(index),
            _ => {}
        }
    }
    if state.active == 0 {
        fail_expecting(state, work);
    }
}

/// One job is cancelled where it has not started, and asked to stop where it runs; of an expanded one, every part.
pub(super) fn stop(state: &mut RunState, work: &mut Work, name: &str, reason: &str, force: bool) {
    let Some(&index) = state.by_name.get(name) else { return };
    let node = &state.nodes[index];
    let targets =
        if node.parts > 0 { node.first_part..node.first_part + node.parts } else { index..index + 1 };
    for index in targets {
        let node = &state.nodes[index];
        let (name, attempt) = (node.name.clone(), node.attempt);
        match node.status {
            NodeStatus::Running => {
                state.nodes[index].stopped.get_or_insert_with(|| reason.to_owned());
                work.commands.push(Command::Stop { node: name, attempt, force });
            }
            NodeStatus::Queued => {
                work.commands.push(Command::Stop { node: name, attempt, force });
                end(state, work, index, NodeStatus::Cancelled, None, reason.to_owned());
            }
            NodeStatus::Waiting => {
                end(state, work, index, NodeStatus::Cancelled, None, reason.to_owned());
            }
            _ => {}
        }
    }
}

/// What has started has failed, whatever it would want to be tried again for; what has not is cancelled.
pub(super) fn abandon(state: &mut RunState, work: &mut Work, reason: &str) {
    let head = state.head();
    (head.begun, head.gate) = (true, None);
    for index in 0..state.nodes.len() {
        let node = &state.nodes[index];
        if node.status.is_terminal() || node.parts > 0 {
            continue;
        }
        let (status, failure) = match node.status {
            NodeStatus::Running => (NodeStatus::Failed, Some(FailureReason::LostWorker)),
            _ => (NodeStatus::Cancelled, None),
        };
        end(state, work, index, status, failure, reason.to_owned());
    }
}
