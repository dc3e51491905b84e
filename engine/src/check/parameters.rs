//! Inputs of pipelines and parameters of templates: their defaults and choices, and what schedules set.

use std::collections::BTreeMap;

use super::span;
use crate::address::Address;
use crate::config::{Configuration, Declared, Kind, Parameter, ScheduleSpec, Spec};
use crate::diagnostic::Diagnostic;
use crate::diff::join;
use crate::suggest::nearest;
use crate::workflow::check_value;

pub fn check(configuration: &Configuration, declared: &Declared, found: &mut Vec<Diagnostic>) {
    match &declared.resource.spec {
        Spec::Pipeline(spec) => definitions(declared, "/spec/inputs", &spec.inputs, found),
        Spec::JobTemplate(spec) => definitions(declared, "/spec/parameters", &spec.parameters, found),
        Spec::Schedule(spec) => schedule(configuration, declared, spec, found),
        _ => {}
    }
}

fn definitions(
    declared: &Declared,
    pointer: &str,
    parameters: &BTreeMap<String, Parameter>,
    found: &mut Vec<Diagnostic>,
) {
    for (name, parameter) in parameters {
        let at = join(pointer, name);
        let free = Parameter { choices: Vec::new(), ..parameter.clone() };
        for (index, choice) in parameter.choices.iter().enumerate() {
            if let Err(message) = check_value(&free, choice) {
                let at = span(declared, &format!("{at}/enum/{index}"));
                found.push(Diagnostic::error("RC1038", format!("a choice {message}")).at(at));
            }
        }
        if let Some(Err(message)) = parameter.default.as_ref().map(|default| check_value(parameter, default))
        {
            let at = span(declared, &format!("{at}/default"));
            found.push(Diagnostic::error("RC1038", format!("the default {message}")).at(at));
        }
    }
}

/// A schedule starts a run that nobody is there to correct.
fn schedule(
    configuration: &Configuration,
    declared: &Declared,
    spec: &ScheduleSpec,
    found: &mut Vec<Diagnostic>,
) {
    let project = declared.resource.metadata.project.as_deref();
    let address = Address::new(Kind::Pipeline, project, &spec.pipeline);
    let Some(pipeline) = configuration.resources.get(&address) else { return };
    let Spec::Pipeline(target) = &pipeline.resource.spec else { return };
    for (name, value) in &spec.inputs {
        let pointer = join("/spec/inputs", name);
        match target.inputs.get(name) {
            None => {
                let message = format!("the pipeline {:?} has no input {name:?}", spec.pipeline);
                let key = declared.positions.get(&format!("{pointer}#key"));
                let at = key.unwrap_or_else(|| span(declared, &pointer));
                let diagnostic = Diagnostic::error("RC1038", message).at(at);
                found.push(match nearest(name, target.inputs.keys().map(String::as_str)) {
                    Some(near) => diagnostic.hint(format!("did you mean {near}?")),
                    None => diagnostic.hint("declare it in the pipeline's inputs, or remove it here"),
                });
            }
            Some(input) => {
                if let Err(message) = check_value(input, value) {
                    let declaration = span(pipeline, &join("/spec/inputs", name));
                    let message = format!("the input {name:?} {message}");
                    let diagnostic = Diagnostic::error("RC1038", message).at(span(declared, &pointer));
                    found.push(diagnostic.related(declaration, "declared here"));
                }
            }
        }
    }
    for (name, input) in &target.inputs {
        if input.default.is_none() && !spec.inputs.contains_key(name) {
            let message = format!("the input {name:?} of {:?} has no default and is not set", spec.pipeline);
            let diagnostic = Diagnostic::error("RC1038", message).at(span(declared, "/spec/inputs"));
            let declaration = span(pipeline, &join("/spec/inputs", name));
            found.push(diagnostic.related(declaration, "declared here").hint("set it, or give it a default"));
        }
    }
}
