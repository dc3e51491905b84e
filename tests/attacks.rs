//! What a job, or who sends an event, may try, on a real engine: each of these is refused, or comes to nothing.

mod deciding;
mod delivery;
mod identity;
mod looking;
mod names;
mod poisoning;
mod printing;
mod tampering;

use std::process::{Child, Command, Stdio};

use crate::docker::{Ended, Project};

/// The local image of the tests.
const BUSYBOX: &str = "reactorcide/busybox:local";
/// A value that must not be anywhere.
const CANARY: &str = "c4nary-0f-th3-attack5-x7Q";

/// A project whose one job `victim` has the secret `key`; its fields as YAML, indented by six blanks.
fn project(fields: &str) -> Project {
    project_with("victim", fields)
}

/// The same where the job has a name that no other test's has.
fn project_with(job: &str, fields: &str) -> Project {
    Project::with_files(&[(
        ".reactorcide/ci.yaml",
        &format!(
            "apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: key}}\nspec: {{}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n\
             \x20   {job}:\n      image: '{BUSYBOX}'\n{fields}"
        ),
    )])
}

fn command(project: &Project) -> Command {
    let mut command = project.command(&["run", "ci", "--from-config", ".", "--secret", "key=env:GIVEN"]);
    command.env("GIVEN", CANARY).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it. Whatever it does, the value is not shown and nothing is left.
fn run(fields: &str) -> Ended {
    let project = project(fields);
    let ended = crate::docker::ended(command(&project).output().expect("the binary starts"));
    let shown = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!shown.contains(CANARY), "{shown}");
    project.assert_nothing_left();
    ended
}

/// The table of docs/security.md names tests that are there.
#[test]
fn every_test_that_the_table_of_threats_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = std::fs::read_to_string(root.join("docs/security.md")).expect("it is there");
    let all =
        said("grep", &["-rh", "--include=*.rs", "--exclude-dir=target", "fn ", &root.display().to_string()]);
    let rows = table.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.rsplit('|').nth(1));
    let tests = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let mut count = 0;
    for test in tests {
        assert!(all.contains(&format!("fn {test}(")), "{test} is nowhere");
        count += 1;
    }
    assert!(count >= 40, "{count}");
}

fn start(project: &Project) -> Child {
    command(project).spawn().expect("the binary starts")
}

/// What a program of this machine says.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
