//! The fields of a JSON Schema, by the definition that has them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields by name, such as `Job.image`.
pub type Fields = BTreeMap<String, Field>;

/// One field and every text that speaks of it.
#[derive(Debug, Default)]
pub struct Field {
    /// Its own description.
    description: String,
    /// For each way that leads to it: the descriptions on that way.
    ways: Vec<Vec<String>>,
}

impl Field {
    /// Whether its own description says something.
    pub fn itself_says(&self, words: &str) -> bool {
        says(&self.description, words)
    }

    /// Whether its own description says something, or on each way to it one of those above it.
    pub fn says(&self, words: &str) -> bool {
        let on_the_way = |way: &Vec<String>| way.iter().any(|text| says(text, words));
        self.itself_says(words) || self.ways.iter().all(on_the_way)
    }
}

/// Whether a description says something, however its lines are broken.
pub fn says(description: &str, words: &str) -> bool {
    description.split_whitespace().collect::<Vec<_>>().join(" ").contains(words)
}

/// All fields of a schema. What it has itself is called after `root`, what a definition has after the definition,
/// and what stands in place after the field that holds it.
pub fn fields(schema: &Value, root: &str) -> Fields {
    let mut walk = Walk { definitions: &schema["definitions"], within: Vec::new(), fields: Fields::new() };
    walk.schema(schema, root, &[]);
    walk.fields
}

struct Walk<'a> {
    definitions: &'a Value,
    /// The definitions that are being walked: one that holds itself is not walked again.
    within: Vec<&'a str>,
    fields: Fields,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, schema: &'a Value, owner: &str, way: &[String]) {
        let mut way = way.to_vec();
        way.extend(schema["description"].as_str().map(str::to_owned));
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/definitions/"))
            && !self.within.contains(&name)
        {
            self.within.push(name);
            self.schema(&self.definitions[name], name, &way);
            self.within.pop();
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let full = format!("{owner}.{name}");
            let field = self.fields.entry(full.clone()).or_default();
            property["description"].as_str().unwrap_or_default().clone_into(&mut field.description);
            field.ways.push(way.clone());
            self.schema(property, &full, &way);
        }
        for keyword in ["items", "additionalProperties", "additionalItems", "contains", "then", "else"] {
            self.schema_if_any(&schema[keyword], owner, &way);
        }
        for keyword in ["allOf", "anyOf", "oneOf", "items"] {
            for part in schema[keyword].as_array().into_iter().flatten() {
                self.schema(part, owner, &way);
            }
        }
        for part in schema["patternProperties"].as_object().into_iter().flat_map(|parts| parts.values()) {
            self.schema(part, owner, &way);
        }
    }

    fn schema_if_any(&mut self, schema: &'a Value, owner: &str, way: &[String]) {
        if schema.is_object() {
            self.schema(schema, owner, way);
        }
    }
}
