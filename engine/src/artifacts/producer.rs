//! Whose a job's artifacts are: the namespace, the trust and the secrets of who makes them, all of it from what the
//! server knows of the run. Nothing that a worker or a job says has a part in it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Job, Namespace};
use crate::config::{EventType, Origin};
use crate::placeholder::find;
use crate::scheduler::{Millis, Node, Origin as NodeOrigin, RunState, declared_job};

/// Where the code of a run comes from, and which ref it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// Of the code under test.
    pub source: Origin,
    /// Of trusted job code.
    pub ci: Origin,
    /// The branch, tag or proposal.
    pub reference: String,
}

/// What names of references that are no branches begin with, and those of branches that would be taken for such.
const KINDS: [&str; 5] = ["commit/", "heads/", "pull/", "run/", "tags/"];

/// Where the code of an event's run comes from. The server pins both origins in the event where it could tell. Where it did
/// not, code is the project's own exactly if the event names nothing but a branch or a tag: that is then fetched from the
/// project's repository by its name. A commit can be anybody's, also in the project's repository, and a proposal is.
pub fn origins(event: &Value, run: &str, default_branch: Option<&str>) -> Origins {
    let text = |name: &str| event[name].as_str().filter(|text| !text.is_empty());
    let said = |name: &str| event[name].as_str().and_then(origin);
    let is_proposal = text("type") == Some(EventType::PullRequest.as_str());
    let commit = text("sha");
    let source = said("source_origin").unwrap_or(match commit {
        None if !is_proposal => Origin::Base,
        _ => Origin::Unverified,
    });
    let number = event["number"].as_u64().filter(|number| *number > 0);
    let reference = match (is_proposal, number, text("tag"), text("branch"), commit) {
        (true, Some(number), ..) => format!("pull/{number}"),
        // Nobody knows which proposal it is, and they must not share anything.
        (true, None, ..) => format!("run/{run}"),
        (.., Some(commit)) if source != Origin::Base => format!("commit/{commit}"),
        (_, _, Some(tag), ..) => format!("tags/{tag}"),
        // No branch has the name of something else.
        (_, _, None, Some(branch), _) if KINDS.iter().any(|kind| branch.starts_with(kind)) => {
            format!("heads/{branch}")
        }
        (_, _, None, Some(branch), _) => branch.to_owned(),
        (..) => default_branch.unwrap_or("HEAD").to_owned(),
    };
    Origins { source, ci: said("ci_origin").unwrap_or(Origin::Base), reference }
}

fn origin(text: &str) -> Option<Origin> {
    [Origin::Base, Origin::Head, Origin::Fork, Origin::Unverified]
        .into_iter()
        .find(|one| one.as_str() == text)
}

/// The job that a node is, as who may read and write what depends on it. `None` where there is no such node.
pub fn producer(state: &RunState, name: &str, default_branch: Option<&str>) -> Option<Job> {
    state.node(name)?;
    let Origins { source, ci, reference } = origins(&state.event, &state.id, default_branch);
    let address = &state.workflow.address;
    // A pipeline without a project shares with nobody.
    let project = address.project.clone().unwrap_or_else(|| format!("-/{}", address.name));
    Some(Job {
        run: state.id.clone(),
        namespace: Namespace { project, origin: source, reference },
        trusted: source == Origin::Base && ci == Origin::Base,
        secretless: !reaches_secrets(state, name),
    })
}

/// Whether a secret may have come to a job: its own, or one of a job whose artifacts it takes, or that asked for it.
fn reaches_secrets(state: &RunState, name: &str) -> bool {
    let mut pending = vec![name];
    let mut seen = BTreeSet::new();
    while let Some(name) = pending.pop() {
        let Some(node) = state.node(name).filter(|_| seen.insert(name)) else { continue };
        let names_one = |job: &crate::config::Job| {
            let texts = job.environment.values();
            !job.secrets.is_empty()
                || !job.id_tokens.is_empty()
                || texts.flat_map(|text| find(text)).any(|found| found.namespace == "secret")
        };
        // A job that cannot be told apart from one with secrets has some.
        if declared_job(state, node).is_none_or(names_one) {
            return true;
        }
        pending.extend(node.depends_on.iter().map(String::as_str));
        if let NodeOrigin::Triggered { by, .. } = &node.origin {
            pending.push(by);
        }
    }
    false
}

/// An attempt whose artifacts a job takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The node.
    pub node: String,
    /// The attempt.
    pub attempt: u32,
    /// Whether it was another run that ran it, which this run repeats in part.
    pub earlier: bool,
}

/// The attempts whose artifacts a job takes: the last one of each job that it names in `depends_on`, of all parts where
/// there are some. `began` says when the run did.
pub fn taken(state: &RunState, name: &str, began: Millis) -> Vec<Taken> {
    let Some(node) = state.node(name) else { return Vec::new() };
    let one = |node: &Node| Taken {
        node: node.name.clone(),
        attempt: node.attempt,
        earlier: node.ended_at.is_some_and(|at| at < began),
    };
    let of_one = |name: &String| -> Vec<Taken> {
        let Some(node) = state.node(name) else { return Vec::new() };
        let parts = state.parts_of(node);
        let all = if parts.is_empty() { std::slice::from_ref(node) } else { parts };
        all.iter().filter(|node| node.attempt > 0).map(one).collect()
    };
    node.depends_on.iter().flat_map(of_one).collect()
}

#[cfg(test)]
mod tests;
