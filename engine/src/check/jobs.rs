//! Jobs and steps: what must be said, what must not be said together, and the order between them.

use std::collections::{BTreeMap, BTreeSet};

use super::{JobSite, span};
use crate::config::{Declared, Job, PipelineSpec, RunnerMode, Spec, Step};
use crate::diagnostic::Diagnostic;
use crate::diff::join;
use crate::placeholder;
use crate::protocol::spec::Condition;
use crate::suggest::nearest;

/// Variables that we set ourselves, or that change how every program loads.
const RESERVED: [&str; 2] = ["REACTORCIDE_", "RC_WF_"];

pub fn check(site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let job = site.job;
    what_it_runs(site, found);
    let together: [(bool, &str, &str, &str); 4] = [
        (
            job.matrix.is_some() && job.for_each.is_some(),
            "for_each",
            "RC1031",
            "a job has either matrix or for_each",
        ),
        (
            job.item_var.is_some() && job.for_each.is_none(),
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
            job.condition != Condition::AllSuccess && job.depends_on.is_empty() && !site.is_template,
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
    bare_runner(site, found);
    steps(site, found);
    variables(site, found);
    placeholders(site, found);
}

fn what_it_runs(site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let job = site.job;
    if job.command.is_some() && !job.steps.is_empty() {
        let diagnostic = Diagnostic::error("RC1030", format!("{:?} has both command and steps", site.name));
        found.push(
            diagnostic
                .at(site.span("command"))
                .related(site.span("steps"), "steps")
                .hint("keep one of the two"),
        );
    }
    if job.template.is_some() || site.is_template {
        return;
    }
    if job.command.is_none() && job.steps.is_empty() && job.runner == RunnerMode::Injected {
        let diagnostic =
            Diagnostic::error("RC1030", format!("{:?} runs nothing", site.name)).at(site.span(""));
        found.push(diagnostic.hint("give it a command, steps or a template"));
    }
    if job.image.is_none() {
        let diagnostic =
            Diagnostic::error("RC1030", format!("{:?} has no image", site.name)).at(site.span(""));
        found.push(diagnostic.hint("name the container image that it runs in"));
    }
}

fn bare_runner(site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let job = site.job;
    if job.runner != RunnerMode::None {
        return;
    }
    if !job.steps.is_empty() {
        let diagnostic =
            Diagnostic::error("RC1032", "runner: none has no steps: nothing in the container would run them");
        found.push(
            diagnostic.at(site.span("runner")).related(site.span("steps"), "steps").hint("use command"),
        );
    }
    if !job.secrets.is_empty() && !job.secrets_visible_to_engine {
        let diagnostic = Diagnostic::error(
            "RC1032",
            "secrets with runner: none can only travel through the container engine's API, which shows them",
        );
        let hint = "say `secrets_visible_to_engine: true` to accept that, or leave runner out";
        found.push(diagnostic.at(site.span("secrets")).related(site.span("runner"), "runner").hint(hint));
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
            if names.contains_key(dependency.as_str()) {
                continue;
            }
            let span = site.span(&format!("steps/{index}/depends_on/{at}"));
            let diagnostic =
                Diagnostic::error("RC1034", format!("there is no step {dependency:?} in this job")).at(span);
            found.push(match nearest(dependency, names.keys().copied()) {
                Some(name) => diagnostic.hint(format!("did you mean {name}?")),
                None => diagnostic,
            });
        }
    }
    let edges = site.job.steps.iter().map(|step| (step.name.as_str(), step_dependencies(step))).collect();
    if let Some(path) = circle(&edges) {
        let index = site.job.steps.iter().position(|step| step.name == path[0]).unwrap_or_default();
        let message = format!("these steps wait for each other in a circle: {}", path.join(" → "));
        found.push(Diagnostic::error("RC1035", message).at(site.span(&format!("steps/{index}/depends_on"))));
    }
}

fn step_dependencies(step: &Step) -> Vec<&str> {
    step.depends_on.iter().flatten().map(String::as_str).collect()
}

fn variables(site: &JobSite<'_>, found: &mut Vec<Diagnostic>) {
    let job = site.job;
    let names = job
        .environment
        .keys()
        .map(|name| ("environment", name))
        .chain(job.secrets.keys().map(|name| ("secrets", name)));
    for (field, name) in names {
        if RESERVED.iter().any(|prefix| name.starts_with(prefix)) {
            let span = site.span(&join(field, name));
            let message = format!("variables that begin with {} are ours", RESERVED.join(" or "));
            found.push(Diagnostic::error("RC1036", message).at(span).hint("give it another name"));
        }
    }
    for name in job.secrets.keys().filter(|name| job.environment.contains_key(*name)) {
        let diagnostic = Diagnostic::error("RC1036", format!("{name} is both in environment and in secrets"));
        let at = site.span(&join("secrets", name));
        found.push(
            diagnostic
                .at(at)
                .related(site.span(&join("environment", name)), "environment")
                .hint("remove one"),
        );
    }
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
                // A template's matrix may be the job's that uses it.
                "matrix" if site.is_template => None,
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
                    Diagnostic::error("RC1033", format!("{name:?} waits for {dependency:?} twice")).at(at()),
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
        let message = format!("these jobs wait for each other in a circle: {}", path.join(" → "));
        let mut diagnostic = Diagnostic::error("RC1035", message).at(place(path[0], path[1]));
        for pair in path.windows(2).skip(1) {
            diagnostic =
                diagnostic.related(place(pair[0], pair[1]), format!("{} waits for {}", pair[0], pair[1]));
        }
        found.push(diagnostic.hint("take one of these out of depends_on"));
    }
}

fn job_dependencies(job: &Job) -> Vec<&str> {
    job.depends_on.iter().map(String::as_str).collect()
}

/// A circle in a small graph, its first name again at the end. Without recursion.
fn circle<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>) -> Option<Vec<&'a str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in edges.keys() {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let target = edges.get(node).and_then(|targets| targets.get(*next)).copied();
            *next += 1;
            match target {
                Some(target) if done.contains(target) => {}
                Some(target) => {
                    if let Some(from) = path.iter().position(|(name, _)| *name == target) {
                        return Some(path[from..].iter().map(|(name, _)| *name).chain([target]).collect());
                    }
                    path.push((target, 0));
                }
                None => {
                    done.insert(node);
                    path.pop();
                }
            }
        }
    }
    None
}
