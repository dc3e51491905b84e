//! Steps that cannot be started, and what is said of them.

use std::os::unix::fs::PermissionsExt;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Job, job, script, steps};

fn exec(words: &[&str]) -> Value {
    json!({"run": {"exec": words}})
}

#[rstest]
#[case::not_found(exec(&["no-such-command"]), "command not found: no-such-command; it was looked for in /usr/local/bin:/usr/bin:/bin")]
#[case::path_not_found(exec(&["./missing"]), "command not found: ./missing")]
#[case::not_executable(exec(&["./plain"]), "./plain is not executable")]
#[case::directory(exec(&["./folder"]), "./folder is a directory, not a command")]
#[case::no_interpreter(exec(&["./script"]), "./script is there, but the interpreter or loader that it names is not in the image")]
#[case::no_program(exec(&["./garbage"]), "./garbage is not a program for this machine, and has no `#!` line")]
#[case::empty(exec(&[]), "the command is empty")]
#[case::nul(exec(&["echo", "a\u{0}b"]), "echo cannot be started: its arguments or environment contain a NUL byte")]
#[case::no_directory(json!({"run": {"script": "true"}, "working_dir": "nowhere"}), "working directory WORKSPACE/nowhere does not exist")]
#[case::file_as_directory(json!({"run": {"script": "true"}, "working_dir": "plain"}), "working directory WORKSPACE/plain is not a directory")]
#[case::no_such_shell(json!({"run": {"script": "true"}, "shell": ["no-such-shell"]}), "shell: command not found: no-such-shell; it was looked for in /usr/local/bin:/usr/bin:/bin")]
fn a_step_that_cannot_be_started(#[case] step: Value, #[case] reason: &str) {
    let job = steps(&[("a", step)]);
    let file = |name: &str, text: &str, mode| {
        std::fs::write(job.path(name), text).unwrap();
        std::fs::set_permissions(job.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    file("plain", "x", 0o644);
    file("script", "#!/no/such/interpreter\n", 0o755);
    file("garbage", "\u{7f}garbage", 0o755);
    std::fs::create_dir(job.path("folder")).unwrap();
    let done = job.finish();
    let reason = reason.replace("WORKSPACE", job.workspace.path().to_str().unwrap());
    assert_eq!(done.summary(), format!("config - step \"a\" cannot be started: {reason}"));
    assert_eq!((done.code, done.steps()), (Some(78), vec!["a failed".to_owned()]));
}

#[test]
fn an_environment_that_is_too_large() {
    let done = script("true").with("environment", json!({"BIG": "x".repeat(200_000)})).finish();
    assert!(done.summary().contains("are too large for the system"), "{}", done.summary());
    assert_eq!(done.code, Some(78));
}

#[test]
fn many_variables_are_fine() {
    let all: serde_json::Map<String, Value> =
        (0..2_000).map(|i| (format!("V{i}"), json!("y".repeat(100)))).collect();
    let done = script("env | grep -c '^V[0-9]*=y'").with("environment", Value::Object(all)).finish();
    assert_eq!(done.printed(), "2000\n");
}

#[rstest]
#[case("exit 7", "exit 7 the command exited with code 7", 7)]
#[case("kill -9 $$", "exit 137 the command was killed by SIGKILL", 137)]
#[case("kill -SEGV $$", "exit 139 the command was killed by SIGSEGV", 139)]
#[case("false; echo not reached", "exit 1 the command exited with code 1", 1)]
fn commands_that_fail(#[case] text: &str, #[case] summary: &str, #[case] code: i32) {
    let done = script(text).finish();
    assert_eq!((done.summary().as_str(), done.code), (summary, Some(code)));
    assert_eq!(done.printed(), "");
}

#[rstest]
#[case::secret(json!([{"name": "PIN", "value": "123"}]), "secret PIN cannot be used: a value of 3 bytes is too short to be masked, it needs at least 4")]
#[case::name(json!([{"name": "A=B", "value": "12345678"}]), "\"A=B\" cannot be the name of an environment variable")]
fn secrets_that_cannot_be_kept(#[case] secrets: Value, #[case] reason: &str) {
    let done = script("true").with("secrets", secrets).finish();
    assert_eq!((done.summary(), done.code), (format!("config - {reason}"), Some(78)));
}

#[test]
fn an_empty_secret_hides_nothing() {
    let done = script("echo .$EMPTY.").with("secrets", json!([{"name": "EMPTY", "value": ""}])).finish();
    assert_eq!(done.printed(), "..\n");
}

#[test]
fn a_relative_workspace_is_refused() {
    let job: Job = job(&json!({"command": {"script": "true"}})).with("workspace", json!("job"));
    assert_eq!(job.finish().summary(), "config - workspace \"job\" is not an absolute path");
}
