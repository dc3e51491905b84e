//! From a pipeline to what can run: templates, presets, profile and defaults applied, nothing left to look up.
//!
//! A [`Workflow`] holds everything that a run depends on, so that what is applied while a run goes on cannot
//! change it, and a retried attempt runs what the first one ran.

mod analyse;
mod ceiling;
mod event_code;
mod expand;
mod inputs;
mod names;
mod profile;
mod template;
mod whole;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use analyse::{Problem, analyse};
pub use expand::{Instance, MAX_INSTANCES, expand_items, expand_matrix, item_value, replace_matrix};
pub use inputs::InputError;
pub(crate) use names::unknown_names;
pub(crate) use profile::DEFAULT as DEFAULT_PROFILE;
pub use profile::Profile;
pub use template::check_value;
pub(crate) use template::text_of;
pub(crate) use whole::{NOTHING_TO_RUN, Shortcoming, contradictions, missing, unknown_to_steps};

use crate::address::Address;
use crate::config::{
    Catalog, Concurrency, ConcurrencyMode, Configuration, Job, JobTemplateSpec, Kind, Parameter, ProjectSpec,
    Protection, Resource, Source, Spec,
};
use crate::diff::join;

/// A pipeline, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// The pipeline.
    pub address: Address,
    /// The first values of the run's variables.
    pub vars: BTreeMap<String, Value>,
    /// What whoever starts the run may set.
    pub inputs: BTreeMap<String, Parameter>,
    /// The group that a run of it needs a place in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// The jobs.
    pub jobs: BTreeMap<String, Declaration>,
    /// The templates that a triggered job may be made from, by name.
    pub templates: BTreeMap<String, JobTemplateSpec>,
}

/// One job, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declaration {
    /// What it says, all from elsewhere included.
    pub job: Job,
    /// What it may have.
    pub profile: Profile,
    /// What no job of the run may go beyond, whatever its own profile is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Profile>,
    /// Secrets that it asks for and does without, since the ceiling has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// What must hold before it deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
}

impl Declaration {
    /// A job and what it may have.
    pub fn new(job: Job, profile: Profile) -> Self {
        Self { job, profile, ceiling: None, withheld: Vec::new(), protection: None }
    }
}

/// Why a pipeline cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WorkflowError {
    /// A stable code.
    pub code: &'static str,
    /// The job, where it is about one.
    pub job: Option<String>,
    /// Where in the pipeline's document.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

/// How the groups begin of environments that take one deployment at a time.
pub(crate) const ENVIRONMENT: &str = "environment ";

/// What a workflow is resolved from: resources by address, wherever they are.
pub trait Resources {
    /// The resource at an address.
    fn at(&self, address: &Address) -> Option<&Resource>;
    /// All resources of a kind, by address.
    fn of_kind(&self, kind: Kind) -> Box<dyn Iterator<Item = (&Address, &Resource)> + '_>;
}

impl Resources for Catalog {
    fn at(&self, address: &Address) -> Option<&Resource> {
        self.get(address).map(|resource| &**resource)
    }

    fn of_kind(&self, kind: Kind) -> Box<dyn Iterator<Item = (&Address, &Resource)> + '_> {
        Box::new(
            self.range(Address::new(kind, None, "")..)
                .take_while(move |(address, _)| address.kind == kind)
                .map(|(address, resource)| (address, &**resource)),
        )
    }
}

impl Resources for Configuration {
    fn at(&self, address: &Address) -> Option<&Resource> {
        self.resources.get(address).map(|declared| &declared.resource)
    }

    fn of_kind(&self, kind: Kind) -> Box<dyn Iterator<Item = (&Address, &Resource)> + '_> {
        let range = self.resources.range(Address::new(kind, None, "")..);
        let of_kind = range.take_while(move |(address, _)| address.kind == kind);
        Box::new(of_kind.map(|(address, declared)| (address, &declared.resource)))
    }
}

/// Resolves a pipeline. Reports everything that is wrong.
pub fn resolve(resources: &dyn Resources, address: &Address) -> Result<Workflow, Vec<WorkflowError>> {
    let mut workflow = resolve_declared(resources, address)?;
    workflow.templates = Resolver { resources, project: address.project.as_deref() }.templates();
    Ok(workflow)
}

/// The same without the templates that only triggered jobs need.
pub fn resolve_declared(
    resources: &dyn Resources,
    address: &Address,
) -> Result<Workflow, Vec<WorkflowError>> {
    let Some(Spec::Pipeline(pipeline)) = resources.at(address).map(|resource| &resource.spec) else {
        let message = format!("there is no {address}");
        return Err(vec![WorkflowError { code: "RC1041", job: None, pointer: String::new(), message }]);
    };
    let resolver = Resolver { resources, project: address.project.as_deref() };
    let mut jobs = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, job) in &pipeline.jobs {
        match resolver.declaration(job) {
            Ok(declaration) => {
                jobs.insert(name.clone(), declaration);
            }
            Err(Trouble { code, field, message }) => errors.push(WorkflowError {
                code,
                job: Some(name.clone()),
                pointer: format!("{}{field}", join("/spec/jobs", name)),
                message: format!("{name:?}: {message}"),
            }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Workflow {
        address: address.clone(),
        vars: pipeline.vars.clone(),
        inputs: pipeline.inputs.clone(),
        concurrency: pipeline.concurrency.clone(),
        jobs,
        templates: BTreeMap::new(),
    })
}

/// Resolves a job that was made while a run goes on: its template is one of the workflow's.
pub fn resolve_triggered(workflow: &Workflow, job: &Job) -> Result<Job, String> {
    let lookup = |name: &str| workflow.templates.get(name).cloned();
    template::apply(job, &lookup).map_err(|trouble| trouble.message)
}

/// Refuses a job that could not run.
pub(crate) fn refuse(job: &Job) -> Result<(), Trouble> {
    match missing(job).into_iter().chain(contradictions(job)).next() {
        None => Ok(()),
        Some(Shortcoming { code, field, message, .. }) => {
            let field = if field.is_empty() { field } else { format!("/{field}") };
            Err(Trouble { code, ..Trouble::new(&field, message) })
        }
    }
}

/// What is wrong with one job, and in which of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub code: &'static str,
    /// A pointer below the job, beginning with `/`; empty for the job as a whole.
    pub field: String,
    pub message: String,
}

impl Trouble {
    pub(crate) fn new(field: &str, message: impl Into<String>) -> Self {
        Self { code: "RC1041", field: field.to_owned(), message: message.into() }
    }
}

/// The code of a job: its own, or its project's. The event's commit is one of the project's repository; in any other
/// what counts without a ref is what that repository checks out by itself.
pub(crate) fn source_of(own: Option<Source>, project: Option<&Source>) -> Option<Source> {
    let Some(mut own) = own else { return project.cloned() };
    let is_projects = project.is_some_and(|project| (&project.git, &project.hg) == (&own.git, &own.hg));
    if own.reference.is_none() && (own.git.is_some() || own.hg.is_some()) && !is_projects {
        own.reference = Some(own.default_branch.clone().unwrap_or_else(|| "HEAD".to_owned()));
    }
    Some(own)
}

/// A profile of this name, declared or built in.
fn profile_named(resources: &dyn Resources, name: &str) -> Result<Profile, String> {
    let declared = resources.at(&Address::new(Kind::ExecutionProfile, None, name));
    let declared = declared.and_then(|resource| match &resource.spec {
        Spec::ExecutionProfile(spec) => Some(&**spec),
        _ => None,
    });
    Profile::find(name, declared).ok_or_else(|| format!("there is no profile {name:?}"))
}

struct Resolver<'a> {
    resources: &'a dyn Resources,
    project: Option<&'a str>,
}

impl<'a> Resolver<'a> {
    /// A resource that may be the project's own or the workspace's.
    fn either(&self, kind: Kind, name: &str) -> Option<&'a Spec> {
        let own =
            self.project.and_then(|project| self.resources.at(&Address::new(kind, Some(project), name)));
        let found = own.or_else(|| self.resources.at(&Address::new(kind, None, name)));
        found.map(|resource| &resource.spec)
    }

    fn project_spec(&self) -> Option<&'a ProjectSpec> {
        let address = Address::new(Kind::Project, None, self.project?);
        match &self.resources.at(&address)?.spec {
            Spec::Project(spec) => Some(spec),
            _ => None,
        }
    }

    fn declaration(&self, job: &Job) -> Result<Declaration, Trouble> {
        let lookup = |name: &str| match self.either(Kind::JobTemplate, name) {
            Some(Spec::JobTemplate(template)) => Some((**template).clone()),
            _ => None,
        };
        let mut job = template::apply(job, &lookup)?;
        let project = self.project_spec();
        job.source = source_of(job.source, project.and_then(|project| project.source.as_ref()));
        job.ci_source = job.ci_source.or_else(|| project?.ci_source.clone());
        refuse(&job)?;
        job.environment = self.environment(&job)?;
        if let Some((field, name)) = unknown_to_steps(&job).into_iter().next() {
            let message = format!("no secret of the job is carried by {name:?}");
            return Err(Trouble { code: "RC1034", ..Trouble::new(&format!("/{field}"), message) });
        }
        let default = project.and_then(|project| project.default_profile.as_deref());
        let name = job.profile.clone().unwrap_or_else(|| default.unwrap_or(profile::DEFAULT).to_owned());
        let name = name.as_str();
        let profile =
            profile_named(self.resources, name).map_err(|message| Trouble::new("/profile", message))?;
        profile.limit(&mut job)?;
        job.profile = Some(name.to_owned());
        let protection = self.protection(&mut job)?;
        Ok(Declaration { protection, ..Declaration::new(job, profile) })
    }

    /// What the environment demands that a job deploys to. One that takes one deployment at a time is a group.
    fn protection(&self, job: &mut Job) -> Result<Option<Protection>, Trouble> {
        let Some(name) = job.deploys_to.as_deref() else { return Ok(None) };
        let Some(Spec::Environment(environment)) = self.either(Kind::Environment, name) else {
            return Ok(None);
        };
        let Some(protection) = environment.protection.clone() else { return Ok(None) };
        if protection.exclusive {
            if job.concurrency.is_some() {
                let message = format!("the environment {name:?} takes one deployment at a time already");
                return Err(Trouble { code: "RC1060", ..Trouble::new("/concurrency", message) });
            }
            let own = |project: &&str| {
                self.resources.at(&Address::new(Kind::Environment, Some(project), name)).is_some()
            };
            let of = self.project.filter(own).map_or_else(String::new, |project| format!("{project}/"));
            let group = format!("{ENVIRONMENT}{of}{name}");
            job.concurrency = Some(Concurrency { group, limit: 1, mode: ConcurrencyMode::Queue });
        }
        Ok(Some(protection))
    }

    /// Presets, then the environment that is deployed to, then what the job says itself.
    fn environment(&self, job: &Job) -> Result<BTreeMap<String, String>, Trouble> {
        let mut variables = BTreeMap::new();
        let presets = job.presets.iter().map(|name| ("/presets", name));
        for (field, name) in presets.chain(job.deploys_to.iter().map(|name| ("/deploys_to", name))) {
            match self.either(Kind::Environment, name) {
                Some(Spec::Environment(environment)) => variables.extend(environment.variables.clone()),
                _ => return Err(Trouble::new(field, format!("there is no Environment {name:?}"))),
            }
        }
        variables.extend(job.environment.clone());
        Ok(variables)
    }

    fn templates(&self) -> BTreeMap<String, JobTemplateSpec> {
        let mut found = BTreeMap::new();
        // The project's own come last and stand over the workspace's.
        for project in [None, self.project] {
            for (address, resource) in self.resources.of_kind(Kind::JobTemplate) {
                if let Spec::JobTemplate(template) = &resource.spec
                    && address.project.as_deref() == project
                {
                    found.insert(address.name.clone(), (**template).clone());
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
