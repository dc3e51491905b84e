//! A running job asks for more jobs in the same run, or sets variables.

use std::collections::BTreeMap;

use serde_json::Value;

use super::assignment::{declaration_of, declared_job};
use super::event::{NodeName, NodeStatus};
use super::node::{Node, Origin};
use super::{MAX_NODES, RunState, Work};
use crate::config::{CommandLine, ForEach, Job, Network, TriggersAllowed};
use crate::glob::Glob;
use crate::placeholder;
use crate::protocol::trigger::{TriggerRequest, TriggeredJob};
use crate::workflow::{resolve_triggered, source_of};

/// Variables that change how every program loads or runs: a trigger must not set them.
/// One that ends with `_` or `*` stands for all that begin so.
const LOADER: [&str; 38] = [
    "LD_",
    "PATH",
    "HOME",
    "SHELL",
    "SHELLOPTS",
    "BASHOPTS",
    "BASH_*",
    "PS4",
    "PROMPT_COMMAND",
    "ENV",
    "IFS",
    "CDPATH",
    "PYTHON*",
    "NODE_",
    "NPM_CONFIG_*",
    "npm_config_*",
    "PERL5*",
    "PERLLIB",
    "RUBY*",
    "GEM_",
    "BUNDLE_",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "MAVEN_",
    "GRADLE_",
    "GO*",
    "RUSTC*",
    "RUSTFLAGS",
    "CARGO_",
    "MAKE*",
    "CC",
    "CXX",
    "GIT_",
    "SSL_CERT_",
    "REACTORCIDE_",
    "RC_WF_",
];

pub(super) fn triggered(
    state: &mut RunState,
    work: &mut Work,
    name: &str,
    attempt: u32,
    ordinal: u32,
    request: &TriggerRequest,
) {
    let Some(&index) = state.by_name.get(name) else { return };
    let node = &state.nodes[index];
    if node.attempt != attempt || !matches!(node.status, NodeStatus::Running | NodeStatus::Queued) {
        return;
    }
    let operation =
        request.operation_id.clone().map_or_else(|| format!("#{ordinal}"), |id| format!("id:{id}"));
    let asked = serde_json::to_string(request).expect("a request is JSON");
    if let Some(before) = node.operations.get(&operation) {
        if *before != asked {
            refuse(state, work, index, format!("the operation {operation:?} was something else before"));
        }
        return;
    }
    if state.head.cancelled.is_some() {
        let why = "it asked for jobs after the run was cancelled: none is added";
        return work.record(&state.nodes[index], why);
    }
    match carry_out(state, work, index, request) {
        Ok(()) => {
            state.nodes[index].operations.insert(operation, asked);
        }
        Err(message) => refuse(state, work, index, message),
    }
}

impl RunState {
    /// What became of a request with an `operation_id`: it was carried out, it was refused and why, or it was not heard.
    pub fn trigger_outcome(&self, node: &str, operation_id: &str) -> Option<Result<(), &str>> {
        let node = self.node(node)?;
        if node.operations.contains_key(&format!("id:{operation_id}")) {
            return Some(Ok(()));
        }
        node.refused.as_deref().map(Err)
    }
}

/// The job that asked fails in the end, and says why.
fn refuse(state: &mut RunState, work: &mut Work, index: usize, message: String) {
    let message = format!("a trigger was refused: {message}");
    work.record(&state.nodes[index], message.clone());
    state.nodes[index].refused.get_or_insert(message);
}

/// All of a request, or nothing of it.
fn carry_out(
    state: &mut RunState,
    work: &mut Work,
    by: usize,
    request: &TriggerRequest,
) -> Result<(), String> {
    let asking = state.nodes[by].clone();
    let caps = declared_job(state, &asking).and_then(|job| job.triggers_allowed.clone()).unwrap_or_default();
    check_vars(state, &asking.name, &request.vars)?;
    let mut new = Vec::new();
    for wanted in &request.jobs {
        if let Some(node) = node_for(state, &asking, &caps, wanted)? {
            new.push(node);
        }
    }
    let count = asking.triggered + u32::try_from(new.len()).unwrap_or(u32::MAX);
    if count > caps.count {
        return Err(format!("{} may trigger {} jobs at most", asking.name, caps.count));
    }
    if !new.is_empty() && asking.depth + 1 > caps.depth {
        return Err(format!("jobs may be triggered {} deep at most", caps.depth));
    }
    if state.nodes.len() + new.len() > MAX_NODES {
        return Err(format!("the run would have more than {MAX_NODES} jobs"));
    }
    refuse_circles(state, &new)?;
    for (key, value) in &request.vars {
        let head = state.head();
        head.vars.insert(key.clone(), value.clone());
        head.vars_by.insert(key.clone(), asking.name.clone());
    }
    state.nodes[by].triggered = count;
    add_all(state, work, &asking.name, new);
    Ok(())
}

fn check_vars(state: &RunState, by: &str, vars: &BTreeMap<String, Value>) -> Result<(), String> {
    for (key, value) in vars {
        if let Some(other) = state.head.vars_by.get(key)
            && other != by
            && state.head.vars.get(key) != Some(value)
        {
            return Err(format!("the variable {key:?} was set to another value by {other:?}"));
        }
    }
    Ok(())
}

/// The node that a wanted job becomes; nothing where it is in the run already.
fn node_for(
    state: &RunState,
    asking: &Node,
    caps: &TriggersAllowed,
    wanted: &TriggeredJob,
) -> Result<Option<Node>, String> {
    let name = &wanted.job_name;
    if !is_name(name) {
        return Err(format!("{name:?} is not a valid name of a job"));
    }
    if let Some(variable) = wanted.env.keys().find(|variable| is_loader(variable)) {
        return Err(format!("a trigger must not set the variable {variable}"));
    }
    if let Some(variable) = wanted.item_var.as_deref().filter(|variable| is_loader(variable)) {
        return Err(format!("a trigger must not set the variable {variable}"));
    }
    let request = serde_json::to_string(wanted).expect("a request is JSON");
    if let Some(existing) = state.node(name) {
        return match &existing.origin {
            Origin::Triggered { request: before, .. } if *before == request => Ok(None),
            Origin::Triggered { by, .. } => {
                Err(format!("{by:?} has already triggered another job called {name:?}"))
            }
            Origin::Declared(_) if has_no_definition(wanted) && existing.env == wanted.env => Ok(None),
            Origin::Declared(_) if has_no_definition(wanted) => {
                Err(format!("{name:?} is in the run already, with another environment"))
            }
            Origin::Declared(_) => Err(format!("the pipeline declares another job called {name:?}")),
        };
    }
    // A declared job that this run left out joins it as it is declared; the trigger may only make it wait for more.
    let declaration = state.workflow.jobs.get(name);
    let (origin, condition, depends_on) = if let Some(declaration) = declaration {
        if !has_no_definition(wanted) {
            return Err(format!(
                "{name:?} is declared by the pipeline, so a trigger cannot say what it runs"
            ));
        }
        // Whoever says what a command's variables are says where it sends what it was trusted with.
        if !wanted.env.is_empty() && is_trusted_with_something(&declaration.job) {
            return Err(format!("{name:?} has secrets or deploys, so a trigger cannot set its environment"));
        }
        let here = declaration.job.depends_on.iter().filter(|name| state.by_name.contains_key(*name));
        let depends_on = here.chain(&wanted.depends_on).cloned().collect();
        (Origin::Declared(name.clone()), declaration.job.condition, depends_on)
    } else {
        let job = Box::new(made(state, asking, caps, wanted)?);
        let by = asking.name.clone();
        (Origin::Triggered { by, job, request }, wanted.condition, wanted.depends_on.clone())
    };
    let mut node = Node::new(name.clone(), origin, condition, depends_on);
    if declaration.is_some() {
        node.env = wanted.env.clone();
    }
    node.depth = asking.depth + 1;
    Ok(Some(node))
}

/// A job from a template, or from an image and a command. It gets no secrets, and no more than who asked for it.
fn made(
    state: &RunState,
    asking: &Node,
    caps: &TriggersAllowed,
    wanted: &TriggeredJob,
) -> Result<Job, String> {
    let allowed = |patterns: &Option<Vec<String>>, text: &str| {
        patterns.as_ref().is_none_or(|patterns| {
            patterns.iter().any(|p| Glob::new(p).is_ok_and(|glob| glob.is_match(text)))
        })
    };
    let name = &wanted.job_name;
    if let Some(template) = &wanted.template
        && !allowed(&caps.templates, template)
    {
        return Err(format!("{} may not trigger jobs from the template {template:?}", asking.name));
    }
    let asked = Job {
        template: wanted.template.clone(),
        parameters: wanted.parameters.clone(),
        image: wanted.image.clone(),
        command: wanted.command.clone().map(CommandLine::Script),
        environment: wanted.env.clone(),
        for_each: wanted.for_each.clone().map(ForEach::Items),
        item_var: wanted.item_var.clone(),
        ..Job::default_said()
    };
    let mut job =
        resolve_triggered(&state.workflow, &asked).map_err(|message| format!("{name:?}: {message}"))?;
    if job.image.is_none() && wanted.template.is_none() {
        job.image = declared_job(state, asking).and_then(|parent| parent.image.clone());
    }
    let image = job.image.as_deref().ok_or_else(|| format!("{name:?} has no image"))?;
    if !allowed(&caps.images, image) {
        return Err(format!("{} may not trigger jobs of the image {image:?}", asking.name));
    }
    // A variable, which a job can set, must not decide afterwards what the list of images lets through.
    if caps.images.is_some() && !placeholder::find(image).is_empty() {
        return Err(format!(
            "{name:?}: where images are limited, a triggered job's image has no placeholder"
        ));
    }
    if job.command.is_none() && job.steps.is_empty() {
        return Err(format!("there is no job {name:?}, and the trigger gives it nothing to run"));
    }
    if !job.secrets.is_empty() || job.environment.values().any(|value| value.contains("${secret:")) {
        return Err(format!("{name:?} would have secrets, which a triggered job cannot have"));
    }
    if !job.id_tokens.is_empty() {
        return Err(format!("{name:?} would have id_tokens, which a triggered job cannot have"));
    }
    if let Some(environment) = &job.deploys_to {
        return Err(format!(
            "{name:?} would deploy to {environment:?}, which only a job can that the pipeline declares"
        ));
    }
    crate::workflow::refuse(&job).map_err(|trouble| format!("{name:?}: {}", trouble.message))?;
    let parent = declared_job(state, asking);
    job.source = source_of(job.source, parent.and_then(|parent| parent.source.as_ref()));
    job.ci_source = job.ci_source.or_else(|| parent?.ci_source.clone());
    if parent.is_some_and(|parent| parent.network == Network::None) {
        job.network = Network::None;
    }
    job.triggers_allowed = Some(narrower(caps, job.triggers_allowed.as_ref()));
    let declaration = declaration_of(state, asking);
    declaration.limit(&mut job).map_err(|message| format!("{name:?}: {message}"))?;
    job.profile = Some(declaration.effective_profile().name);
    Ok(job)
}

/// What a triggered job may trigger itself: never more than who asked for it.
fn narrower(caps: &TriggersAllowed, own: Option<&TriggersAllowed>) -> TriggersAllowed {
    let Some(own) = own else { return caps.clone() };
    TriggersAllowed {
        count: caps.count.min(own.count),
        depth: caps.depth.min(own.depth),
        templates: caps.templates.clone().or_else(|| own.templates.clone()),
        images: caps.images.clone().or_else(|| own.images.clone()),
        stdout: own.stdout,
    }
}

fn has_no_definition(wanted: &TriggeredJob) -> bool {
    wanted.image.is_none()
        && wanted.command.is_none()
        && wanted.template.is_none()
        && wanted.for_each.is_none()
}

fn is_trusted_with_something(job: &Job) -> bool {
    let in_environment = job.environment.values().any(|value| value.contains("${secret:"));
    !job.secrets.is_empty() || !job.id_tokens.is_empty() || in_environment || job.deploys_to.is_some()
}

fn is_loader(variable: &str) -> bool {
    // Proxies are read in either case.
    let is_proxy = variable.to_ascii_lowercase().ends_with("_proxy");
    is_proxy
        || LOADER.iter().any(|word| match word.strip_suffix('*') {
            Some(start) => variable.starts_with(start),
            None if word.ends_with('_') => variable.starts_with(word),
            None => variable == *word,
        })
}

fn is_name(name: &str) -> bool {
    name.len() <= 100
        && name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// New nodes may wait for each other, but not in a circle; what is in the run already cannot wait for them, apart
/// from what expects their names.
fn refuse_circles(state: &RunState, new: &[Node]) -> Result<(), String> {
    let by_name: BTreeMap<&str, &Node> = new.iter().map(|node| (node.name.as_str(), node)).collect();
    if by_name.len() != new.len() {
        return Err("two jobs of one trigger have the same name".to_owned());
    }
    // Nodes that are there already matter only where one of them expects a new name.
    let is_expected = new.iter().any(|node| state.expecting.contains_key(&node.name));
    let dependencies = |name: &str| -> &[NodeName] {
        let there = || state.node(name).filter(|node| is_expected && !node.status.is_terminal());
        by_name.get(name).copied().or_else(there).map_or(&[], |node| &node.depends_on)
    };
    // Depth first over what the new nodes wait for: a name that is met again while it is still open closes a circle.
    let mut closed: BTreeMap<&str, bool> = BTreeMap::new();
    for node in new {
        if closed.contains_key(node.name.as_str()) {
            continue;
        }
        closed.insert(&node.name, false);
        let mut path: Vec<(&str, &[NodeName])> = vec![(&node.name, &node.depends_on)];
        while let Some((name, rest)) = path.last_mut() {
            let Some((next, others)) = rest.split_first() else {
                closed.insert(name, true);
                path.pop();
                continue;
            };
            *rest = others;
            match closed.get(next.as_str()) {
                Some(true) => {}
                Some(false) => {
                    let circle = path.iter().map(|(name, _)| *name).skip_while(|name| name != next);
                    let circle: Vec<&str> = circle.chain([next.as_str()]).collect();
                    return Err(format!("{next:?} would wait for itself: {}", circle.join(" -> ")));
                }
                None => {
                    closed.insert(next, false);
                    path.push((next, dependencies(next)));
                }
            }
        }
    }
    Ok(())
}

fn add_all(state: &mut RunState, work: &mut Work, by: &NodeName, new: Vec<Node>) {
    let first = state.nodes.len();
    for node in new {
        let index = state.add(node);
        let expected = state.expecting.remove(&state.nodes[index].name);
        state.links[index].dependents.extend(expected.into_iter().flatten());
    }
    for index in first..state.nodes.len() {
        state.link(index);
        work.record(&state.nodes[index], format!("{by} triggered it"));
        if state.links[index].open == 0 {
            work.ready.push_back(index);
        }
    }
}
