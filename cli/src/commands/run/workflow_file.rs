//! Workflow files of the earlier system: `workflow` with a list of jobs, or a single `job`, as a pipeline.

use std::path::Path;

use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Kind, Metadata, Resource, Spec};
use reactorcide_engine::protocol::settings::read_file;
use serde_json::{Map, Value, json};

use crate::exit::{Exit, Failure};

/// What the pipeline is called.
pub const NAME: &str = "workflow";

/// Conditions that are words; any other is an expression.
const WORDS: [&str; 3] = ["all_success", "any_failed", "always"];

/// Reads a file into a catalog with the one pipeline.
pub fn read(path: &Path) -> Result<Catalog, Failure> {
    let shown = path.display();
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(format!("the workflow file {shown} cannot be used: {error}")).exit(Exit::Usage)
    };
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    let file: Value = read_file(&bytes).map_err(|error| failed(&error))?;
    let jobs = jobs(&file).map_err(|error| failed(&error))?;
    let spec = Spec::from_value(Kind::Pipeline, json!({ "jobs": jobs })).map_err(|error| failed(&error))?;
    let address = Address::new(Kind::Pipeline, None, NAME);
    let metadata = Metadata { name: NAME.to_owned(), ..Metadata::default() };
    Ok(Catalog::from([(address, Resource { metadata, spec }.into())]))
}

fn jobs(file: &Value) -> Result<Map<String, Value>, String> {
    let list = match (&file["workflow"]["jobs"], &file["job"]) {
        (Value::Array(jobs), _) => jobs.clone(),
        (_, job @ Value::Object(_)) => vec![job.clone()],
        _ => return Err("it has neither `workflow` with `jobs`, nor `job`".to_owned()),
    };
    let mut jobs = Map::new();
    for mut job in list {
        let Value::Object(fields) = &mut job else { return Err("a job is not a mapping".to_owned()) };
        let Some(Value::String(name)) = fields.remove("name") else {
            return Err("a job has no name".to_owned());
        };
        for (old, new) in [("env", "environment"), ("job_command", "command"), ("job_image", "image")] {
            if let Some(value) = fields.remove(old) {
                fields.insert(new.to_owned(), value);
            }
        }
        if let Some(Value::String(condition)) = fields.get("condition")
            && !WORDS.contains(&condition.as_str())
        {
            let expression = expression(condition);
            fields.remove("condition");
            fields.insert("when".to_owned(), expression.into());
        }
        if jobs.insert(name.clone(), job).is_some() {
            return Err(format!("two jobs are called {name:?}"));
        }
    }
    Ok(jobs)
}

/// `branch == "main"`: names that stood alone are those of the event.
fn expression(condition: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let mut quote = None;
    let mut before = ' ';
    for c in condition.chars().chain([' ']) {
        if quote.is_none() && (c.is_ascii_alphanumeric() || c == '_') {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            if before != '.' && ["branch", "tag", "sha", "type", "event_type"].contains(&word.as_str()) {
                out.push_str("event.");
            }
            out.push_str(word.strip_prefix("event_").filter(|rest| *rest == "type").unwrap_or(&word));
            word.clear();
        }
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
        out.push(c);
        before = c;
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_old_are_those_of_the_event() {
        for (old, new) in [
            (r#"branch == "main""#, r#"event.branch == "main""#),
            ("event.branch == 'branch' && tag != ''", "event.branch == 'branch' && event.tag != ''"),
            ("event_type == 'push'", "event.type == 'push'"),
            ("vars.branch == branches", "vars.branch == branches"),
        ] {
            assert_eq!(expression(old), new);
        }
    }
}
