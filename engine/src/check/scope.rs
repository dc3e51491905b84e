//! What a project's own repository may declare.

use super::span;
use crate::config::{Configuration, Kind};
use crate::diagnostic::Diagnostic;

/// The kinds that a project's repository may declare: what runs, never who may.
const KINDS: [Kind; 3] = [Kind::Pipeline, Kind::JobTemplate, Kind::Schedule];

/// What a repository declares beyond its project.
pub fn scope(configuration: &Configuration, project: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (address, declared) in &configuration.resources {
        if !KINDS.contains(&address.kind) {
            let message = format!("the repository of a project may not declare a {}", address.kind);
            found.push(
                Diagnostic::error("RC1070", message)
                    .at(span(declared, "/kind"))
                    .hint("its Pipelines, JobTemplates and Schedules only; the rest belongs to the workspace's configuration"),
            );
        } else if address.project.as_deref() != Some(project) {
            let message =
                format!("this is the repository of the project {project}, and {address} is not in it");
            found.push(
                Diagnostic::error("RC1070", message)
                    .at(span(declared, "/metadata/project"))
                    .hint(format!("write `project: {project}` in its metadata")),
            );
        }
    }
    found
}
