//! `reactorcide run` on a real container engine: what a job can do, how it can fail, and that nothing is left.

use std::process::Stdio;

use crate::docker::{Ended, Project, eventually, running, signal, wait};

const BUSYBOX: &str = "reactorcide/busybox:local";
const STATIC: &str = "reactorcide/static:local";

/// The row of the final table.
fn row(ended: &Ended, job: &str) -> String {
    let mut rows = ended.stdout.lines().filter(|line| line.split_whitespace().next() == Some(job));
    rows.next_back()
        .unwrap_or_else(|| panic!("no row for {job}: {ended:?}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn assert_row(ended: &Ended, job: &str, words: &str) {
    let row = row(ended, job);
    assert!(row.contains(words), "{row:?} has no {words:?}\n{}\n{}", ended.stdout, ended.stderr);
}

#[test]
fn jobs_run_in_order_and_their_output_is_told_apart() {
    let project = Project::with_jobs(&format!(
        "    a: {{image: '{BUSYBOX}', command: echo from a}}\n    b: {{image: '{BUSYBOX}', depends_on: [a], command: echo from b >&2}}\n"
    ));
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (a, b) = (ended.stdout.find("a | from a"), ended.stdout.find("b | from b"));
    assert!(a.is_some() && a < b, "{ended:?}");
    assert!(ended.stdout.contains("\nsucceeded in "), "{ended:?}");
}

#[test]
fn steps_have_their_own_ends_and_hand_values_on() {
    let project = Project::with_jobs(&format!(
        "    make:\n      image: '{BUSYBOX}'\n      steps:\n\
         \x20       - {{name: one, run: echo one, parallel: true}}\n\
         \x20       - {{name: two, run: echo two, parallel: true}}\n\
         \x20       - {{name: fails, run: exit 3, continue_on_error: true}}\n\
         \x20       - {{name: skipped, run: echo never, when: 'event.type == \"push\"'}}\n\
         \x20       - {{name: say, run: 'echo list=[\\\"x\\\",\\\"y\\\"] >> \"$REACTORCIDE_OUTPUT\"'}}\n\
         \x20   each: {{image: '{BUSYBOX}', depends_on: [make], for_each: needs.make.outputs.list, item_var: IT, command: 'echo item=$IT'}}\n"
    ));
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in ["| one", "| two", "each[0] | item=x", "each[1] | item=y"] {
        assert!(ended.stdout.contains(line), "{line}: {ended:?}");
    }
    assert!(!ended.stdout.contains("never"), "{ended:?}");
    assert!(ended.stderr.contains("step fails failed"), "{ended:?}");
    assert!(ended.stderr.contains("step skipped was skipped"), "{ended:?}");
}

#[test]
fn every_failure_has_its_reason_and_leaves_nothing() {
    let project = Project::with_jobs(&format!(
        "    exits: {{image: '{BUSYBOX}', command: exit 7}}\n\
         \x20   late: {{image: '{BUSYBOX}', command: sleep 60, timeout: 1s, grace: 1s}}\n\
         \x20   stubborn: {{image: '{BUSYBOX}', command: \"trap '' TERM; while true; do sleep 1 || true; done\", timeout: 1s, grace: 1s}}\n\
         \x20   hungry: {{image: '{STATIC}', command: [/program, allocate=200], resources: {{memory: 32Mi}}}}\n\
         \x20   no-image: {{image: 'reactorcide/no-such-image:none', command: 'true'}}\n\
         \x20   no-shell: {{image: '{STATIC}', command: echo hello}}\n\
         \x20   no-program: {{image: '{BUSYBOX}', command: [no-such-program]}}\n\
         \x20   no-directory: {{image: '{BUSYBOX}', command: 'true', working_dir: /nowhere}}\n\
         \x20   full: {{image: '{BUSYBOX}', command: 'dd if=/dev/zero of=/job/big bs=1M count=64; sleep 30', resources: {{disk: 8Mi}}}}\n\
         \x20   orphan: {{image: '{STATIC}', command: [/program, orphan=300, print=done]}}\n\
         \x20   after: {{image: '{BUSYBOX}', depends_on: [exits], command: echo never}}\n\
         \x20   cleanup: {{image: '{BUSYBOX}', depends_on: [exits], condition: any_failed, command: echo tidy}}\n"
    ));
    let ended = project.run(&["--pull", "never", "--max-parallel", "4"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for (job, words) in [
        ("exits", "failed (exit)"),
        ("late", "failed (timeout)"),
        ("stubborn", "failed (timeout)"),
        ("hungry", "failed (oom)"),
        ("no-image", "failed (image_pull)"),
        ("no-shell", "failed (config)"),
        ("no-program", "failed (config)"),
        ("no-directory", "failed (config)"),
        ("full", "failed (no_space)"),
        ("orphan", "succeeded"),
        ("after", "skipped exits failed"),
        ("cleanup", "succeeded"),
    ] {
        assert_row(&ended, job, words);
    }
    assert!(ended.stdout.contains("code 7"), "{ended:?}");
    assert!(!ended.stdout.contains("never"), "{ended:?}");
}

#[test]
fn a_container_is_confined() {
    let look = "id -u; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status; ls /; cat /sys/class/net/*/address | wc -l";
    let project = Project::with_jobs(&format!(
        "    usual: {{image: '{BUSYBOX}', command: '{look}'}}\n\
         \x20   alone: {{image: '{BUSYBOX}', network: none, command: 'ls /sys/class/net'}}\n\
         \x20   frozen: {{image: '{BUSYBOX}', read_only: true, command: 'touch /x || echo frozen; touch /tmp/x /job/x && echo writable'}}\n\
         \x20   other: {{image: '{BUSYBOX}', mount: /workspace, run_as: '1234:1234', command: 'pwd; id -u; touch mine'}}\n\
         \x20   few: {{image: '{BUSYBOX}', resources: {{pids: 6}}, command: 'for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait'}}\n"
    ));
    let ended = project.run(&["--max-parallel", "3"]);
    for line in [
        "usual  | CapEff:\t0000000000000000",
        "usual  | NoNewPrivs:\t1",
        "alone  | lo",
        "frozen | frozen",
        "frozen | writable",
        "other  | /workspace/src",
        "other  | 1234",
    ] {
        assert!(ended.stdout.contains(line), "{line}\n{}\n{}", ended.stdout, ended.stderr);
    }
    assert!(!ended.stdout.contains("usual  | 0\n"), "not root: {ended:?}");
    assert!(ended.stderr.contains("few") || ended.stdout.contains("can't fork"), "{ended:?}");
}

#[test]
fn a_job_asks_for_more_jobs() {
    let project = Project::with_jobs(&format!(
        "    ask:\n      image: '{BUSYBOX}'\n      command: |\n\
         \x20       echo '{{\"jobs\": [{{\"job_name\": \"more\", \"command\": \"echo more $X\", \"env\": {{\"X\": \"of it\"}}}}]}}' > /job/triggers.json\n\
         \x20   greedy:\n      image: '{BUSYBOX}'\n      command: |\n\
         \x20       echo '{{\"jobs\": [{{\"job_name\": \"x\", \"command\": \"c\", \"env\": {{\"LD_PRELOAD\": \"y\"}}}}]}}' > /job/triggers.json\n"
    ));
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("| more of it"), "{ended:?}");
    assert_row(&ended, "more", "succeeded");
    assert_row(&ended, "greedy", "failed (config)");
}

#[test]
fn secrets_are_masked_and_never_without_a_value() {
    let job = "      environment: {URL: 'https://u:${secret:deploy/key:token}@h'}\n      secrets: {KEY: 'deploy/key:token'}\n";
    let files = format!(
        "apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: deploy/key}}\nspec: {{keys: [token]}}\n---\n\
         apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
         apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n    a:\n      image: '{BUSYBOX}'\n{job}\
         \x20     command: 'echo \"$KEY\" \"$URL\"; echo $KEY | base64; printf %s \"$KEY\" | head -c 6; printf %s \"$KEY\" | tail -c +7; echo; test ${{#KEY}} = 16'\n"
    );
    let project = Project::with_files(&[(".reactorcide/ci.yaml", &files)]);
    let without = project.run(&[]);
    assert_eq!(without.code, Some(1), "{without:?}");
    assert!(without.stderr.contains("there is no value for the secret deploy/key:token"), "{without:?}");
    let mut command =
        project.command(&["run", "ci", "--from-config", ".", "--secret", "deploy/key:token=env:GIVEN"]);
    let output = command.env("GIVEN", "s3cr3t-v4lue-0xA").output().expect("the binary starts");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("a | *** ***"), "the value that holds a secret is one as a whole: {text}");
    for form in ["s3cr3t-v4lue-0xA", "czNjcjN0LXY0bHVlLTB4Q"] {
        assert!(!text.contains(form), "{form}: {text}");
    }
    project.assert_nothing_left();
}

#[test]
fn secrets_come_from_where_their_declaration_says() {
    let command = "echo ENV=${#FROM_ENV} FILE=${#FROM_FILE} $FROM_ENV $FROM_FILE";
    let job = |extra: &str| {
        format!(
            "{{image: '{BUSYBOX}', {extra}command: '{command}', secrets: {{FROM_ENV: one, FROM_FILE: two}}}}"
        )
    };
    let secret = |name: &str, spec: &str| {
        format!("apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
    };
    let files = format!(
        "{}{}apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
         apiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {{name: both}}\nspec: {{allow: [{{secrets: ['*'], to: {{project: p}}}}]}}\n---\n\
         apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n    usual: {}\n    bare: {}\n",
        secret("one", "{source: env, location: GIVEN}"),
        secret("two", "{source: file, location: given.txt}"),
        job(""),
        job("runner: none, secrets_visible_to_engine: true, "),
    );
    let project = Project::with_files(&[(".reactorcide/ci.yaml", &files), ("given.txt", "fr0m-th3-file\n")]);
    let without = project.run(&[]);
    assert!(without.stderr.contains("comes from the variable GIVEN, which is not set"), "{without:?}");
    let mut command = project.command(&["run", "ci", "--from-config", "."]);
    let output = command.env("GIVEN", "fr0m-env").output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for line in ["usual | ENV=8 FILE=13 *** ***", "bare  | ENV=8 FILE=13 *** ***"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    project.assert_nothing_left();
}

#[test]
fn inputs_are_given_or_have_defaults() {
    let spec = "  vars: {channel: stable}\n  inputs:\n    level: {type: number, enum: [1, 2]}\n    name: {default: nobody}\n";
    let job = format!(
        "{{image: '{BUSYBOX}', when: 'inputs.level == 2 && inputs.name == \"nobody\"', environment: {{C: '${{var:channel}}'}}, command: 'echo channel $C; cat $RC_WF_VARS_FILE'}}"
    );
    let project = Project::with_files(&[(
        ".reactorcide/ci.yaml",
        &format!(
            "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n{spec}  jobs:\n    a: {job}\n"
        ),
    )]);
    for (arguments, words) in [
        (&[][..], "the input \"level\" is not set"),
        (&["--input", "level=3"], "must be one of 1, 2, not 3"),
        (&["--input", "level=high"], "must be a number"),
        (&["--input", "lvel=1"], "has no input \"lvel\""),
    ] {
        let refused = project.run(arguments);
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }
    let skipped = project.run(&["--input", "level=1"]);
    assert_row(&skipped, "a", "skipped");
    let given = project.run(&["--input", "level=2", "--var", "channel=beta"]);
    assert!(given.stdout.contains("a | channel beta\na | {\"channel\":\"beta\"}"), "{given:?}");
}

#[test]
fn devices_and_capabilities_are_there_when_the_profile_allows_them() {
    let profile = "apiVersion: reactorcide/v1\nkind: ExecutionProfile\nmetadata: {name: large}\nspec: {root: true, capabilities: [CHOWN], devices: [/dev/kmsg]}\n";
    let look = "test -e /dev/kmsg && echo device; touch x; chown 5 x";
    let project = Project::with_jobs(&format!(
        "    with: {{image: '{BUSYBOX}', profile: large, run_as: root, capabilities: [CHOWN], devices: [/dev/kmsg], command: '{look}'}}\n\
         \x20   less: {{image: '{BUSYBOX}', profile: large, run_as: root, command: '{look}'}}\n"
    ));
    project.write(".reactorcide/large.yaml", profile);
    let ended = project.run(&[]);
    assert!(ended.stdout.contains("with | device"), "{ended:?}");
    assert_row(&ended, "with", "succeeded");
    assert!(!ended.stdout.contains("less | device"), "{ended:?}");
    assert_row(&ended, "less", "failed (exit)");
}

#[test]
fn an_untouched_image_runs_as_it_is() {
    let project = Project::with_jobs(&format!(
        "    own: {{image: '{STATIC}', runner: none}}\n\
         \x20   given: {{image: '{STATIC}', runner: none, command: [/program, print=hello, exit=4]}}\n"
    ));
    let ended = project.run(&[]);
    assert!(ended.stdout.contains("own   | static"), "{ended:?}");
    assert!(ended.stdout.contains("given | hello"), "{ended:?}");
    assert_row(&ended, "own", "succeeded");
    assert_row(&ended, "given", "failed (exit)");
}

#[test]
fn a_matrix_and_a_retry_run_for_real() {
    let project = Project::with_jobs(&format!(
        "    m: {{image: '{BUSYBOX}', matrix: {{axes: {{os: [x, y]}}}}, command: 'echo os=$MATRIX_OS ${{matrix:os}}'}}\n\
         \x20   again: {{image: '{BUSYBOX}', retry: {{max: 1, on: [exit], delay: 1s}}, command: 'echo attempt $REACTORCIDE_ATTEMPT; test $REACTORCIDE_ATTEMPT = 2'}}\n"
    ));
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in ["m[0]  | os=x x", "m[1]  | os=y y", "again | attempt 1", "again | attempt 2"] {
        let line = line.replace("  |", " |");
        let flat = ended.stdout.replace("  |", " |");
        assert!(flat.contains(&line), "{line}: {ended:?}");
    }
    assert_row(&ended, "again", "2 attempts");
}

#[test]
fn one_ctrl_c_stops_and_two_kill() {
    let project = Project::with_jobs(&format!(
        "    int-a: {{image: '{BUSYBOX}', command: \"trap 'echo bye; exit 0' TERM; while true; do sleep 0.1 || true; done\", grace: 10s}}\n\
         \x20   int-b: {{image: '{BUSYBOX}', depends_on: [int-a], command: echo never}}\n"
    ));
    let child = project.start(&[]);
    eventually("the job runs", || !running("int-a").is_empty());
    signal(&child, "INT");
    let ended = wait(child);
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stdout.contains("| bye"), "{ended:?}");
    assert_row(&ended, "int-a", "cancelled");
    assert_row(&ended, "int-b", "cancelled");
    project.assert_nothing_left();

    let project = Project::with_jobs(&format!(
        "    int-c: {{image: '{BUSYBOX}', command: \"trap '' TERM; while true; do sleep 1 || true; done\", grace: 5m}}\n"
    ));
    let child = project.start(&[]);
    eventually("the job runs", || !running("int-c").is_empty());
    signal(&child, "INT");
    signal(&child, "TERM");
    eventually("the job is killed", || running("int-c").is_empty());
    assert_eq!(wait(child).code, Some(130));
    project.assert_nothing_left();
}

#[test]
fn the_end_of_the_terminal_stops_a_run_unless_it_shall_outlive_it() {
    let project = Project::with_jobs(&format!(
        "    hung-up: {{image: '{BUSYBOX}', command: \"trap 'exit 0' TERM; while true; do sleep 0.1 || true; done\", grace: 10s}}\n"
    ));
    let child = project.start(&[]);
    eventually("the job runs", || !running("hung-up").is_empty());
    signal(&child, "HUP");
    let ended = wait(child);
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_row(&ended, "hung-up", "cancelled");
    project.assert_nothing_left();

    let project = Project::with_jobs(&format!("    outlives: {{image: '{BUSYBOX}', command: sleep 2}}\n"));
    let plain = project.command(&["run", "ci", "--from-config", "."]);
    let mut nohup = std::process::Command::new("nohup");
    nohup.arg(plain.get_program()).args(plain.get_args()).current_dir(project.path()).env_clear();
    nohup.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = nohup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nohup is there");
    eventually("the job runs", || !running("outlives").is_empty());
    signal(&child, "HUP");
    assert_eq!(wait(child).code, Some(0));
    project.assert_nothing_left();
}

#[test]
fn what_a_killed_run_left_the_next_one_removes() {
    let project = Project::with_jobs(&format!("    left-over: {{image: '{BUSYBOX}', command: sleep 300}}\n"));
    let mut child = project.start(&[]);
    eventually("the job runs", || !running("left-over").is_empty());
    signal(&child, "KILL");
    child.wait().expect("it ends");
    assert!(!running("left-over").is_empty(), "a killed process cleans nothing up");
    let jobs = Project::with_jobs(&format!("    left-over: {{image: '{BUSYBOX}', command: 'true'}}\n"));
    project.write(
        ".reactorcide/ci.yaml",
        &std::fs::read_to_string(jobs.path().join(".reactorcide/ci.yaml")).expect("a file"),
    );
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("left behind"), "{ended:?}");
    assert!(running("left-over").is_empty());
    let runs = project.execute(&["runs"]).stdout;
    assert!(
        runs.contains("  failed ") && !runs.contains("running"),
        "what was killed does not go on: {runs}"
    );
}

#[test]
fn what_is_applied_runs_and_files_change_nothing_until_applied() {
    let project = Project::with_jobs(&format!("    a: {{image: '{BUSYBOX}', command: echo first}}\n"));
    let nothing = project.execute(&["run", "ci"]);
    assert!(nothing.stderr.contains("nothing is applied here"), "{nothing:?}");
    assert_eq!(project.execute(&["apply", "--auto-approve"]).code, Some(0));
    let other = Project::with_jobs(&format!("    a: {{image: '{BUSYBOX}', command: echo second}}\n"));
    project.write(
        ".reactorcide/ci.yaml",
        &std::fs::read_to_string(other.path().join(".reactorcide/ci.yaml")).expect("a file"),
    );
    assert!(project.execute(&["run", "p/ci"]).stdout.contains("a | first"));
    assert!(project.run(&[]).stdout.contains("a | second"));
    let unknown = project.execute(&["run", "cj"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("did you mean ci?"), "{unknown:?}");
}

#[test]
fn a_part_of_a_pipeline_can_be_run_or_only_shown() {
    let project = Project::with_jobs(&format!(
        "    a: {{image: '{BUSYBOX}', command: echo ran a}}\n    b: {{image: '{BUSYBOX}', depends_on: [a], command: echo ran b, environment: {{K: v}}}}\n\
         \x20   c: {{image: '{BUSYBOX}', command: echo ran c, when: 'event.type == \"push\"'}}\n"
    ));
    let only = project.run(&["--job", "b"]);
    assert!(only.stdout.contains("ran b") && !only.stdout.contains("ran a"), "{only:?}");
    let both = project.run(&["--job", "b", "--follow-needs"]);
    assert!(
        both.stdout.contains("ran b") && both.stdout.contains("ran a") && !both.stdout.contains("ran c"),
        "{both:?}"
    );
    let shown = project.run(&["--dry-run"]);
    assert_eq!(shown.code, Some(0));
    assert!(shown.stdout.contains("K=v") && shown.stdout.contains("no: when is false"), "{shown:?}");
    assert!(!shown.stdout.contains("a | ran a"), "{shown:?}");
    let skipped = project.run(&[]);
    assert_row(&skipped, "c", "when is false");
    let not = project.run(&["--event", "push", "--branch", "main"]);
    assert_eq!(not.code, Some(0));
    assert!(not.stderr.contains("this event does not start Pipeline/p/ci: it has no triggers"), "{not:?}");
}

#[test]
fn programs_read_json() {
    let project = Project::with_jobs(&format!("    a: {{image: '{BUSYBOX}', command: echo hello}}\n"));
    let ended = project.run(&["--json"]);
    let events: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect();
    assert!(events.iter().any(|event| event["type"] == "log" && event["text"] == "hello\n"), "{ended:?}");
    let last = events.last().expect("an event");
    assert_eq!((&last["type"], &last["status"]), (&"run_finished".into(), &"succeeded".into()));
    let id = last["run"].as_str().expect("an id");
    let why = project.execute(&["runs", id]);
    assert!(why.stdout.contains("it waits for nothing"), "{why:?}");
}

#[test]
fn the_source_is_a_copy_without_what_git_ignores() {
    let project = Project::with_jobs(&format!(
        "    a: {{image: '{BUSYBOX}', command: 'ls -A; echo changed > kept; rm kept'}}\n"
    ));
    project.write("kept", "");
    project.write("ignored.log", "");
    project.write(".gitignore", "*.log\n");
    let ended = project.run(&[]);
    assert!(ended.stdout.contains("a | kept") && !ended.stdout.contains("ignored"), "{ended:?}");
    assert!(project.path().join("kept").exists(), "the original is untouched");
    let none = Project::with_jobs(&format!(
        "    a: {{image: '{BUSYBOX}', source: {{none: true}}, command: 'pwd; ls'}}\n"
    ));
    let ended = none.run(&[]);
    assert!(ended.stdout.contains("a | /job\n") && ended.stdout.contains("a | artifacts"), "{ended:?}");
}

#[test]
fn without_an_engine_it_says_what_was_tried() {
    let project = Project::with_jobs(&format!("    a: {{image: '{BUSYBOX}', command: 'true'}}\n"));
    let mut command = project.command(&["run", "ci", "--from-config", "."]);
    let output =
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock").output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("/nowhere/docker.sock") && text.contains("hint"), "{text}");
}

#[test]
fn the_examples_run() {
    let hello = Project::copy_of("examples/hello");
    let ended = hello.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("report | both are done"), "{ended:?}");
    let artifacts = Project::copy_of("examples/artifacts");
    for anew in [true, false] {
        let ended = artifacts.run(&[]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("test  | pear"), "{ended:?}");
        assert_eq!(ended.stdout.contains("sorted anew"), anew, "{ended:?}");
    }
    let wordcount = Project::copy_of("examples/c-project");
    let ended = wordcount.run(&[]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    for (job, words) in [
        ("lint", "succeeded"),
        ("build[2]", "succeeded"),
        ("test", "succeeded"),
        ("sanitize", "succeeded"),
        ("failure-report", "skipped none of build, test failed"),
    ] {
        assert_row(&ended, job, words);
    }
}

#[test]
fn every_example_plans_clean() {
    for example in [
        "examples/hello",
        "examples/artifacts",
        "examples/c-project",
        "examples/company",
        "examples/company-change",
        ".reactorcide",
    ] {
        let project = Project::copy_of(example);
        let plan = project.execute(&["plan", "--detailed-exitcode"]);
        assert_eq!(plan.code, Some(2), "{example}: {plan:?}");
        assert_eq!(
            project.execute(&["apply", "--auto-approve", "--accept-findings"]).code,
            Some(0),
            "{example}"
        );
        let again = project.execute(&["plan", "--detailed-exitcode"]);
        assert_eq!(again.code, Some(0), "{example}: {again:?}");
    }
}
