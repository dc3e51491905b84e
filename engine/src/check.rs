//! The rules that hold across fields and documents, beyond what a schema can say. Each rule is a function over the
//! whole configuration; each finding has its place.

mod expressions;
mod jobs;
mod matrix;
mod parameters;
mod policies;
mod references;
mod repeated;
mod scope;
mod values;

pub use scope::scope;

use std::collections::BTreeSet;

use crate::address::Address;
use crate::config::{Configuration, Declared, Job, Kind, Spec};
use crate::diagnostic::{Diagnostic, Span};
use crate::diff::join;
use crate::parallel;
use crate::workflow;

/// Everything that breaks a rule. What `broken` names was declared by documents that are wrong in themselves: it
/// exists, but nothing is known of it.
pub fn check(configuration: &Configuration, broken: &BTreeSet<Address>) -> Vec<Diagnostic> {
    let mut found = references::check(configuration, broken);
    let all: Vec<&Declared> = configuration.resources.values().collect();
    found.extend(parallel::map(&all, |declared| alone(configuration, declared)).into_iter().flatten());
    found.extend(policies::check(configuration));
    if broken.is_empty()
        && found.iter().all(|diagnostic| diagnostic.severity != crate::diagnostic::Severity::Error)
    {
        found.extend(resolved(configuration));
    }
    found
}

/// What breaks a rule in one resource.
fn alone(configuration: &Configuration, declared: &Declared) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    values::check(declared, &mut found);
    parameters::check(configuration, declared, &mut found);
    repeated::check(declared, &mut found);
    let has_script = project_has_script(configuration, declared);
    for site in job_sites(declared) {
        jobs::check(&site, has_script, &mut found);
        matrix::check(&site, &mut found);
        expressions::check(&site, &mut found);
    }
    if let Spec::Pipeline(spec) = &declared.resource.spec {
        jobs::check_graph(declared, spec, &mut found);
    }
    found
}

/// Whether the trusted code of its project names the script that a job is which says nothing itself.
fn project_has_script(configuration: &Configuration, declared: &Declared) -> bool {
    let name = declared.resource.metadata.project.as_deref();
    let address = name.map(|name| Address::new(Kind::Project, None, name));
    let project = address.and_then(|address| configuration.resources.get(&address));
    match project.map(|project| &project.resource.spec) {
        Some(Spec::Project(spec)) => spec.ci_source.as_ref().is_some_and(|source| source.path.is_some()),
        _ => false,
    }
}

fn has_templates(spec: &Spec) -> bool {
    matches!(spec, Spec::Pipeline(spec) if spec.jobs.values().any(|job| job.template.is_some()))
}

/// What only shows once templates and presets are applied.
fn resolved(configuration: &Configuration) -> Vec<Diagnostic> {
    let pipelines: Vec<_> =
        configuration.resources.iter().filter(|(address, _)| address.kind == Kind::Pipeline).collect();
    let found = parallel::map(&pipelines, |(address, declared)| pipeline(configuration, address, declared));
    found.into_iter().flatten().collect()
}

fn pipeline(configuration: &Configuration, address: &Address, declared: &Declared) -> Vec<Diagnostic> {
    match workflow::resolve_declared(configuration, address) {
        Ok(workflow) => {
            let mut problems = workflow::analyse(&workflow);
            // What jobs say themselves was checked where they say it.
            if has_templates(&declared.resource.spec) {
                problems.extend(workflow::unknown_names(&workflow));
            }
            let diagnostic = |problem: workflow::Problem| {
                let at = span(declared, &problem.pointer);
                Diagnostic::error(problem.code, problem.message).at(at).hint(problem.hint)
            };
            problems.into_iter().map(diagnostic).collect()
        }
        Err(errors) => errors
            .into_iter()
            .map(|error| Diagnostic::error(error.code, error.message).at(span(declared, &error.pointer)))
            .collect(),
    }
}

/// One job where it is declared: in a pipeline or a template.
struct JobSite<'a> {
    declared: &'a Declared,
    /// Its pointer in the document.
    pointer: String,
    name: &'a str,
    job: &'a Job,
    is_template: bool,
}

impl JobSite<'_> {
    /// The place of a field of the job, or of the job where the field is absent.
    fn span(&self, field: &str) -> Span {
        let pointer =
            if field.is_empty() { self.pointer.clone() } else { format!("{}/{field}", self.pointer) };
        span(self.declared, &pointer)
    }
}

fn job_sites(declared: &Declared) -> Vec<JobSite<'_>> {
    match &declared.resource.spec {
        Spec::Pipeline(spec) => spec
            .jobs
            .iter()
            .map(|(name, job)| JobSite {
                declared,
                pointer: join("/spec/jobs", name),
                name,
                job,
                is_template: false,
            })
            .collect(),
        Spec::JobTemplate(spec) => {
            let name = declared.resource.metadata.name.as_str();
            vec![JobSite {
                declared,
                pointer: "/spec/job".to_owned(),
                name,
                job: &spec.job,
                is_template: true,
            }]
        }
        _ => Vec::new(),
    }
}

fn span(declared: &Declared, pointer: &str) -> Span {
    declared.positions.nearest(pointer).unwrap_or(declared.span)
}
