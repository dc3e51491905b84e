//! docs/configuration.md: every example in it is valid, every kind has one, and every field is named.

use std::collections::BTreeSet;
use std::fs;

use reactorcide_engine::config::Kind;
use serde_json::Value;

use super::{lines, read_one, root};

/// What stands around a fragment: the jobs of a pipeline, and what they may refer to.
const AROUND: &str = "
apiVersion: reactorcide/v1
kind: Project
metadata: {name: web}
spec: {}
---
apiVersion: reactorcide/v1
kind: ExecutionProfile
metadata: {name: large}
spec: {secrets: granted, root: true, capabilities: [NET_ADMIN], devices: [/dev/kvm]}
---
apiVersion: reactorcide/v1
kind: Secret
metadata: {name: deploy/production}
spec: {keys: [value, token]}
---
apiVersion: reactorcide/v1
kind: JobTemplate
metadata: {name: check}
spec: {job: {image: x, command: y}}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {name: ci, project: web}
spec:
  vars: {channel: stable}
  jobs:
";

fn guide() -> String {
    fs::read_to_string(root().join("docs/configuration.md")).expect("the guide")
}

/// The blocks of YAML: the line of each, whether it is a fragment, and its text.
fn blocks(guide: &str) -> Vec<(usize, bool, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    for (index, line) in guide.lines().enumerate() {
        match (&mut open, line.trim_end()) {
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((.., text)), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, "```yaml") => open = Some((index + 1, false, String::new())),
            (None, "```yaml fragment") => open = Some((index + 1, true, String::new())),
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

#[test]
fn every_example_of_the_guide_is_valid() {
    let blocks = blocks(&guide());
    assert!(blocks.len() > 15, "the guide was read");
    for (line, is_fragment, text) in blocks {
        let indented = || text.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let whole = if is_fragment { format!("{AROUND}{}", indented()) } else { text };
        let reading = read_one("a.yaml", whole);
        assert_eq!(lines(&reading), Vec::<String>::new(), "docs/configuration.md:{line}");
    }
}

#[test]
fn the_guide_shows_every_kind_and_names_every_field() {
    let guide = guide();
    let mut missing = BTreeSet::new();
    for kind in Kind::ALL {
        if !guide.contains(&format!("\nkind: {kind}\n")) {
            missing.insert(format!("an example of {kind}"));
        }
    }
    // A field counts as named where it stands as a key of an example or as code in a sentence.
    let words: BTreeSet<&str> =
        guide.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$')).collect();
    let mut pending = vec![reactorcide_engine::schema::whole()];
    while let Some(schema) = pending.pop() {
        if let Value::Object(properties) = &schema["properties"] {
            missing.extend(properties.keys().filter(|name| !words.contains(name.as_str())).cloned());
        }
        match schema {
            Value::Object(map) => pending.extend(map.into_values()),
            Value::Array(items) => pending.extend(items),
            _ => {}
        }
    }
    assert_eq!(missing, BTreeSet::new(), "docs/configuration.md does not name these");
}
