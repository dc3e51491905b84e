//! What is left of a document that its schema refuses: without the values that are wrong, so that an unknown name or
//! a wrong condition in the rest is reported in the same breath.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Verdict;
use serde_json::Value;

use super::resource::typed;
use crate::config::{Kind, Resource};
use crate::diagnostic::Diagnostic;
use crate::diff::join;

/// As often is a value looked at again, since what was wrong may have hidden more.
const ROUNDS: usize = 8;

/// The rules that hold for a value whatever is missing around it.
const RULES: [&str; 7] = ["RC1021", "RC1033", "RC1034", "RC1035", "RC1040", "RC1050", "RC1053"];

/// The resource without what is wrong with it. `None` where that would take away what others are told apart by. What its
/// types refuse beside its schema goes to `found`, with its pointer.
pub fn salvage(kind: Kind, mut value: Value, found: &mut Vec<(String, String)>) -> Option<Resource> {
    let validator = crate::schema::validator(kind);
    for _ in 0..ROUNDS {
        let wrong: Vec<String> =
            validator.iter_errors(&value).map(|error| pointers(&error)).collect::<Option<Vec<_>>>()?.concat();
        if wrong.is_empty() {
            match typed(kind, value.clone()) {
                Ok(resource) => return Some(resource),
                Err((pointer, message)) => {
                    remove(&mut value, &pointer)?;
                    found.push((pointer, message));
                }
            }
        }
        for pointer in wrong {
            remove(&mut value, &pointer)?;
        }
    }
    None
}

/// Whether a diagnostic of a salvaged resource may be believed.
pub fn is_believable(diagnostic: &Diagnostic) -> bool {
    RULES.contains(&diagnostic.code)
}

/// The values that an error is about.
fn pointers(error: &ValidationError<'_>) -> Option<Vec<String>> {
    let at = error.instance_path().to_string();
    match error.kind() {
        Verdict::AdditionalProperties { unexpected } => {
            Some(unexpected.iter().map(|key| join(&at, key)).collect())
        }
        Verdict::PropertyNames { .. } => None,
        _ => Some(vec![at]),
    }
}

/// Takes a field out of its object; a list goes as a whole, or the places of its other items would be wrong.
fn remove(value: &mut Value, pointer: &str) -> Option<()> {
    let mut segments: Vec<String> =
        pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect();
    // The first list on the way.
    let mut current = &*value;
    for (depth, segment) in segments.iter().enumerate() {
        current = match current {
            Value::Array(_) => {
                segments.truncate(depth);
                break;
            }
            // What is not there went with another error.
            Value::Object(object) => match object.get(segment) {
                Some(inner) => inner,
                None => return Some(()),
            },
            _ => return Some(()),
        };
    }
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    match names[..] {
        // Without these it is not known what others may refer to, and what this one waits for.
        [] | ["metadata"] | ["metadata", "name" | "project"] | ["spec"] => return None,
        ["spec", _] => {}
        [.., "jobs" | "parameters" | "vars" | "keys", _] | [.., "depends_on" | "needs"] => return None,
        _ => {}
    }
    if let ["spec", "jobs" | "parameters" | "vars" | "keys" | "job"] = names[..] {
        return None;
    }
    let (last, parents) = segments.split_last()?;
    let mut object = value;
    for parent in parents {
        object = object.get_mut(parent)?;
    }
    object.as_object_mut()?.remove(last);
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipeline(jobs: &Value) -> Value {
        json!({"apiVersion": "reactorcide/v1", "kind": "Pipeline", "metadata": {"name": "ci", "project": "p"},
               "spec": {"jobs": jobs}})
    }

    #[test]
    fn the_rest_of_a_job_is_kept() {
        let steps = json!([{"name": 1}, {"name": "a", "run": "b"}]);
        let left = salvage(
            Kind::Pipeline,
            pipeline(
                &json!({"a": {"image": "x", "comand": "y", "timeout": "soon", "when": "1 +", "steps": steps}}),
            ),
            &mut Vec::new(),
        );
        let crate::config::Spec::Pipeline(spec) = left.expect("it is salvaged").spec else { panic!() };
        assert_eq!(spec.jobs["a"].when.as_deref(), Some("1 +"));
        assert!(spec.jobs["a"].steps.is_empty());
    }

    #[test]
    fn what_the_types_refuse_is_found_and_hides_nothing() {
        let long = "999999999999999999d";
        let jobs = json!({"a": {"image": "x", "timeout": long, "grace": long, "when": "1 +"}});
        let mut found = Vec::new();
        let left = salvage(Kind::Pipeline, pipeline(&jobs), &mut found).expect("it is salvaged");
        let crate::config::Spec::Pipeline(spec) = left.spec else { panic!() };
        assert_eq!(spec.jobs["a"].when.as_deref(), Some("1 +"));
        let mut pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/spec/jobs/a/grace", "/spec/jobs/a/timeout"]);
    }

    #[test]
    fn nothing_is_kept_where_names_would_be_lost() {
        for jobs in
            [json!({"a": 1, "b": {"image": "x"}}), json!({"a": {"image": "x", "depends_on": [1]}}), json!(1)]
        {
            assert_eq!(salvage(Kind::Pipeline, pipeline(&jobs), &mut Vec::new()), None, "{jobs}");
        }
    }
}
