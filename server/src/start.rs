//! Starts a run of an applied pipeline: what it is told is checked, what it depends on is pinned.

use std::collections::BTreeMap;

use reactorcide_engine::address::Address;
use reactorcide_engine::artifacts::origins;
use reactorcide_engine::config::{Catalog, EventType, Kind, Origin, Spec, TrustAction};
use reactorcide_engine::policy::{Actor, Proposal, Trust, digest, trust};
use reactorcide_engine::proposal::{self, Told};
use reactorcide_engine::runs::RunRecord;
use reactorcide_engine::scheduler::{Admission, NewRun, RunState, RunStatus, Selection};
use reactorcide_engine::suggest::nearest;
use reactorcide_engine::trigger_match::{RunEvent, starts};
use reactorcide_engine::workflow::{self, Workflow};
use serde_json::{Value, json};

use crate::conductor::{Start, now};

/// What is to be run, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The pipeline.
    pub pipeline: Address,
    /// The event that it is started by.
    pub event: RunEvent,
    /// Values of its inputs.
    pub inputs: BTreeMap<String, Value>,
    /// Variables over those that it declares.
    pub vars: BTreeMap<String, Value>,
    /// Only these jobs, and what they wait for where that is said.
    pub selection: Option<Selection>,
    /// Who wants it, for people.
    pub actor: String,
    /// What whoever signed the event tells of the repository that it is about.
    pub told: Option<Told>,
}

/// Why a run cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// There is no such pipeline.
    #[error("there is no pipeline {name:?}")]
    NoPipeline {
        /// What was asked for.
        name: String,
        /// What may be meant.
        hint: Option<String>,
    },
    /// What is applied cannot be run.
    #[error("{0}")]
    Broken(String),
    /// What it is told does not fit.
    #[error("{0}")]
    Refused(String),
}

/// Finds the pipeline that a name means: `PROJECT/NAME`, its address, or a name that only one has.
pub fn find(catalog: &Catalog, name: &str) -> Result<Address, StartError> {
    let pipelines: Vec<&Address> = catalog.keys().filter(|address| address.kind == Kind::Pipeline).collect();
    let long = |address: &Address| match &address.project {
        Some(project) => format!("{project}/{}", address.name),
        None => address.name.clone(),
    };
    let means =
        |address: &&&Address| address.name == name || long(address) == name || address.to_string() == name;
    let found: Vec<&&Address> = pipelines.iter().filter(means).collect();
    match found.as_slice() {
        [one] => Ok((**one).clone()),
        [] => {
            let names: Vec<String> = pipelines.iter().map(|address| long(address)).collect();
            let hint =
                nearest(name, names.iter().map(String::as_str)).map(|name| format!("did you mean {name}?"));
            Err(StartError::NoPipeline { name: name.to_owned(), hint })
        }
        many => {
            let names: Vec<String> = many.iter().map(|address| long(address)).collect();
            Err(StartError::Refused(format!("{name:?} means several pipelines: {}", names.join(", "))))
        }
    }
}

/// Makes a run of what is applied now. From here on it depends on nothing that may change.
pub fn start(catalog: &Catalog, wanted: Wanted, key: Option<String>) -> Result<Start, StartError> {
    let Wanted { pipeline, mut event, inputs, vars, selection, actor, told } = wanted;
    let Some(Spec::Pipeline(spec)) = catalog.get(&pipeline).map(|resource| &resource.spec) else {
        return Err(StartError::NoPipeline { name: pipeline.to_string(), hint: None });
    };
    if let Err(reasons) = starts(spec, &event) {
        let reasons = reasons.join("; ");
        return Err(StartError::Refused(format!("this event does not start {pipeline}: {reasons}")));
    }
    let mut workflow = workflow::resolve(catalog, &pipeline).map_err(|errors| {
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        StartError::Broken(messages.join("; "))
    })?;
    let inputs = workflow.inputs_with(inputs).map_err(|error| StartError::Refused(error.to_string()))?;
    if let Some(selection) = &selection
        && let Some(unknown) = selection.jobs.iter().find(|job| !workflow.jobs.contains_key(*job))
    {
        let hint = nearest(unknown, workflow.jobs.keys().map(String::as_str));
        let hint = hint.map_or_else(String::new, |name| format!("; did you mean {name}?"));
        return Err(StartError::Refused(format!("{pipeline} has no job {unknown:?}{hint}")));
    }
    let id = uuid::Uuid::now_v7().to_string();
    let entry = enter(catalog, &workflow, &mut event, told.as_ref(), &id)?;
    if let Some(ceiling) = &entry.trust.profile {
        workflow.bound_by(catalog, ceiling).map_err(StartError::Broken)?;
    }
    match &entry.fork {
        Some(repository) => workflow.take_code_from(catalog, repository, &event.sha),
        None => workflow.take_code_at(catalog, reference(&event).as_deref()),
    };
    let record = RunRecord {
        id: id.clone(),
        pipeline: pipeline.to_string(),
        project: pipeline.project.clone(),
        event: word(event.kind),
        actor,
        retry_of: None,
        holder: None,
        started_at: now(),
        ended_at: None,
        status: RunStatus::Running,
    };
    let mut facts = event.to_value();
    facts["source_origin"] = json!(entry.origin);
    if let Some(ceiling) = &entry.trust.profile {
        facts["ceiling"] = json!(ceiling);
    }
    let deploys = workflow.jobs.values().any(|declaration| declaration.protection.is_some());
    if entry.admission.is_some() || deploys {
        facts["policy_digest"] = json!(digest(catalog, &pipeline));
    }
    let mut state = RunState::new(NewRun { id, workflow, event: facts, vars, inputs, selection });
    state.admission = entry.admission;
    Ok(Start { record, key, state })
}

/// How an event comes in.
struct Entry {
    /// Where its code comes from.
    origin: Origin,
    /// What a trust policy makes of it.
    trust: Trust,
    /// What somebody has to approve first.
    admission: Option<Admission>,
    /// The other repository that its code is in.
    fork: Option<String>,
}

/// Decides how an event comes in: where its code comes from, by what is known of the repositories and not by what it says
/// of itself, and what the trust policies that are applied make of that.
fn enter(
    catalog: &Catalog,
    workflow: &Workflow,
    event: &mut RunEvent,
    told: Option<&Told>,
    run: &str,
) -> Result<Entry, StartError> {
    let origin = match told {
        Some(told) => {
            event.number = told.number;
            let name = |who: &Option<Actor>| who.as_ref().map_or_else(String::new, |who| who.user.clone());
            event.author = name(if told.author.is_some() { &told.author } else { &told.actor });
            // Who only opens it again, or gives it a label, has no part in what it is.
            if ["", "opened", "synchronize"].contains(&event.action.as_str()) {
                event.pushed_by = name(&told.actor);
            }
            proposal::origin(workflow.project_source(catalog).as_ref(), event.kind, told)
                .map_err(|error| StartError::Refused(error.to_string()))?
        }
        None => origins(&event.to_value(), run, None).source,
    };
    event.origin = origin.as_str().to_owned();
    let pipeline = &workflow.address;
    let people = told.map_or_else(Vec::new, Told::people);
    let trust = trust(
        catalog,
        &Proposal {
            project: pipeline.project.as_deref().unwrap_or_default(),
            event: event.kind,
            origin,
            people: &people,
            changed_files: &event.changed_files,
            changes_more: told.is_some_and(|told| told.changes_more),
        },
    );
    let said = trust.rule.as_ref().map_or_else(
        || "no trust policy speaks of it".to_owned(),
        |(policy, index)| {
            let unclear = if trust.unclear { ", which asks for what nobody has told" } else { "" };
            format!("{policy}, rule {}{unclear}", index + 1)
        },
    );
    let admission = match trust.action {
        TrustAction::Refuse => {
            return Err(StartError::Refused(format!("the trust policy refuses it ({said})")));
        }
        TrustAction::Run => None,
        TrustAction::RequireApproval => Some(Admission {
            author: event.author.clone(),
            pushed_by: event.pushed_by.clone(),
            reason: said,
            number: event.number,
            head: event.sha.clone(),
            base: told.and_then(|told| told.base.as_ref()).map_or_else(String::new, |base| base.sha.clone()),
            profile: trust.profile.clone(),
            policy: digest(catalog, pipeline),
        }),
    };
    let fork = told.filter(|_| origin == Origin::Fork).map(|told| told.head.repository.clone());
    Ok(Entry { origin, trust, admission, fork })
}

/// What an event names of a repository where it gives no commit: the tag, else the branch.
fn reference(event: &RunEvent) -> Option<String> {
    if !event.sha.is_empty() {
        None
    } else if !event.tag.is_empty() {
        Some(format!("refs/tags/{}", event.tag))
    } else if !event.branch.is_empty() && event.kind != EventType::PullRequest {
        Some(format!("refs/heads/{}", event.branch))
    } else {
        None
    }
}

/// The word for a type of event.
pub(crate) fn word(kind: EventType) -> String {
    let value = serde_json::to_value(kind).unwrap_or_default();
    value.as_str().unwrap_or("manual").to_owned()
}
