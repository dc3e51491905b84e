//! What an editor shows: the real YAML language server on a directory that `reactorcide init` or `schema install` set up.

mod client;

use rstest::rstest;
use serde_json::{Value, json};

use crate::docker::Project;
use client::Editor;

/// A position in a text: the end of the line that holds the mark `|`, which is taken out.
fn marked(text: &str) -> (String, Value) {
    let (before, after) = text.split_once('|').expect("a mark");
    let line = before.matches('\n').count();
    let character = before.rsplit('\n').next().unwrap_or_default().chars().count();
    (format!("{before}{after}"), json!({"line": line, "character": character}))
}

const PROJECT: &str = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n";

fn project() -> Project {
    let project = Project::with_files(&[(".reactorcide/web.yaml", PROJECT)]);
    let installed = project.execute(&["schema", "install"]);
    assert_eq!(installed.code, Some(0), "{installed:?}");
    project
}

#[rstest]
#[case::kinds("apiVersion: reactorcide/v1\nkind: |", &["Pipeline", "SecretPolicy", "WebhookTarget"])]
#[case::top("apiVersion: reactorcide/v1\nkind: Pipeline\n|", &["metadata", "spec"])]
#[case::spec_of_the_kind("apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: web}\nspec:\n  |", &["jobs", "triggers", "vars"])]
#[case::spec_of_another_kind("apiVersion: reactorcide/v1\nkind: WorkerPool\nmetadata: {name: big}\nspec:\n  |", &["labels", "standby"])]
#[case::job("apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: web}\nspec:\n  jobs:\n    test:\n      image: rust\n      |", &["command", "depends_on", "secrets", "deploys_to"])]
#[case::words("apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: key}\nspec:\n  source: |", &["vault", "env", "file"])]
#[case::later_document("apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n---\napiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: web}\nspec:\n  vars: {}\n  |", &["jobs", "triggers"])]
#[case::later_document_of_another_kind("apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n---\napiVersion: reactorcide/v1\nkind: Schedule\nmetadata: {name: night, project: web}\nspec:\n  cron: \"0 3 * * *\"\n  |", &["pipeline", "timezone"])]
fn completion_offers_what_fits(#[case] text: &str, #[case] expected: &[&str]) {
    let project = project();
    let mut editor = Editor::open(project.path());
    let (text, position) = marked(text);
    editor.show(".reactorcide/ci.yaml", &text);
    let offered = editor.completion(".reactorcide/ci.yaml", &position);
    for word in expected {
        assert!(offered.iter().any(|offer| offer == word), "{word} is not among {offered:?}");
    }
}

#[test]
fn completion_keeps_to_the_kind() {
    let project = project();
    let mut editor = Editor::open(project.path());
    let (text, position) =
        marked("apiVersion: reactorcide/v1\nkind: WorkerPool\nmetadata: {name: big}\nspec:\n  |");
    editor.show(".reactorcide/ci.yaml", &text);
    let offered = editor.completion(".reactorcide/ci.yaml", &position);
    assert!(!offered.iter().any(|offer| offer == "jobs"), "{offered:?}");
}

#[rstest]
#[case::field(
    "apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: web}\nspec:\n  jobs:\n    test:\n      image: rust\n      depends_|on: [a]\n",
    "The jobs it waits for"
)]
#[case::later_document(
    "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n---\napiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: key}\nspec:\n  sour|ce: env\n",
    "Where its value comes from"
)]
#[case::envelope(
    "apiVersion: reactorcide/v1\nkind: Project\nmetadata:\n  name: web\n  deletion_|policy: protect\nspec: {}\n",
    "Whether an apply may delete it"
)]
fn hover_tells_what_a_field_means(#[case] text: &str, #[case] expected: &str) {
    let project = project();
    let mut editor = Editor::open(project.path());
    let (text, position) = marked(text);
    editor.show(".reactorcide/ci.yaml", &text);
    let told = editor.hover(".reactorcide/ci.yaml", &position);
    assert!(told.contains(expected), "{told}");
}

#[rstest]
#[case::first_document(
    "apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: web}\nspec:\n  jobs:\n    test: {imag: rust}\n",
    5,
    "imag"
)]
#[case::later_document(
    "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n---\napiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: key}\nspec: {source: nowhere}\n",
    8,
    "nowhere"
)]
#[case::unknown_kind(
    "apiVersion: reactorcide/v1\nkind: Pipelin\nmetadata: {name: ci}\nspec: {}\n",
    1,
    "Pipeline"
)]
#[case::missing_field(
    "apiVersion: reactorcide/v1\nkind: Schedule\nmetadata: {name: night, project: web}\nspec: {cron: '@daily'}\n",
    3,
    "pipeline"
)]
fn mistakes_are_marked_in_their_place(#[case] text: &str, #[case] line: u64, #[case] expected: &str) {
    let project = project();
    let mut editor = Editor::open(project.path());
    editor.show(".reactorcide/ci.yaml", text);
    let marks = editor.diagnostics(".reactorcide/ci.yaml");
    let fits = |mark: &Value| {
        let message = mark["message"].as_str().unwrap_or_default();
        let at = mark["range"]["start"]["line"].as_u64().expect("a line");
        let quoted = text.lines().nth(usize::try_from(at).expect("a line")).unwrap_or_default();
        at == line && (message.contains(expected) || quoted.contains(expected))
    };
    assert!(marks.iter().any(fits), "{marks:?}");
    // One mistake is one mark: an error of another kind's schema would be noise.
    assert_eq!(marks.len(), 1, "{marks:?}");
}

#[test]
fn what_is_valid_has_no_marks() {
    for example in ["examples/hello", "examples/company", "tests/fixtures/valid/every_kind.yaml"] {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(example);
        let project = project();
        let mut editor = Editor::open(project.path());
        let mut pending = vec![root];
        let mut files = 0;
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                pending.extend(
                    std::fs::read_dir(&path).expect("a directory").map(|one| one.expect("an entry").path()),
                );
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path).expect("a text");
                let name = format!(".reactorcide/{files}.yaml");
                editor.show(&name, &text);
                let marks = editor.diagnostics(&name);
                assert!(marks.is_empty(), "{}: {marks:?}", path.display());
                files += 1;
            }
        }
        assert!(files > 0, "{example}");
    }
}
