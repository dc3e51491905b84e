//! Reach: which job could read which secret, on which event, branch and origin, with which profile.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pattern::{glob_matches, intersection};
use crate::address::Address;
use crate::config::{
    Catalog, EventType, ExecutionProfileSpec, Grant, Job, Kind, Origin, PipelineSpec, ProfileSecrets,
    Resource, Spec,
};
use crate::placeholder;
use crate::reference::secret_name;

/// One way to a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ReachRow {
    /// The secret.
    pub secret: Address,
    /// The pipeline.
    pub pipeline: Address,
    /// The job in it.
    pub job: String,
    /// The event that starts it.
    pub event: EventType,
    /// The branches or tags on which, as one pattern; `**` is any.
    pub branch: String,
    /// Where the code under test may come from.
    pub origin: Origin,
    /// The profile of the job.
    pub profile: String,
}

/// Every way to every secret: what jobs ask for, as far as policies grant it and profiles allow it.
pub fn reach(catalog: &Catalog) -> BTreeSet<ReachRow> {
    let policies: Vec<_> = catalog
        .values()
        .filter_map(|resource| match &resource.spec {
            Spec::SecretPolicy(spec) => Some(spec),
            _ => None,
        })
        .collect();
    let grants = by_project(policies.iter().flat_map(|policy| &policy.allow));
    let denials = by_project(policies.iter().flat_map(|policy| &policy.deny));
    let mut rows = BTreeSet::new();
    if grants.is_empty() {
        return rows;
    }
    let schedules = scheduled(catalog);
    for (address, resource) in catalog {
        let Spec::Pipeline(pipeline) = &resource.spec else { continue };
        let project = address.project.as_deref().unwrap_or_default();
        let (Some(grants), denials) = (grants.get(project), denials.get(project)) else { continue };
        let starts = starts(pipeline, schedules.get(address));
        for (name, job) in &pipeline.jobs {
            let job = Effective::of(catalog, address, name, job);
            if job.profile_secrets == ProfileSecrets::None {
                continue;
            }
            for secret in &job.secrets {
                let granted = grants.iter().flat_map(|grant| granted(grant, secret, address, &job, &starts));
                let is_denied =
                    |row: &ReachRow| denials.into_iter().flatten().any(|one| denied(one, row, catalog));
                rows.extend(granted.filter(|row| !is_denied(row)));
            }
        }
    }
    rows
}

/// Grants or denials by the project that they speak of.
fn by_project<'a>(grants: impl Iterator<Item = &'a Grant>) -> BTreeMap<&'a str, Vec<&'a Grant>> {
    let mut index: BTreeMap<&str, Vec<&Grant>> = BTreeMap::new();
    grants.for_each(|grant| index.entry(&grant.to.project).or_default().push(grant));
    index
}

/// A job with what it takes from its templates, presets and profile, as far as secrets are concerned.
pub(super) struct Effective {
    pub(super) name: String,
    pub(super) secrets: BTreeSet<Address>,
    pub(super) profile: String,
    pub(super) deploys_to: Option<String>,
    pub(super) profile_secrets: ProfileSecrets,
}

impl Effective {
    pub(super) fn of(catalog: &Catalog, pipeline: &Address, name: &str, job: &Job) -> Self {
        let project = pipeline.project.as_deref();
        let layers = layers(catalog, project, job);
        let mut secrets = BTreeSet::new();
        for layer in &layers {
            let variables = |text: &str| substitute(text, &layers);
            for used in layer.secrets.values() {
                secrets.extend(find_secret(catalog, project, secret_name(&variables(&used.secret))));
            }
            let steps = layer.steps.iter().flat_map(|step| step.environment.values());
            let presets = layer.presets.iter().chain(&layer.deploys_to);
            let presets = presets.filter_map(|preset| {
                match &find(catalog, Kind::Environment, project, preset)?.1.spec {
                    Spec::Environment(spec) => Some(spec.variables.values()),
                    _ => None,
                }
            });
            for text in layer.environment.values().chain(steps).chain(presets.flatten()) {
                for found in placeholder::find(&variables(text)) {
                    if found.namespace == "secret" {
                        secrets.extend(find_secret(catalog, project, secret_name(&found.name)));
                    }
                }
            }
        }
        let project_profile = project.and_then(|project| {
            match &catalog.get(&Address::new(Kind::Project, None, project))?.spec {
                Spec::Project(spec) => spec.default_profile.clone(),
                _ => None,
            }
        });
        let profile = layers
            .iter()
            .find_map(|layer| layer.profile.clone())
            .or(project_profile)
            .unwrap_or_else(|| "trusted".to_owned());
        let profile_secrets = profile_of(catalog, &profile).map_or(ProfileSecrets::None, |spec| spec.secrets);
        let deploys_to = layers.iter().find_map(|layer| layer.deploys_to.clone());
        Self { name: name.to_owned(), secrets, profile, deploys_to, profile_secrets }
    }
}

/// The profile of a name, declared or built in.
pub(super) fn profile_of(catalog: &Catalog, name: &str) -> Option<ExecutionProfileSpec> {
    match catalog.get(&Address::new(Kind::ExecutionProfile, None, name)).map(|resource| &resource.spec) {
        Some(Spec::ExecutionProfile(spec)) => Some((**spec).clone()),
        _ => built_in_profile(name),
    }
}

/// The two profiles that need no declaration.
fn built_in_profile(name: &str) -> Option<ExecutionProfileSpec> {
    match name {
        "trusted" => {
            Some(ExecutionProfileSpec { secrets: ProfileSecrets::Granted, ..ExecutionProfileSpec::default() })
        }
        "untrusted" => Some(ExecutionProfileSpec::default()),
        _ => None,
    }
}

/// A job and the templates that it is made from, the nearest first.
pub(super) fn layers<'a>(catalog: &'a Catalog, project: Option<&str>, job: &'a Job) -> Vec<&'a Job> {
    let mut layers = vec![job];
    // A circle of templates is an error elsewhere; here it only must not go on for ever.
    while let Some(template) = layers.last().and_then(|job| job.template.as_deref())
        && layers.len() <= 32
    {
        match find(catalog, Kind::JobTemplate, project, template).map(|(_, resource)| &resource.spec) {
            Some(Spec::JobTemplate(spec)) => layers.push(&spec.job),
            _ => break,
        }
    }
    layers
}

/// Puts parameters given by nearer layers into a text of a template.
fn substitute(text: &str, layers: &[&Job]) -> String {
    let mut result = text.to_owned();
    for found in placeholder::find(text).into_iter().rev().filter(|found| found.namespace == "param") {
        let value = layers.iter().find_map(|layer| layer.parameters.get(&found.name));
        if let Some(value) = value {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            result.replace_range(found.range, &value);
        }
    }
    result
}

fn find<'a>(
    catalog: &'a Catalog,
    kind: Kind,
    project: Option<&str>,
    name: &str,
) -> Option<(&'a Address, &'a Resource)> {
    let own = project.and_then(|project| catalog.get_key_value(&Address::new(kind, Some(project), name)));
    let found = own.or_else(|| catalog.get_key_value(&Address::new(kind, None, name)));
    found.map(|(address, resource)| (address, &**resource))
}

pub(super) fn find_secret(catalog: &Catalog, project: Option<&str>, name: &str) -> Option<Address> {
    find(catalog, Kind::Secret, project, name).map(|(address, _)| address.clone())
}

/// One way to start a pipeline.
struct Start {
    event: EventType,
    branches: Vec<String>,
    tags: Vec<String>,
    origins: &'static [Origin],
}

/// The pipelines that schedules start, with the branches.
fn scheduled(catalog: &Catalog) -> BTreeMap<Address, Vec<String>> {
    let mut schedules: BTreeMap<Address, Vec<String>> = BTreeMap::new();
    for resource in catalog.values() {
        if let Spec::Schedule(spec) = &resource.spec {
            let pipeline = Address::new(Kind::Pipeline, resource.metadata.project.as_deref(), &spec.pipeline);
            schedules.entry(pipeline).or_default().extend(spec.branch.clone());
        }
    }
    schedules
}

/// Every way to start a pipeline: its triggers, its schedules, a person and a program.
fn starts(pipeline: &PipelineSpec, schedule: Option<&Vec<String>>) -> Vec<Start> {
    let start = |event, branches: &[String], tags: &[String]| Start {
        event,
        branches: branches.to_vec(),
        tags: tags.to_vec(),
        origins: origins(event),
    };
    let mut starts: Vec<_> = pipeline.triggers.iter().map(|t| start(t.event, &t.branches, &t.tags)).collect();
    if let Some(branches) = schedule {
        starts.push(start(EventType::Schedule, branches, &[]));
    }
    starts.push(start(EventType::Manual, &[], &[]));
    starts.push(start(EventType::Api, &[], &[]));
    starts
}

/// Where the code of an event may come from.
fn origins(event: EventType) -> &'static [Origin] {
    match event {
        EventType::Push | EventType::Tag | EventType::Schedule => &[Origin::Base, Origin::Unverified],
        EventType::PullRequest => &[Origin::Head, Origin::Fork, Origin::Unverified],
        EventType::Manual | EventType::Api | EventType::Webhook => {
            &[Origin::Base, Origin::Head, Origin::Fork, Origin::Unverified]
        }
    }
}

pub(super) fn covers(grant: &Grant, secret: &Address, pipeline: &Address, job: &str) -> bool {
    Some(grant.to.project.as_str()) == pipeline.project.as_deref()
        && grant.to.pipeline.as_ref().is_none_or(|name| *name == pipeline.name)
        && (grant.to.jobs.is_empty() || grant.to.jobs.iter().any(|name| name == job))
        && grant.secrets.iter().any(|pattern| glob_matches(pattern, &secret.name))
}

fn granted(
    grant: &Grant,
    secret: &Address,
    pipeline: &Address,
    job: &Effective,
    starts: &[Start],
) -> Vec<ReachRow> {
    if !covers(grant, secret, pipeline, &job.name) {
        return Vec::new();
    }
    let when = grant.when.clone().unwrap_or_else(|| crate::config::Circumstances {
        origins: vec![Origin::Base],
        ..crate::config::Circumstances::default()
    });
    let profile_matches = when.profiles.is_empty() || when.profiles.contains(&job.profile);
    let environment_matches = when.environments.is_empty()
        || job.deploys_to.as_ref().is_some_and(|e| when.environments.contains(e));
    if !profile_matches || !environment_matches {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for start in starts.iter().filter(|start| when.events.is_empty() || when.events.contains(&start.event)) {
        let branches = match (start.event, when.branches.is_empty(), when.tags.is_empty()) {
            // A grant for branches alone speaks of no tag, and one for tags alone of no branch.
            (EventType::Tag, false, true) => Vec::new(),
            (EventType::Tag, _, _) => intersection(&start.tags, &when.tags),
            (_, true, false) => Vec::new(),
            _ => intersection(&start.branches, &when.branches),
        };
        for branch in branches {
            for origin in start.origins.iter().filter(|origin| when.origins.contains(origin)) {
                rows.push(ReachRow {
                    secret: secret.clone(),
                    pipeline: pipeline.clone(),
                    job: job.name.clone(),
                    event: start.event,
                    branch: branch.clone(),
                    origin: *origin,
                    profile: job.profile.clone(),
                });
            }
        }
    }
    rows
}

/// Whether a denial takes a whole row away. One that speaks of less than the row leaves it.
fn denied(denial: &Grant, row: &ReachRow, catalog: &Catalog) -> bool {
    if !covers(denial, &row.secret, &row.pipeline, &row.job) {
        return false;
    }
    let Some(when) = &denial.when else { return true };
    let deploys_to = || match catalog.get(&row.pipeline).map(|resource| &resource.spec) {
        Some(Spec::Pipeline(spec)) => spec
            .jobs
            .get(&row.job)
            .and_then(|job| Effective::of(catalog, &row.pipeline, &row.job, job).deploys_to),
        _ => None,
    };
    let patterns = if row.event == EventType::Tag { &when.tags } else { &when.branches };
    let other = if row.event == EventType::Tag { &when.branches } else { &when.tags };
    (when.events.is_empty() || when.events.contains(&row.event))
        && (patterns.is_empty() && other.is_empty()
            || patterns.iter().any(|pattern| {
                *pattern == row.branch || pattern == "**" || is_plain_match(pattern, &row.branch)
            }))
        && (when.origins.is_empty() || when.origins.contains(&row.origin))
        && (when.profiles.is_empty() || when.profiles.contains(&row.profile))
        && (when.environments.is_empty() || deploys_to().is_some_and(|e| when.environments.contains(&e)))
}

fn is_plain_match(pattern: &str, branch: &str) -> bool {
    !branch.contains(['*', '?', '[', '{', '∩']) && glob_matches(pattern, branch)
}
