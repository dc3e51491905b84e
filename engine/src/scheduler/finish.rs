//! Attempts start and end; nodes end, and what depends on them is told; the run ends.

use super::event::{AttemptResult, Command, NodeStatus, RunStatus, Transition};
use super::node::Node;
use super::{RunState, Work};
use crate::config::{FailureReason, Job, Retry};

/// Failures that are nobody's fault and are tried again by default.
const INFRASTRUCTURE: [FailureReason; 4] =
    [FailureReason::LostWorker, FailureReason::Evicted, FailureReason::ImagePull, FailureReason::Provider];
/// A job that so many workers were lost with is not given to another.
const POISON: u32 = 3;
/// How often such a failure is tried again.
const INFRASTRUCTURE_RETRIES: u32 = 2;
/// The longest wait before a retry.
const MAX_DELAY_MS: f64 = 3_600_000.0;

pub(super) fn started(state: &mut RunState, work: &mut Work, name: &str, attempt: u32) {
    let Some(&index) = state.by_name.get(name) else { return };
    let node = &mut state.nodes[index];
    if node.attempt != attempt || node.status != NodeStatus::Queued {
        return;
    }
    node.status = NodeStatus::Running;
    node.started_at.get_or_insert(work.now);
    node.reason = "a worker runs it".to_owned();
    let node = &state.nodes[index];
    work.record(node, node.reason.clone());
}

pub(super) fn finished(
    state: &mut RunState,
    work: &mut Work,
    name: &str,
    attempt: u32,
    result: AttemptResult,
) {
    let Some(&index) = state.by_name.get(name) else { return };
    let node = &mut state.nodes[index];
    if node.attempt != attempt
        || !matches!(node.status, NodeStatus::Queued | NodeStatus::Running)
        || node.parts > 0
    {
        return;
    }
    // Whoever lost what it knew of an attempt says that it never began; what was said while it ran stands over that.
    let has_started = result.started || node.status == NodeStatus::Running;
    node.exit_code = result.exit_code;
    // Those of a failed job too: who cleans up needs them.
    node.outputs = result.outputs;
    let mut failure = result.failure;
    let mut message = result.message.clone().unwrap_or_default();
    if failure.is_none()
        && let Some(refused) = node.refused.take()
    {
        failure = Some(FailureReason::Config);
        message = refused;
    }
    let Some(failure) = failure else {
        let reason = if message.is_empty() { "it succeeded".to_owned() } else { message };
        return end(state, work, index, NodeStatus::Succeeded, None, reason);
    };
    if message.is_empty() {
        message = "it failed".to_owned();
    }
    let stopped = state.nodes[index].stopped.clone();
    if failure == FailureReason::Cancelled || stopped.is_some() && INFRASTRUCTURE.contains(&failure) {
        let reason = state.head.cancelled.clone().or(stopped).unwrap_or(message);
        return end(state, work, index, NodeStatus::Cancelled, None, reason);
    }
    if failure == FailureReason::LostWorker {
        let node = &mut state.nodes[index];
        node.lost += 1;
        if node.lost >= POISON {
            let reason = format!("{} workers were lost with it, so it is not tried again", node.lost);
            return end(state, work, index, NodeStatus::Failed, Some(FailureReason::Poisoned), reason);
        }
    }
    if state.head.cancelled.is_none()
        && stopped.is_none()
        && let Some(delay) = retry_delay(state, index, failure, has_started, result.permanent)
    {
        return retry(state, work, index, &message, delay);
    }
    end(state, work, index, NodeStatus::Failed, Some(failure), message);
}

/// How long to wait before the next attempt, in milliseconds; nothing where there is none.
fn retry_delay(
    state: &RunState,
    index: usize,
    failure: FailureReason,
    started: bool,
    permanent: bool,
) -> Option<f64> {
    let node = &state.nodes[index];
    let job = super::assignment::declared_job(state, node)?;
    let (max, delay, factor) = match &job.retry {
        Some(Retry { max, on, delay, factor }) => {
            let counts =
                if on.is_empty() { INFRASTRUCTURE.contains(&failure) } else { on.contains(&failure) };
            counts.then_some((*max, delay.as_millis(), *factor))?
        }
        // Who may have changed the world already is not run twice without having said so.
        None if permanent || (started && is_delicate(job)) => return None,
        None => INFRASTRUCTURE.contains(&failure).then_some((INFRASTRUCTURE_RETRIES, 1_000, 2.0))?,
    };
    let exponent = i32::try_from(node.retries).unwrap_or(i32::MAX);
    (node.retries < max).then(|| (precise(delay) * factor.powi(exponent)).clamp(0.0, MAX_DELAY_MS))
}

fn precise(millis: u64) -> f64 {
    // A delay is far below the 2^52 that an f64 holds exactly.
    u32::try_from(millis).map_or(MAX_DELAY_MS, f64::from)
}

fn is_delicate(job: &Job) -> bool {
    !job.secrets.is_empty() || !job.id_tokens.is_empty() || job.deploys_to.is_some()
}

#[allow(clippy::cast_possible_truncation)]
fn retry(state: &mut RunState, work: &mut Work, index: usize, message: &str, delay: f64) {
    let node = &mut state.nodes[index];
    node.retries += 1;
    // Refused was what that attempt asked for; the next one may ask for something else.
    node.refused = None;
    node.attempt += 1;
    node.status = NodeStatus::Queued;
    // Clamped to an hour above.
    let not_before = work.now + delay as i64;
    node.reason = format!("attempt {} after: {message}", node.attempt);
    let node = &state.nodes[index];
    work.record(node, node.reason.clone());
    let (name, attempt) = (node.name.clone(), node.attempt);
    work.commands.push(Command::Enqueue { node: name, attempt, not_before: Some(not_before) });
}

/// Ends a node.
pub(super) fn end(
    state: &mut RunState,
    work: &mut Work,
    index: usize,
    status: NodeStatus,
    failure: Option<FailureReason>,
    reason: String,
) {
    let node = &mut state.nodes[index];
    debug_assert!(!node.status.is_terminal(), "{} ends twice", node.name);
    if matches!(node.status, NodeStatus::Queued | NodeStatus::Running) && node.parts == 0 {
        state.active -= 1;
    }
    if std::mem::take(&mut node.held) {
        state.active -= 1;
    }
    node.status = status;
    node.failure = failure;
    node.reason = reason;
    node.ended_at = Some(work.now);
    state.open -= 1;
    let node = &state.nodes[index];
    work.record(node, node.reason.clone());
    work.ended.push_back(index);
}

/// Tells the group and the dependents of a node that it has ended.
pub(super) fn tell_dependents(state: &mut RunState, work: &mut Work, index: usize) {
    if let Some(group) = state.nodes[index].group {
        let parent = &mut state.links[group];
        parent.open_parts -= 1;
        if parent.open_parts == 0 {
            end_group(state, work, group);
        }
    }
    // In their order, however they came to be known: a run that was read back must go on in the same way.
    let mut dependents = std::mem::take(&mut state.links[index].dependents);
    dependents.sort_unstable();
    for dependent in dependents {
        let links = &mut state.links[dependent];
        links.open -= 1;
        if links.open == 0 {
            work.ready.push_back(dependent);
        }
    }
}

fn end_group(state: &mut RunState, work: &mut Work, group: usize) {
    let parent = &state.nodes[group];
    let parts = &state.nodes[parent.first_part..parent.first_part + parent.parts];
    let of = |status: NodeStatus| parts.iter().filter(move |part: &&Node| part.status == status);
    let total = parts.len();
    let (status, failure, reason) = if let Some(failed) = of(NodeStatus::Failed).next() {
        let count = of(NodeStatus::Failed).count();
        (NodeStatus::Failed, failed.failure, format!("{count} of {total} parts failed"))
    } else if of(NodeStatus::Cancelled).next().is_some() {
        (
            NodeStatus::Cancelled,
            None,
            format!("{} of {total} parts were cancelled", of(NodeStatus::Cancelled).count()),
        )
    } else {
        (NodeStatus::Succeeded, None, format!("all {total} parts succeeded"))
    };
    end(state, work, group, status, failure, reason);
}

/// Ends the run.
pub(super) fn finish(state: &mut RunState, work: &mut Work) {
    if state.head.status.is_terminal() {
        return;
    }
    let all = |status: NodeStatus| -> Vec<&str> {
        let leaves = state.nodes.iter().filter(|node| node.status == status && node.parts == 0);
        leaves.map(|node| node.name.as_str()).collect()
    };
    let (status, reason) = match (&state.head.cancelled, all(NodeStatus::Failed), all(NodeStatus::Cancelled))
    {
        (Some(reason), ..) => (RunStatus::Cancelled, reason.clone()),
        (None, failed, _) if !failed.is_empty() => (RunStatus::Failed, counted(&failed, "failed")),
        (None, _, cancelled) if !cancelled.is_empty() => {
            (RunStatus::Cancelled, counted(&cancelled, "ended as cancelled"))
        }
        _ => (RunStatus::Succeeded, "no job failed".to_owned()),
    };
    state.head().status = status;
    work.commands.push(Command::Record(Transition {
        at: work.now,
        node: None,
        attempt: None,
        to: status.as_str().to_owned(),
        reason,
    }));
    work.commands.push(Command::Finish(status));
}

/// `lint failed`, `2 jobs failed: lint, test`.
fn counted(names: &[&str], what: &str) -> String {
    match names {
        [one] => format!("{one} {what}"),
        many => format!("{} jobs {what}: {}", many.len(), many.join(", ")),
    }
}
