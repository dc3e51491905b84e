//! JSON Schemas of the language, made from its types: for editors, and for the reader itself.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::config::{API_VERSION, Kind, Metadata, Scope, Spec};
use crate::process::{ProcessFile, ServerFile, WorkerFile};

/// The schema of a document of one kind, Draft 7.
pub fn of_kind(kind: Kind) -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let metadata = Metadata::json_schema(&mut generator);
    let spec = Spec::schema(kind, &mut generator);
    let mut definitions = Value::Object(generator.take_definitions(true));
    let mut document = document(kind, metadata.to_value(), &spec.to_value());
    for part in [&mut document, &mut definitions] {
        simplify_all(part);
    }
    document["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    document["title"] = json!(format!("Reactorcide {kind}"));
    document["definitions"] = definitions;
    put_words_in_place(&mut document);
    document
}

/// One schema for every document, dispatching on `kind`, so that an error speaks of the kind that was meant.
pub fn whole() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let metadata = Metadata::json_schema(&mut generator).to_value();
    let branches: Vec<Value> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let spec = Spec::schema(kind, &mut generator).to_value();
            let mut then = document(kind, metadata.clone(), &spec);
            then.as_object_mut().expect("an object").remove("type");
            json!({
                "if": {"properties": {"kind": {"const": kind.as_str()}}, "required": ["kind"]},
                "then": then,
            })
        })
        .collect();
    let mut definitions = Value::Object(generator.take_definitions(true));
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Reactorcide configuration",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": api_version(),
            "kind": {"enum": Kind::ALL.map(Kind::as_str), "description": "What the document declares."},
        },
        "allOf": branches,
    });
    simplify_all(&mut schema);
    simplify_all(&mut definitions);
    schema["definitions"] = definitions;
    put_words_in_place(&mut schema);
    schema
}

/// The schema of a plan as `plan --json` prints it, Draft 7.
pub fn of_plan() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    // Unlike in a configuration, null is a value here: `pins` says that there was nothing.
    let mut schema = generator.into_root_schema_for::<crate::plan::Plan>().to_value();
    schema["title"] = json!("Reactorcide plan");
    schema
}

/// The schema of a file that a server or a worker is told things by, Draft 7.
pub fn of_process<T: ProcessFile>() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let mut root = T::json_schema(&mut generator).to_value();
    let mut definitions = Value::Object(generator.take_definitions(true));
    root["properties"]["$schema"] =
        json!({"type": "string", "description": "For editors; it has no effect."});
    simplify_all(&mut root);
    simplify_all(&mut definitions);
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!(T::TITLE);
    root["definitions"] = definitions;
    put_words_in_place(&mut root);
    root
}

/// The files of `schemas/`, by path below it.
pub fn files() -> Vec<(String, String)> {
    let text = |schema: Value| {
        let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
        text.push('\n');
        text
    };
    let kinds = Kind::ALL.into_iter().map(|kind| (format!("kinds/{kind}.json"), text(of_kind(kind))));
    let others = [
        ("reactorcide.schema.json", whole()),
        ("plan.schema.json", of_plan()),
        ("server.schema.json", of_process::<ServerFile>()),
        ("worker.schema.json", of_process::<WorkerFile>()),
    ];
    others.into_iter().map(|(name, schema)| (name.to_owned(), text(schema))).chain(kinds).collect()
}

/// The schema of a kind, made once: a file may have thousands of errors, and each looks into it.
pub(crate) fn cached(kind: Kind) -> &'static Value {
    static SCHEMAS: [OnceLock<Value>; Kind::ALL.len()] = [const { OnceLock::new() }; Kind::ALL.len()];
    SCHEMAS[kind as usize].get_or_init(|| of_kind(kind))
}

/// The compiled validator of a kind.
pub(crate) fn validator(kind: Kind) -> &'static jsonschema::Validator {
    static VALIDATORS: [OnceLock<jsonschema::Validator>; Kind::ALL.len()] =
        [const { OnceLock::new() }; Kind::ALL.len()];
    VALIDATORS[kind as usize]
        .get_or_init(|| jsonschema::draft7::new(cached(kind)).expect("a generated schema is a valid one"))
}

fn api_version() -> Value {
    json!({"const": API_VERSION, "default": API_VERSION, "description": "The version of the language."})
}

fn document(kind: Kind, mut metadata: Value, spec: &Value) -> Value {
    match kind.scope() {
        Scope::Workspace => {
            metadata["properties"].as_object_mut().expect("an object").remove("project");
        }
        Scope::Project => metadata["required"] = json!(["name", "project"]),
        Scope::Either => {}
    }
    if kind != Kind::Secret {
        metadata["properties"]["name"]["pattern"] = json!("^[a-z0-9][a-z0-9._-]*$");
    }
    json!({
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "$schema": {"type": "string", "description": "For editors; it has no effect."},
            "apiVersion": api_version(),
            "kind": {"const": kind.as_str(), "description": format!("Declares a {kind}.")},
            "metadata": metadata,
            "spec": spec,
        },
    })
}

fn simplify_all(value: &mut Value) {
    let mut transform = RecursiveTransform(simplify);
    if let Some(definitions) =
        value.as_object_mut().filter(|map| !map.contains_key("type") && !map.contains_key("$ref"))
    {
        for definition in definitions.values_mut().filter(|value| value.is_object()) {
            if let Ok(schema) = <&mut Schema>::try_from(definition) {
                schemars::transform::Transform::transform(&mut transform, schema);
            }
        }
    } else if let Ok(schema) = <&mut Schema>::try_from(value) {
        schemars::transform::Transform::transform(&mut transform, schema);
        transform_subschemas(&mut transform, schema);
    }
}

/// Makes a generated schema say what the reader means: an absent field is absent, not null; the words of an
/// enumeration are an `enum`, which editors complete; `needs` is another word for `depends_on`.
fn simplify(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    drop_null(object);
    words_to_enum(object);
    object.remove("format");
    if let Some(Value::Object(properties)) = object.get_mut("properties")
        && properties.contains_key("depends_on")
        && !properties.contains_key("needs")
    {
        let mut alias = properties["depends_on"].clone();
        alias["description"] = json!("Another word for `depends_on`.");
        properties.insert("needs".to_owned(), alias);
    }
}

fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|word| word != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(options)) = object.get_mut("anyOf") {
        options.retain(|option| option != &json!({"type": "null"}));
        if let [only] = options.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            // Draft 7 ignores what stands beside a `$ref`, so the reference goes into an `allOf`.
            object.insert("allOf".to_owned(), json!([only]));
        }
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
    if let Some(reference) = object.get("$ref").cloned()
        && object.len() > 1
    {
        object.remove("$ref");
        object.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
}

/// Puts the words of an enumeration where a field refers to them, so that editors show what the field is for and not only
/// what its type is.
fn put_words_in_place(schema: &mut Value) {
    let definitions = schema["definitions"].clone();
    let mut pending = vec![schema];
    while let Some(value) = pending.pop() {
        if let Value::Object(object) = value {
            let reference =
                object.get("allOf").and_then(|all| all.as_array()?.first()?.get("$ref")?.as_str());
            let name = reference.and_then(|reference| reference.strip_prefix("#/definitions/"));
            let definition = name.and_then(|name| definitions.get(name));
            if let Some(Value::Object(words)) = definition.filter(|one| one.get("enum").is_some()).cloned() {
                object.remove("allOf");
                for (key, value) in words {
                    object.entry(key).or_insert(value);
                }
            }
        }
        match value {
            Value::Object(object) => pending.extend(object.values_mut()),
            Value::Array(items) => pending.extend(items),
            _ => {}
        }
    }
}

fn words_to_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = object.get("oneOf") else { return };
    let words: Option<Vec<Value>> = options.iter().map(|option| option.get("const").cloned()).collect();
    let Some(words) = words else { return };
    let descriptions: Vec<Value> =
        options.iter().map(|option| option.get("description").cloned().unwrap_or(json!(""))).collect();
    object.remove("oneOf");
    object.insert("type".to_owned(), json!("string"));
    object.insert("enum".to_owned(), Value::Array(words));
    object.insert("enumDescriptions".to_owned(), Value::Array(descriptions));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles() {
        for kind in Kind::ALL {
            assert!(jsonschema::draft7::new(&of_kind(kind)).is_ok(), "{kind}");
        }
        jsonschema::draft7::new(&whole()).expect("the whole");
    }

    #[test]
    fn no_schema_allows_null_or_unknown_fields() {
        let mut pending = vec![(String::new(), whole())];
        while let Some((path, value)) = pending.pop() {
            let Value::Object(object) = value else { continue };
            assert!(object.get("type") != Some(&json!("null")), "{path} allows null");
            if object.contains_key("properties")
                && !path.contains("/if")
                && !path.is_empty()
                && object.contains_key("required")
            {
                assert_eq!(object.get("additionalProperties"), Some(&json!(false)), "{path}");
            }
            pending.extend(object.into_iter().map(|(key, value)| (format!("{path}/{key}"), value)));
        }
    }

    #[test]
    fn a_plan_is_what_its_schema_says() {
        use crate::config::Kind;
        use crate::plan::tests::{applied, desired, plan, resource};

        let before = vec![
            resource(Kind::Project, "web", json!({})),
            resource(Kind::Secret, "old", json!({"keys": ["a"]})),
        ];
        let job = json!({"image": "debian:12", "command": "x", "secrets": {"K": "new:a"}});
        let after = vec![
            resource(Kind::Project, "web", json!({"weight": 2})),
            resource(Kind::Secret, "new", json!({"keys": ["a"]})),
            resource(
                Kind::SecretPolicy,
                "p",
                json!({"allow": [{"secrets": ["*"], "to": {"project": "web"}}]}),
            ),
            resource(Kind::Pipeline, "web/ci", json!({"triggers": [{"event": "push"}], "jobs": {"a": job}})),
        ];
        let plan = plan(&desired(after), &applied(before));
        assert!(!plan.findings.is_empty() && !plan.reach.added.is_empty());
        let schema = super::of_plan();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let value = serde_json::to_value(&plan).expect("JSON");
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new());
        assert!(!validator.is_valid(&json!({"format_version": 1})));
    }
}
