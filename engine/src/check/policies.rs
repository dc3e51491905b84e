//! What jobs ask for against what their profile allows, secrets against their keys, and groups against each other.

use std::collections::BTreeMap;

use super::{JobSite, job_sites, span};
use crate::address::Address;
use crate::config::{Concurrency, Configuration, Declared, Kind, Spec};
use crate::diagnostic::{Diagnostic, Span};
use crate::diff::join;
use crate::placeholder;
use crate::workflow::{DEFAULT_PROFILE, Profile};

pub fn check(configuration: &Configuration) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut groups: BTreeMap<&str, (&Concurrency, Span)> = BTreeMap::new();
    for declared in configuration.resources.values() {
        token_key(configuration, declared, &mut found);
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

/// The profile of a job, with its document; a built-in one has none.
fn profile_of<'a>(
    configuration: &'a Configuration,
    site: &JobSite<'_>,
) -> Option<(Profile, Option<&'a Declared>)> {
    let own = site.job.profile.as_deref();
    let name = match own {
        Some(own) => own,
        // What a template leaves open, its user may say.
        None if site.is_template || site.job.template.is_some() => return None,
        None => {
            let project = site.declared.resource.metadata.project.as_deref()?;
            let address = Address::new(Kind::Project, None, project);
            match &configuration.resources.get(&address)?.resource.spec {
                Spec::Project(spec) => spec.default_profile.as_deref().unwrap_or(DEFAULT_PROFILE),
                _ => return None,
            }
        }
    };
    let declared = configuration.resources.get(&Address::new(Kind::ExecutionProfile, None, name));
    let spec = declared.and_then(|declared| match &declared.resource.spec {
        Spec::ExecutionProfile(spec) => Some(&**spec),
        _ => None,
    });
    Some((Profile::find(name, spec)?, declared))
}

fn ceiling(configuration: &Configuration, site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let Some((profile, declared)) = profile_of(configuration, site) else { return };
    for excess in profile.excesses(site.job) {
        let at = site.span(excess.field.trim_start_matches('/'));
        let mut diagnostic = Diagnostic::error("RC1061", profile.refusal(&excess)).at(at);
        if let Some(declared) = declared {
            diagnostic = diagnostic.related(span(declared, excess.rule), "what it allows");
        }
        found.push(diagnostic.hint("ask for less, or name a profile that allows it"));
    }
}

/// That the key which a WebhookTarget names is one that the secret declares.
fn token_key(configuration: &Configuration, declared: &Declared, found: &mut Vec<Diagnostic>) {
    let Spec::WebhookTarget(spec) = &declared.resource.spec else { return };
    let Some((name, key)) = spec.token.as_deref().and_then(|token| token.split_once(':')) else { return };
    let secret = configuration.resources.get(&Address::new(Kind::Secret, None, name));
    let Some(Spec::Secret(secret)) = secret.map(|declared| &declared.resource.spec) else { return };
    if !secret.keys.iter().any(|known| known == key) {
        let diagnostic = Diagnostic::error("RC1062", format!("the secret {name:?} has no key {key:?}"));
        let hint = format!("its keys are {}", secret.keys.join(", "));
        found.push(diagnostic.at(span(declared, "/spec/token")).hint(hint));
    }
}

/// That the keys which jobs name are keys which the secret declares.
fn secret_keys(configuration: &Configuration, site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let named =
        site.job.secrets.iter().map(|(variable, secret)| (join("secrets", variable), secret.secret.clone()));
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
