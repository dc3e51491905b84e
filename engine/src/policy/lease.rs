//! The decision at lease time: which secrets one attempt of a job gets, of what it asks for.
//!
//! Policies, profiles and secrets are those that are applied now; who asks is what the run has stored of itself. Nothing
//! that a worker says has a part in it.

use std::collections::{BTreeMap, BTreeSet};

use super::access::{Access, Situation, decide};
use super::reach::{Effective, find_secret, profile_of, protection_of};
use crate::address::Address;
use crate::artifacts::origins;
use crate::config::{Catalog, EventType, Job, Origin, ProfileSecrets, Spec};
use crate::placeholder::find;
use crate::reference::secret_name;
use crate::scheduler::{Node, Origin as NodeOrigin, RunState};
use crate::workflow::Declaration;

/// What a secret is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The job gets it.
    Job,
    /// Its code is fetched with it; the job never sees it.
    Source,
}

/// A secret that a job names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// As the job names it: `path` or `path:key`.
    pub name: String,
    /// What for.
    pub purpose: Purpose,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What was asked for.
    pub asked: Asked,
    /// The secret that is meant; nothing where none of that name is applied.
    pub secret: Option<Address>,
    /// Which of its keys.
    pub key: String,
    /// Whether it is given.
    pub access: Access,
}

/// Every secret that a job names, with all of it filled in.
pub fn secrets_asked(job: &Job) -> BTreeSet<Asked> {
    let in_text = |text: &String| {
        let found = find(text).into_iter().filter(|placeholder| placeholder.namespace == "secret");
        found.map(|placeholder| placeholder.name).collect::<Vec<_>>()
    };
    let steps = job.steps.iter().flat_map(|step| step.environment.values());
    let texts = job.environment.values().chain(steps).flat_map(in_text);
    let named = job.secrets.values().map(|used| used.secret.clone()).chain(texts);
    let sources = [&job.source, &job.ci_source].into_iter().flatten();
    let credentials = sources.filter_map(|source| source.credentials.clone());
    let asked = |purpose| move |name| Asked { name, purpose };
    named.map(asked(Purpose::Job)).chain(credentials.map(asked(Purpose::Source))).collect()
}

/// Decides on all that a node's job asks for. `job` is the job with everything filled in.
pub fn decide_lease(catalog: &Catalog, state: &RunState, node: &Node, job: &Job) -> Vec<Decided> {
    let asked = secrets_asked(job);
    asked.into_iter().map(|asked| decided(catalog, state, node, asked)).collect()
}

fn decided(catalog: &Catalog, state: &RunState, node: &Node, asked: Asked) -> Decided {
    let pipeline = &state.workflow.address;
    let name = secret_name(&asked.name);
    let secret = find_secret(catalog, pipeline.project.as_deref(), name);
    let key = secret.as_ref().map_or(Ok(String::new()), |secret| secret_key(catalog, secret, &asked.name));
    let access = match (&secret, &key) {
        (None, _) => denied(format!("no secret {name:?} is applied")),
        (_, Err(reason)) => denied(reason.clone()),
        (Some(secret), Ok(_)) => access(catalog, state, node, &asked, secret),
    };
    Decided { asked, secret, key: key.unwrap_or_default(), access }
}

/// The key of a secret that a name means: `path:key`, or `path` where that is enough.
pub fn secret_key(catalog: &Catalog, secret: &Address, name: &str) -> Result<String, String> {
    let Some(Spec::Secret(spec)) = catalog.get(secret).map(|found| &found.spec) else {
        return Ok(String::new());
    };
    match (name.split_once(':'), spec.keys.as_slice()) {
        (Some((_, key)), keys) if keys.iter().any(|one| one == key) => Ok(key.to_owned()),
        (Some((_, key)), keys) => Err(format!("it has no key {key:?}, but {}", keys.join(", "))),
        (None, [only]) => Ok(only.clone()),
        (None, keys) if keys.iter().any(|one| one == "value") => Ok("value".to_owned()),
        (None, keys) => Err(format!("it has the keys {}: the job must name one", keys.join(", "))),
    }
}

fn access(catalog: &Catalog, state: &RunState, node: &Node, asked: &Asked, secret: &Address) -> Access {
    // A job that another one asked for gets nothing of its own; its code is its parent's, and so is the right to fetch it.
    let (name, declaration) = match (declaration(state, node), asked.purpose) {
        ((_, _, true), Purpose::Job) => {
            return denied(
                "a job that was triggered, and that the pipeline does not declare, gets none".to_owned(),
            );
        }
        ((name, Some(declaration), _), _) => (name, declaration),
        ((name, None, _), _) => return denied(format!("the run declares no job {name:?}")),
    };
    if declaration.profile.spec.secrets == ProfileSecrets::None {
        return denied(format!("the profile {} had no secrets when the run began", declaration.profile.name));
    }
    let pipeline = &state.workflow.address;
    if asked.purpose == Purpose::Job
        && let Err(reason) = is_asked_now(catalog, pipeline, name, secret)
    {
        return denied(reason);
    }
    let Some(event) = event_type(&state.event["type"]) else {
        return denied("nobody can tell what kind of event started the run".to_owned());
    };
    let text = |field: &str| state.event[field].as_str().unwrap_or_default();
    let profile_secrets =
        profile_of(catalog, &declaration.profile.name).map_or(ProfileSecrets::None, |spec| spec.secrets);
    let job = Effective {
        name: name.to_owned(),
        secrets: BTreeSet::from([secret.clone()]),
        profile: declaration.profile.name.clone(),
        deploys_to: declaration.job.deploys_to.clone(),
        profile_secrets,
        protection: protection_of(
            catalog,
            pipeline.project.as_deref(),
            declaration.job.deploys_to.as_deref(),
        ),
    };
    let mut granted = None;
    for origin in origins_of(state) {
        let situation = Situation {
            event,
            branch: text("branch"),
            tag: text("tag"),
            origin,
            ceiling: state.event["ceiling"].as_str(),
        };
        match decide(catalog, pipeline, &job, secret, &situation) {
            denied @ Access::Denied { .. } => return denied,
            access => granted = Some(access),
        }
    }
    granted.unwrap_or_else(|| denied("nobody can tell where its code comes from".to_owned()))
}

/// The origins that a grant must speak of: of the code under test and of trusted job code, unless that is the project's own.
fn origins_of(state: &RunState) -> BTreeSet<Origin> {
    let found = origins(&state.event, &state.id, None);
    let foreign: BTreeSet<Origin> =
        [found.source, found.ci].into_iter().filter(|origin| *origin != Origin::Base).collect();
    if foreign.is_empty() { BTreeSet::from([Origin::Base]) } else { foreign }
}

/// The declaration that a node goes back to, and whether another job asked for it.
fn declaration<'a>(state: &'a RunState, node: &'a Node) -> (&'a str, Option<&'a Declaration>, bool) {
    let (mut node, mut triggered, mut seen) = (node, false, 0);
    loop {
        match &node.origin {
            NodeOrigin::Declared(name) => return (name, state.workflow.jobs.get(name), triggered),
            NodeOrigin::Triggered { by, .. } => {
                triggered = true;
                seen += 1;
                match state.node(by).filter(|_| seen <= state.workflow.jobs.len() + 10_000) {
                    Some(parent) => node = parent,
                    None => return (&node.name, None, true),
                }
            }
        }
    }
}

/// Whether the pipeline, as it is applied now, gives the secret to the job: the reach of what is applied would else say
/// less than what a run gets.
fn is_asked_now(catalog: &Catalog, pipeline: &Address, name: &str, secret: &Address) -> Result<(), String> {
    let Some(Spec::Pipeline(spec)) = catalog.get(pipeline).map(|resource| &resource.spec) else {
        return Err(format!("{pipeline} is not applied any more"));
    };
    let Some(job) = spec.jobs.get(name) else {
        return Err(format!("{pipeline} as it is applied now has no job {name:?}"));
    };
    if Effective::of(catalog, pipeline, name, job).secrets.contains(secret) {
        Ok(())
    } else {
        Err(format!("{pipeline} as it is applied now does not name it for this job; start a new run"))
    }
}

fn event_type(value: &serde_json::Value) -> Option<EventType> {
    serde_json::from_value(value.clone()).ok()
}

fn denied(reason: String) -> Access {
    Access::Denied { reason }
}

/// All that was denied, in a sentence for people. `None` where nothing was.
pub fn refusal(decided: &[Decided]) -> Option<String> {
    let mut reasons: BTreeMap<String, String> = BTreeMap::new();
    for one in decided {
        if let Access::Denied { reason } = &one.access {
            let name = one.secret.as_ref().map_or_else(|| one.asked.name.clone(), ToString::to_string);
            reasons.insert(name, reason.clone());
        }
    }
    let texts: Vec<String> = reasons.into_iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    (!texts.is_empty()).then(|| format!("it does not get {}", texts.join("; ")))
}

#[cfg(test)]
mod tests;
