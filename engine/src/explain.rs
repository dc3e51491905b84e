//! Explains what an event would do: which pipelines it starts and why not the others, which jobs would run, and which
//! secrets each would get, through which grant. Nothing is run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::address::Address;
use crate::config::{Catalog, EventType, Job, Kind, Origin, Spec, TrustAction};
use crate::policy::{Access, Actor, Proposal, Situation, Trust, secrets_of, trust};
use crate::protocol::condition::Expression;
use crate::trigger_match::{RunEvent, starts};
use crate::workflow;

/// An event with what the server found out about it by itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Occurrence {
    /// The project that it happened in.
    pub project: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The branch; for a pull request the one that it would be merged into.
    #[serde(default)]
    pub branch: String,
    /// The tag.
    #[serde(default)]
    pub tag: String,
    /// The commit.
    #[serde(default)]
    pub sha: String,
    /// What was done to a pull request.
    #[serde(default)]
    pub action: String,
    /// The files that it changed.
    #[serde(default)]
    pub changed_files: Vec<String>,
    /// Where the code comes from. Default: `fork` for a pull request, else `base`.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Who did it.
    #[serde(default)]
    pub actor: Actor,
}

impl Occurrence {
    /// Where the code comes from; where nothing is said, the least that can be trusted.
    pub fn origin(&self) -> Origin {
        self.origin.unwrap_or(match self.kind {
            EventType::PullRequest => Origin::Fork,
            _ => Origin::Base,
        })
    }

    fn event(&self) -> RunEvent {
        RunEvent {
            branch: self.branch.clone(),
            tag: self.tag.clone(),
            sha: self.sha.clone(),
            action: self.action.clone(),
            changed_files: self.changed_files.clone(),
            author: self.actor.user.clone(),
            origin: self.origin().as_str().to_owned(),
            ..RunEvent::of(self.kind)
        }
    }
}

/// What an event would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Whether it may start anything.
    pub trust: Trust,
    /// Each pipeline of its project.
    pub pipelines: Vec<PipelineExplained>,
}

/// What happens to a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineExplained {
    /// Which.
    pub pipeline: Address,
    /// Why it is not started; empty where it is.
    pub not_started: Vec<String>,
    /// Its jobs, by name, where it is started.
    pub jobs: BTreeMap<String, JobExplained>,
}

/// What happens to a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobExplained {
    /// Whether it runs.
    pub runs: Runs,
    /// The profile that it runs with.
    pub profile: String,
    /// The secrets that it asks for, and whether it gets them.
    pub secrets: BTreeMap<String, Access>,
}

/// Whether a job runs, as far as it can be told beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "runs", rename_all = "snake_case")]
pub enum Runs {
    /// It does, if what it waits for succeeds.
    Yes,
    /// It does not.
    No {
        /// Why.
        reason: String,
    },
    /// It depends on what other jobs give.
    Later {
        /// On what.
        reason: String,
    },
}

/// Explains an event on what is, or would be, applied.
pub fn explain(catalog: &Catalog, occurrence: &Occurrence) -> Explanation {
    let origin = occurrence.origin();
    let proposal = Proposal {
        project: &occurrence.project,
        event: occurrence.kind,
        origin,
        people: std::slice::from_ref(&occurrence.actor),
        changed_files: &occurrence.changed_files,
        changes_more: false,
    };
    let trust = trust(catalog, &proposal);
    let event = occurrence.event();
    let pipelines = catalog
        .keys()
        .filter(|address| address.kind == Kind::Pipeline)
        .filter(|address| address.project.as_deref() == Some(occurrence.project.as_str()))
        .map(|address| pipeline(catalog, address, &event, origin, &trust))
        .collect();
    Explanation { trust, pipelines }
}

fn pipeline(
    catalog: &Catalog,
    address: &Address,
    event: &RunEvent,
    origin: Origin,
    trust: &Trust,
) -> PipelineExplained {
    let not_started = |reasons| PipelineExplained {
        pipeline: address.clone(),
        not_started: reasons,
        jobs: BTreeMap::new(),
    };
    let Some(Spec::Pipeline(spec)) = catalog.get(address).map(|resource| &resource.spec) else {
        return not_started(Vec::new());
    };
    if let Err(reasons) = starts(spec, event) {
        return not_started(reasons);
    }
    if trust.action == TrustAction::Refuse {
        return not_started(vec!["the trust policy refuses it".to_owned()]);
    }
    let workflow = match workflow::resolve(catalog, address) {
        Ok(workflow) => workflow,
        Err(errors) => return not_started(errors.iter().map(ToString::to_string).collect()),
    };
    let situation = Situation {
        event: event.kind,
        branch: &event.branch,
        tag: &event.tag,
        origin,
        ceiling: trust.profile.as_deref(),
    };
    let vars: BTreeMap<&String, &Value> = spec.vars.iter().collect();
    let jobs = workflow
        .jobs
        .iter()
        .map(|(name, declaration)| {
            let context = json!({
                "event": event.to_value(), "vars": vars, "env": declaration.job.environment,
            });
            let declared = &spec.jobs[name];
            let secrets = secrets_of(catalog, address, name, declared, &situation)
                .into_iter()
                .map(|(secret, access)| (secret.to_string(), access))
                .collect();
            let profile = trust.profile.clone().unwrap_or_else(|| declaration.profile.name.clone());
            (name.clone(), JobExplained { runs: runs(&declaration.job, &context), profile, secrets })
        })
        .collect();
    PipelineExplained { pipeline: address.clone(), not_started: Vec::new(), jobs }
}

fn runs(job: &Job, context: &Value) -> Runs {
    let Some(when) = &job.when else { return Runs::Yes };
    match Expression::parse(when).and_then(|expression| expression.evaluate(context)) {
        Ok(true) => Runs::Yes,
        Ok(false) => Runs::No { reason: format!("when is false: {when}") },
        Err(_) => Runs::Later { reason: format!("it depends on other jobs or inputs: {when}") },
    }
}

#[cfg(test)]
mod tests;
