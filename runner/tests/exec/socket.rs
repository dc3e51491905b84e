//! The socket: what programs in a job ask of the runner, and what hostile ones get.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use reactorcide_protocol::frame::{Body, Stream};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Finished, Job, Runner, run, script, steps};

/// A job of one command that may talk to its runner.
fn talk(text: &str) -> Job {
    script(&format!("r=$REACTORCIDE_RUNNER\n{text}"))
}

fn requests(done: &Finished) -> Vec<Value> {
    let all = done.frames.iter().filter_map(|frame| match &frame.body {
        Body::Trigger { request } => Some(json!(request)),
        _ => None,
    });
    all.collect()
}

#[test]
fn a_job_asks_for_jobs_by_one_line_of_shell() {
    let done = talk("$r trigger deploy --env TARGET=staging --depends-on build --condition always --operation-id d1; $r trigger deploy --env TARGET=staging --depends-on build --condition always --operation-id d1")
        .finish();
    assert_eq!(done.summary(), "succeeded 0 -");
    let requests = requests(&done);
    assert_eq!(requests.len(), 1, "the same operation happens once");
    assert_eq!(
        requests[0]["jobs"],
        json!([{"job_name": "deploy", "depends_on": ["build"], "condition": "always", "env": {"TARGET": "staging"}}])
    );
}

#[test]
fn a_trigger_comes_before_the_jobs_end() {
    let mut runner = talk("$r trigger next; echo asked; sleep 30 || true").start();
    runner.read_until(|frame| matches!(frame.body, Body::Trigger { .. }));
    runner.read_until_printed("asked");
    runner.signal("-TERM");
    assert_eq!(runner.finish().code, Some(143));
}

#[test]
fn secrets_are_masked_from_the_answer_on_even_within_a_line() {
    let done = talk("printf 'a-'; $r secret register s3cr3t-v4lue; printf 's3cr3t-v4lue'; echo -b; echo s3cr3t-v4lue >&2; printf 's3cr3t-v4lue' | base64").finish();
    assert_eq!(done.printed(), "a-***-b\n***\n");
    assert_eq!(done.bytes(None, Stream::Stderr), b"***\n");
    let piped = talk(
        "printf 'one-secret-1\\n\\ntwo-secret-2\\n' | $r secret register; echo one-secret-1 two-secret-2",
    )
    .finish();
    assert_eq!(piped.printed(), "*** ***\n");
}

#[test]
fn values_and_variables_are_handed_on() {
    let done = steps(&[
        ("a", run("$REACTORCIDE_RUNNER output set x=1 y=two; $REACTORCIDE_RUNNER vars set channel=beta; echo z=3 > $REACTORCIDE_OUTPUT")),
        ("b", json!({"run": {"script": "$REACTORCIDE_RUNNER vars get channel; cat $RC_WF_VARS_FILE"},
            "when": "steps.a.outputs.x == '1' && steps.a.outputs.z == '3' && vars.channel == 'beta'"})),
        ("c", run("echo '{\"channel\": \"beta\", \"level\": 3}' > $RC_WF_VARS_FILE")),
        ("d", json!({"run": {"script": "$REACTORCIDE_RUNNER vars"}, "when": "vars.level == 3"})),
    ])
    .with("context", json!({"vars": {"channel": "stable"}}))
    .finish();
    assert_eq!(done.steps(), ["a succeeded", "b succeeded", "c succeeded", "d succeeded"]);
    assert_eq!(done.stdout("b"), "beta\n{\"channel\":\"beta\"}");
    assert_eq!(done.stdout("d"), "{\"channel\":\"beta\",\"level\":3}\n");
    let vars: Vec<Value> = requests(&done).into_iter().map(|request| request["vars"].clone()).collect();
    assert_eq!(vars, [json!({"channel": "beta"}), json!({"level": 3})]);
}

#[test]
fn what_runs_next_is_said() {
    let done = talk("$r next deploy --reason 'tests passed' --depends-on test").finish();
    let said =
        done.frames.iter().any(|frame| matches!(&frame.body, Body::Next(next) if next.job == "deploy"));
    assert!(said);
    assert_eq!(done.bytes(None, Stream::System), b"next: deploy (tests passed)\n");
}

#[rstest]
#[case::too_many(
    "for i in 1 2 3 4; do $r trigger job$i; done",
    "it asks for 4 jobs in all, this job may trigger at most 3 (too_many)"
)]
#[case::secret(
    "$r trigger x --env A=$TOKEN",
    "jobs[0].env.A contains a secret value, which may not leave the job (secret)"
)]
#[case::secret_output(
    "$r output set k=$TOKEN",
    "k contains a secret value, which may not leave the job (secret)"
)]
#[case::conflict(
    "$r trigger x --operation-id o; $r trigger y --operation-id o",
    "the operation \"o\" was something else before (conflict)"
)]
#[case::name("REACTORCIDE_STEP=nope $r output set a=1", "there is no step \"nope\" (name)")]
#[case::key("$r vars set 'a b=1'", "\"a b\" is not a valid key")]
#[case::short("$r secret register abc", "nothing was registered: a value of 3 bytes is too short")]
#[case::nobody(
    "$r job-running deploy",
    "nobody here knows other jobs: the runner was started by hand (unavailable)"
)]
#[case::usage("$r trigger", "trigger: say which job: trigger NAME")]
#[case::pair("$r output set $TOKEN", "output: write KEY=VALUE")]
fn refusals_say_why(#[case] text: &str, #[case] reason: &str) {
    let job = talk(&format!("set +e\n{text}\ntrue"));
    let done = job
        .with("secrets", json!([{"name": "TOKEN", "value": "t0ken-t0ken"}]))
        .with("trigger_limits", json!({"jobs": 3, "depth": 3, "file_bytes": 100_000}))
        .finish();
    let errors = String::from_utf8(done.bytes(None, Stream::Stderr)).expect("text");
    assert!(errors.contains(reason), "{errors}");
    assert_eq!(done.summary(), "succeeded 0 -", "a refusal is for whoever asked");
    assert!(!done.everything().contains("t0ken-t0ken"));
}

#[test]
fn without_a_runner_the_commands_say_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_reactorcide-runner"))
        .args(["trigger", "x"])
        .env_clear()
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("REACTORCIDE_SOCKET is not set"));
}

#[test]
fn earlier_jobs_are_known_from_needs() {
    let needs = json!({"test": {"result": "failed", "exit_code": 3, "outputs": {"k": "v"}}});
    let done = talk("$r job-result test || echo code $?; $r job-result test --format json || true")
        .with("context", json!({ "needs": needs }))
        .finish();
    let printed = done.printed();
    let (first, rest) = printed.split_once('\n').expect("lines");
    assert_eq!(first, "failed");
    let (code, json) = rest.split_once('\n').expect("lines");
    assert_eq!(code, "code 1");
    let answer: Value = serde_json::from_str(json).expect("JSON");
    assert_eq!((&answer["exit_code"], &answer["outputs"]["k"]), (&json!(3), &json!("v")));
}

/// Answers the runner's questions as whoever started it would.
fn answer(runner: &mut Runner, answers: &[Value]) {
    for answer in answers {
        let mut id = None;
        runner.read_until(|frame| matches!(frame.body, Body::Query { .. }));
        if let Some(Body::Query { id: asked, .. }) = runner.last().map(|frame| &frame.body) {
            id = Some(*asked);
        }
        let line = json!({"type": "answer", "id": id, "answer": answer}).to_string() + "\n";
        runner.stdin.write_all(line.as_bytes()).expect("the runner listens");
    }
}

#[test]
fn questions_are_answered_from_outside() {
    let job = talk("$r job-running deploy && echo yes; $r job-running deploy || echo no; $r vars get a")
        .with("answers", json!(true));
    let mut runner = job.start();
    answer(
        &mut runner,
        &[
            json!({"about": "job", "found": false, "running": true, "elsewhere": [{"run": "r2", "state": "running"}]}),
            json!({"about": "unavailable", "reason": "the server is away"}),
            json!({"about": "vars", "vars": {"a": 7}}),
        ],
    );
    let done = runner.finish();
    assert_eq!(done.printed(), "yes\nno\n7\n");
    assert!(
        String::from_utf8_lossy(&done.bytes(None, Stream::Stderr))
            .contains("the server is away (unavailable)")
    );
}

#[test]
fn who_answers_no_more_is_not_waited_for() {
    let job = talk("$r job-running deploy || echo no").with("answers", json!(true));
    let mut runner = job.start();
    runner.read_until(|frame| matches!(frame.body, Body::Query { .. }));
    let done = runner.finish_without_input();
    assert_eq!(done.printed(), "no\n");
}

#[test]
fn garbage_silence_and_floods_hurt_nobody() {
    let job = script("echo ready; sleep 600 || true; echo over");
    let mut runner = job.start();
    runner.read_until_printed("ready");
    let path = job.path(".reactorcide/socket");
    let connect = || UnixStream::connect(&path).expect("connects");
    let mut held = Vec::new();
    for index in 0..200_u32 {
        let mut stream = connect();
        // Some send garbage, some half a message, some a whole one and never read.
        let bytes: &[u8] = match index % 5 {
            0 => b"\xff\xff\xff\xffxxxx",
            1 => b"\0\0",
            2 => b"{\"action\":",
            3 => b"\0\0\0\x13{\"action\":\"context\"}",
            _ => b"",
        };
        let _ = stream.write_all(bytes);
        held.push(stream);
    }
    drop(held);
    // Connections by the thousand, one after the other.
    for _ in 0..10_000 {
        drop(connect());
    }
    // And then a client with manners is served.
    let answer = loop {
        let mut stream = connect();
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.write_all(b"{\"action\":\"hello\"}\n{\"action\":\"fly\"}\n").expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("shut down");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        if read.is_ok() && answer.starts_with('{') {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let lines: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["job"], "test[0]");
    assert_eq!(lines[1]["code"], "unknown_action");
    let memory = runner.resident_kib();
    assert!(memory < 20_000, "{memory} KiB");
    runner.signal("-TERM");
    assert_eq!(runner.finish().code, Some(143));
    assert!(!path.exists());
}

#[test]
fn what_a_job_says_of_outputs_has_a_bound() {
    let job = script("echo ready; sleep 600 || true");
    let mut runner = job.start();
    runner.read_until_printed("ready");
    let mut stream = UnixStream::connect(job.path(".reactorcide/socket")).expect("connects");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let said = json!({"action": "output", "values": {"again": "x".repeat(1 << 16)}});
    for _ in 0..80 {
        stream.write_all(format!("{said}\n").as_bytes()).expect("written");
    }
    stream.shutdown(std::net::Shutdown::Write).expect("shut down");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let answers: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), 80);
    assert_eq!(answers[0], json!({"ok": true}));
    assert_eq!(answers[79]["code"], "too_large", "{}", answers[79]);
    runner.signal("-TERM");
    assert_eq!(runner.finish().code, Some(143));
}

#[test]
fn output_is_read_as_a_request_only_where_the_job_opted_in() {
    let text =
        r#"echo "${REACTORCIDE_TRIGGER_PREFIX:-::guess::}{\"jobs\": [{\"job_name\": \"a\"}]}"; echo shown"#;
    let with = script(text).with("trigger_prefix", json!("::r4nd0m::")).finish();
    assert_eq!(requests(&with).len(), 1);
    assert_eq!(with.printed(), "shown\n");
    let without = script(text).finish();
    assert_eq!(requests(&without).len(), 0);
    assert_eq!(without.printed(), "::guess::{\"jobs\": [{\"job_name\": \"a\"}]}\nshown\n");
    let bad = script("echo \"${REACTORCIDE_TRIGGER_PREFIX}{\"; echo \"${REACTORCIDE_TRIGGER_PREFIX}{}\" >&2")
        .with("trigger_prefix", json!("::r4nd0m::"))
        .finish();
    let said = String::from_utf8(bad.bytes(None, Stream::System)).expect("text");
    assert!(said.contains("a request in the output was refused: it is not valid JSON"), "{said}");
    assert_eq!(requests(&bad).len(), 0, "standard error is never read");
}

#[test]
fn secrets_by_name_are_masked_without_being_asked() {
    let mut job = steps(&[("a", json!({"run": {"script": "echo $API_KEY $PLAIN $IMAGE_TOKEN $STEP_PASSWORD $DEBUG_KEY"}, "environment": {"STEP_PASSWORD": "hunter22"}}))])
        .with("environment", json!({"API_KEY": "k3y-value", "PLAIN": "plain-value", "DEBUG_KEY": "true"}));
    job.image_environment = vec![("IMAGE_TOKEN".into(), "t0k3n-of-image".into())];
    assert_eq!(job.finish().stdout("a"), "*** plain-value *** *** true\n");
}

#[test]
fn a_job_in_a_job_asks_the_runner_around_it() {
    let inner = "$REACTORCIDE_RUNNER trigger deploy; $REACTORCIDE_RUNNER next e2e; $REACTORCIDE_RUNNER output set k=v; $REACTORCIDE_RUNNER vars set a=1; $REACTORCIDE_RUNNER job-running other && echo other runs; echo $INNER; echo '{\"jobs\":[{\"job_name\":\"by-file\"}]}' > $REACTORCIDE_WORKSPACE/triggers.json";
    let job = steps(&[
        ("outer", run("INNER_VALUE=inner-secret-1 $REACTORCIDE_RUNNER run --job-dir $REACTORCIDE_WORKSPACE --job-command \"$COMMAND\" --secret INNER=env:INNER_VALUE; echo inner-secret-1; $REACTORCIDE_RUNNER hello > /dev/null && echo still there")),
        ("after", json!({"run": {"script": "true"}, "when": "steps.outer.outputs.k == 'v' && vars.a == '1'"})),
    ])
    .with("environment", json!({"COMMAND": inner}))
    .with("answers", json!(true));
    let mut runner = job.start();
    answer(&mut runner, &[json!({"about": "job", "found": true, "running": true})]);
    let done = runner.finish();
    assert_eq!(done.steps(), ["outer succeeded", "after succeeded"], "{}", done.everything());
    assert_eq!(done.stdout("outer"), "other runs\n***\n***\nstill there\n");
    let requests = requests(&done);
    let names: Vec<&Value> =
        requests.iter().filter_map(|request| request["jobs"].get(0)).map(|job| &job["job_name"]).collect();
    assert_eq!(names, ["deploy", "by-file"], "{requests:?}");
    assert!(done.frames.iter().any(|frame| matches!(&frame.body, Body::Next(next) if next.job == "e2e")));
    assert!(!job.path("triggers.json").exists());
    let left: Vec<_> = std::fs::read_dir(job.workspace.path())
        .expect("a directory")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".reactorcide")), "{left:?}");
}
