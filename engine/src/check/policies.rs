//! What jobs ask for against what their profile allows, secrets against their keys, and groups against each other.

use std::collections::BTreeMap;

use super::{JobSite, job_sites, span};
use crate::address::Address;
use crate::config::{
    Concurrency, Configuration, Declared, ExecutionProfileSpec, Kind, Network, Resources, RunAs, RunnerMode,
    Spec,
};
use crate::diagnostic::{Diagnostic, Span};
use crate::diff::join;
use crate::glob::Glob;
use crate::placeholder;

pub fn check(configuration: &Configuration) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut groups: BTreeMap<&str, (&Concurrency, Span)> = BTreeMap::new();
    for declared in configuration.resources.values() {
        for site in job_sites(declared) {
            ceiling(configuration, &site, &mut found);
            secret_keys(configuration, &site, &mut found);
            if let Some(concurrency) = &site.job.concurrency {
                group(&mut groups, concurrency, site.span("concurrency"), &mut found);
            }
        }
        if let Spec::Pipeline(spec) = &declared.resource.spec
            && let Some(concurrency) = &spec.concurrency
        {
            group(&mut groups, concurrency, span(declared, "/spec/concurrency"), &mut found);
        }
    }
    found
}

fn group<'a>(
    groups: &mut BTreeMap<&'a str, (&'a Concurrency, Span)>,
    concurrency: &'a Concurrency,
    at: Span,
    found: &mut Vec<Diagnostic>,
) {
    let (first, first_at) = groups.entry(&concurrency.group).or_insert((concurrency, at));
    if *first != concurrency {
        let message = format!("the group {:?} has another limit or mode elsewhere", concurrency.group);
        let diagnostic = Diagnostic::error("RC1060", message).at(at).related(*first_at, "first here");
        found.push(diagnostic.hint("say the same in both places"));
    }
}

/// The profile of a job, where it names one or its project does, with the place that says so.
fn profile_of<'a>(
    configuration: &'a Configuration,
    site: &JobSite<'_>,
) -> Option<(&'a Declared, &'a ExecutionProfileSpec)> {
    let project = site.declared.resource.metadata.project.as_deref();
    let default =
        project.and_then(|name| configuration.resources.get(&Address::new(Kind::Project, None, name)));
    let default = default.and_then(|declared| match &declared.resource.spec {
        Spec::Project(spec) => spec.default_profile.as_deref(),
        _ => None,
    });
    let own = site.job.profile.as_deref();
    // What a template leaves open, its user may say.
    let name = if site.is_template || site.job.template.is_some() { own } else { own.or(default) }?;
    let declared = configuration.resources.get(&Address::new(Kind::ExecutionProfile, None, name))?;
    match &declared.resource.spec {
        Spec::ExecutionProfile(spec) => Some((declared, spec)),
        _ => None,
    }
}

fn ceiling(configuration: &Configuration, site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let job = site.job;
    let Some((declared, profile)) = profile_of(configuration, site) else { return };
    let name = &declared.resource.metadata.name;
    let mut refuse = |field: &str, what: String, rule: &str| {
        let diagnostic = Diagnostic::error("RC1061", format!("the profile {name:?} does not allow {what}"));
        let diagnostic = diagnostic.at(site.span(field)).related(span(declared, rule), "what it allows");
        found.push(diagnostic.hint("ask for less, or name a profile that allows it"));
    };
    let wants_root = match &job.run_as {
        Some(RunAs::Id(id)) => *id == 0,
        Some(RunAs::Text(text)) => text == "root" || text.split(':').next() == Some("0"),
        None => false,
    };
    if wants_root && !profile.root {
        refuse("run_as", "root".to_owned(), "/spec/root");
    }
    for (index, capability) in job.capabilities.iter().enumerate() {
        if !profile.capabilities.contains(capability) {
            refuse(
                &format!("capabilities/{index}"),
                format!("the capability {capability}"),
                "/spec/capabilities",
            );
        }
    }
    let matches = |patterns: &[String], text: &str| {
        patterns.iter().any(|pattern| Glob::new(pattern).is_ok_and(|glob| glob.is_match(text)))
    };
    for (index, device) in job.devices.iter().enumerate() {
        if !matches(&profile.devices, device) {
            refuse(&format!("devices/{index}"), format!("the device {device}"), "/spec/devices");
        }
    }
    if !profile.networks.is_empty() && !profile.networks.contains(&job.network) {
        let word = if job.network == Network::None { "none" } else { "isolated" };
        refuse("network", format!("the network {word}"), "/spec/networks");
    }
    if let Some(image) = job.image.as_ref().filter(|image| placeholder::find(image).is_empty()) {
        if !profile.images.is_empty() && !matches(&profile.images, image) {
            refuse("image", format!("the image {image}"), "/spec/images");
        }
        if profile.require_digest && !image.contains("@sha256:") {
            refuse("image", "an image without a digest".to_owned(), "/spec/require_digest");
        }
    }
    if job.runner == RunnerMode::None && !profile.bare_images {
        refuse("runner", "runner: none".to_owned(), "/spec/bare_images");
    }
    if let (Some(timeout), Some(most)) = (job.timeout, profile.max_timeout)
        && timeout > most
    {
        refuse("timeout", format!("a timeout of {timeout}, more than {most}"), "/spec/max_timeout");
    }
    if let (Some(wanted), Some(most)) = (&job.resources, &profile.limits) {
        for (field, wanted, most) in beyond(wanted, most) {
            refuse(
                &format!("resources/{field}"),
                format!("{field} {wanted}, more than {most}"),
                &format!("/spec/limits/{field}"),
            );
        }
    }
}

fn beyond(wanted: &Resources, most: &Resources) -> Vec<(&'static str, String, String)> {
    fn over<T: PartialOrd + ToString>(
        field: &'static str,
        wanted: Option<T>,
        most: Option<T>,
    ) -> Option<(&'static str, String, String)> {
        let (wanted, most) = (wanted?, most?);
        (wanted > most).then(|| (field, wanted.to_string(), most.to_string()))
    }
    [
        over("cpu", wanted.cpu, most.cpu),
        over("memory", wanted.memory, most.memory),
        over("disk", wanted.disk, most.disk),
        over("pids", wanted.pids, most.pids),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// That the keys which jobs name are keys which the secret declares.
fn secret_keys(configuration: &Configuration, site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let named = site.job.secrets.iter().map(|(variable, secret)| (join("secrets", variable), secret.clone()));
    let in_environment = site.job.environment.iter().flat_map(|(variable, value)| {
        let secrets =
            placeholder::find(value).into_iter().filter(|placeholder| placeholder.namespace == "secret");
        secrets.map(|placeholder| (join("environment", variable), placeholder.name)).collect::<Vec<_>>()
    });
    for (field, text) in named.chain(in_environment) {
        let Some((name, key)) = text.split_once(':') else { continue };
        let own = site.declared.resource.metadata.project.as_deref();
        let candidates = [
            own.map(|project| Address::new(Kind::Secret, Some(project), name)),
            Some(Address::new(Kind::Secret, None, name)),
        ];
        let declared =
            candidates.into_iter().flatten().find_map(|address| configuration.resources.get(&address));
        let Some(Spec::Secret(secret)) = declared.map(|declared| &declared.resource.spec) else { continue };
        if !secret.keys.iter().any(|known| known == key) {
            let diagnostic = Diagnostic::error("RC1062", format!("the secret {name:?} has no key {key:?}"));
            let keys: Vec<&str> = secret.keys.iter().map(String::as_str).collect();
            found.push(
                diagnostic
                    .at(site.span(field.trim_start_matches('/')))
                    .hint(format!("its keys are {}", keys.join(", "))),
            );
        }
    }
}
