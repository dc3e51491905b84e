//! Whether an object is what a resource declares.
//!
//! The other system may add to what it was sent: ids, times, defaults. So only what is declared counts, and what was
//! declared when the object was last made and is no more.

use serde_json::{Map, Value};

use crate::diff::{self, Difference};

/// From what is there to what is declared. `last` is what was declared when the object was last made what it is.
pub fn compare(seen: &Value, wanted: &Value, last: Option<&Value>) -> Vec<Difference> {
    diff::between(&relevant(seen, wanted, last), wanted)
}

/// What of the object is ours: with numbers written as they are declared where they are equal.
fn relevant(seen: &Value, wanted: &Value, last: Option<&Value>) -> Value {
    match (seen, wanted) {
        (Value::Object(seen), Value::Object(wanted)) => {
            let last = last.and_then(Value::as_object);
            let mut ours = Map::new();
            for (key, value) in seen {
                let before = last.and_then(|last| last.get(key));
                match wanted.get(key) {
                    Some(wanted) => drop(ours.insert(key.clone(), relevant(value, wanted, before))),
                    None if before.is_some() => drop(ours.insert(key.clone(), value.clone())),
                    None => {}
                }
            }
            Value::Object(ours)
        }
        (Value::Array(seen), Value::Array(wanted)) if seen.len() == wanted.len() => {
            let last = last.and_then(Value::as_array).filter(|last| last.len() == wanted.len());
            let items = seen.iter().zip(wanted).enumerate();
            items
                .map(|(index, (seen, wanted))| relevant(seen, wanted, last.map(|last| &last[index])))
                .collect()
        }
        // One of them is written as a fraction: whole numbers are compared digit by digit.
        (Value::Number(seen), Value::Number(wanted))
            if (seen.is_f64() || wanted.is_f64()) && seen.as_f64() == wanted.as_f64() =>
        {
            Value::Number(wanted.clone())
        }
        (seen, _) => seen.clone(),
    }
}

/// All that an object was ever made, as far as is known: what was declared before, and what was tried since.
pub fn merged(before: Value, more: &Value) -> Value {
    match (before, more) {
        (Value::Object(mut before), Value::Object(more)) => {
            for (key, value) in more {
                let old = before.remove(key).unwrap_or(Value::Null);
                before.insert(key.clone(), merged(old, value));
            }
            Value::Object(before)
        }
        (Value::Array(before), Value::Array(more)) if before.len() == more.len() => {
            before.into_iter().zip(more).map(|(before, more)| merged(before, more)).collect()
        }
        (_, more) => more.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(seen: &Value, wanted: &Value, last: Option<&Value>) -> Vec<String> {
        compare(seen, wanted, last).into_iter().map(|difference| difference.pointer).collect()
    }

    #[test]
    fn what_the_other_system_adds_is_left_alone() {
        let wanted = json!({"events": [{"on": "push"}], "weight": 1});
        let seen = json!({"id": 7, "events": [{"on": "push", "since": "now"}], "weight": 1.0});
        assert_eq!(pointers(&seen, &wanted, Some(&wanted)), [""; 0]);
    }

    #[test]
    fn large_numbers_are_compared_digit_by_digit() {
        let (wanted, seen) =
            (json!({"id": 9_007_199_254_740_993_u64}), json!({"id": 9_007_199_254_740_992_u64}));
        assert_eq!(pointers(&seen, &wanted, None), ["/id"]);
        assert_eq!(pointers(&json!({"id": 2.0}), &json!({"id": 2}), None), [""; 0]);
    }

    #[test]
    fn what_others_changed_or_removed_is_found() {
        let wanted = json!({"events": ["push"], "deep": {"a": 1, "b": 2}});
        let seen = json!({"events": ["push", "tag"], "deep": {"a": 3}});
        assert_eq!(pointers(&seen, &wanted, None), ["/deep/a", "/deep/b", "/events/1"]);
        assert_eq!(pointers(&json!("nonsense"), &wanted, None), [""]);
    }

    #[test]
    fn what_is_declared_no_more_must_go_and_what_never_was_may_stay() {
        let (wanted, last) = (json!({"a": 1}), json!({"a": 1, "b": {"c": 1}}));
        let seen = json!({"a": 1, "b": {"c": 1}, "d": 1});
        assert_eq!(pointers(&seen, &wanted, Some(&last)), ["/b"]);
        assert_eq!(pointers(&seen, &wanted, None), [""; 0]);
    }
}
