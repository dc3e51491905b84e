//! Tokens as they are asked for and answered.

use std::borrow::Cow;
use std::collections::BTreeSet;

use reactorcide_engine::identity::Capability;
use reactorcide_engine::scheduler::Millis;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A capability, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapabilityWord(pub Capability);

impl JsonSchema for CapabilityWord {
    fn schema_name() -> Cow<'static, str> {
        "Capability".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = Capability::ALL.iter().map(|one| one.as_str()).collect();
        json_schema!({"type": "string", "enum": words, "description": "Something that can be asked for."})
    }
}

/// A token, without what opens the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRow {
    /// Its id: 32 hexadecimal digits. It is no secret.
    pub id: String,
    /// Whom it belongs to: `user:NAME`, `team:NAME`, `service:NAME`, `worker:NAME`.
    pub owner: String,
    /// The same by an id that stays when the name changes.
    pub owner_id: String,
    /// What people call it.
    pub name: String,
    /// What it is limited to; absent is all that its owner may.
    #[serde(default)]
    pub capabilities: Option<BTreeSet<CapabilityWord>>,
    /// The only project that it is for.
    #[serde(default)]
    pub project: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_at: Millis,
    /// From when on it is of no use.
    #[serde(default)]
    pub expires_at: Option<Millis>,
    /// When it was last used, to about a minute.
    #[serde(default)]
    pub last_used_at: Option<Millis>,
    /// Since when it is revoked.
    #[serde(default)]
    pub revoked_at: Option<Millis>,
}

/// A token to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What people call it; it gives nothing and need not be unique.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Whom it is for: `user:NAME`, `team:NAME`, `service:NAME` or `worker:NAME`. Absent: who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub owner: Option<String>,
    /// What it is limited to. Absent: as the token that is shown for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub capabilities: Option<BTreeSet<CapabilityWord>>,
    /// The only project that it is for. Absent: as the token that is shown for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub project: Option<String>,
    /// From when on it is of no use, in milliseconds since 1970. Absent: never, or when the token that is shown for one's
    /// own ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
}

/// A token that was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// What is known of it from now on.
    #[serde(flatten)]
    pub token: TokenRow,
    /// What to show the server, as `Authorization: Bearer SECRET`. It is shown now and never again; absent where the request
    /// is a repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Without the secret.
impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken").field("token", &self.token).finish_non_exhaustive()
    }
}

/// Which tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTokens {
    /// Whose: `user:NAME`, `team:NAME`, `service:NAME`, `worker:NAME`, or `all`. Absent: who asks.
    pub owner: Option<String>,
    /// Only those that work now.
    #[serde(default)]
    pub live: bool,
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Goes on with an earlier list.
    pub cursor: Option<String>,
}
