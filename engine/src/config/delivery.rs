//! How a job gets secrets and identity tokens: by which variable, and whether it carries the value or the path of a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A secret that a job gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Said", into = "Said")]
#[schemars(with = "Said")]
pub struct SecretUse {
    /// Its name, with a key or without: `deploy/production:token`.
    pub secret: String,
    /// How it gets it.
    pub delivery: Delivery,
}

/// What a variable of a job carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// The value.
    #[default]
    Environment,
    /// The path of a file with the value, which only the job's user may read (0400), in memory and in no image layer.
    File,
}

/// A token by which the job proves to others, such as a cloud, what it is. The server signs it when the job starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdToken {
    /// For whom it is, the claim `aud`: `sts.amazonaws.com`. Nobody else should accept it. The job may also ask for a
    /// fresh token for this audience while it runs, and for no other.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
    /// What the variable carries.
    #[serde(default, rename = "as", skip_serializing_if = "is_usual")]
    pub delivery: Delivery,
}

/// A secret of a job as it is written: its name, or its name and how the job gets it.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "SecretUse")]
enum Said {
    /// A secret, with a key or without: `deploy/production:token`. The variable carries the value.
    Name(String),
    /// A secret and what the variable carries.
    Whole(Whole),
}

/// A secret and what the variable carries.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeliveredSecret")]
struct Whole {
    /// The secret, with a key or without: `deploy/production:token`.
    secret: String,
    /// What the variable carries.
    #[serde(default, rename = "as")]
    delivery: Delivery,
}

fn is_usual(delivery: &Delivery) -> bool {
    *delivery == Delivery::Environment
}

impl From<Said> for SecretUse {
    fn from(said: Said) -> Self {
        match said {
            Said::Name(secret) => Self::from(secret),
            Said::Whole(Whole { secret, delivery }) => Self { secret, delivery },
        }
    }
}

impl From<SecretUse> for Said {
    /// The short form where it says all, so that equal values are written alike.
    fn from(one: SecretUse) -> Self {
        match one.delivery {
            Delivery::Environment => Self::Name(one.secret),
            delivery @ Delivery::File => Self::Whole(Whole { secret: one.secret, delivery }),
        }
    }
}

impl From<String> for SecretUse {
    fn from(secret: String) -> Self {
        Self { secret, delivery: Delivery::Environment }
    }
}

impl From<&str> for SecretUse {
    fn from(secret: &str) -> Self {
        Self::from(secret.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_written_in_the_shortest_form() {
        for (written, kept) in [
            (json!("a:b"), json!("a:b")),
            (json!({"secret": "a:b"}), json!("a:b")),
            (json!({"secret": "a:b", "as": "environment"}), json!("a:b")),
            (json!({"secret": "a:b", "as": "file"}), json!({"secret": "a:b", "as": "file"})),
        ] {
            let one: SecretUse = serde_json::from_value(written).expect("a secret");
            assert_eq!(serde_json::to_value(one).expect("JSON"), kept);
        }
        for wrong in
            [json!({"secret": "a", "mode": 7}), json!({"as": "file"}), json!({"secret": "a", "as": "x"})]
        {
            assert!(serde_json::from_value::<SecretUse>(wrong).is_err());
        }
    }
}
