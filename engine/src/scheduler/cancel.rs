//! Somebody wants the run to stop: at first gently, then at once.

use super::activate::fail_expecting;
use super::assignment::declared_job;
use super::event::{Command, NodeStatus};
use super::finish::end;
use super::{RunState, Work};

/// What has not started is cancelled, what runs is asked to stop. Jobs with `on_cancel` still start, unless the run is
/// to stop at once.
pub(super) fn cancel(state: &mut RunState, work: &mut Work, reason: &str, force: bool) {
    state.begun = true;
    state.cancelled.get_or_insert_with(|| reason.to_owned());
    for index in 0..state.nodes.len() {
        let node = &state.nodes[index];
        if node.status.is_terminal() || node.parts > 0 {
            continue;
        }
        let spared = !force && declared_job(state, node).is_some_and(|job| job.on_cancel);
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
            NodeStatus::Waiting | NodeStatus::Ready if !spared => {
                end(state, work, index, NodeStatus::Cancelled, None, reason.to_owned());
            }
            // What is spared and waits for nothing more starts by the ordinary way.
            NodeStatus::Waiting if node.open == 0 => work.ready.push_back(index),
            _ => {}
        }
    }
    if state.active == 0 {
        fail_expecting(state, work);
    }
}
