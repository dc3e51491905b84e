//! JSON as a job may hand it over: without repeated keys and not too deep.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 32;

/// Reads one JSON value. A repeated key is an error, where serde_json would keep the last.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let mut all = values(text);
    match (all.next(), all.next()) {
        (Some(value), None) => value,
        (None, _) => Err(serde_json::Error::custom("there is no value")),
        (Some(first), Some(_)) => first.and(Err(serde_json::Error::custom("there is more than one value"))),
    }
}

/// Reads JSON values that follow each other, such as JSON lines, up to the first error.
pub fn values(text: &str) -> impl Iterator<Item = Result<Value, serde_json::Error>> {
    // StreamDeserializer takes no seed, so whitespace between values is skipped here.
    let mut rest = text.trim_start();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Strict>();
        let value = values.next()?;
        rest = match value {
            Ok(_) => rest[values.byte_offset()..].trim_start(),
            Err(_) => "",
        };
        Some(value.map(|strict| strict.0))
    })
}

struct Strict(Value);

impl<'de> serde::Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Seed { depth: 0 }.deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
struct Seed {
    depth: usize,
}

impl Seed {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if all.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key {key:?} is repeated")));
            }
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::scalar("1", "1")]
    #[case::object(r#" {"a": {"a": [1, null, "x", 1.5, true]}} "#, r#"{"a":{"a":[1,null,"x",1.5,true]}}"#)]
    fn accepted(#[case] text: &str, #[case] value: &str) {
        assert_eq!(parse(text).unwrap().to_string(), value);
    }

    #[rstest]
    #[case::nothing(" ", "there is no value")]
    #[case::two("1 2", "there is more than one value")]
    #[case::repeated(r#"{"a": {"b": 1, "b": 2}}"#, r#"key "b" is repeated"#)]
    #[case::deep(&"[".repeat(40), "nested deeper than 32")]
    #[case::very_deep(&"[".repeat(1_000_000), "nested deeper than 32")]
    #[case::garbage("{a}", "key must be a string")]
    fn refused(#[case] text: &str, #[case] message: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }

    #[test]
    fn values_follow_each_other() {
        let all: Vec<Value> = values("{\"a\":1}\n[2]\n\n3 ").collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), 3);
        assert!(values("1 ]").last().unwrap().is_err());
    }
}
