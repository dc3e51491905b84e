//! The values of a run's inputs: what is given, else what is declared.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Workflow, check_value};

/// Why values cannot be the inputs of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// It has no such input.
    #[error("there is no input {name:?}; there are {known:?}")]
    Unknown {
        /// What was given.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// One has neither a value nor a default.
    #[error("the input {0:?} is not set")]
    Missing(String),
    /// A value is not what it must be.
    #[error("the input {name:?} {message}")]
    Wrong {
        /// Which.
        name: String,
        /// Why.
        message: String,
    },
}

impl Workflow {
    /// The inputs of a run with these values given.
    pub fn inputs_with(
        &self,
        mut given: BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Value>, InputError> {
        if let Some(name) = given.keys().find(|name| !self.inputs.contains_key(*name)) {
            let known = self.inputs.keys().cloned().collect();
            return Err(InputError::Unknown { name: name.clone(), known });
        }
        let mut values = BTreeMap::new();
        for (name, input) in &self.inputs {
            let value = given.remove(name).or_else(|| input.default.clone());
            let value = value.ok_or_else(|| InputError::Missing(name.clone()))?;
            check_value(input, &value)
                .map_err(|message| InputError::Wrong { name: name.clone(), message })?;
            values.insert(name.clone(), value);
        }
        Ok(values)
    }
}
