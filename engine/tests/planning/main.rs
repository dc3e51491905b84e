//! The same meaning gives the same plan, byte for byte, however it is written down.

use std::fmt::Write as _;
use std::path::Path;

use reactorcide_engine::plan::{Desired, Options, between, to_saved};
use reactorcide_engine::read::{Budget, InputFile, read};
use reactorcide_engine::store::{Owner, Snapshot};
use serde_json::Value;

/// The documents of a configuration, as values.
fn documents(directory: &Path) -> Vec<Value> {
    let mut documents = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                std::fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("a text");
            documents.extend(text.split("\n---\n").map(|text| serde_yaml::from_str(text).expect("YAML")));
        }
    }
    assert!(documents.len() > 10);
    documents
}

/// A value as JSON, which is YAML, with the keys in any order and any white space.
fn written(value: &Value, random: &mut fastrand::Rng, text: &mut String) {
    let mut blank = |text: &mut String| {
        for _ in 0..random.usize(0..3) {
            text.push(if random.bool() { ' ' } else { '\n' });
        }
    };
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            text.push('{');
            blank(text);
            random.shuffle(&mut entries);
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                let _ = write!(text, "{}: ", Value::String(key.clone()));
                written(value, random, text);
            }
            text.push_str(" }");
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                written(item, random, text);
            }
            text.push(']');
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

/// The documents spread over files in any order, some with comments.
fn files(documents: &[Value], random: &mut fastrand::Rng) -> Vec<InputFile> {
    let mut documents: Vec<&Value> = documents.iter().collect();
    random.shuffle(&mut documents);
    let count = random.usize(1..documents.len());
    let mut texts = vec![String::new(); count];
    for document in documents {
        let text = &mut texts[random.usize(0..count)];
        if !text.is_empty() {
            text.push_str("\n---\n");
        }
        if random.bool() {
            text.push_str("# a remark\n");
        }
        written(document, random, text);
    }
    let mut files: Vec<InputFile> = texts
        .into_iter()
        .enumerate()
        .filter(|(_, text)| !text.is_empty())
        .map(|(number, text)| InputFile {
            path: format!("{:x}-{number}.yaml", random.u32(..)),
            bytes: text.into_bytes(),
        })
        .collect();
    random.shuffle(&mut files);
    files
}

fn plan(files: Vec<InputFile>, before: &Snapshot) -> String {
    let reading = read(files, &Budget::default());
    assert!(reading.is_valid(), "{:?}", reading.diagnostics.first());
    let desired = Desired { owner: Owner::Workspace, resources: reading.configuration.into_catalog() };
    let options = Options { as_of: "2026-01-01".to_owned(), ..Options::default() };
    to_saved(&between(&desired, before, &options).expect("a plan"), "test")
}

#[test]
fn files_keys_documents_and_order_do_not_matter() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/company");
    let documents = documents(&directory);
    let mut first = None;
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let plan = plan(files(&documents, &mut random), &Snapshot::default());
        let first = first.get_or_insert_with(|| plan.clone());
        assert!(*first == plan, "seed {seed}: another plan");
    }
}
