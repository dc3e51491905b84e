//! Findings: consequences of a change that somebody should accept knowingly, each with a stable code.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ReachRow;
use super::pattern::glob_matches;
use super::reach::{layers, profile_of};
use crate::address::Address;
use crate::config::{
    Acceptance, ApplyMode, Catalog, DeletionPolicy, ExecutionProfileSpec, Job, Kind, Origin, ProfileSecrets,
    Protection, Resource, Source, Spec, TrustAction, TrustRule,
};
use crate::reference::secret_name;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should know.
    Medium,
    /// Somebody must accept it: nothing is applied unattended before.
    High,
}

impl Severity {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The codes there are, with what each weighs and means; docs/findings has a page for each.
pub const CODES: [(&str, Severity, &str); 8] = [
    ("RX101", Severity::High, "a secret can be reached in a new way"),
    ("RX102", Severity::High, "trust was raised"),
    ("RX103", Severity::High, "a protection was removed or weakened"),
    ("RX104", Severity::High, "a worker pool was opened to a profile without secrets"),
    ("RX105", Severity::High, "what a job with a secret is given can come from code that nobody accepted"),
    (
        "RX106",
        Severity::Medium,
        "what runs in a job that reaches a secret changed, or can change without an apply",
    ),
    ("RX107", Severity::High, "a secret is sent to another system"),
    ("RX201", Severity::Medium, "a secret is deleted while a policy still grants it"),
];

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Its code.
    pub code: String,
    /// How much it weighs.
    pub severity: Severity,
    /// The resource that it is about.
    pub subject: Address,
    /// What follows, in a sentence.
    pub message: String,
    /// Particulars, one a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Who accepted it, as the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<Acceptance>,
    /// Whether that acceptance had ended on the date of the plan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
}

impl Finding {
    /// Whether it must be accepted and is not.
    pub fn is_open(&self) -> bool {
        self.severity == Severity::High && (self.acceptance.is_none() || self.expired)
    }
}

/// What a change from one catalog to another brings about, in the order of codes.
pub fn findings(
    before: &Catalog,
    after: &Catalog,
    reach_before: &BTreeSet<ReachRow>,
    reach_after: &BTreeSet<ReachRow>,
    as_of: &str,
) -> Vec<Finding> {
    let mut found = Vec::new();
    new_reach(reach_before, reach_after, &mut found);
    raised_profiles(before, after, &mut found);
    raised_trust(before, after, &mut found);
    raised_repositories(before, after, &mut found);
    lost_protection(before, after, &mut found);
    opened_pools(before, after, &mut found);
    crossings(before, after, reach_before, reach_after, &mut found);
    changed_code(before, after, reach_before, reach_after, &mut found);
    sent_secrets(before, after, &mut found);
    deleted_secrets(before, after, &mut found);
    for finding in &mut found {
        accept(finding, before, after, as_of);
    }
    found.sort();
    found
}

/// Looks for an acceptance at the resource that a finding is about; the latest one counts.
fn accept(finding: &mut Finding, before: &Catalog, after: &Catalog, as_of: &str) {
    let Some(subject) = after.get(&finding.subject).or_else(|| before.get(&finding.subject)) else { return };
    let fitting = subject.metadata.accept.iter().filter(|one| one.finding == finding.code);
    finding.acceptance = fitting.max_by(|a, b| a.until.cmp(&b.until)).cloned();
    finding.expired = finding.acceptance.as_ref().is_some_and(|one| one.until.as_str() < as_of);
}

fn finding(code: &str, subject: &Address, message: String, details: Vec<String>) -> Finding {
    let severity =
        CODES.iter().find(|(known, ..)| *known == code).map_or(Severity::High, |(_, severity, _)| *severity);
    debug_assert!(CODES.iter().any(|(known, ..)| *known == code), "{code} is documented");
    Finding {
        code: code.to_owned(),
        severity,
        subject: subject.clone(),
        message,
        details,
        acceptance: None,
        expired: false,
    }
}

fn snake<T: Serialize>(value: T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn new_reach(before: &BTreeSet<ReachRow>, after: &BTreeSet<ReachRow>, found: &mut Vec<Finding>) {
    let mut groups: BTreeMap<(&Address, &Address, &str), Vec<String>> = BTreeMap::new();
    for row in after.difference(before) {
        let detail = format!(
            "on {} of {}, code from {}, profile {}",
            row.event.as_str(),
            row.names(),
            snake(row.origin),
            row.profile
        );
        groups.entry((&row.secret, &row.pipeline, &row.job)).or_default().push(detail);
    }
    for ((secret, pipeline, job), details) in groups {
        let message = format!("{secret} can be reached in a new way by job {job} of {pipeline}");
        found.push(finding("RX101", pipeline, message, details));
    }
}

fn raised_profiles(before: &Catalog, after: &Catalog, found: &mut Vec<Finding>) {
    for (address, resource) in after {
        let Spec::ExecutionProfile(new) = &resource.spec else { continue };
        let Some(old) = profile_of(before, &address.name) else { continue };
        let details = widened(&old, new);
        if !details.is_empty() {
            found.push(finding("RX102", address, format!("{address} allows more than before"), details));
        }
    }
}

fn widened(old: &ExecutionProfileSpec, new: &ExecutionProfileSpec) -> Vec<String> {
    let mut details = Vec::new();
    let mut check = |wider: bool, what: &str| {
        if wider {
            details.push(what.to_owned());
        }
    };
    check(new.secrets > old.secrets, "secrets: none → granted");
    check(new.allows_identity() && !old.allows_identity(), "identity tokens");
    let any_origin = |spec: &ExecutionProfileSpec| spec.identity == Some(true);
    check(any_origin(new) && !any_origin(old), "identity tokens for code from forks");
    check(new.root && !old.root, "root");
    check(above(old.max_timeout, new.max_timeout), "a longer timeout");
    let (old_limits, new_limits) = (old.limits.unwrap_or_default(), new.limits.unwrap_or_default());
    check(above(old_limits.cpu, new_limits.cpu), "more cpu");
    check(above(old_limits.memory, new_limits.memory), "more memory");
    check(above(old_limits.disk, new_limits.disk), "more disk");
    check(above(old_limits.pids, new_limits.pids), "more processes");
    check(more(&old.capabilities, &new.capabilities), "more capabilities");
    check(more(&old.devices, &new.devices), "more devices");
    check(opened(&old.pools, &new.pools), "more pools");
    check(opened(&old.networks, &new.networks), "more networks");
    check(opened(&old.images, &new.images), "more images");
    check(old.require_digest && !new.require_digest, "images without a digest");
    check(new.bare_images && !old.bare_images, "images without our runner");
    details
}

/// Whether a bound is higher or gone.
fn above<T: PartialOrd>(old: Option<T>, new: Option<T>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => new > old,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn more<T: PartialEq>(old: &[T], new: &[T]) -> bool {
    new.iter().any(|item| !old.contains(item))
}

/// As [`more`], for lists that mean everything when they are empty.
fn opened<T: PartialEq>(old: &[T], new: &[T]) -> bool {
    !old.is_empty() && (new.is_empty() || more(old, new))
}

/// Repositories that may manage pipelines which they could not manage before, or without being asked.
fn raised_repositories(before: &Catalog, after: &Catalog, found: &mut Vec<Finding>) {
    let power = |resource: &Resource| match &resource.spec {
        Spec::Project(spec) => match spec.config.as_ref().map(|config| config.apply) {
            None | Some(ApplyMode::Never) => 0,
            Some(ApplyMode::OnApproval) => 1,
            Some(ApplyMode::OnMerge) => 2,
        },
        _ => 0,
    };
    for (address, resource) in after {
        let Some(old) = before.get(address).map(|resource| power(resource)) else { continue };
        let message = match power(resource) {
            new if new <= old => continue,
            1 => format!("the repository of {address} may manage its pipelines, once somebody approves"),
            _ => format!("the repository of {address} may manage its pipelines without being asked"),
        };
        found.push(finding("RX102", address, message, Vec::new()));
    }
}

fn raised_trust(before: &Catalog, after: &Catalog, found: &mut Vec<Finding>) {
    for (address, resource) in after {
        let Spec::TrustPolicy(new) = &resource.spec else { continue };
        let old = match before.get(address).map(|resource| &resource.spec) {
            Some(Spec::TrustPolicy(old)) => Some(old),
            _ => None,
        };
        let permissive = |rule: &&TrustRule| rule.action > TrustAction::Refuse || rule.head_configuration;
        let wider_projects = old.is_some_and(|old| more(&old.projects, &new.projects));
        let mut details: Vec<String> = new
            .rules
            .iter()
            .filter(permissive)
            .filter(|rule| wider_projects || old.is_none_or(|old| !old.rules.contains(rule)))
            .map(described)
            .collect();
        // The first rule that matches decides, so one less may let a later one decide.
        let lost = old
            .into_iter()
            .flat_map(|old| &old.rules)
            .filter(|rule| rule.action < TrustAction::Run && !new.rules.contains(rule));
        details.extend(lost.map(|rule| format!("no longer: {}", described(rule))));
        if old.is_some_and(|old| {
            old.rules != new.rules && details.is_empty() && old.rules.len() == new.rules.len()
        }) {
            details.push("the rules stand in another order, and the first that matches decides".to_owned());
        }
        if !details.is_empty() {
            let message = format!("{address} may trust more than before");
            found.push(finding("RX102", address, message, details));
        }
    }
    for (address, resource) in before {
        if let Spec::TrustPolicy(old) = &resource.spec
            && !after.contains_key(address)
            && old.rules.iter().any(|rule| rule.action < TrustAction::Run)
        {
            let message = format!("{address} is deleted, and what it held back is decided elsewhere");
            found.push(finding("RX102", address, message, Vec::new()));
        }
    }
}

fn described(rule: &TrustRule) -> String {
    let list =
        |items: Vec<String>, all: &str| if items.is_empty() { all.to_owned() } else { items.join(", ") };
    let events = list(rule.events.iter().map(|event| event.as_str().to_owned()).collect(), "any event");
    let origins = list(rule.origins.iter().map(snake).collect(), "anywhere");
    let profile = rule.profile.as_deref().map(|name| format!(", profile {name}")).unwrap_or_default();
    let actors = if rule.actors.is_some() { ", by some" } else { ", by anybody" };
    let head = if rule.head_configuration { ", with its own configuration" } else { "" };
    format!("{} for {events} from {origins}{actors}{profile}{head}", snake(rule.action))
}

fn lost_protection(before: &Catalog, after: &Catalog, found: &mut Vec<Finding>) {
    for (address, old) in before {
        let new = after.get(address);
        if old.metadata.deletion_policy == DeletionPolicy::Protect
            && new.is_some_and(|new| new.metadata.deletion_policy == DeletionPolicy::Allow)
        {
            let message = format!("{address} is no longer protected from deletion");
            found.push(finding("RX103", address, message, Vec::new()));
        }
        let details = match (&old.spec, new.map(|new| &new.spec)) {
            (Spec::Environment(old), Some(Spec::Environment(new))) => {
                weakened(old.protection.as_ref(), new.protection.as_ref())
            }
            (Spec::Environment(old), _) => weakened(old.protection.as_ref(), None),
            (Spec::SecretPolicy(old), Some(Spec::SecretPolicy(new))) => {
                let lost = old.deny.iter().filter(|grant| !new.deny.contains(grant));
                lost.map(|grant| format!("no longer denied: {}", grant.secrets.join(", "))).collect()
            }
            (Spec::SecretPolicy(old), _) => old
                .deny
                .iter()
                .map(|grant| format!("no longer denied: {}", grant.secrets.join(", ")))
                .collect(),
            (Spec::Pipeline(old), Some(Spec::Pipeline(new))) => {
                let lost = old.jobs.iter().filter_map(|(name, job)| {
                    let environment = job.deploys_to.as_ref()?;
                    let now = new.jobs.get(name)?;
                    (now.deploys_to.as_ref() != Some(environment)).then(|| {
                        format!("job {name} no longer obeys the protection of Environment {environment}")
                    })
                });
                lost.collect()
            }
            _ => Vec::new(),
        };
        if !details.is_empty() {
            found.push(finding("RX103", address, format!("{address} protects less than before"), details));
        }
    }
}

fn weakened(old: Option<&Protection>, new: Option<&Protection>) -> Vec<String> {
    let Some(old) = old else { return Vec::new() };
    let Some(new) = new else { return vec!["its protection is gone".to_owned()] };
    let mut details = Vec::new();
    if wider(old, new, |one| &one.branches) {
        details.push("more branches may be deployed".to_owned());
    }
    if wider(old, new, |one| &one.tags) {
        details.push("more tags may be deployed".to_owned());
    }
    if !old.approvers.is_empty() && (new.approvers.is_empty() || more(&old.approvers, &new.approvers)) {
        details.push("more people may approve, or nobody need".to_owned());
    }
    if old.wait > new.wait {
        details.push("a shorter wait".to_owned());
    }
    if old.exclusive && !new.exclusive {
        details.push("several deployments at a time".to_owned());
    }
    details
}

/// Whether more of something may be deployed: all may while neither branches nor tags are named.
fn wider(old: &Protection, new: &Protection, of: impl Fn(&Protection) -> &Vec<String>) -> bool {
    old.is_selective() && (!new.is_selective() || more(of(old), of(new)))
}

fn opened_pools(before: &Catalog, after: &Catalog, found: &mut Vec<Finding>) {
    for (address, resource) in after {
        let Spec::WorkerPool(new) = &resource.spec else { continue };
        let Some(Spec::WorkerPool(old)) = before.get(address).map(|resource| &resource.spec) else {
            continue;
        };
        let admits = |catalog: &Catalog, profiles: &Option<Vec<String>>| -> BTreeSet<String> {
            let named = catalog.keys().filter(|key| key.kind == Kind::ExecutionProfile).map(|key| &key.name);
            let all = named.cloned().chain(crate::reference::BUILT_IN_PROFILES.map(str::to_owned));
            all.filter(|name| profiles.as_ref().is_none_or(|profiles| profiles.contains(name)))
                .filter(|name| profile_of(catalog, name).is_some_and(|p| p.secrets == ProfileSecrets::None))
                .collect()
        };
        // A profile that is new is admitted by an open pool as before; the pool itself must have changed.
        let old_admits = admits(after, &old.profiles);
        let details: Vec<String> = admits(after, &new.profiles).difference(&old_admits).cloned().collect();
        if !details.is_empty() {
            let message = format!("{address} is opened to a profile without secrets");
            found.push(finding("RX104", address, message, details));
        }
    }
}

/// What jobs with a secret take from jobs that run code which nobody has accepted yet: their outputs and the variables of
/// the run. An output is data, but it may steer a script that holds a secret.
fn crossings(
    before: &Catalog,
    after: &Catalog,
    reach_before: &BTreeSet<ReachRow>,
    reach_after: &BTreeSet<ReachRow>,
    found: &mut Vec<Finding>,
) {
    let had = untrusted_givers(before, reach_before);
    for ((pipeline, job), givers) in untrusted_givers(after, reach_after) {
        let known = had.get(&(pipeline, job));
        let new: Vec<String> = givers
            .iter()
            .filter(|giver| known.is_none_or(|known| !known.contains(*giver)))
            .map(|giver| format!("the job {giver}, which it waits for, runs the code of the event"))
            .collect();
        if !new.is_empty() {
            let message = format!(
                "job {job} of {pipeline}, which reaches a secret, is given what code from head or fork hands on"
            );
            found.push(finding("RX105", pipeline, message, new));
        }
    }
}

/// For each job that reaches a secret on an event whose code nobody has accepted: the jobs that it waits for, directly
/// or not, and that run such code.
fn untrusted_givers<'a>(
    catalog: &Catalog,
    rows: &'a BTreeSet<ReachRow>,
) -> BTreeMap<(&'a Address, &'a str), BTreeSet<String>> {
    let mut givers: BTreeMap<(&Address, &str), BTreeSet<String>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.origin != Origin::Base) {
        let Some(Spec::Pipeline(spec)) = catalog.get(&row.pipeline).map(|resource| &resource.spec) else {
            continue;
        };
        let project = row.pipeline.project.as_deref();
        let mut pending = vec![row.job.as_str()];
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        while let Some(job) = pending.pop().and_then(|name| spec.jobs.get(name)) {
            for needed in &job.depends_on {
                if seen.insert(needed) {
                    pending.push(needed);
                }
            }
        }
        let runs_code = |name: &&&str| {
            let Some(job) = spec.jobs.get(**name) else { return false };
            // A job without a source has nothing of the event but its words.
            !layers(catalog, project, job)
                .iter()
                .any(|layer| layer.source.as_ref().is_some_and(|source| source.none))
        };
        let names: BTreeSet<String> = seen.iter().filter(runs_code).map(|name| (*name).to_owned()).collect();
        if !names.is_empty() {
            givers.entry((&row.pipeline, &row.job)).or_default().extend(names);
        }
    }
    givers
}

fn changed_code(
    before: &Catalog,
    after: &Catalog,
    reach_before: &BTreeSet<ReachRow>,
    reach_after: &BTreeSet<ReachRow>,
    found: &mut Vec<Finding>,
) {
    let jobs = |rows: &BTreeSet<ReachRow>| -> BTreeSet<(Address, String)> {
        rows.iter().map(|row| (row.pipeline.clone(), row.job.clone())).collect()
    };
    let had = jobs(reach_before);
    for (pipeline, name) in jobs(reach_after) {
        let Some(new) = code(after, &pipeline, &name) else { continue };
        let old = code(before, &pipeline, &name).filter(|_| had.contains(&(pipeline.clone(), name.clone())));
        let mut details: Vec<String> = match &old {
            Some(old) => old
                .parts
                .iter()
                .filter(|(part, value)| new.parts[*part] != **value)
                .map(|(part, _)| format!("its {part} changed"))
                .collect(),
            None => Vec::new(),
        };
        let known = old.map(|old| old.mutable).unwrap_or_default();
        details.extend(new.mutable.difference(&known).cloned());
        if !details.is_empty() {
            let message =
                format!("job {name} of {pipeline}, which reaches a secret, may run other code than before");
            found.push(finding("RX106", &pipeline, message, details));
        }
    }
}

/// What a job runs, by part, and which of it can change without an apply.
struct Code {
    parts: BTreeMap<&'static str, serde_json::Value>,
    mutable: BTreeSet<String>,
}

fn code(catalog: &Catalog, pipeline: &Address, name: &str) -> Option<Code> {
    let Spec::Pipeline(spec) = &catalog.get(pipeline)?.spec else { return None };
    let project = match pipeline.project.as_deref() {
        Some(name) => match &catalog.get(&Address::new(Kind::Project, None, name))?.spec {
            Spec::Project(project) => Some(project),
            _ => None,
        },
        None => None,
    };
    let layers = layers(catalog, pipeline.project.as_deref(), spec.jobs.get(name)?);
    let first = |field: fn(&Job) -> Option<serde_json::Value>| layers.iter().find_map(|job| field(job));
    let json = |value: Option<serde_json::Value>| value.unwrap_or_default();
    let image = first(|job| job.image.clone().map(Into::into));
    let ci_source = layers.iter().find_map(|job| job.ci_source.as_ref());
    let ci_source = ci_source.or_else(|| project.and_then(|project| project.ci_source.as_ref()));
    let source = layers.iter().find_map(|job| job.source.as_ref());
    let parameters: Vec<_> = layers.iter().map(|job| serde_json::json!(job.parameters)).collect();
    let mut mutable = BTreeSet::new();
    if let Some(image) = image.as_ref().and_then(serde_json::Value::as_str)
        && !image.contains("@sha256:")
    {
        mutable.insert(format!("its image {image} is named without a digest"));
    }
    if let Some(ci_source) = ci_source.filter(|source| !pinned(source)) {
        let at = ci_source.reference.as_deref().unwrap_or("the default branch");
        mutable.insert(format!("its CI source follows {at}"));
    }
    let code = [
        ("image", json(image)),
        ("command", json(first(|job| job.command.as_ref().map(|command| serde_json::json!(command))))),
        ("steps", json(first(|job| (!job.steps.is_empty()).then(|| serde_json::json!(job.steps))))),
        ("CI source", serde_json::json!(ci_source)),
        ("source", serde_json::json!(source)),
        ("template parameters", parameters.into()),
    ];
    Some(Code { parts: code.into_iter().collect(), mutable })
}

/// Whether a source can only ever be the same content.
fn pinned(source: &Source) -> bool {
    let commit = source.reference.as_deref().is_some_and(|reference| {
        matches!(reference.len(), 40 | 64) && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    source.none || commit || source.checksum.is_some()
}

/// Secrets that open the doors of other systems: whoever answers at that address gets the value.
fn sent_secrets(before: &Catalog, after: &Catalog, found: &mut Vec<Finding>) {
    for (address, resource) in after {
        let Some((secret, to)) = sent(resource) else { continue };
        let known = before
            .values()
            .filter_map(|resource| sent(resource))
            .any(|(other, there)| other == secret && there == to);
        if !known {
            let message = format!("{secret} is sent to {to} by {address}");
            found.push(finding("RX107", address, message, Vec::new()));
        }
    }
}

/// Which secret a resource sends where.
fn sent(resource: &Resource) -> Option<(Address, String)> {
    let Spec::WebhookTarget(spec) = &resource.spec else { return None };
    let secret = Address::new(Kind::Secret, None, secret_name(spec.token.as_ref()?));
    let (scheme, rest) = spec.url.split_once("://")?;
    Some((secret, format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())))
}

fn deleted_secrets(before: &Catalog, after: &Catalog, found: &mut Vec<Finding>) {
    for secret in before.keys().filter(|key| key.kind == Kind::Secret && !after.contains_key(key)) {
        let mut details = Vec::new();
        for (address, resource) in after {
            let Spec::SecretPolicy(policy) = &resource.spec else { continue };
            for grant in &policy.allow {
                let in_scope = secret.project.as_deref().is_none_or(|project| project == grant.to.project);
                if in_scope && grant.secrets.iter().any(|pattern| glob_matches(pattern, &secret.name)) {
                    details.push(format!("{address} grants {}", grant.secrets.join(", ")));
                }
            }
        }
        details.dedup();
        if !details.is_empty() {
            let message = format!("{secret} is deleted while a policy still grants it");
            found.push(finding("RX201", secret, message, details));
        }
    }
}

#[cfg(test)]
mod tests;
