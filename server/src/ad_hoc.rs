//! A job that somebody asks for directly, without a pipeline: a workflow of one.

use std::collections::BTreeMap;

use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, EventType, Kind, Metadata, Origin, Resource, Spec};
use reactorcide_engine::placeholder::escape;
use reactorcide_engine::runs::RunRecord;
use reactorcide_engine::scheduler::{NewRun, RunState, RunStatus};
use reactorcide_engine::trigger_match::RunEvent;
use reactorcide_engine::workflow;
use serde_json::json;

use crate::conductor::{Start, now};
use crate::start::{StartError, word};

/// What is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdHoc {
    /// The project whose code, profile and share it has.
    pub project: Option<String>,
    /// What it is called.
    pub name: String,
    /// The image of the container.
    pub image: String,
    /// Text for a shell.
    pub command: String,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// The git repository of its code; absent: the project's, else none.
    pub git: Option<String>,
    /// The branch, tag or commit.
    pub reference: Option<String>,
    /// Higher goes first.
    pub priority: Option<i32>,
    /// How long it may take, in seconds.
    pub timeout: Option<u32>,
}

/// What the pipeline of such a job is called where nothing else is.
const NAME: &str = "ad-hoc";

/// Makes a run of it. No secret is given to it, since it names none.
pub fn ad_hoc(
    catalog: &Catalog,
    wanted: AdHoc,
    actor: String,
    key: Option<String>,
) -> Result<Start, StartError> {
    let AdHoc { project, name, image, command, environment, git, reference, priority, timeout } = wanted;
    if let Some(project) = &project
        && !catalog.contains_key(&Address::new(Kind::Project, None, project))
    {
        return Err(StartError::Refused(format!("there is no project {project:?}")));
    }
    let environment: BTreeMap<&String, String> =
        environment.iter().map(|(name, value)| (name, escape(value))).collect();
    let mut job = json!({"image": escape(&image), "command": escape(&command), "environment": environment});
    match (&git, &project) {
        (Some(git), _) => job["source"] = json!({"git": git}),
        (None, None) => job["source"] = json!({"none": true}),
        (None, Some(_)) => {}
    }
    if let (Some(reference), Some(_)) = (&reference, &git) {
        job["source"]["ref"] = json!(reference);
    }
    if let Some(priority) = priority {
        job["priority"] = json!(priority);
    }
    if let Some(timeout) = timeout {
        job["timeout"] = json!(format!("{timeout}s"));
    }
    let refused = |detail: String| StartError::Refused(format!("the job is not valid: {detail}"));
    let spec = Spec::from_value(Kind::Pipeline, json!({"jobs": {&name: job}}))
        .map_err(|error| refused(error.to_string()))?;
    let address = free(catalog, project.as_deref());
    let metadata = Metadata { name: address.name.clone(), project: project.clone(), ..Metadata::default() };
    let mut catalog = catalog.clone();
    catalog.insert(address.clone(), Resource { metadata, spec }.into());
    let mut workflow = workflow::resolve(&catalog, &address).map_err(|errors| {
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        refused(messages.join("; "))
    })?;
    if git.is_none() {
        workflow.take_code_at(&catalog, reference.as_deref());
    }
    let event = RunEvent { origin: Origin::Unverified.as_str().to_owned(), ..RunEvent::of(EventType::Api) };
    let record = RunRecord {
        id: uuid::Uuid::now_v7().to_string(),
        pipeline: address.to_string(),
        project,
        event: word(event.kind),
        actor,
        retry_of: None,
        holder: None,
        started_at: now(),
        ended_at: None,
        status: RunStatus::Running,
    };
    let mut event = event.to_value();
    // Whatever code it is, its command is nothing that a branch of the project has.
    event["source_origin"] = json!(Origin::Unverified);
    let state = RunState::new(NewRun {
        id: record.id.clone(),
        workflow,
        event,
        vars: BTreeMap::new(),
        inputs: BTreeMap::new(),
        selection: None,
    });
    Ok(Start { record, key, state })
}

/// An address that no pipeline has: what is granted to one is not this job's.
fn free(catalog: &Catalog, project: Option<&str>) -> Address {
    let names = std::iter::once(NAME.to_owned()).chain((1..).map(|number| format!("{NAME}-{number}")));
    let mut addresses = names.map(|name| Address::new(Kind::Pipeline, project, &name));
    addresses.find(|address| !catalog.contains_key(address)).expect("there are more names than pipelines")
}
