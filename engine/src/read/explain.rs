//! From a schema's verdict to words: what is wrong, at its place, and what to do.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Verdict;
use serde_json::Value;

use super::tree::Node;
use crate::config::Kind;
use crate::diagnostic::{Diagnostic, Span};
use crate::diff::join;
use crate::suggest::nearest;

/// Says in words what a schema found.
pub fn explain(error: &ValidationError<'_>, document: &Node, kind: Kind, diagnostics: &mut Vec<Diagnostic>) {
    explain_by(error, document, crate::schema::cached(kind), diagnostics);
}

/// The same for any schema.
pub fn explain_by(
    error: &ValidationError<'_>,
    document: &Node,
    schema: &Value,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let pointer = error.instance_path().to_string();
    let place = |pointer: &str| document.span_of(pointer).unwrap_or(document.span);
    let span = place(&pointer);
    let instance = error.instance();
    match error.kind() {
        Verdict::AdditionalProperties { unexpected } => {
            for key in unexpected {
                let span = place(&format!("{}#key", join(&pointer, key)));
                diagnostics.push(unknown_key(key, &pointer, schema, span));
            }
        }
        Verdict::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let diagnostic =
                Diagnostic::error("RC1011", format!("{} is missing", name_of(&pointer, property)));
            diagnostics.push(diagnostic.at(span).hint(format!("add `{property}:`")));
        }
        Verdict::AnyOf { context } | Verdict::OneOfNotValid { context }
            if let Some(fitting) = fitting(error, context) =>
        {
            fitting.iter().for_each(|error| explain_by(error, document, schema, diagnostics));
        }
        Verdict::Type { .. }
        | Verdict::AnyOf { .. }
        | Verdict::OneOfNotValid { .. }
        | Verdict::OneOfMultipleValid { .. } => {
            diagnostics.push(wrong_type(error, &pointer, span));
        }
        Verdict::Enum { options } => {
            let words: Vec<&str> =
                options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let diagnostic =
                Diagnostic::error("RC1012", format!("{} is not one of its words", show(instance))).at(span);
            let hint = match instance.as_str().and_then(|text| nearest(text, words.iter().copied())) {
                Some(word) => format!("did you mean {word}?"),
                None => format!("the words are {}", words.join(", ")),
            };
            diagnostics.push(diagnostic.hint(hint));
        }
        Verdict::Constant { expected_value } => {
            let diagnostic = Diagnostic::error("RC1012", format!("{} is not allowed here", show(instance)));
            diagnostics.push(diagnostic.at(span).hint(format!("write {}", show(expected_value))));
        }
        Verdict::PropertyNames { error: inner } => {
            let key = inner.instance().as_str().unwrap_or_default().to_owned();
            let span = place(&format!("{}#key", join(&pointer, &key)));
            let diagnostic = Diagnostic::error("RC1013", format!("{key:?} is not a valid name")).at(span);
            diagnostics.push(diagnostic.hint(names_hint(inner)));
        }
        Verdict::Pattern { pattern } => {
            let (message, hint) = pattern_words(&pointer, pattern, instance);
            diagnostics.push(Diagnostic::error("RC1013", message).at(span).hint(hint));
        }
        other => diagnostics.push(Diagnostic::error("RC1013", limit_words(other, instance)).at(span)),
    }
}

fn unknown_key(key: &str, pointer: &str, schema: &Value, span: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error("RC1010", format!("there is no field {key:?} here")).at(span);
    let fields = fields_at(schema, pointer);
    let hint = match key {
        "on" if fields.iter().any(|field| field == "triggers") => "did you mean triggers?".to_owned(),
        "env" if fields.iter().any(|field| field == "environment") => "did you mean environment?".to_owned(),
        "script" | "run" if fields.iter().any(|field| field == "command") => {
            "did you mean command?".to_owned()
        }
        "if" if fields.iter().any(|field| field == "when") => "did you mean when?".to_owned(),
        "project" if pointer == "/metadata" => {
            let kind = schema.pointer("/properties/kind/const").and_then(Value::as_str).unwrap_or("resource");
            format!("a {kind} belongs to the workspace: remove the line")
        }
        _ => match nearest(key, fields.iter().map(String::as_str)) {
            Some(field) => format!("did you mean {field}?"),
            None => format!("the fields are {}", fields.join(", ")),
        },
    };
    diagnostic.hint(hint)
}

/// The names of the fields at a place, by walking the schema along the pointer.
fn fields_at(schema: &Value, pointer: &str) -> Vec<String> {
    let mut at = vec![schema];
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        at = at
            .into_iter()
            .flat_map(|node| alternatives(schema, node))
            .filter_map(|node| step(node, &token))
            .collect();
    }
    let objects = at.into_iter().flat_map(|node| alternatives(schema, node));
    let mut fields: Vec<String> = objects
        .filter_map(|node| node["properties"].as_object())
        .flat_map(|map| map.keys().cloned())
        .collect();
    fields.retain(|field| field != "$schema" && field != "needs");
    fields.dedup();
    fields
}

fn step<'a>(node: &'a Value, token: &str) -> Option<&'a Value> {
    if let Some(property) = node["properties"].get(token) {
        return Some(property);
    }
    if token.parse::<usize>().is_ok() && node["items"].is_object() {
        return Some(&node["items"]);
    }
    Some(&node["additionalProperties"]).filter(|schema| schema.is_object())
}

/// A schema and all that it refers to or is made of.
fn alternatives<'a>(root: &'a Value, node: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![node];
    let mut index = 0;
    while index < found.len() {
        let node = found[index];
        index += 1;
        if let Some(target) =
            node["$ref"].as_str().and_then(|text| text.strip_prefix('#')).and_then(|text| root.pointer(text))
        {
            found.push(target);
        }
        for word in ["allOf", "anyOf", "oneOf"] {
            found.extend(node[word].as_array().into_iter().flatten());
        }
    }
    found
}

fn wrong_type(error: &ValidationError<'_>, pointer: &str, span: Span) -> Diagnostic {
    let instance = error.instance();
    let field = pointer.rsplit('/').next().unwrap_or_default();
    if instance.is_null() {
        let diagnostic = Diagnostic::error("RC1014", format!("{field} has no value")).at(span);
        return diagnostic.hint("give it a value or remove the line");
    }
    let wanted = wanted(error);
    let diagnostic =
        Diagnostic::error("RC1014", format!("expected {wanted}, found {}", a(instance))).at(span);
    match **instance {
        Value::Bool(_) | Value::Number(_) if wanted.contains("text") => diagnostic.hint("put it in quotes"),
        Value::String(_) if wanted == "a list" => {
            diagnostic.hint(format!("write `{field}: [{}]`", show_bare(instance)))
        }
        _ => diagnostic,
    }
}

fn wanted(error: &ValidationError<'_>) -> String {
    fn types(error: &ValidationError<'_>, found: &mut Vec<String>) {
        match error.kind() {
            Verdict::Type { kind } => {
                use jsonschema::error::TypeKind;
                let names: Vec<String> = match kind {
                    TypeKind::Single(single) => vec![single.to_string()],
                    TypeKind::Multiple(set) => set.iter().map(|single| single.to_string()).collect(),
                };
                found.extend(names.iter().map(|name| words(name.trim_matches('"')).to_owned()));
            }
            Verdict::AnyOf { context } | Verdict::OneOfNotValid { context } => {
                context.iter().flatten().for_each(|error| types(error, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    types(error, &mut found);
    found.dedup();
    if found.is_empty() { "another form".to_owned() } else { found.join(" or ") }
}

/// What is wrong with a value that has the right type for one of several forms: that form is the one that was meant.
fn fitting<'a, 'b>(
    error: &ValidationError<'_>,
    forms: &'a [Vec<ValidationError<'b>>],
) -> Option<&'a Vec<ValidationError<'b>>> {
    let at = error.instance_path().to_string();
    let is_wrong_type = |one: &ValidationError<'_>| {
        matches!(one.kind(), Verdict::Type { .. } | Verdict::AnyOf { .. } | Verdict::OneOfNotValid { .. })
            && one.instance_path().to_string() == at
    };
    forms.iter().find(|form| !form.is_empty() && !form.iter().any(is_wrong_type))
}

fn words(json_type: &str) -> &str {
    match json_type {
        "string" => "text",
        "array" => "a list",
        "object" => "a mapping",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        other => other,
    }
}

/// A value's kind in words.
fn a(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => format!("the text {}", show(value)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { format!("{}…", text.chars().take(60).collect::<String>()) } else { text }
}

fn show_bare(value: &Value) -> String {
    value.as_str().map_or_else(|| show(value), |text| text.chars().take(60).collect())
}

fn name_of(pointer: &str, property: &str) -> String {
    match pointer.rsplit('/').next() {
        Some("") | None => property.to_owned(),
        Some(parent) => format!("{property} of {}", parent.replace("~1", "/").replace("~0", "~")),
    }
}

fn names_hint(error: &ValidationError<'_>) -> String {
    match error.kind() {
        Verdict::Pattern { pattern } if pattern.starts_with("^[A-Za-z_]") => {
            "letters, digits and _, not beginning with a digit".to_owned()
        }
        Verdict::MaxLength { limit } => format!("at most {limit} characters"),
        _ => "letters, digits, `.`, `_` and `-`, beginning with a letter or digit".to_owned(),
    }
}

fn pattern_words(pointer: &str, pattern: &str, instance: &Value) -> (String, String) {
    let shown = show(instance);
    let field = pointer.rsplit('/').next().unwrap_or_default();
    let known = [
        ("ms)?)$", "a duration", "a number with a unit (ms, s, m, h, d), such as 90s, 20m or 1h30m"),
        ("(Ki|Mi", "a size", "a number with a unit, such as 512Mi or 2Gi"),
        ("+m|[0-9]", "a number of CPUs", "such as 2, 0.5 or 500m"),
        ("(user|team|token)", "a subject", "user:NAME, team:NAME or token:NAME"),
        ("^/dev(/", "a device", "an absolute path below /dev, without `..`"),
        ("^[A-Z][A-Z_]", "a capability", "such as NET_RAW"),
        ("(root|[0-9]", "a user", "root, 1001 or 1001:1001"),
        (
            "^https?://",
            "the URL of a collection",
            "such as https://hooks.example.com/objects: without user, query and fragment",
        ),
        ("[0-9a-f]{64}", "a SHA-256 checksum", "64 lower-case hexadecimal digits"),
        (r"^(/\.?[", "an absolute path without `..`", "such as /job"),
    ];
    match known.into_iter().find(|(part, ..)| pattern.contains(part)) {
        Some((_, what, hint)) => (format!("{shown} is not {what}"), hint.to_owned()),
        None if field == "name" || field == "project" || field == "renamed_from" => (
            format!("{shown} is not a valid name"),
            "lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or digit".to_owned(),
        ),
        None => (format!("{shown} is not a valid name"), "letters, digits, `.`, `_` and `-`".to_owned()),
    }
}

fn limit_words(verdict: &Verdict, instance: &Value) -> String {
    match verdict {
        Verdict::MinLength { .. } => "the text must not be empty".to_owned(),
        Verdict::MaxLength { limit } => format!("the text has more than {limit} characters"),
        Verdict::MinItems { limit: 1 } => "the list must not be empty".to_owned(),
        Verdict::MinItems { limit } => format!("the list has fewer than {limit} items"),
        Verdict::MaxItems { limit } => format!("the list has more than {limit} items"),
        Verdict::MinProperties { .. } => "the mapping must not be empty".to_owned(),
        Verdict::MaxProperties { limit } => format!("the mapping has more than {limit} entries"),
        Verdict::Minimum { limit } => format!("{} is less than {limit}", show(instance)),
        Verdict::Maximum { limit } => format!("{} is more than {limit}", show(instance)),
        Verdict::UniqueItems => "an item stands here twice".to_owned(),
        other => format!("{} is not valid here ({})", show(instance), other.keyword()),
    }
}
