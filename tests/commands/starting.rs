//! From nothing to a first configuration: `init`, `validate`, `schema`, and the ways to call a command wrongly.

use rstest::rstest;

use crate::docker::{Place, Project};
use crate::transcript::Transcript;

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn a_first_day(#[case] place: Place) {
    let project = Project::empty().at(place);
    let mut session = Transcript::of(&project);
    session.run("validate").run("plan").run("init").run("validate").run("init");
    session.run("graph").run("graph --pipeline hello/ci --format mermaid");
    session.run("plan").run("apply --auto-approve").run("apply").run("plan --detailed-exitcode");
    session.compare("a_first_day");
}

#[test]
fn an_editors_settings_are_kept() {
    let project = Project::with_files(&[(".vscode/settings.json", "{\"editor.rulers\": [100]}\n")]);
    let mut session = Transcript::of(&project);
    session.run("schema install").run("init --dir .").run("schema install");
    let settings =
        || std::fs::read_to_string(project.path().join(".vscode/settings.json")).expect("the file");
    assert!(
        settings().contains("editor.rulers") && settings().contains(".reactorcide/**/*.yaml"),
        "{}",
        settings()
    );
    let commented = "{\n  // ours\n}\n";
    session.write(".vscode/settings.json", commented).run("schema install");
    assert_eq!(settings(), commented, "comments would be lost");
    session.compare("an_editors_settings_are_kept");
}

#[test]
fn wrong_arguments() {
    let project = Project::empty();
    let mut session = Transcript::of(&project);
    for line in [
        "",
        "paln",
        "plan --as-of today",
        "plan --nonsense",
        "show",
        "show Pipeline",
        "show pipeline/web/ci",
        "show Pipeline/web/ci",
        "history --limit many",
        "--state mysql://ada:s3cret@elsewhere plan",
        "--config nowhere validate",
        "schema --kind Pipelin",
        "graph --pipeline nowhere/ci",
        "runs nothing",
        "--version",
    ] {
        session.run(line);
    }
    session.compare("wrong_arguments");
}

#[test]
fn help_of_every_command() {
    let project = Project::empty();
    let mut session = Transcript::of(&project);
    session.run("--help").run("-h");
    for command in [
        "init", "validate", "fmt", "plan", "apply", "run", "runs", "show", "state", "history", "graph",
        "schema",
    ] {
        session.run(&format!("{command} -h"));
    }
    session.compare("help_of_every_command");
}

#[test]
fn the_schema_that_is_printed_is_the_committed_one() {
    let project = Project::empty();
    let committed = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/reactorcide.schema.json"),
    );
    let ended = project.execute(&["schema"]);
    assert_eq!((ended.code, ended.stdout), (Some(0), committed.expect("the schema")));
}

#[test]
fn files_get_their_usual_look() {
    let crooked = "# A project.\napiVersion: reactorcide/v1\nkind:   Project\nmetadata:\n      name: web   # ours\nspec:\n      weight: 2\n\n\n\n---\napiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: web}\nspec:\n  triggers:\n  - event: push\n  jobs:\n    a:\n        image: debian:12\n        command: |\n            make\n              all\n";
    let project = Project::with_files(&[
        (".reactorcide/crooked.yaml", crooked),
        (".reactorcide/broken.yaml", "a: [\n"),
        (".reactorcide/straight.yaml", "# nothing\n"),
    ]);
    let mut session = Transcript::of(&project);
    session.run("fmt --check").run("fmt --diff").run("fmt").run("fmt --check");
    std::fs::remove_file(project.path().join(".reactorcide/broken.yaml")).expect("the file");
    session.remark("broken.yaml is removed").run("fmt --check").run("validate");
    session.compare("files_get_their_usual_look");
    let formatted =
        std::fs::read_to_string(project.path().join(".reactorcide/crooked.yaml")).expect("the file");
    assert!(
        formatted.contains("  name: web   # ours\n") && formatted.contains("        make\n          all\n"),
        "{formatted}"
    );
}

#[test]
fn what_a_server_and_a_worker_are_told() {
    let project = Project::with_files(&[
        (
            "server.yaml",
            "listen: 127.0.0.1:7421\nstate_from: {file: state.url}\nstorage: objects\n\
             leases: {stop_after: 1m, lost_after: 2m}\nretention: {logs: 30d, per_project: 20Gi}\n\
             with_worker: true\nworker: {slots: 3, labels: {os: linux, gpu: 'no'}, disk_floor: 5%}\n",
        ),
        ("state.url", "postgres://ada:s3cret@db/ci\n"),
        (
            "worker.yaml",
            "server: http://127.0.0.1:7421\ntoken_from: {environment: CI_TOKEN}\nlogging: {format: json}\n\
             worker: {slots: 4, directory: jobs, spool: 1Gi}\n",
        ),
        ("broken.yaml", "token: rct_0123\nserver: 7\nworker:\n  slot: 4\n  labels: linux\n"),
        ("password.yaml", "state: postgres://ada:s3cret@db/ci\nleases: {stop_after: 2m, lost_after: 1m}\n"),
    ])
    .with_variable("REACTORCIDE_WORKER_SLOTS", "5");
    let mut session = Transcript::of(&project);
    for line in [
        "server --config server.yaml --check",
        "server --config server.yaml --check --json --listen 127.0.0.1:0 --with-worker=false",
        "worker --config worker.yaml --check",
        "worker --config worker.yaml --check --slots 6 --label os=linux",
        "worker --config broken.yaml --check",
        "server --config password.yaml",
        "server --config nowhere.yaml --check",
        "worker --check --json --slots many",
    ] {
        session.run(line);
    }
    session.compare("what_a_server_and_a_worker_are_told");
}
