//! Each step gets the secrets that it names, as values or as files, and no other.

use std::fs;
use std::os::unix::fs::symlink;

use reactorcide_protocol::frame::JobOutcome;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Job, run, script, steps};

fn secrets() -> Value {
    json!([
        {"name": "PLAIN", "value": "plain-value-1"},
        {"name": "KEY", "value": "file-value-22\nline two\n", "file": true},
        {"name": "REACTORCIDE_API_TOKEN", "value": "token-value-333"},
    ])
}

/// A job with a directory for its files; it is there for as long as the second is kept.
fn with_files(job: Job) -> (Job, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let job = job.with("secrets", secrets()).with("v", json!(2));
    (job.with("secrets_directory", json!(directory.path())), directory)
}

fn named(text: &str, secrets: &[&str]) -> Value {
    let mut step = run(text);
    step["secrets"] = json!(secrets);
    step
}

const SHOW: &str = "echo ${PLAIN:+plain} ${KEY:+key} ${REACTORCIDE_API_TOKEN:+token} none";

#[test]
fn a_step_gets_what_it_names_and_one_that_names_none_has_none() {
    let text = "echo \"${PLAIN-unset} ${KEY-unset}\"; cat /proc/self/environ | tr '\\0' '\\n' | grep -c -e PLAIN -e KEY -e API_TOKEN || true";
    let (mut job, directory) = with_files(steps(&[
        ("first", run(text)),
        ("plain", named(SHOW, &["PLAIN"])),
        ("file", named(&format!("{SHOW}; cat $KEY"), &["KEY"])),
        ("token", named(SHOW, &["REACTORCIDE_API_TOKEN"])),
        ("last", run(text)),
    ]));
    // What the image says under the same name is not shown for it either.
    job.image_environment.push(("PLAIN".to_owned(), "of the image".to_owned()));
    let done = job.finish();
    assert_eq!(done.summary(), "succeeded 0 -");
    assert_eq!(done.stdout("first"), "unset unset\n0\n");
    assert_eq!(done.stdout("last"), "unset unset\n0\n");
    assert_eq!(done.stdout("plain"), "plain none\n");
    assert_eq!(done.stdout("file"), "key none\n***", "its value is masked");
    assert_eq!(done.stdout("token"), "token none\n");
    assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 0, "nothing is left");
}

#[test]
fn a_name_of_what_was_withheld_still_means_that_steps_name_theirs() {
    let (job, _directory) = with_files(steps(&[("a", named(SHOW, &["WITHHELD"])), ("b", run(SHOW))]));
    let done = job.finish();
    assert_eq!((done.stdout("a"), done.stdout("b")), ("none\n".into(), "none\n".into()));
}

#[test]
fn where_no_step_names_any_each_has_all() {
    let (job, _directory) = with_files(steps(&[("a", run(SHOW)), ("b", run(SHOW))]));
    let done = job.finish();
    assert_eq!(
        (done.stdout("a"), done.stdout("b")),
        ("plain key token none\n".into(), "plain key token none\n".into())
    );
}

#[test]
fn all_values_are_masked_in_all_steps() {
    let (job, _directory) = with_files(steps(&[
        ("knows", named("printf %s $PLAIN > kept; cat $KEY > kept-too", &["PLAIN", "KEY"])),
        ("tells", run("cat kept kept-too; base64 kept")),
    ]));
    let done = job.finish();
    let all = done.everything();
    for hidden in ["plain-value-1", "file-value-22", "cGxhaW4tdmFsdWUtM"] {
        assert!(!all.contains(hidden), "{hidden} in {all}");
    }
}

#[test]
fn files_are_their_users_alone_and_go_with_their_step() {
    let text = "stat -c '%a %U' $KEY; stat -c %a $(dirname $KEY); dirname $KEY > where; id -un";
    let (job, _directory) = with_files(steps(&[
        ("has", named(text, &["KEY"])),
        ("looks", run("ls $(cat where) 2>/dev/null || echo gone")),
    ]));
    let done = job.finish();
    let said = done.stdout("has");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[1]), (format!("400 {}", lines[2]).as_str(), "700"));
    assert_eq!(done.stdout("looks"), "gone\n");
}

#[test]
fn what_steps_put_in_the_way_is_not_written_to() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (job, directory) = with_files(steps(&[("has", named("cat $KEY | wc -c", &["KEY"]))]));
    for name in ["0", "1"] {
        symlink(elsewhere.path(), directory.path().join(name)).expect("a link");
    }
    fs::create_dir(directory.path().join("2")).expect("a directory");
    let done = job.finish();
    assert_eq!(done.stdout("has"), "23\n");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("a directory").count(), 0);
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 3, "what is not ours stays");
}

#[test]
fn a_step_that_runs_again_has_its_files_again() {
    let mut step = named("cat $KEY | wc -c; test -e again || { touch again; exit 1; }", &["KEY"]);
    step["retry"] = json!({"max": 1});
    let (job, directory) = with_files(steps(&[("tries", step)]));
    let done = job.finish();
    assert_eq!(done.stdout("tries"), "23\n23\n");
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
}

#[test]
fn what_cannot_be_had_is_said_and_nothing_runs() {
    let refused = |job: Job, message: &str| {
        let done = job.finish();
        assert_eq!(done.result().outcome, JobOutcome::Config);
        let reason = done.result().reason.clone().unwrap_or_default();
        assert!(reason.contains(message), "{reason}");
        assert!(!done.everything().contains("file-value-22"));
    };
    refused(script("echo x").with("secrets", secrets()), "there is no directory for them");
    let (job, _directory) = with_files(script("echo x"));
    refused(job.with("secrets_directory", json!("/nowhere/at/all")), "/nowhere/at/all cannot be opened");
    let (job, _directory) = with_files(script("echo x"));
    refused(
        job.with("secrets", json!([{"name": "../x", "value": "long enough", "file": true}])),
        "name of a file",
    );
}

#[test]
fn files_need_no_shell() {
    let work = json!({"command": {"exec": [env!("CARGO_BIN_EXE_reactorcide-runner"), "--version"]}});
    let (job, _directory) = with_files(script("").with("work", work));
    assert_eq!(job.finish().summary(), "succeeded 0 -");
}

#[test]
fn an_older_runner_refuses_what_it_would_hand_out_to_all() {
    let secrets = |file: bool| json!([{"name": "KEY", "value": "a-value", "file": file}]);
    let version = |job: &Job| {
        let spec: reactorcide_protocol::spec::JobSpec =
            serde_json::from_value(job.spec.clone()).expect("a spec");
        spec.least_version()
    };
    assert_eq!(version(&script("x").with("secrets", secrets(false))), 1);
    assert_eq!(version(&script("x").with("secrets", secrets(true))), 2);
    assert_eq!(
        version(&steps(&[("a", run("x")), ("b", named("x", &["KEY"]))]).with("secrets", secrets(false))),
        2
    );
}
