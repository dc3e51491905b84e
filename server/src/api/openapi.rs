//! The OpenAPI document, made from the routes.

use axum::Json as Answer;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::route::{Access, Body, Content, Operation};
use super::{Problem, Route, operations};

/// The route of the document itself.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/openapi.json", || async { Answer(document(&operations())) })
            .named("getOpenApi", "server", "This document")
            .answers_raw("application/json"),
    ]
}

/// The document of these operations.
pub fn document(operations: &[Operation]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations.iter().filter(|operation| operation.path.starts_with("/api/")) {
        let path = paths.entry(operation.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = describe(operation, &mut generator, &problem);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Reactorcide",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs, jobs, logs, workers and the applied configuration of a Reactorcide server.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A token of a user, team or service account; see docs/access.md"}},
        },
        "security": [{"token": []}],
    })
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator, problem: &Schema) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    for name in names_in(operation.path) {
        parameters.push(
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}),
        );
    }
    if let Some(query) = operation.query {
        parameters.extend(of_query(query(generator), generator));
    }
    if operation.idempotent {
        parameters.push(json!({"name": "Idempotency-Key", "in": "header", "required": false,
            "description": "A second request with the same key of the same caller does nothing and is answered like the first.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"}}));
    }
    let (status, content) = operation.answer;
    let mut responses = Map::new();
    let answer = match content {
        Content::Nothing => json!({"description": "Done"}),
        Content::Json(schema) => {
            json!({"description": "Done", "content": {"application/json": {"schema": schema(generator)}}})
        }
        Content::Raw(media_type) => {
            let mut content = json!({"description": "Done", "content": {}});
            content["content"][media_type] = json!({});
            content
        }
    };
    responses.insert(status.to_string(), answer);
    let mut problems: Vec<u16> = operation.problems.to_vec();
    if operation.access != Access::Public {
        problems.extend([401, 403]);
    }
    if operation.query.is_some() || operation.path.contains('{') {
        problems.push(400);
    }
    if operation.path.contains('{') {
        problems.push(404);
    }
    if operation.body.is_some() {
        problems.extend([400, 413, 415, 422]);
    }
    problems.extend([500, 503]);
    problems.sort_unstable();
    problems.dedup();
    for status in problems {
        let described =
            json!({"description": "A problem", "content": {"application/problem+json": {"schema": problem}}});
        responses.insert(status.to_string(), described);
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": responses,
    });
    match operation.body {
        None => {}
        Some(Body::Json(schema)) => {
            described["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": schema(generator)}}});
        }
        Some(Body::MaybeJson(schema)) => {
            described["requestBody"] =
                json!({"required": false, "content": {"application/json": {"schema": schema(generator)}}});
        }
        Some(Body::Bytes) => {
            // No bytes are bytes too: an empty file.
            described["requestBody"] =
                json!({"required": false, "content": {"application/octet-stream": {}}});
        }
    }
    match operation.access {
        Access::Public => described["security"] = json!([]),
        Access::Known => described["description"] = json!("Needs a token that works, whatever it may."),
        Access::Capability(capability) => {
            described["description"] = json!(format!("Needs the capability `{capability}`."));
        }
    }
    described
}

fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| name.trim_start_matches('*'))
}

/// The fields of a query's type, each as a parameter.
fn of_query(schema: Schema, generator: &SchemaGenerator) -> Vec<Value> {
    let value = schema.to_value();
    let named = value["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    let schema = named.and_then(|name| generator.definitions().get(name)).unwrap_or(&value).clone();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(fields) = schema["properties"].as_object() else { return Vec::new() };
    let parameter = |(name, field): (&String, &Value)| {
        let mut field = field.clone();
        let description = field.as_object_mut().and_then(|field| field.remove("description"));
        // A query has no null: what is absent is absent.
        if let Some(types) = field["type"].as_array() {
            let some = types.iter().find(|kind| **kind != "null").cloned().unwrap_or_default();
            field["type"] = some;
        }
        if let Some(any) = field["anyOf"].as_array() {
            field = any.iter().find(|one| one["type"] != "null").cloned().unwrap_or_default();
        }
        if let Some(object) = field.as_object_mut()
            && object.get("default").is_some_and(Value::is_null)
        {
            object.remove("default");
        }
        json!({"name": name, "in": "query", "required": required.contains(&name.as_str()),
            "description": description, "schema": field})
    };
    fields.iter().map(parameter).collect()
}
