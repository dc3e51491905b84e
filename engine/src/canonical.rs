//! The one way to write a resource down: canonical JSON, from which fingerprints and revisions are made.
//!
//! Object keys are sorted by their bytes, there is no white space, and values stand in the canonical form of
//! their types (`90m` and `1h30m` are both `1h30m`). `renamed_from` is left out: it says how to get to a
//! state and is no part of it.

use serde_json::{Map, Value};

use crate::config::{API_VERSION, Kind, Metadata, Resource, Spec};

/// A resource as canonical JSON text.
pub fn document(resource: &Resource) -> String {
    let mut text = String::with_capacity(512);
    write(&value(resource), &mut text);
    text
}

/// A resource as a JSON value in the shape in which it is declared, without `renamed_from`.
pub fn value(resource: &Resource) -> Value {
    let mut metadata =
        serde_json::to_value(&resource.metadata).expect("metadata has string keys and no numbers");
    if let Some(object) = metadata.as_object_mut() {
        object.remove("renamed_from");
    }
    let mut document = Map::new();
    document.insert("apiVersion".to_owned(), API_VERSION.into());
    document.insert("kind".to_owned(), resource.spec.kind().as_str().into());
    document.insert("metadata".to_owned(), metadata);
    document.insert("spec".to_owned(), resource.spec.to_value());
    Value::Object(document)
}

/// Why a stored document is not a resource.
#[derive(Debug, thiserror::Error)]
pub enum ReadDocumentError {
    /// It is not JSON of the expected shape.
    #[error("the stored document is not a resource")]
    Shape(#[source] serde_json::Error),
    /// Its spec is not one of its kind.
    #[error("the stored spec of a {kind} is wrong at {path}")]
    Spec {
        /// The kind.
        kind: Kind,
        /// Where in the spec.
        path: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads what [`document`] wrote.
pub fn read_document(text: &str) -> Result<Resource, ReadDocumentError> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        kind: Kind,
        metadata: Metadata,
        spec: Value,
    }
    let envelope: Envelope = serde_json::from_str(text).map_err(ReadDocumentError::Shape)?;
    let kind = envelope.kind;
    let spec = Spec::from_value(kind, envelope.spec).map_err(|error| ReadDocumentError::Spec {
        kind,
        path: error.path().to_string(),
        source: error.into_inner(),
    })?;
    Ok(Resource { metadata: envelope.metadata, spec })
}

/// Appends a value as canonical JSON, whatever order its maps are in.
pub fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(&Value::String(key.clone()), text);
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(spec: Value) -> Resource {
        Resource {
            metadata: Metadata { name: "web".into(), ..Metadata::default() },
            spec: Spec::from_value(Kind::Project, spec).expect("a valid spec"),
        }
    }

    #[test]
    fn a_document_reads_back_as_the_same_resource() {
        let resource = project(serde_json::json!({"source": {"git": "https://example.com/a.git"}}));
        let text = document(&resource);
        let again = read_document(&text).expect("reads back");
        assert_eq!(again, resource);
        assert_eq!(document(&again), text);
    }

    #[test]
    fn keys_are_sorted_and_the_rename_is_left_out() {
        let mut resource = project(serde_json::json!({}));
        resource.metadata.renamed_from = Some("old".into());
        assert_eq!(
            document(&resource),
            r#"{"apiVersion":"reactorcide/v1","kind":"Project","metadata":{"deletion_policy":"allow","name":"web"},"spec":{"weight":1}}"#
        );
    }

    #[test]
    fn a_wrong_document_says_where() {
        let text = r#"{"apiVersion":"reactorcide/v1","kind":"Project","metadata":{"name":"web"},"spec":{"weight":"x"}}"#;
        let error = read_document(text).expect_err("weight is a number");
        assert_eq!(error.to_string(), "the stored spec of a Project is wrong at weight");
    }
}
