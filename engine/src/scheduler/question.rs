//! What a running job may know of its run.

use super::RunState;
use super::event::NodeStatus;
use super::node::Node;
use crate::protocol::query::{Answer, JobState, Query};

/// Answers a job's question from the run's state. What the job knows of other runs is added by whoever knows them.
///
/// A job sees where every job of its run is, and the outputs of those alone that it waited for: an output that reached
/// a job in another way would be in no plan.
pub fn answer(state: &RunState, asking: &str, query: &Query) -> Answer {
    match query {
        Query::Vars {} => Answer::Vars { vars: state.head.vars.clone() },
        Query::Job { name } => Answer::Job(state.node(name).map_or_else(JobState::default, |node| {
            let waited = state.node(asking).is_some_and(|asking| asking.depends_on.contains(name));
            let mut answer = job_state(node, waited);
            // Whoever asks whether a deploy goes on before it deploys does not mean itself.
            answer.running &= name != asking;
            answer
        })),
    }
}

fn job_state(node: &Node, with_outputs: bool) -> JobState {
    JobState {
        found: true,
        running: is_going_on(node.status),
        state: Some(node.status.as_str().to_owned()),
        exit_code: node.exit_code.filter(|_| node.status.is_terminal()),
        reason: Some(node.reason.clone()).filter(|reason| !reason.is_empty()),
        outputs: if with_outputs { node.outputs.clone() } else { Default::default() },
        elsewhere: Vec::new(),
    }
}

fn is_going_on(status: NodeStatus) -> bool {
    matches!(status, NodeStatus::Queued | NodeStatus::Running)
}
