//! The outputs file: how a step hands values to later steps and to the workflow.
//!
//! A file that begins with `{` is one JSON object. Any other is read line by line, `KEY=VALUE`; a value of
//! several lines is written between delimiters that the job chooses:
//!
//! ```text
//! version=1.2.3
//! notes<<END
//! first line
//! second line
//! END
//! ```
//!
//! Empty lines are ignored. A key that is set again takes its last value, except in JSON, where that is an
//! error. A key begins with a letter or `_` and goes on with letters, digits, `_`, `-` and `.`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::strict;

/// The longest outputs file of one step, in bytes.
pub const MAX_BYTES: usize = 256 << 10;

/// The longest key.
pub const MAX_KEY_BYTES: usize = 128;

/// What is wrong with an outputs file.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotText,
    /// It begins with `{` and is not an object.
    #[error("it is not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// A line that is neither `KEY=VALUE` nor `KEY<<DELIMITER`.
    #[error("line {line} is neither KEY=VALUE nor KEY<<DELIMITER")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A key that is not allowed.
    #[error(
        "{key:?} is not a valid key: use letters, digits, `_`, `-` and `.`, at most {MAX_KEY_BYTES} bytes"
    )]
    Key {
        /// The key, cut where it is long.
        key: String,
    },
    /// The delimiter does not follow.
    #[error("the value of {key:?} that begins on line {line} has no end: there is no line {delimiter:?}")]
    Open {
        /// The key.
        key: String,
        /// Counted from 1.
        line: usize,
        /// What should end it.
        delimiter: String,
    },
}

/// Reads an outputs file.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Value>, OutputError> {
    let text = std::str::from_utf8(bytes).map_err(|_| OutputError::NotText)?;
    let values = if text.trim_start().starts_with('{') { json(text)? } else { lines(text)? };
    match values.keys().find(|key| !is_key(key)) {
        Some(key) => Err(OutputError::Key { key: key.clone() }),
        None => Ok(values),
    }
}

fn json(text: &str) -> Result<BTreeMap<String, Value>, OutputError> {
    match strict::parse(text).map_err(OutputError::Json)? {
        Value::Object(values) => Ok(values.into_iter().collect()),
        _ => unreachable!("a value that begins with a brace is an object"),
    }
}

fn lines(text: &str) -> Result<BTreeMap<String, Value>, OutputError> {
    let mut values = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let (equals, heredoc) = (line.find('='), line.find("<<"));
        match (equals, heredoc) {
            (_, Some(at)) if equals.is_none_or(|equals| at < equals) => {
                let (key, delimiter) = (line[..at].trim(), line[at + 2..].trim());
                let mut value = Vec::new();
                let closed = !delimiter.is_empty()
                    && lines.by_ref().any(|(_, line)| {
                        let end = line == delimiter;
                        if !end {
                            value.push(line);
                        }
                        end
                    });
                if !closed {
                    let (key, delimiter) = (key.to_owned(), delimiter.to_owned());
                    return Err(OutputError::Open { key, line: index + 1, delimiter });
                }
                values.insert(key.to_owned(), value.join("\n").into());
            }
            (Some(at), _) => {
                values.insert(line[..at].trim().to_owned(), line[at + 1..].into());
            }
            (None, _) => return Err(OutputError::Line { line: index + 1 }),
        }
    }
    Ok(values)
}

/// Whether a text can be a key.
pub fn is_key(key: &str) -> bool {
    let mut bytes = key.bytes();
    key.len() <= MAX_KEY_BYTES
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::empty("", json!({}))]
    #[case::lines("a=1\n\nb = x=y \r\na=2\n", json!({"a": "2", "b": " x=y "}))]
    #[case::heredoc("a<<END\none=1\n\ntwo\nEND\nb=<<x\n", json!({"a": "one=1\n\ntwo", "b": "<<x"}))]
    #[case::json(r#" {"a": [1, {"b": null}]} "#, json!({"a": [1, {"b": null}]}))]
    fn accepted(#[case] text: &str, #[case] values: Value) {
        assert_eq!(json!(parse(text.as_bytes()).unwrap()), values);
    }

    #[rstest]
    #[case(b"a\n", "line 1 is neither KEY=VALUE nor KEY<<DELIMITER")]
    #[case(
        b"a=1\nb<<END\nx\n",
        r#"the value of "b" that begins on line 2 has no end: there is no line "END""#
    )]
    #[case(b"a b=1", r#""a b" is not a valid key"#)]
    #[case(b"=1", r#""" is not a valid key"#)]
    #[case(b"\xff=1", "it is not UTF-8")]
    #[case(br#"{"a":1,"a":2}"#, r#"it is not valid JSON: key "a" is repeated"#)]
    #[case(br#"{"a":1} x"#, "it is not valid JSON")]
    fn refused(#[case] bytes: &[u8], #[case] message: &str) {
        let error = parse(bytes).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}
