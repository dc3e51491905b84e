//! What else there is to know of an entry: JSON in the one form in which it is hashed, stored and read back.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;

/// A JSON value as canonical text: keys sorted, no white space. Numbers that are not whole are texts in it, since not
/// every reader gives the same one back.
#[derive(Clone, PartialEq, Eq)]
pub struct Detail(String);

impl Detail {
    /// Takes text as it was stored. What is not the canonical form breaks the chain and is found there.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value. What is no JSON is a text.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_else(|_| self.0.clone().into())
    }
}

impl From<Value> for Detail {
    fn from(mut value: Value) -> Self {
        settle(&mut value);
        let mut text = String::new();
        canonical::write(&value, &mut text);
        Self(text)
    }
}

fn settle(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => *value = number.to_string().into(),
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Object(map) => map.values_mut().for_each(settle),
        _ => {}
    }
}

impl Default for Detail {
    fn default() -> Self {
        Value::Null.into()
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Detail {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Detail {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_reads_back_as_it_was_written() {
        let detail = Detail::from(json!({"b": [1.1, -3, u64::MAX, null], "a": "\u{0}é"}));
        assert_eq!(detail.as_str(), r#"{"a":"\u0000é","b":["1.1",-3,18446744073709551615,null]}"#);
        assert_eq!(Detail::from(detail.value()), detail);
        let json = serde_json::to_string(&detail).expect("JSON");
        assert_eq!(serde_json::from_str::<Detail>(&json).expect("it reads back"), detail);
        assert_eq!(Detail::stored("{".into()).value(), json!("{"));
        assert_eq!(Detail::default().as_str(), "null");
    }
}
