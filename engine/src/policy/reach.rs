//! Reach: which job could read which secret, on which event, branch and origin, with which profile.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pattern::{Names, glob_matches, intersection, matches_all};
use super::trust::TrustPolicies;
use crate::address::Address;
use crate::config::{
    Catalog, Circumstances, EventType, ExecutionProfileSpec, Grant, Job, Kind, Origin, PipelineSpec,
    ProfileSecrets, Protection, Resource, Spec,
};
use crate::glob::selects;
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
    /// The branches or tags on which, as one pattern; `**` is any, `a ∩ b` what both select.
    pub branch: String,
    /// Those of them that it is denied on, as lists of patterns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Vec<String>>,
    /// Where the code under test may come from.
    pub origin: Origin,
    /// The profile that counts: the one that bounds the run, else the job's own.
    pub profile: String,
}

impl ReachRow {
    /// Whether it speaks of a branch or tag.
    pub fn is_on(&self, name: &str) -> bool {
        matches_all(&self.branch, name) && !self.except.iter().any(|list| selects(list, name))
    }

    /// Its branches or tags in words.
    pub fn names(&self) -> String {
        let branch = if self.branch == "**" { "any branch" } else { &self.branch };
        let except: Vec<String> = self.except.iter().map(|list| list.join(", ")).collect();
        if except.is_empty() {
            return branch.to_owned();
        }
        format!("{branch} except {}", except.join(" and "))
    }
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
    let trust = TrustPolicies::of(catalog);
    let mut ways: BTreeMap<&str, Ways> = BTreeMap::new();
    for (address, resource) in catalog {
        let Spec::Pipeline(pipeline) = &resource.spec else { continue };
        let project = address.project.as_deref().unwrap_or_default();
        let (Some(grants), denials) = (grants.get(project), denials.get(project)) else { continue };
        let ways = ways.entry(project).or_insert_with(|| ways_in(catalog, &trust, project));
        let starts = starts(pipeline, schedules.get(address).map_or(&[], Vec::as_slice));
        for (name, job) in &pipeline.jobs {
            let job = Effective::of(catalog, address, name, job);
            if job.profile_secrets == ProfileSecrets::None {
                continue;
            }
            for secret in &job.secrets {
                let grants = grants.iter().filter(|grant| covers(grant, secret, address, name));
                let denials: Vec<&Grant> = denials
                    .into_iter()
                    .flatten()
                    .copied()
                    .filter(|denial| covers(denial, secret, address, name))
                    .collect();
                for grant in grants {
                    rows.extend(granted(grant, &denials, secret, address, &job, &starts, ways));
                }
            }
        }
    }
    rows
}

/// How a run of an event comes in: where its code is from, and the profile that bounds it, if one does.
type Ways = BTreeMap<EventType, Vec<(Origin, Option<String>)>>;

/// Every way in which an event of a project comes in with a profile that has secrets.
fn ways_in(catalog: &Catalog, trust: &TrustPolicies<'_>, project: &str) -> Ways {
    let has_secrets = |ceiling: &Option<String>| {
        ceiling.as_ref().is_none_or(|name| {
            profile_of(catalog, name).is_some_and(|spec| spec.secrets != ProfileSecrets::None)
        })
    };
    let of = |event: EventType| {
        let ways = origins(event).iter().flat_map(|origin| {
            let ceilings = trust.ceilings(project, event, *origin).into_iter().filter(has_secrets);
            ceilings.map(|ceiling| (*origin, ceiling))
        });
        (event, ways.collect())
    };
    EventType::ALL.into_iter().map(of).collect()
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
    /// What the environment takes that it deploys to.
    pub(super) protection: Protection,
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
        let protection = protection_of(catalog, project, deploys_to.as_deref());
        Self { name: name.to_owned(), secrets, profile, deploys_to, profile_secrets, protection }
    }
}

/// The protection of an environment that a job deploys to, if it deploys.
pub(super) fn protection_of(catalog: &Catalog, project: Option<&str>, name: Option<&str>) -> Protection {
    let found = name.and_then(|name| find(catalog, Kind::Environment, project, name));
    match found.map(|(_, resource)| &resource.spec) {
        Some(Spec::Environment(spec)) => spec.protection.clone().unwrap_or_default(),
        _ => Protection::default(),
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
}

/// The pipelines that schedules start, with the branch of each; an empty one where a schedule and its project name none.
fn scheduled(catalog: &Catalog) -> BTreeMap<Address, Vec<String>> {
    let mut schedules: BTreeMap<Address, Vec<String>> = BTreeMap::new();
    for resource in catalog.values() {
        if let Spec::Schedule(spec) = &resource.spec {
            let project = resource.metadata.project.as_deref();
            let usual = || match &catalog.get(&Address::new(Kind::Project, None, project?))?.spec {
                Spec::Project(project) => project.source.as_ref()?.default_branch.clone(),
                _ => None,
            };
            let pipeline = Address::new(Kind::Pipeline, project, &spec.pipeline);
            let branch = spec.branch.clone().or_else(usual).unwrap_or_default();
            schedules.entry(pipeline).or_default().push(branch);
        }
    }
    schedules
}

/// Every way to start a pipeline: its triggers, its schedules, and a person, who needs neither.
fn starts(pipeline: &PipelineSpec, schedules: &[String]) -> Vec<Start> {
    let start = |event, branches: &[String], tags: &[String]| Start {
        event,
        branches: branches.to_vec(),
        tags: tags.to_vec(),
    };
    let mut starts: Vec<_> = pipeline.triggers.iter().map(|t| start(t.event, &t.branches, &t.tags)).collect();
    // A branch that nobody names is any: the list of one name that is empty would select nothing else.
    starts.extend(schedules.iter().map(|branch| match branch.as_str() {
        "" => start(EventType::Schedule, &[], &[]),
        branch => start(EventType::Schedule, &[branch.to_owned()], &[]),
    }));
    starts.push(start(EventType::Manual, &[], &[]));
    starts
}

/// Where the code of an event may come from. That of a push, a tag or a schedule is the project's own, except on one's own
/// machine, where somebody may pretend one of any commit.
fn origins(event: EventType) -> &'static [Origin] {
    match event {
        EventType::PullRequest => &[Origin::Head, Origin::Fork, Origin::Unverified],
        _ => &[Origin::Base, Origin::Unverified],
    }
}

pub(super) fn covers(grant: &Grant, secret: &Address, pipeline: &Address, job: &str) -> bool {
    Some(grant.to.project.as_str()) == pipeline.project.as_deref()
        && grant.to.pipeline.as_ref().is_none_or(|name| *name == pipeline.name)
        && (grant.to.jobs.is_empty() || grant.to.jobs.iter().any(|name| name == job))
        && grant.secrets.iter().any(|pattern| glob_matches(pattern, &secret.name))
}

/// The rows that a grant makes for a job, less what denials take.
fn granted(
    grant: &Grant,
    denials: &[&Grant],
    secret: &Address,
    pipeline: &Address,
    job: &Effective,
    starts: &[Start],
    ways: &Ways,
) -> Vec<ReachRow> {
    let base = || Circumstances { origins: vec![Origin::Base], ..Circumstances::default() };
    let when = grant.when.clone().unwrap_or_else(base);
    if !is_to(&when, job) {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for start in starts {
        let (own, other) = of_event(&when, start.event);
        // A grant for branches alone speaks of no tag, and one for tags alone of no branch.
        if own.is_empty() && !other.is_empty() {
            continue;
        }
        let started = if start.event == EventType::Tag { &start.tags } else { &start.branches };
        let names = intersection(started, own);
        for (origin, ceiling) in ways.get(&start.event).into_iter().flatten() {
            let profile = ceiling.as_ref().unwrap_or(&job.profile);
            if !is_way(&when, start.event, *origin, profile) || !when.origins.contains(origin) {
                continue;
            }
            let kept = names.iter().flat_map(|names| protected(names, start.event, *origin, job));
            let kept = kept.filter_map(|names| undenied(names, denials, start.event, *origin, profile, job));
            rows.extend(kept.map(|Names { of, except }| ReachRow {
                secret: secret.clone(),
                pipeline: pipeline.clone(),
                job: job.name.clone(),
                event: start.event,
                branch: of,
                except,
                origin: *origin,
                profile: profile.clone(),
            }));
        }
    }
    rows
}

/// The patterns of circumstances that an event is held against, and those that it is not.
fn of_event(when: &Circumstances, event: EventType) -> (&[String], &[String]) {
    if event == EventType::Tag { (&when.tags, &when.branches) } else { (&when.branches, &when.tags) }
}

fn is_to(when: &Circumstances, job: &Effective) -> bool {
    when.environments.is_empty()
        || job.deploys_to.as_ref().is_some_and(|name| when.environments.contains(name))
}

fn is_way(when: &Circumstances, event: EventType, origin: Origin, profile: &String) -> bool {
    (when.events.is_empty() || when.events.contains(&event))
        && (when.origins.is_empty() || when.origins.contains(&origin))
        && (when.profiles.is_empty() || when.profiles.contains(profile))
}

/// Of some names, those that a job may deploy.
fn protected(names: &Names, event: EventType, origin: Origin, job: &Effective) -> Vec<Names> {
    if !job.protection.is_selective() {
        return vec![names.clone()];
    }
    match job.protection.of_event(event) {
        [] => Vec::new(),
        _ if origin != Origin::Base => Vec::new(),
        taken => names.within(taken),
    }
}

/// What denials leave of some names.
fn undenied(
    names: Names,
    denials: &[&Grant],
    event: EventType,
    origin: Origin,
    profile: &String,
    job: &Effective,
) -> Option<Names> {
    denials.iter().try_fold(names, |names, denial| {
        let Some(when) = &denial.when else { return None };
        if !is_to(when, job) || !is_way(when, event, origin, profile) {
            return Some(names);
        }
        match of_event(when, event) {
            ([], []) => None,
            ([], _) => Some(names),
            (own, _) => names.without(own),
        }
    })
}
