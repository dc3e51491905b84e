//! What is applied, who changed it, and how it hangs together.

use rstest::rstest;

use crate::docker::{Place, Project};
use crate::transcript::Transcript;

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn the_applied_state_of_a_small_company(#[case] place: Place) {
    let project = Project::copy_of("examples/company").at(place);
    let mut session = Transcript::of(&project);
    session.run("show").run("state list").run("history").run("runs");
    session
        .run("validate")
        .run("plan")
        .run("apply --auto-approve --accept-findings --message first --commit 0123abc");
    session.run("show").run("show --json").run("state list").run("state show Pipeline/web/deploy");
    session.run("show Secret/deploy/web --json").run("history").run("history Secret/-/deploy/web --json");
    session.run("graph").run("graph --format mermaid").run("graph --pipeline web/deploy");
    session.compare("the_applied_state_of_a_small_company");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn everything_as_json(#[case] place: Place) {
    let project = Project::copy_of("examples/hello").at(place);
    let mut session = Transcript::of(&project);
    session.run("validate --json").run("plan --json").run("apply --auto-approve --accept-findings");
    session
        .run("plan --json")
        .run("show --json")
        .run("state list --json")
        .run("state show Project/hello --json");
    session.run("history --json").run("runs --json");
    session.compare("everything_as_json");
}

#[test]
fn what_is_printed_to_a_closed_pipe_is_no_error() {
    let project = Project::copy_of("examples/company");
    let binary = env!("CARGO_BIN_EXE_reactorcide");
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("{binary} plan | head -1; {binary} schema | true")])
        .current_dir(project.path())
        .output()
        .expect("a shell");
    assert_eq!(String::from_utf8_lossy(&status.stderr), "");
    assert!(status.status.success());
}
