//! JobTemplate: a job to make others from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Job, Parameter};

/// A job to make others from. `${param:NAME}` in any text of it is replaced by the parameter's value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobTemplateSpec {
    /// The parameters, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {"pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub parameters: BTreeMap<String, Parameter>,
    /// The job. It may itself be made from another template.
    pub job: Job,
}
