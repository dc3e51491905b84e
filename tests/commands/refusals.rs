//! What is wrong is said with its place and what to do next, and nothing is changed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::docker::{Ended, Project};
use crate::transcript::Transcript;

const PROJECT: &str = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n";

#[test]
fn every_error_at_once() {
    let project = Project::with_files(&[
        (".reactorcide/project.yaml", PROJECT),
        (
            ".reactorcide/ci.yaml",
            "apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: wep}\nspec:\n  jobs:\n    \
             test:\n      image: debian\n      comand: make\n      timeout: soon\n    build:\n      image: debian\n      \
             command: make\n      depends_on: [tets]\n      when: 1 +\n",
        ),
        (".reactorcide/broken.yaml", "kind: [\n"),
    ]);
    let mut session = Transcript::of(&project);
    session.run("validate").run("validate --json").run("plan").run("apply --auto-approve").run("run ci");
    session.compare("every_error_at_once");
    assert!(!project.path().join(".reactorcide-state").exists(), "nothing was written");
}

#[test]
fn a_state_that_is_none_of_ours() {
    let project = Project::with_files(&[(".reactorcide/project.yaml", PROJECT)]);
    let mut session = Transcript::of(&project);
    session.write(".reactorcide-state/state.db", "this is a letter to a friend\n");
    session.run("plan").run("apply --auto-approve").run("show").run("history");
    session.remark("state.db is a database of another program");
    std::fs::remove_file(project.path().join(".reactorcide-state/state.db")).expect("the file");
    sqlite(project.path(), "create table friends (name text)");
    session.run("plan").run("apply --auto-approve");
    session.compare("a_state_that_is_none_of_ours");
}

#[test]
fn a_state_that_is_damaged_or_newer() {
    let project = Project::with_files(&[(".reactorcide/project.yaml", PROJECT)]);
    let mut session = Transcript::of(&project);
    session.run("apply --auto-approve");
    let state = project.path().join(".reactorcide-state/state.db");
    let whole = std::fs::read(&state).expect("the state");
    session.remark("state.db is cut in the middle");
    std::fs::write(&state, &whole[..whole.len() / 2]).expect("half of it");
    session.run("plan").run("apply --auto-approve");
    session.remark("state.db was written by a later version");
    std::fs::write(&state, &whole).expect("all of it");
    sqlite(project.path(), "pragma user_version = 999");
    session.run("plan").run("apply --auto-approve");
    session.compare("a_state_that_is_damaged_or_newer");
}

#[test]
fn a_directory_that_cannot_be_written_to() {
    let project = Project::with_files(&[(".reactorcide/project.yaml", PROJECT)]);
    let mut session = Transcript::of(&project);
    let closed = project.path();
    std::fs::set_permissions(closed, Permissions::from_mode(0o555)).expect("read-only");
    let ended = without_rights(&project, &["apply", "--auto-approve"]);
    session.append("reactorcide apply --auto-approve", &ended);
    let ended = without_rights(&project, &["plan", "--detailed-exitcode"]);
    session.append("reactorcide plan --detailed-exitcode", &ended);
    let ended = without_rights(&project, &["init", "--dir", "new"]);
    session.append("reactorcide init --dir new", &ended);
    std::fs::set_permissions(closed, Permissions::from_mode(0o755)).expect("writable");
    session.compare("a_directory_that_cannot_be_written_to");
}

#[test]
fn names_that_would_steer_a_terminal_are_shown_as_what_they_are() {
    let project = Project::with_files(&[(
        ".reactorcide/\u{202e}evil\u{1b}[31m.yaml",
        "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web, description: \"\\e[2J\\u202Egone\"}\nspec: {}\n",
    )]);
    let mut session = Transcript::of(&project);
    session.run("validate").run("plan").run("apply --auto-approve --message \u{1b}[2J").run("history");
    session.write(".reactorcide/\u{202e}evil\u{1b}[31m.yaml", "kind: \"\\e]0;title\\a\"\n");
    session.run("validate");
    session.compare("names_that_would_steer_a_terminal");
}

#[test]
fn who_may_only_read_can_look_and_plan() {
    let project = Project::with_files(&[(".reactorcide/project.yaml", PROJECT)]);
    assert_eq!(project.execute(&["apply", "--auto-approve"]).code, Some(0));
    let state = project.path().join(".reactorcide-state");
    std::fs::set_permissions(project.path(), Permissions::from_mode(0o755)).expect("readable");
    std::fs::set_permissions(&state, Permissions::from_mode(0o555)).expect("read-only");
    std::fs::set_permissions(state.join("state.db"), Permissions::from_mode(0o444)).expect("read-only");
    for arguments in [&["state", "list"][..], &["plan", "--detailed-exitcode"], &["history"], &["show"]] {
        let ended = without_rights(&project, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    }
    project.write(".reactorcide/more.yaml", &PROJECT.replace("web", "more"));
    let refused = without_rights(&project, &["apply", "--auto-approve"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("hint: give yourself the right"), "{refused:?}");
    std::fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("writable");
}

/// Runs the binary as a user who owns nothing here; root may write everywhere.
fn without_rights(project: &Project, arguments: &[&str]) -> Ended {
    if !rustix::process::getuid().is_root() {
        return project.execute(arguments);
    }
    let command = project.command(arguments);
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    other.arg(command.get_program()).args(command.get_args()).current_dir(project.path()).env_clear();
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = other.output().expect("setpriv is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn sqlite(project: &Path, statement: &str) {
    let file = project.join(".reactorcide-state/state.db");
    let status = Command::new("sqlite3").arg(&file).arg(statement).status().expect("sqlite3: ./dev setup");
    assert!(status.success());
}
