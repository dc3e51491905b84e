//! Jobs and steps: what must be said, what must not be said together, and the order between them.

use std::collections::{BTreeMap, BTreeSet};

use super::{JobSite, span};
use crate::circle::circle;
use crate::config::{Declared, FailureReason, Job, PipelineSpec, Spec, Step};
use crate::diagnostic::{Diagnostic, Span};
use crate::diff::join;
use crate::placeholder;
use crate::protocol::spec::Condition;
use crate::suggest::nearest;
use crate::workflow;

/// Variables that we set ourselves, or that change how every program loads.
const RESERVED: [&str; 2] = ["REACTORCIDE_", "RC_WF_"];

pub fn check(site: &JobSite<'_>, project_has_script: bool, found: &mut Vec<Diagnostic>) {
    let job = site.job;
    let is_open = site.is_template || job.template.is_some();
    shortcomings(site, project_has_script, found);
    let together: [(bool, &str, &str, &str); 4] = [
        (
            job.matrix.is_some() && job.for_each.is_some(),
            "for_each",
            "RC1031",
            "a job has either matrix or for_each",
        ),
        (
            job.item_var.is_some() && job.for_each.is_none() && !is_open,
            "item_var",
            "RC1031",
            "item_var means nothing without for_each",
        ),
        (
            !job.parameters.is_empty() && job.template.is_none(),
            "parameters",
            "RC1031",
            "parameters mean nothing without a template",
        ),
        (
            job.condition != Condition::AllSuccess && job.depends_on.is_empty() && !is_open,
            "condition",
            "RC1031",
            "condition means nothing without depends_on",
        ),
    ];
    for (is_wrong, field, code, message) in together {
        if is_wrong {
            found.push(Diagnostic::error(code, message).at(site.span(field)).hint("remove one of the two"));
        }
    }
    steps(site, found);
    variables(site, found);
    placeholders(site, found);
}

/// What is missing or contradicts itself in the job alone; what its template adds is looked at once it is there.
fn shortcomings(site: &JobSite<'_>, project_has_script: bool, found: &mut Vec<Diagnostic>) {
    let is_open = site.job.template.is_some() || site.is_template;
    let mut missing = if is_open { Vec::new() } else { workflow::missing(site.job) };
    // The trusted code of its project may name the script that it is.
    if project_has_script && site.job.ci_source.is_none() {
        missing.retain(|shortcoming| shortcoming.message != workflow::NOTHING_TO_RUN);
    }
    for shortcoming in missing.into_iter().chain(workflow::contradictions(site.job)) {
        let message = format!("{:?}: {}", site.name, shortcoming.message);
        let at = site.span(&shortcoming.field);
        let mut diagnostic = Diagnostic::error(shortcoming.code, message).at(at);
        if let Some(other) = shortcoming.other {
            diagnostic = diagnostic.related(site.span(other), other);
        }
        found.push(diagnostic.hint(shortcoming.hint));
    }
}

fn steps(site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, step) in site.job.steps.iter().enumerate() {
        let at = |field: &str| site.span(&format!("steps/{index}/{field}"));
        if let Some(first) = names.insert(&step.name, index) {
            let diagnostic =
                Diagnostic::error("RC1033", format!("two steps are called {:?}", step.name)).at(at("name"));
            found.push(diagnostic.related(site.span(&format!("steps/{first}/name")), "first here"));
        }
    }
    for (index, step) in site.job.steps.iter().enumerate() {
        for (at, dependency) in step.depends_on.iter().flatten().enumerate() {
            let span = || site.span(&format!("steps/{index}/depends_on/{at}"));
            if step.depends_on.iter().flatten().take(at).any(|earlier| earlier == dependency) {
                let message = format!("{:?} waits for {dependency:?} twice", step.name);
                found.push(Diagnostic::error("RC1033", message).at(span()).hint("remove one of the two"));
            }
            if names.contains_key(dependency.as_str()) {
                continue;
            }
            let diagnostic =
                Diagnostic::error("RC1034", format!("there is no step {dependency:?} in this job"))
                    .at(span());
            found.push(match nearest(dependency, names.keys().copied()) {
                Some(name) => diagnostic.hint(format!("did you mean {name}?")),
                None => diagnostic,
            });
        }
    }
    let job = site.job;
    let is_open = site.is_template || job.template.is_some() || !job.presets.is_empty();
    if !is_open && job.deploys_to.is_none() {
        for (field, name) in workflow::unknown_to_steps(job) {
            let message = format!("no secret of the job is carried by {name:?}");
            let diagnostic = Diagnostic::error("RC1034", message).at(site.span(&field));
            let known = job.secrets.keys().chain(job.id_tokens.keys()).map(String::as_str);
            let hint = nearest(name, known).map(|name| format!("did you mean {name}?"));
            let hint = hint.unwrap_or_else(|| "name a variable of the job's secrets or id_tokens".to_owned());
            found.push(diagnostic.hint(hint));
        }
    }
    for (index, step) in site.job.steps.iter().enumerate() {
        for (at, reason) in step.retry.iter().flat_map(|retry| &retry.on).enumerate() {
            let seen =
                [FailureReason::Exit, FailureReason::Timeout, FailureReason::Oom, FailureReason::NoSpace];
            if !seen.contains(reason) {
                let message = format!("the retry of step {:?} names a failure that no step sees", step.name);
                let span = site.span(&format!("steps/{index}/retry/on/{at}"));
                let hint = "a step sees exit, timeout, oom and no_space; retry the job for the others";
                found.push(Diagnostic::error("RC1031", message).at(span).hint(hint));
            }
        }
    }
    let edges = site.job.steps.iter().map(|step| (step.name.as_str(), step_dependencies(step))).collect();
    if let Some(path) = circle(&edges) {
        let place = |from: &str, to: &str| {
            let index = site.job.steps.iter().position(|step| step.name == from).unwrap_or_default();
            let dependencies = step_dependencies(&site.job.steps[index]);
            let at = dependencies.iter().position(|name| *name == to).unwrap_or_default();
            site.span(&format!("steps/{index}/depends_on/{at}"))
        };
        found.push(circle_of("steps", &path, place));
    }
}

fn step_dependencies(step: &Step) -> Vec<&str> {
    step.depends_on.iter().flatten().map(String::as_str).collect()
}

fn variables(site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let job = site.job;
    let of_steps = job.steps.iter().enumerate().flat_map(|(index, step)| {
        step.environment.keys().map(move |name| (join(&format!("steps/{index}/environment"), name), name))
    });
    let names = job
        .environment
        .keys()
        .map(|name| (join("environment", name), name))
        .chain(job.secrets.keys().map(|name| (join("secrets", name), name)))
        .chain(job.id_tokens.keys().map(|name| (join("id_tokens", name), name)))
        .chain(job.item_var.iter().map(|name| ("item_var".to_owned(), name)))
        .chain(of_steps);
    for (field, name) in names {
        found.extend(reserved(name).map(|diagnostic| diagnostic.at(site.span(&field))));
    }
    let secrets: Vec<&String> = job.secrets.keys().collect();
    let tokens: Vec<&String> = job.id_tokens.keys().collect();
    let environment: Vec<&String> = job.environment.keys().collect();
    for (first, names, second, others) in [
        ("environment", &environment, "secrets", &secrets),
        ("environment", &environment, "id_tokens", &tokens),
        ("secrets", &secrets, "id_tokens", &tokens),
    ] {
        for name in others.iter().filter(|name| names.contains(name)) {
            let message = format!("{name} is both in {first} and in {second}");
            let diagnostic = Diagnostic::error("RC1036", message).at(site.span(&join(second, name)));
            found.push(diagnostic.related(site.span(&join(first, name)), first).hint("remove one"));
        }
    }
}

/// What is wrong with a variable that is ours.
pub fn reserved(name: &str) -> Option<Diagnostic> {
    let message = format!("variables that begin with {} are ours", RESERVED.join(" or "));
    let is_ours = RESERVED.iter().any(|prefix| name.starts_with(prefix));
    is_ours.then(|| Diagnostic::error("RC1036", message).hint("give it another name"))
}

/// Placeholders: that they name something, and stand where they have a meaning.
fn placeholders(site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let parameters: Option<Vec<&str>> = match &site.declared.resource.spec {
        Spec::JobTemplate(template) => Some(template.parameters.keys().map(String::as_str).collect()),
        _ => None,
    };
    let vars: Option<Vec<&str>> = match &site.declared.resource.spec {
        Spec::Pipeline(pipeline) => Some(pipeline.vars.keys().map(String::as_str).collect()),
        _ => None,
    };
    let axes: Vec<&str> =
        site.job.matrix.iter().flat_map(|matrix| matrix.axes.keys().map(String::as_str)).collect();
    let value = serde_json::to_value(site.job).expect("a job is JSON");
    for (pointer, text) in texts(&value) {
        for placeholder in placeholder::find(&text) {
            let name = placeholder.name.as_str();
            let in_environment = pointer.starts_with("/environment/");
            let complaint = match placeholder.namespace.as_str() {
                "param" => match &parameters {
                    None => Some(("a parameter has a meaning only in a JobTemplate".to_owned(), None)),
                    Some(names) => unless_known("parameter", name, names),
                },
                // A template's matrix may be the job's that uses it, and the other way round.
                "matrix" if site.is_template => None,
                "matrix" if axes.is_empty() && site.job.template.is_some() => None,
                "matrix" => unless_known("axis", name, &axes),
                "var" if !in_environment && pointer != "/image" => {
                    Some(("a variable has a meaning only in image and environment".to_owned(), None))
                }
                "var" => vars.as_ref().and_then(|names| unless_known("variable", name, names)),
                "secret" if !in_environment => {
                    Some(("a secret has a meaning only in environment".to_owned(), None))
                }
                "secret" if !name.contains(':') => {
                    Some((format!("{:?} names no key of the secret", placeholder.name), None))
                }
                _ => None,
            };
            if let Some((message, hint)) = complaint {
                let diagnostic = Diagnostic::error("RC1037", message)
                    .at(span(site.declared, &format!("{}{pointer}", site.pointer)));
                found.push(match hint {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic.hint("write `$${` for a literal `${`"),
                });
            }
        }
    }
}

fn unless_known(what: &str, name: &str, known: &[&str]) -> Option<(String, Option<String>)> {
    if known.contains(&name) {
        return None;
    }
    let hint = nearest(name, known.iter().copied()).map(|name| format!("did you mean {name}?"));
    Some((format!("there is no {what} {name:?} here"), hint))
}

/// Every text of a value that may hold a placeholder, with its pointer.
fn texts(value: &serde_json::Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![(String::new(), value)];
    while let Some((pointer, value)) = pending.pop() {
        match value {
            serde_json::Value::String(text) if text.contains("${") => found.push((pointer, text.clone())),
            serde_json::Value::Array(items) => {
                pending.extend(
                    items.iter().enumerate().map(|(index, item)| (format!("{pointer}/{index}"), item)),
                );
            }
            serde_json::Value::Object(map) => {
                pending.extend(map.iter().map(|(key, item)| (join(&pointer, key), item)));
            }
            _ => {}
        }
    }
    found
}

/// The order between the jobs of a pipeline.
pub fn check_graph(declared: &Declared, spec: &PipelineSpec, found: &mut Vec<Diagnostic>) {
    let names: BTreeSet<&str> = spec.jobs.keys().map(String::as_str).collect();
    for (name, job) in &spec.jobs {
        let mut seen = BTreeSet::new();
        for (index, dependency) in job.depends_on.iter().enumerate() {
            // Places cost a second look at the text: only errors ask for them.
            let at = || span(declared, &format!("{}/depends_on/{index}", join("/spec/jobs", name)));
            if !seen.insert(dependency) {
                found.push(
                    Diagnostic::error("RC1033", format!("{name:?} waits for {dependency:?} twice"))
                        .at(at())
                        .hint("remove one of the two"),
                );
            }
            if !names.contains(dependency.as_str()) {
                let diagnostic =
                    Diagnostic::error("RC1034", format!("there is no job {dependency:?} in this pipeline"));
                found.push(match nearest(dependency, names.iter().copied()) {
                    Some(name) => diagnostic.at(at()).hint(format!("did you mean {name}?")),
                    None => diagnostic.at(at()).hint(format!(
                        "the jobs are {}",
                        names.iter().copied().collect::<Vec<_>>().join(", ")
                    )),
                });
            }
        }
    }
    let edges = spec.jobs.iter().map(|(name, job)| (name.as_str(), job_dependencies(job))).collect();
    if let Some(path) = circle(&edges) {
        // The place of one edge is where its target is named.
        let place = |from: &str, to: &str| {
            let index = spec.jobs[from].depends_on.iter().position(|name| name == to).unwrap_or(0);
            span(declared, &format!("{}/depends_on/{index}", join("/spec/jobs", from)))
        };
        found.push(circle_of("jobs", &path, place));
    }
}

/// Who waits for whom in a circle, each with its place.
fn circle_of(what: &str, path: &[&str], place: impl Fn(&str, &str) -> Span) -> Diagnostic {
    let message = format!("these {what} wait for each other in a circle: {}", path.join(" → "));
    let mut diagnostic = Diagnostic::error("RC1035", message).at(place(path[0], path[1]));
    for pair in path.windows(2).skip(1) {
        diagnostic =
            diagnostic.related(place(pair[0], pair[1]), format!("{} waits for {}", pair[0], pair[1]));
    }
    diagnostic.hint("take one of these out of depends_on")
}

fn job_dependencies(job: &Job) -> Vec<&str> {
    job.depends_on.iter().map(String::as_str).collect()
}
