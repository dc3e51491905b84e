//! Nothing secret comes out, in whatever pieces it is printed.

use serde_json::json;

use crate::support::{Job, script};

fn with_secret(text: &str) -> Job {
    script(text)
        .with("secrets", json!([{"name": "TOKEN", "value": "s3cr3t-t0ken-value"}]))
        .with("mask", json!(["also-hidden"]))
}

#[test]
fn whole_and_split() {
    let done = with_secret(
        "echo \"a $TOKEN b also-hidden\"; for c in s 3 c r 3 t - t 0 k e n - v a l u e; do printf %s $c; done; echo; echo $TOKEN >&2",
    )
    .finish();
    assert_eq!(done.printed(), "a *** b ***\n***\n");
    assert!(!done.everything().contains("s3cr3t"));
}

#[test]
fn encoded() {
    let done =
        with_secret("printf %s $TOKEN | base64; printf %s $TOKEN | od -An -tx1 | tr -d ' \\n'").finish();
    assert!(!done.everything().contains("czNjcjN0"), "{}", done.everything());
    assert!(!done.everything().contains("733363"), "{}", done.everything());
}

#[test]
fn a_prefix_at_the_end_is_shown_in_the_end() {
    assert_eq!(with_secret("printf s3cr3t-").finish().printed(), "s3cr3t-");
}

#[test]
fn reasons_are_masked_too() {
    let step = json!({"command": {"exec": ["./s3cr3t-t0ken-value"]}});
    let done = with_secret("").with("work", step).finish();
    assert!(!done.everything().contains("s3cr3t"), "{}", done.everything());
    assert!(done.summary().contains("***"));
}

#[test]
fn a_prompt_is_not_held_back() {
    let job = with_secret("printf 'Continue? '; until test -e go; do :; done");
    let mut runner = job.start();
    runner.read_until_printed("Continue? ");
    std::fs::write(job.path("go"), "").unwrap();
    assert_eq!(runner.finish().code, Some(0));
}

#[test]
fn a_step_cannot_look_into_the_runner() {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    // The parent of the step is the runner. Root may look into anything, so this is done as somebody else.
    let job = script("cat /proc/$PPID/environ || echo hidden");
    let runner = job.path("runner");
    std::fs::copy(env!("CARGO_BIN_EXE_reactorcide-runner"), &runner).unwrap();
    std::fs::set_permissions(job.workspace.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(&runner);
    command.arg("exec").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(job.spec.to_string().as_bytes()).unwrap();
    let mut frames = String::new();
    child.stdout.take().unwrap().read_to_string(&mut frames).unwrap();
    assert!(child.wait().unwrap().success() && frames.contains("hidden"), "{frames}");
}
