//! Lists in which nothing may stand twice: a second mention is a slip, and what was meant instead is missing.

use super::{job_sites, span};
use crate::config::{Declared, Spec};
use crate::diagnostic::Diagnostic;

pub fn check(declared: &Declared, found: &mut Vec<Diagnostic>) {
    let mut list = |pointer: &str, what: &str, items: &[String]| {
        for (index, item) in items.iter().enumerate() {
            if let Some(first) = items[..index].iter().position(|earlier| earlier == item) {
                let at = span(declared, &format!("{pointer}/{index}"));
                let first = span(declared, &format!("{pointer}/{first}"));
                let diagnostic =
                    Diagnostic::error("RC1033", format!("the {what} {item:?} stands twice")).at(at);
                found.push(diagnostic.related(first, "first here").hint("remove one of the two"));
            }
        }
    };
    for site in job_sites(declared) {
        let at = |field: &str| format!("{}/{field}", site.pointer);
        list(&at("presets"), "preset", &site.job.presets);
        list(&at("capabilities"), "capability", &site.job.capabilities);
        list(&at("devices"), "device", &site.job.devices);
        if let Some(artifacts) = &site.job.artifacts {
            list(&at("artifacts/paths"), "pattern", &artifacts.paths);
        }
        if let Some(cache) = &site.job.cache {
            list(&at("cache/paths"), "path", &cache.paths);
            list(&at("cache/restore_keys"), "key", &cache.restore_keys);
        }
    }
    match &declared.resource.spec {
        Spec::Secret(spec) => list("/spec/keys", "key", &spec.keys),
        Spec::RoleBinding(spec) => list("/spec/subjects", "subject", &spec.subjects),
        Spec::ExecutionProfile(spec) => {
            list("/spec/pools", "pool", &spec.pools);
            list("/spec/capabilities", "capability", &spec.capabilities);
            list("/spec/devices", "pattern", &spec.devices);
            list("/spec/images", "pattern", &spec.images);
        }
        _ => {}
    }
}
