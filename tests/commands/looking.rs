//! What is applied, who changed it, and how it hangs together.

use crate::docker::Project;
use crate::transcript::Transcript;

#[test]
fn the_applied_state_of_a_small_company() {
    let project = Project::copy_of("examples/company");
    let mut session = Transcript::of(&project);
    session.run("show").run("state list").run("history").run("runs");
    session
        .run("validate")
        .run("plan")
        .run("apply --auto-approve --accept-findings --message first --commit 0123abc");
    session.run("show").run("show --json").run("state list").run("state show Pipeline/web/deploy");
    session.run("show Secret/deploy/web --json").run("history").run("history Secret/deploy/web --json");
    session.run("graph").run("graph --format mermaid").run("graph --pipeline web/deploy");
    session.compare("the_applied_state_of_a_small_company");
}

#[test]
fn everything_as_json() {
    let project = Project::copy_of("examples/hello");
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
