//! Every field of the language has a line in `tests/fields.yaml`: the tests that show what it does, or the issue
//! that will make it do something. What waits says so in its description, and nothing else does.

mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use schema::Fields;

/// What a description says while a field has no effect.
const NOT_YET: &str = "Not in effect yet";
/// Where the lines are.
const TABLE: &str = "tests/fields.yaml";

/// The line of a field: one of the two.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Names of tests, or of files in `tests/fixtures` with their directory.
    #[serde(default)]
    tests: Vec<String>,
    /// `issue N: what`, or `a later issue: what` while it has no number.
    waits: Option<String>,
}

type Table = BTreeMap<String, Entry>;

#[test]
fn every_field_of_the_language_is_tested_or_waits() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    let schema = serde_json::from_str(&read("schemas/reactorcide.schema.json")).expect("a schema");
    let table: Table = serde_yaml::from_str(&read(TABLE)).expect(TABLE);
    let fields = schema::fields(&schema, "Document");
    assert!(fields.len() > 150, "the schema was read: {}", fields.len());
    let problems = problems(&fields, &table, &tests());
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// What does not fit together, each with what to do about it.
fn problems(fields: &Fields, table: &Table, tests: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for name in fields.keys().filter(|name| !table.contains_key(*name)) {
        problems.push(format!(
            "{name} is not in {TABLE}. Add `{name}: {{tests: [NAME_OF_A_TEST]}}` with tests that show its effect; or \
             `{name}: {{waits: \"issue N: what\"}}`, and then say \"{NOT_YET}: …\" in its comment in engine/src/config."
        ));
    }
    for (name, entry) in table {
        match fields.get(name) {
            None => {
                problems.push(format!("{name} is no field of the schemas any more: remove it from {TABLE}."));
            }
            Some(field) => problems.extend(entry_problems(name, field.says(NOT_YET), entry, tests)),
        }
    }
    problems
}

fn entry_problems(name: &str, says_not_yet: bool, entry: &Entry, tests: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    match (&entry.waits, entry.tests.is_empty()) {
        (None, true) | (Some(_), false) => {
            problems.push(format!("{name} in {TABLE} needs either `tests` or `waits`."));
        }
        (Some(_), true) if !says_not_yet => problems.push(format!(
            "{name} waits in {TABLE}, and its description does not say so. Say \"{NOT_YET}: …\" in its comment in \
             engine/src/config and write the schemas anew, or name the tests of its effect."
        )),
        (None, false) if says_not_yet => problems.push(format!(
            "{name} has tests in {TABLE}, and its description says \"{NOT_YET}\". Take that out of its comment in \
             engine/src/config and write the schemas anew, or say what it waits for."
        )),
        (Some(_), true) | (None, false) => {}
    }
    if let Some(waits) = &entry.waits {
        let issue = waits.strip_prefix("issue ").and_then(|rest| rest.split_once(": "));
        let is_said = issue.is_some_and(|(number, what)| number.parse::<u32>().is_ok() && !what.is_empty());
        if !is_said && !waits.starts_with("a later issue: ") {
            problems.push(format!("{name} in {TABLE} waits for {waits:?}: write \"issue N: what\"."));
        }
    }
    for test in entry.tests.iter().filter(|test| !tests.contains(*test)) {
        problems.push(format!(
            "{name} in {TABLE} names {test}: there is neither a test function of that name nor a file tests/fixtures/{test}."
        ));
    }
    problems
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The name of every test function of the repository, and of every fixture with its directory.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    visit(&root(), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(path).expect("a source");
            // The checks of a conformance suite are run by tests with their names.
            let is_suite = path.file_name().is_some_and(|name| name == "conformance.rs");
            names.extend(if is_suite { checks(&source) } else { test_functions(&source) });
        }
    });
    for directory in ["valid", "invalid"] {
        visit(&root().join("tests/fixtures").join(directory), &mut |path| {
            let file = path.file_name().expect("a name").to_string_lossy();
            names.insert(format!("{directory}/{file}"));
        });
    }
    names
}

fn visit(directory: &Path, file: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        if entry.file_type().expect("a type").is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                visit(&entry.path(), file);
            }
        } else {
            file(&entry.path());
        }
    }
}

/// The checks of a conformance suite: they take what is checked.
fn checks(source: &str) -> Vec<String> {
    let public = source.lines().filter_map(|line| line.strip_prefix("pub async fn "));
    public.filter_map(|rest| rest.split_once("(store: ")).map(|(name, _)| name.to_owned()).collect()
}

/// The functions of a source that stand under an attribute of tests.
fn test_functions(source: &str) -> Vec<String> {
    let mut under_attribute = false;
    let mut found = Vec::new();
    for line in source.lines().map(str::trim_start) {
        let is_function =
            ["fn ", "async fn ", "pub fn ", "pub async fn "].iter().find_map(|word| line.strip_prefix(word));
        if let Some(rest) = is_function {
            if std::mem::take(&mut under_attribute) {
                found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        } else if line.starts_with("#[") {
            let attribute = line.trim_start_matches("#[");
            under_attribute |= ["test", "tokio::test", "rstest"]
                .iter()
                .any(|name| attribute.strip_prefix(name).is_some_and(|rest| rest.starts_with([']', '('])));
        }
    }
    found
}

#[test]
fn the_guide_lists_what_is_not_in_effect() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    let schema = serde_json::from_str(&read("schemas/reactorcide.schema.json")).expect("a schema");
    let guide = read("docs/configuration.md");
    let (_, section) = guide.split_once("\n## What is not in effect yet\n").expect("the section");
    let fields = schema::fields(&schema, "Document");
    let mut names: BTreeSet<&str> = fields
        .iter()
        .filter(|(_, field)| field.itself_says(NOT_YET))
        .filter_map(|(name, _)| name.rsplit('.').next())
        .collect();
    for (name, definition) in schema["definitions"].as_object().expect("definitions") {
        if schema::says(definition["description"].as_str().unwrap_or_default(), NOT_YET) {
            names.insert(name.strip_suffix("Spec").unwrap_or(name));
        }
    }
    assert!(fields.len() > 150, "the schema was read: {}", fields.len());
    names.retain(|name| !section.contains(&format!("`{name}`")));
    assert_eq!(names, BTreeSet::new(), "add them to the last section of docs/configuration.md");
}

#[test]
fn a_table_that_does_not_fit_is_told_what_to_add() {
    let schema = json!({
        "allOf": [{"then": {"properties": {"kind": {"const": "A"}, "spec": {"$ref": "#/definitions/A"}}}}],
        "definitions": {
            "A": {"properties": {
                "one": {"anyOf": [{"type": "string"}, {"properties": {"inner": {}}}]},
                "two": {"type": "array", "items": {"$ref": "#/definitions/B"}, "description": "X. Not in effect yet: y."},
                "three": {"additionalProperties": {"$ref": "#/definitions/C"}},
            }},
            "B": {"properties": {"of_two": {}, "again": {"$ref": "#/definitions/B"}}},
            "C": {"description": "Not in effect yet: z.", "oneOf": [{"properties": {"of_three": {}}}]},
        },
    });
    let fields = schema::fields(&schema, "Document");
    let waiting: Vec<_> = fields.iter().map(|(name, field)| (name.as_str(), field.says(NOT_YET))).collect();
    let expected = [
        ("A.one", false),
        ("A.one.inner", false),
        ("A.three", false),
        ("A.two", true),
        ("B.again", true),
        ("B.of_two", true),
        ("C.of_three", true),
        ("Document.kind", false),
        ("Document.spec", false),
    ];
    assert_eq!(waiting, expected);

    let table = "{A.one: {tests: [t]}, A.one.inner: {tests: [gone]}, A.two: {tests: [t]}, B.again: {waits: soon}, \
        B.of_two: {}, C.of_three: {waits: 'issue 3: z'}, Document.kind: {waits: 'issue 3: k'}, Document.spec: {tests: [t]}, A.old: {}}";
    let table = serde_yaml::from_str(table).expect("a table");
    let problems = problems(&fields, &table, &BTreeSet::from(["t".to_owned()]));
    let named: Vec<_> = problems.iter().map(|problem| problem.split(' ').next().expect("a word")).collect();
    assert_eq!(named, ["A.three", "A.old", "A.one.inner", "A.two", "B.again", "B.of_two", "Document.kind"]);
}

#[test]
fn functions_that_are_no_tests_do_not_count() {
    let source = "fn a() {}\n#[test]\nfn b() {}\n    #[tokio::test(flavor = \"x\")]\n    #[allow(x)]\n    async fn c() {}\n#[testing]\nfn d() {}";
    assert_eq!(test_functions(source), ["b", "c"]);
}
