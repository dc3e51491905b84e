//! The key of a cache: what it says, with variables and the hashes of files in their places.

use std::collections::BTreeMap;

use serde_json::Value;

use super::check_name;
use crate::placeholder;

/// What stands before the pattern of files.
const HASH: &str = "${hash:";

/// Why there is no key. The job goes on without a cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A pattern means no file.
    #[error("the key of the cache names {0:?}, and there is no such file")]
    NoFile(String),
    /// What came of it cannot be one.
    #[error("{key:?} cannot be the key of a cache: {why}")]
    Key {
        /// What came of it.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The key that a text stands for. `hash` gives the hash of the files that a pattern means, and nothing where there are
/// none.
pub fn cache_key(
    text: &str,
    vars: &BTreeMap<String, Value>,
    mut hash: impl FnMut(&str) -> Option<String>,
) -> Result<String, KeyError> {
    let text = placeholder::replace(text, |namespace, name| {
        let value = (namespace == "var").then(|| vars.get(name)).flatten()?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // What a job gave is data: a file's name in it stays text.
        Some(placeholder::escape(&text))
    });
    let mut key = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        key.push_str(before);
        let end = from.find('}').filter(|_| from.starts_with(HASH) && !before.ends_with('$'));
        rest = match end {
            Some(end) => {
                let pattern = &from[HASH.len()..end];
                key.push_str(&hash(pattern).ok_or_else(|| KeyError::NoFile(pattern.to_owned()))?);
                &from[end + 1..]
            }
            None => {
                key.push_str("${");
                &from[2..]
            }
        };
    }
    key.push_str(rest);
    let key = placeholder::unescape(&key);
    match check_name(&key) {
        Ok(()) => Ok(key),
        Err(error) => Err(KeyError::Key { why: error.to_string(), key }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(text: &str) -> Result<String, KeyError> {
        let vars = BTreeMap::from([
            ("channel".to_owned(), json!("stable")),
            ("sly".to_owned(), json!("${hash:secret}")),
            ("number".to_owned(), json!(7)),
        ]);
        cache_key(text, &vars, |pattern| (pattern == "Cargo.lock").then(|| "abc".to_owned()))
    }

    #[test]
    fn variables_and_hashes_are_filled_in_and_nothing_else() {
        assert_eq!(key("deps-${hash:Cargo.lock}-${var:channel}").as_deref(), Ok("deps-abc-stable"));
        assert_eq!(key("${hash:Cargo.lock}${hash:Cargo.lock}").as_deref(), Ok("abcabc"));
        assert_eq!(
            key("$${hash:Cargo.lock}-${HOME}-${var:number}").as_deref(),
            Ok("${hash:Cargo.lock}-${HOME}-7")
        );
        assert_eq!(key("v-${var:sly}").as_deref(), Ok("v-${hash:secret}"), "what a job gave names no file");
        assert_eq!(key("open-${hash:Cargo.lock").as_deref(), Ok("open-${hash:Cargo.lock"));
    }

    #[test]
    fn a_file_that_is_not_there_and_a_name_that_cannot_be_are_said() {
        assert_eq!(key("${hash:none}"), Err(KeyError::NoFile("none".to_owned())));
        assert!(matches!(key("a/../b"), Err(KeyError::Key { .. })));
    }
}
