//! The OpenAPI document says what is there, and all of it can be followed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::openapi::document;
use crate::api::operations;

/// Every object in a value.
fn objects<'a>(value: &'a Value, found: &mut Vec<&'a serde_json::Map<String, Value>>) {
    match value {
        Value::Object(map) => {
            found.push(map);
            map.values().for_each(|value| objects(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| objects(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document(&operations());
    let mut all = Vec::new();
    objects(&document, &mut all);
    let references: Vec<&str> = all.iter().filter_map(|map| map.get("$ref")?.as_str()).collect();
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    assert!(!document.to_string().contains("#/$defs/"));
}

#[test]
fn every_operation_is_described_once_and_whole() {
    let document = document(&operations());
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            count += 1;
            let id = operation["operationId"].as_str().expect("an id");
            assert!(!id.is_empty() && ids.insert(id), "{method} {path}: {id}");
            assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{id} has no summary");
            assert!(operation["tags"][0].as_str().is_some_and(|text| !text.is_empty()), "{id} has no tag");
            let parameters = operation["parameters"].as_array().expect("parameters");
            let declared: BTreeSet<&str> = parameters
                .iter()
                .filter(|one| one["in"] == "path")
                .filter_map(|one| one["name"].as_str())
                .collect();
            let named: BTreeSet<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            assert_eq!(declared, named, "{id}");
            let unique: BTreeSet<_> =
                parameters.iter().map(|one| (one["in"].as_str(), one["name"].as_str())).collect();
            assert_eq!(unique.len(), parameters.len(), "{id} has a parameter twice");
            for parameter in parameters.iter().filter(|one| one["in"] == "query") {
                assert!(parameter["description"].is_string(), "{id}: {} is not described", parameter["name"]);
                assert!(!parameter["schema"].is_null(), "{id}: {} has no schema", parameter["name"]);
            }
            let responses = operation["responses"].as_object().expect("responses");
            assert_eq!(responses.keys().filter(|status| status.starts_with('2')).count(), 1, "{id}");
            let is_public = operation["security"].as_array().is_some_and(Vec::is_empty);
            assert!(is_public || responses.contains_key("401") && responses.contains_key("403"), "{id}");
        }
    }
    let described = operations().iter().filter(|one| one.path.starts_with("/api/")).count();
    assert_eq!(count, described);
}

/// People read these: a field without a word is a field that nobody knows how to use.
#[test]
fn every_field_of_ours_is_described() {
    let document = document(&operations());
    let mut silent = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        for (field, value) in schema["properties"].as_object().into_iter().flatten() {
            let says = value["description"].is_string() || value["$ref"].is_string();
            if !says {
                silent.push(format!("{name}.{field}"));
            }
        }
    }
    assert!(silent.is_empty(), "{silent:?}");
}
