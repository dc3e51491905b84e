//! WebhookTarget: an object that is kept behind the API of another system.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::Duration;

/// An object that an apply keeps behind another system's HTTP API: the subscription of a webhook, a channel, a monitor.
/// An apply creates, replaces and deletes it; `reactorcide drift` shows what others did to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookTargetSpec {
    /// The collection that the object is in. The object itself is below it, at `URL/ID`.
    #[schemars(regex(pattern = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"), length(max = 2000))]
    pub url: String,
    /// The object, as it is sent. What the other system adds to it is not compared.
    #[serde(default)]
    pub body: BTreeMap<String, Value>,
    /// The Secret that opens the door, as `NAME` or `NAME:KEY`. It is sent as a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub token: Option<String>,
    /// How long one request may take.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// WebhookTargets whose objects are there before this one comes, and until it is gone.
    #[serde(default, alias = "needs", skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}
