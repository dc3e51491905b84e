//! Jobs made from templates: the template's text with its parameters filled in, and over it what the job says.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Trouble;
use crate::config::{Job, JobTemplateSpec, Parameter, ParameterType};
use crate::diff::join;
use crate::placeholder;

/// How many templates may be made from each other.
const MAX_DEPTH: usize = 10;

/// Applies a job's template, and that template's template, and so on.
pub(super) fn apply(job: &Job, lookup: &dyn Fn(&str) -> Option<JobTemplateSpec>) -> Result<Job, Trouble> {
    let mut job = job.clone();
    for _ in 0..MAX_DEPTH {
        let Some(name) = job.template.clone() else { return Ok(job) };
        let template = lookup(&name)
            .ok_or_else(|| Trouble::new("/template", format!("there is no JobTemplate {name:?}")))?;
        let parameters = arguments(&name, &template.parameters, &job.parameters)?;
        let mut base = said(&template.job);
        fill(&mut base, &parameters);
        let mut own = said(&job);
        if let Some(own) = own.as_object_mut() {
            own.remove("template");
            own.remove("parameters");
        }
        let merged = overlay(base, own);
        job = serde_json::from_value(merged).map_err(|error| {
            Trouble::new(
                "/parameters",
                format!("with these parameters the template {name:?} gives no job: {error}"),
            )
        })?;
    }
    Err(Trouble::new("/template", format!("more than {MAX_DEPTH} templates are made from each other")))
}

/// The values of a template's parameters: what the job sets, else their defaults.
fn arguments(
    template: &str,
    declared: &BTreeMap<String, Parameter>,
    given: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, Trouble> {
    if let Some(name) = given.keys().find(|name| !declared.contains_key(*name)) {
        let hint = crate::suggest::nearest(name, declared.keys().map(String::as_str));
        let hint = hint.map_or(String::new(), |name| format!(": did you mean {name}?"));
        return Err(Trouble::new(
            &join("/parameters", name),
            format!("the template {template:?} has no parameter {name:?}{hint}"),
        ));
    }
    let mut values = BTreeMap::new();
    for (name, parameter) in declared {
        let value = given.get(name).or(parameter.default.as_ref());
        let value = value.ok_or_else(|| {
            Trouble::new("/parameters", format!("the parameter {name:?} of {template:?} is not set"))
        })?;
        check_value(parameter, value).map_err(|message| {
            Trouble::new(&join("/parameters", name), format!("the parameter {name:?} {message}"))
        })?;
        values.insert(name.clone(), value.clone());
    }
    Ok(values)
}

/// Whether a value may be set. One that holds a placeholder is not known yet.
pub fn check_value(parameter: &Parameter, value: &Value) -> Result<(), String> {
    if value.as_str().is_some_and(|text| !placeholder::find(text).is_empty()) {
        return Ok(());
    }
    let fits = match parameter.value_type {
        // Text that was written without quotes may look like a number.
        ParameterType::String => value.is_string() || value.is_number() || value.is_boolean(),
        ParameterType::Number => value.is_number(),
        ParameterType::Boolean => value.is_boolean(),
        ParameterType::List => value.is_array(),
    };
    if !fits {
        let wanted = match parameter.value_type {
            ParameterType::String => "text",
            ParameterType::Number => "a number",
            ParameterType::Boolean => "true or false",
            ParameterType::List => "a list",
        };
        return Err(format!("must be {wanted}, not {value}"));
    }
    if !parameter.choices.is_empty()
        && !parameter.choices.iter().any(|choice| text_of(choice) == text_of(value))
    {
        let choices: Vec<String> = parameter.choices.iter().map(text_of).collect();
        return Err(format!("must be one of {}, not {}", choices.join(", "), text_of(value)));
    }
    Ok(())
}

/// A value as text in a text: strings as they are, everything else as JSON.
pub(crate) fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a job says, without what it leaves at its default.
fn said(job: &Job) -> Value {
    let default = serde_json::to_value(Job::default_said()).expect("a job is JSON");
    let mut value = serde_json::to_value(job).expect("a job is JSON");
    if let (Value::Object(map), Value::Object(default)) = (&mut value, &default) {
        map.retain(|key, value| default.get(key) != Some(value));
    }
    value
}

/// Replaces `${param:NAME}` in every text.
fn fill(value: &mut Value, parameters: &BTreeMap<String, Value>) {
    match value {
        Value::String(text) => {
            *text = placeholder::replace(text, |namespace, name| {
                (namespace == "param").then(|| parameters.get(name).map(text_of)).flatten()
            });
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, parameters)),
        Value::Object(map) => map.values_mut().for_each(|item| fill(item, parameters)),
        _ => {}
    }
}

/// The job's own fields over the template's. Maps of names are merged by name; a command replaces steps, and steps
/// a command.
fn overlay(base: Value, own: Value) -> Value {
    let (Value::Object(mut base), Value::Object(own)) = (base, own) else { return Value::Null };
    if own.contains_key("command") {
        base.remove("steps");
    }
    if own.contains_key("steps") {
        base.remove("command");
    }
    for (key, value) in own {
        let is_map = ["environment", "secrets", "runs_on", "resources"].contains(&key.as_str());
        match (base.get_mut(&key), value) {
            (Some(Value::Object(under)), Value::Object(over)) if is_map => merge(under, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
    Value::Object(base)
}

fn merge(under: &mut Map<String, Value>, over: Map<String, Value>) {
    under.extend(over);
}
