//! What a step finds around itself.

use serde_json::json;

use crate::support::{job, run, script, steps};

#[test]
fn layers_of_the_environment() {
    let mut step = run(
        "echo $IMAGE $JOB $BOTH $STEP $TOKEN_LENGTH ${#SECRET} $REACTORCIDE_RUN_ID $REACTORCIDE_JOB $REACTORCIDE_ATTEMPT $CI",
    );
    step["environment"] = json!({"STEP": "s", "BOTH": "step", "REACTORCIDE_JOB": "forged"});
    let mut job = steps(&[("a", step)])
        .with("environment", json!({"JOB": "j", "BOTH": "job"}))
        .with("secrets", json!([{"name": "SECRET", "value": "0123456789"}]));
    job.image_environment = vec![("IMAGE".into(), "i".into()), ("BOTH".into(), "image".into())];
    assert_eq!(job.finish().stdout("a"), "i j step s 10 run-1 test[0] 3 true\n");
}

#[test]
fn what_is_meant_for_the_runner_stays_there() {
    let mut job = script("env | grep -c REACTORCIDE_RUNNER_ || true");
    job.image_environment = vec![("REACTORCIDE_RUNNER_X".into(), "1".into())];
    assert_eq!(job.finish().printed(), "0\n");
}

#[test]
fn variables_of_the_run_are_a_file() {
    let job = script("cat $RC_WF_VARS_FILE").with("context", json!({"vars": {"a": 1}}));
    assert_eq!(job.finish().printed(), r#"{"a":1}"#);
}

#[test]
fn working_directories() {
    let job = steps(&[("a", run("pwd")), ("b", json!({"run": {"script": "pwd"}, "working_dir": "sub"}))]);
    std::fs::create_dir(job.path("sub")).unwrap();
    let done = job.finish();
    assert_eq!(done.stdout("a"), format!("{}\n", job.workspace.path().display()));
    assert_eq!(done.stdout("b"), format!("{}/sub\n", job.workspace.path().display()));
}

#[test]
fn the_default_working_directory_is_made() {
    let job = script("pwd");
    let source = job.path("src");
    let job = job.with("working_dir", json!(source));
    assert_eq!(job.finish().printed(), format!("{}\n", source.display()));
}

#[test]
fn standard_input_is_empty_and_no_descriptor_is_inherited() {
    let list = "ls /proc/self/fd | tr '\\n' ' '";
    // What the test itself was given may be inherited by anyone.
    let usual = std::process::Command::new("sh").args(["-c", list]).output().unwrap();
    let done = script(&format!("cat; {list}")).finish();
    assert_eq!(done.printed(), String::from_utf8(usual.stdout).unwrap());
}

#[test]
fn a_command_list_needs_no_shell() {
    let done = job(&json!({"command": {"exec": ["printf", "%s|", "a b", "$HOME", "*"]}})).finish();
    assert_eq!(done.printed(), "a b|$HOME|*|");
}

#[test]
fn another_shell() {
    let step = json!({"run": {"script": "echo $0; false; echo not reached"}, "shell": ["bash", "-eu", "-c"]});
    assert_eq!(steps(&[("a", step)]).finish().stdout("a"), "bash\n");
}

#[test]
fn a_hostile_environment_changes_neither_the_runner_nor_what_it_says() {
    let environment = json!({
        "LD_PRELOAD": "/nowhere/evil.so", "BASH_ENV": "/nowhere/evil.sh", "ENV": "/nowhere/evil.sh", "IFS": "x",
        "REACTORCIDE_SOCKET": "/nowhere", "REACTORCIDE_RUNNER": "/nowhere", "REACTORCIDE_OUTPUT": "/etc/passwd",
        "RC_WF_VARS_FILE": "/etc/passwd", "REACTORCIDE_JOB": "other", "REACTORCIDE_RUN_ID": "other", "REACTORCIDE_STEP": "other",
        "REACTORCIDE_TRIGGER_PREFIX": "::mine::", "PYTHONPATH": "/theirs",
    });
    let text = "echo $REACTORCIDE_JOB $REACTORCIDE_RUN_ID ${REACTORCIDE_STEP:-none} ${REACTORCIDE_TRIGGER_PREFIX:-none} $PYTHONPATH; $REACTORCIDE_RUNNER output set a=1; echo b=2 > $REACTORCIDE_OUTPUT; echo '::mine::{\"jobs\": [{\"job_name\": \"x\"}]}'";
    let done = script(text).with("environment", environment).with("python_path", json!("/ours")).finish();
    assert_eq!(done.summary(), "succeeded 0 -", "{}", done.everything());
    assert_eq!(
        done.printed().lines().next(),
        Some("test[0] run-1 none none /theirs:/ours"),
        "{}",
        done.everything()
    );
    let sent = done
        .frames
        .iter()
        .filter(|frame| matches!(frame.body, reactorcide_protocol::frame::Body::Trigger { .. }));
    assert_eq!(sent.count(), 0);
    let path = script("ls").with("environment", json!({"PATH": "/nowhere"})).finish();
    assert_eq!(path.result().exit_code, Some(127), "{}", path.summary());
}
