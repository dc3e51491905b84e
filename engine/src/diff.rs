//! What differs between two JSON values, by structure: the part of a plan that people read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Where, as a JSON pointer below the compared values.
    pub pointer: String,
    /// The value before; absent where it was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value after; absent where it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Every difference, in the order of keys. Objects are compared by key; lists of named objects (steps) by name;
/// other lists by position, after what they share at both ends.
pub fn between(before: &Value, after: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    // An explicit stack: a document's depth is bounded, but that bound is not ours to rely on.
    let mut pending = vec![(String::new(), Some(before), Some(after))];
    while let Some((pointer, before, after)) = pending.pop() {
        match (before, after) {
            (Some(before), Some(after)) if before == after => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                let mut keys: Vec<&String> =
                    old.keys().chain(new.keys().filter(|k| !old.contains_key(*k))).collect();
                keys.sort_unstable();
                for key in keys.into_iter().rev() {
                    pending.push((join(&pointer, key), old.get(key), new.get(key)));
                }
            }
            (Some(Value::Array(old)), Some(Value::Array(new))) => {
                differences.extend(reordering(&pointer, old, new));
                pending.extend(pair_items(&pointer, old, new).into_iter().rev());
            }
            (before, after) => {
                differences.push(Difference { pointer, before: before.cloned(), after: after.cloned() });
            }
        }
    }
    differences
}

type Pair<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn pair_items<'a>(pointer: &str, old: &'a [Value], new: &'a [Value]) -> Vec<Pair<'a>> {
    if let (Some(old_names), Some(new_names)) = (names(old), names(new)) {
        return pair_named(pointer, old, new, &old_names, &new_names);
    }
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[prefix..], &new[prefix..]);
    let suffix = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_mid, new_mid) = (&old_rest[..old_rest.len() - suffix], &new_rest[..new_rest.len() - suffix]);
    (0..old_mid.len().max(new_mid.len()))
        .map(|index| (join(pointer, &(prefix + index).to_string()), old_mid.get(index), new_mid.get(index)))
        .collect()
}

/// Items with the same name are the same item.
fn pair_named<'a>(
    pointer: &str,
    old: &'a [Value],
    new: &'a [Value],
    old_names: &[&str],
    new_names: &[&str],
) -> Vec<Pair<'a>> {
    let find = |names: &[&str], items: &'a [Value], name: &str| {
        names.iter().position(|n| *n == name).map(|index| &items[index])
    };
    let mut pairs: Vec<Pair<'a>> = new_names
        .iter()
        .zip(new)
        .map(|(name, item)| (join(pointer, name), find(old_names, old, name), Some(item)))
        .collect();
    let removed = old_names.iter().zip(old).filter(|(name, _)| !new_names.contains(name));
    pairs.extend(removed.map(|(name, item)| (join(pointer, name), Some(item), None)));
    pairs
}

/// A changed order of what both lists hold, as one difference.
fn reordering(pointer: &str, old: &[Value], new: &[Value]) -> Option<Difference> {
    let (old, new) = (names(old)?, names(new)?);
    let before: Vec<_> = old.iter().filter(|name| new.contains(name)).copied().collect();
    let after: Vec<_> = new.iter().filter(|name| old.contains(name)).copied().collect();
    (before != after).then(|| Difference {
        pointer: join(pointer, "(order)"),
        before: Some(before.into()),
        after: Some(after.into()),
    })
}

/// The names of all items, where each item is an object with a name of its own.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let names: Vec<&str> = items.iter().map(|item| item.get("name")?.as_str()).collect::<Option<_>>()?;
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    (!names.is_empty() && unique.len() == names.len()).then_some(names)
}

/// Appends a key to a JSON pointer.
pub fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(before: &Value, after: &Value) -> Vec<String> {
        between(before, after).into_iter().map(|difference| difference.pointer).collect()
    }

    #[test]
    fn equal_values_have_no_difference() {
        let value = json!({"a": [1, {"b": null}], "c": "d"});
        assert_eq!(between(&value, &value), []);
    }

    #[test]
    fn objects_differ_by_key_in_order() {
        let before = json!({"keep": 1, "gone": {"x": 1}, "changed": {"deep": {"er": 1}}});
        let after = json!({"keep": 1, "new": [], "changed": {"deep": {"er": 2}}});
        assert_eq!(pointers(&before, &after), ["/changed/deep/er", "/gone", "/new"]);
    }

    #[test]
    fn named_items_are_followed_through_the_list() {
        let before = json!([{"name": "a", "run": "1"}, {"name": "b", "run": "2"}]);
        let after =
            json!([{"name": "new", "run": "0"}, {"name": "a", "run": "1"}, {"name": "b", "run": "3"}]);
        assert_eq!(pointers(&before, &after), ["/new", "/b/run"]);
        let swapped = json!([{"name": "b", "run": "2"}, {"name": "a", "run": "1"}]);
        assert_eq!(pointers(&before, &swapped), ["/(order)"]);
    }

    #[test]
    fn an_item_put_in_front_is_one_difference() {
        assert_eq!(pointers(&json!(["b", "c"]), &json!(["a", "b", "c"])), ["/0"]);
        assert_eq!(pointers(&json!(["a", "b", "c"]), &json!(["a", "x", "c"])), ["/1"]);
    }

    #[test]
    fn keys_are_escaped_in_pointers() {
        assert_eq!(pointers(&json!({"a/b~c": 1}), &json!({"a/b~c": 2})), ["/a~1b~0c"]);
    }
}
