//! What a job, or who sends an event, may try, on a real engine: each of these is refused, or comes to nothing.

mod delivery;
mod identity;
mod looking;
mod names;
mod printing;

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

fn start(project: &Project) -> Child {
    command(project).spawn().expect("the binary starts")
}

/// What a program of this machine says.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
