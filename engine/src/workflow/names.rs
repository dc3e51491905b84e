//! Names in the jobs of a resolved workflow: that each is one. Where a job says them itself, they were checked in its
//! document already; here are those that its template says.

use std::collections::BTreeMap;

use super::Workflow;
use super::analyse::Problem;
use crate::circle::circle;
use crate::config::{ForEach, Job};
use crate::diff::join;
use crate::placeholder;
use crate::protocol::condition::Expression;

/// Everything that is named and does not exist, and circles.
pub(crate) fn unknown_names(workflow: &Workflow) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, declaration) in &workflow.jobs {
        let mut problem = |code, message: String, hint| {
            let pointer = format!("{}/template", join("/spec/jobs", name));
            problems.push(Problem { code, pointer, message: format!("{name:?}: {message}"), hint });
        };
        let job = &declaration.job;
        for dependency in job.depends_on.iter().filter(|name| !workflow.jobs.contains_key(*name)) {
            let message = format!("there is no job {dependency:?} in this pipeline");
            problem("RC1034", message, "say depends_on in the job, or take it out of the template");
        }
        for axis in unknown_axes(job) {
            let message = format!("there is no axis {axis:?} in the matrix of this job");
            problem("RC1037", message, "name an axis of the matrix; write `$${` for a literal `${`");
        }
        for dependency in unknown_needs(job) {
            let message = format!("`needs` has no field `{dependency}`");
            problem("RC1040", message, "only jobs that stand in depends_on are in needs");
        }
    }
    let edges: BTreeMap<&str, Vec<&str>> = workflow
        .jobs
        .iter()
        .map(|(name, declaration)| {
            (name.as_str(), declaration.job.depends_on.iter().map(String::as_str).collect())
        })
        .collect();
    if let Some(path) = circle(&edges) {
        problems.push(Problem {
            code: "RC1035",
            pointer: join("/spec/jobs", path[0]),
            message: format!("these jobs wait for each other in a circle: {}", path.join(" → ")),
            hint: "take one of these out of depends_on",
        });
    }
    problems
}

/// Axes that placeholders name and the job's matrix does not have.
fn unknown_axes(job: &Job) -> Vec<String> {
    let text = serde_json::to_string(job).expect("a job is JSON");
    if !text.contains("${matrix:") {
        return Vec::new();
    }
    let is_known = |axis: &String| job.matrix.as_ref().is_some_and(|matrix| matrix.axes.contains_key(axis));
    let axes = placeholder::find(&text).into_iter().filter(|found| found.namespace == "matrix");
    axes.map(|found| found.name).filter(|axis| !is_known(axis)).collect()
}

/// Jobs of which a condition speaks and for which the job does not wait.
fn unknown_needs(job: &Job) -> Vec<String> {
    let items = match &job.for_each {
        Some(ForEach::Expression(text)) => Some(text),
        _ => None,
    };
    let texts = job.when.iter().chain(items).filter(|text| text.contains("needs"));
    let references = texts.filter_map(|text| Expression::parse(text).ok()).flat_map(|e| e.references());
    let named = references.filter_map(|reference| match &reference.path[..] {
        [variable, job, rest @ ..] if variable == "needs" && !(rest.is_empty() && reference.tested) => {
            Some(job.clone())
        }
        _ => None,
    });
    named.filter(|name| !job.depends_on.contains(name)).collect()
}
