//! Typed values of the language: durations, sizes, CPUs. Equal values are equal however they were written.

mod cpu;
mod duration;
mod size;

pub use cpu::Cpu;
pub use duration::Duration;
pub use size::Size;

/// Why a text is not a value of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseValueError {
    /// The text.
    pub text: String,
    /// What was expected, with an example.
    pub expected: &'static str,
}

/// Implements serde (as a string; whole numbers are read as well where `$number` says so) and JSON Schema.
macro_rules! text_value {
    ($type:ty, $name:literal, $pattern:literal, $description:literal, [$($example:literal),*]) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                let text = match &value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "description": $description,
                    "type": ["string", "number"],
                    "pattern": $pattern,
                    "examples": [$($example),*],
                })
            }
        }
    };
}
use text_value;

/// Splits a text into its leading number and the unit behind it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}
