//! Shows a value of a document as the YAML that a person would write.

use serde_json::Value;

use crate::printable::printable;

/// A named value, a text for each line.
pub fn lines(name: &str, value: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    entry(0, &printable(name), value, &mut lines);
    lines
}

/// A value on one line.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{}: {}", printable(key), scalar(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn entry(indent: usize, name: &str, value: &Value, lines: &mut Vec<String>) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            lines.push(format!("{pad}{name}:"));
            for (key, value) in entries {
                entry(indent + 2, &printable(key), value, lines);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            lines.push(format!("{pad}{name}:"));
            for value in items {
                item(indent + 2, value, lines);
            }
        }
        Value::String(text) if text.contains('\n') => {
            lines.push(format!("{pad}{name}: {}", if text.ends_with('\n') { "|" } else { "|-" }));
            lines.extend(text.lines().map(|line| format!("{pad}  {}", printable(line))));
        }
        value => lines.push(format!("{pad}{name}: {}", scalar(value))),
    }
}

/// An item of a list: its first line carries the dash.
fn item(indent: usize, value: &Value, lines: &mut Vec<String>) {
    let Value::Object(entries) = value else {
        lines.push(format!("{}- {}", " ".repeat(indent), scalar(value)));
        return;
    };
    let first = lines.len();
    for (key, value) in name_first(entries) {
        entry(indent + 2, &printable(key), value, lines);
    }
    match lines.get_mut(first) {
        Some(line) => line.replace_range(indent..indent + 2, "- "),
        None => lines.push(format!("{}- {{}}", " ".repeat(indent))),
    }
}

/// The entries of an item, those that tell it from its siblings first.
fn name_first(entries: &serde_json::Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let names = |key: &str| key == "name" || key == "event";
    let (first, rest): (Vec<_>, Vec<_>) = entries.iter().partition(|(key, _)| names(key));
    first.into_iter().chain(rest)
}

/// A text as it is where YAML would read it as that text, else in quotes.
fn quoted(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else if text.contains(['"', '\\']) && printable(text) == text {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        printable(&format!("{text:?}"))
    }
}

fn is_plain(text: &str) -> bool {
    let marks =
        ['-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`'];
    // The words of YAML 1.1 too: some readers take them for booleans.
    let words = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    !words.contains(&text.to_ascii_lowercase().as_str())
        && !text.starts_with(marks)
        && !text.starts_with(' ')
        && !looks_like_a_number(text)
        && !text.ends_with([' ', ':'])
        && !text.contains(['[', ']', '{', '}', ','])
        && !text.contains(": ")
        && !text.contains(" #")
        && printable(text) == text
}

/// Whether some reader of YAML takes a text for a number or a time of day.
fn looks_like_a_number(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit() || "+.".contains(first))
        && text.chars().all(|one| one.is_ascii_hexdigit() || "xo._+-:infa".contains(one))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_reads_like_yaml() {
        let value = json!({
            "on": [{"branches": ["main"], "event": "push"}, {}],
            "steps": [{"run": "a\nb\n", "name": "x"}],
            "none": {},
            "lists": [["a"], 1],
        });
        let shown = lines("spec", &value).join("\n");
        assert_eq!(
            shown,
            "spec:\n  lists:\n    - [a]\n    - 1\n  none: {}\n  on:\n    - event: push\n      branches: [main]\n    \
             - {}\n  steps:\n    - name: x\n      run: |\n        a\n        b"
        );
    }

    #[test]
    fn what_yaml_would_read_as_something_else_is_quoted() {
        for (text, shown) in [
            ("plain text", "plain text"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("1.50", "\"1.50\""),
            ("0x1f", "\"0x1f\""),
            ("10s", "10s"),
            ("a: b", "\"a: b\""),
            ("say \"a: b\"", "'say \"a: b\"'"),
            ("\u{202e}x", "\"\\u{202e}x\""),
            ("\u{1b}[31m", "\"\\u{1b}[31m\""),
        ] {
            assert_eq!(scalar(&json!(text)), shown, "{text:?}");
        }
    }

    #[test]
    fn every_value_shown_is_read_back_as_it_was() {
        let texts = [
            "", "a", "a b", "yes", "null", "- x", "it's", "a\\b", "x #y", "#", "1", "=", "<<", "a:", "@x",
            "é",
        ];
        for text in texts {
            let read: serde_json::Value = serde_yaml::from_str(&scalar(&json!(text))).expect(text);
            assert_eq!(read, json!(text), "{text:?}");
        }
    }
}
