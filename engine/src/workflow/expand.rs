//! One job becomes several: matrices and lists of items.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::template::text_of;
use crate::config::{Job, Matrix};
use crate::placeholder;

/// The most jobs that one job may become.
pub const MAX_INSTANCES: usize = 256;

/// What makes one of several jobs different from the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Variables that say which one it is: `MATRIX_AXIS`, or the item's.
    pub environment: BTreeMap<String, String>,
    /// The value of each axis.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matrix: BTreeMap<String, Value>,
}

/// The combinations of a matrix: axes in the order of their names, the last one changing fastest, without what is
/// excluded, then what is included.
pub fn expand_matrix(matrix: &Matrix) -> Result<Vec<Instance>, String> {
    let mut combinations: Vec<BTreeMap<String, Value>> = vec![BTreeMap::new()];
    for (axis, values) in &matrix.axes {
        if combinations.len().saturating_mul(values.len()) > MAX_INSTANCES * 64 {
            return Err(format!("the matrix has more than {MAX_INSTANCES} combinations"));
        }
        let with = |value: &Value, combination: &BTreeMap<String, Value>| {
            let mut combination = combination.clone();
            combination.insert(axis.clone(), value.clone());
            combination
        };
        combinations =
            combinations.iter().flat_map(|c| values.iter().map(move |value| with(value, c))).collect();
    }
    let excluded = |combination: &BTreeMap<String, Value>| {
        matrix.exclude.iter().any(|exclusion| {
            !exclusion.is_empty()
                && exclusion.iter().all(|(axis, value)| combination.get(axis) == Some(value))
        })
    };
    combinations.retain(|combination| !excluded(combination));
    for inclusion in &matrix.include {
        if !combinations.contains(inclusion) {
            combinations.push(inclusion.clone());
        }
    }
    if combinations.len() > MAX_INSTANCES {
        return Err(format!("the matrix has {} combinations, more than {MAX_INSTANCES}", combinations.len()));
    }
    let instance = |matrix: BTreeMap<String, Value>| {
        let variable =
            |(axis, value): (&String, &Value)| (format!("MATRIX_{}", axis.to_uppercase()), text_of(value));
        Instance { environment: matrix.iter().map(variable).collect(), matrix }
    };
    Ok(combinations.into_iter().map(instance).collect())
}

/// One instance an item.
pub fn expand_items(items: &[Value], item_var: Option<&str>) -> Result<Vec<Instance>, String> {
    if items.len() > MAX_INSTANCES {
        return Err(format!("the list has {} items, more than {MAX_INSTANCES}", items.len()));
    }
    let variable = item_var.unwrap_or("ITEM");
    let instance = |item: &Value| Instance {
        environment: BTreeMap::from([(variable.to_owned(), item_value(item))]),
        matrix: BTreeMap::new(),
    };
    Ok(items.iter().map(instance).collect())
}

/// An item as the value of a variable: text as it is, anything else as JSON.
pub fn item_value(item: &Value) -> String {
    text_of(item)
}

/// Replaces `${matrix:AXIS}` in every text of a job.
pub fn replace_matrix(job: &Job, matrix: &BTreeMap<String, Value>) -> Result<Job, String> {
    if matrix.is_empty() {
        return Ok(job.clone());
    }
    let mut value = serde_json::to_value(job).expect("a job is JSON");
    fill(&mut value, matrix);
    serde_json::from_value(value)
        .map_err(|error| format!("with these values of the matrix it is no job: {error}"))
}

fn fill(value: &mut Value, matrix: &BTreeMap<String, Value>) {
    match value {
        Value::String(text) => {
            *text = placeholder::replace(text, |namespace, name| {
                (namespace == "matrix").then(|| matrix.get(name).map(text_of)).flatten()
            });
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, matrix)),
        Value::Object(map) => map.values_mut().for_each(|item| fill(item, matrix)),
        _ => {}
    }
}
