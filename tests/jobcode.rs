//! Code for jobs and what jobs ask of their runner, on a real container engine: sources, trusted code, triggers,
//! questions about the run, hooks and the Python package, in images with and without tools.

use std::path::Path;
use std::process::Command;

use crate::docker::{Ended, Project, signal, wait};

const BUSYBOX: &str = "reactorcide/busybox:local";
const STATIC: &str = "reactorcide/static:local";
/// Debian with make and Python, and no git.
const DEBIAN: &str = "reactorcide/debian-make:local";

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// A project with a repository `repo` beside it: `main` and `feature` differ, and `submodule` and links are there.
fn with_repository(jobs: &str) -> Project {
    let project = if jobs.is_empty() { Project::empty() } else { Project::with_jobs(jobs) };
    project.write("repo/Makefile", "test:\n\t@echo tested main\n");
    let repo = project.path().join("repo");
    git(&repo, &["init", "--quiet", "-b", "main"]);
    git(&repo, &["add", "-A"]);
    git(&repo, &["commit", "--quiet", "-m", "one"]);
    git(&repo, &["checkout", "--quiet", "-b", "feature"]);
    project.write("repo/Makefile", "test:\n\t@echo tested feature\n");
    git(&repo, &["commit", "--quiet", "-am", "two"]);
    project
}

fn assert_lines(ended: &Ended, lines: &[&str]) {
    for line in lines {
        assert!(
            ended.stdout.lines().any(|found| found == *line),
            "{line:?}\n{}\n{}",
            ended.stdout,
            ended.stderr
        );
    }
}

#[test]
fn a_job_of_its_own_runs_on_code_from_git_in_any_image() {
    let project = with_repository("");
    let ended = project.execute(&[
        "run",
        "--image",
        DEBIAN,
        "--source-type",
        "git",
        "--source-url",
        "repo",
        "--source-ref",
        "feature",
        "--job-command",
        "make test; pwd; ls -A .git | grep -c config; git --version || echo no git here",
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(&ended, &["job | tested feature", "job | /job/src", "job | no git here"]);
    let commit = git(&project.path().join("repo"), &["rev-parse", "main"]);
    let ended = project.execute(&[
        "run",
        "--image",
        BUSYBOX,
        "--git-url",
        "repo",
        "--git-ref",
        &commit,
        "--job-command",
        "cat Makefile; id -u; echo mine > Makefile",
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(&ended, &["job | \t@echo tested main"]);
    project.write("job.json", &format!(r#"{{"name": "static", "job_command": ["/program", "print=ran"], "image": "{STATIC}", "git": {{"url": "repo", "ref": "main"}}}}"#));
    let ended = project.execute(&["run-job", "job.json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(&ended, &["static | ran"]);
    // What one job wrote is not what the next gets.
    let again = project.execute(&[
        "run",
        "--image",
        BUSYBOX,
        "--git-url",
        "repo",
        "--git-ref",
        &commit,
        "--job-command",
        "cat Makefile",
    ]);
    assert_lines(&again, &["job | \t@echo tested main"]);
    project.assert_nothing_left();
}

#[test]
fn a_large_checkout_lies_under_a_layer_that_its_job_alone_has() {
    let project = with_repository("");
    for n in 0..300 {
        project.write(&format!("repo/many/{n}"), &format!("{n}"));
    }
    git(&project.path().join("repo"), &["add", "-A"]);
    git(&project.path().join("repo"), &["commit", "--quiet", "-m", "many"]);
    let volumes = || {
        let output =
            Command::new("docker").args(["volume", "ls", "-qf", "dangling=true"]).output().expect("docker");
        String::from_utf8(output.stdout).expect("text").lines().count()
    };
    let before = volumes();
    let look = "grep -c ' /job/src overlay ' /proc/mounts; ls many | wc -l; echo $(cat many/7); rm -r many/1*; echo changed > many/7; echo new > many/new; mkdir d; mv Makefile d; ls many | wc -l; ls -ld many | cut -d' ' -f1; id -u";
    for _ in 0..2 {
        let ended = project.execute(&[
            "run",
            "--image",
            BUSYBOX,
            "--git-url",
            "repo",
            "--git-ref",
            "feature",
            "--job-command",
            look,
        ]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let lines: Vec<&str> = ended.stdout.lines().filter_map(|line| line.strip_prefix("job | ")).collect();
        assert_eq!(&lines[..4], ["1", "300", "7", "190"], "{ended:?}");
    }
    project.assert_nothing_left();
    assert!(volumes() <= before, "no volume is left");
    let stopped = project.execute(&[
        "run",
        "--image",
        BUSYBOX,
        "--git-url",
        "repo",
        "--git-ref",
        "feature",
        "--timeout",
        "1",
        "--job-command",
        "echo x > many/7; sleep 60",
    ]);
    assert_eq!(stopped.code, Some(1));
    let kept = project.execute(&[
        "run",
        "--image",
        BUSYBOX,
        "--git-url",
        "repo",
        "--git-ref",
        "feature",
        "--keep-workspace",
        "--job-command",
        "cat many/7; echo kept > many/7",
    ]);
    assert_eq!(kept.code, Some(0), "{kept:?}");
    assert_lines(&kept, &["job | 7"]);
    let workspaces = Command::new("grep")
        .args(["-rl", "^kept$", ".reactorcide-state/workspaces"])
        .current_dir(project.path())
        .output()
        .expect("grep");
    assert!(!workspaces.stdout.is_empty(), "what is kept is a directory like any other");
}

#[test]
fn a_job_file_of_old_is_run_and_shown() {
    let project = with_repository("");
    project.write(
        "job.yaml",
        &format!("job_command: \"make test && echo $NODE_ENV $API_KEY\"\nimage: {DEBIAN}\ncode_dir: /job/src\njob_env:\n  NODE_ENV: test\n  CI: \"true\"\n\ngit:\n  url: repo\n  ref: main\n\nsecrets:\n  - name: API_KEY\n    value: secret123\n"),
    );
    let dry = project.execute(&["run-job", "job.yaml", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{dry:?}");
    for text in [
        "sh -e -c 'make test && echo $NODE_ENV $API_KEY'",
        "API_KEY=***",
        "the code under test: git repo at main",
        "Nothing was run.",
    ] {
        assert!(dry.stdout.contains(text), "{text}: {dry:?}");
    }
    assert!(!dry.stdout.contains("secret123"), "{dry:?}");
    let ended = project.execute(&["run-job", "job.yaml"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(&ended, &["job | tested main", "job | test ***"]);
    let other = project.execute(&["run-job", "job.yaml", "--job-command", "exit 9", "--timeout", "1m"]);
    assert_eq!(other.code, Some(1), "{other:?}");
    for (arguments, reason) in [
        (vec!["run-job", "job.yaml", "--source-ref", "nope"], "there is no branch or tag nope"),
        (vec!["run-job", "job.yaml", "--source-ref=--upload-pack=id"], "begins with a dash"),
        (vec!["run-job", "job.yaml", "--source-url", "ext::id"], "the transport \"ext::\" is not allowed"),
        (vec!["run-job", "job.yaml", "--code-dir", "/etc"], "is not inside /job"),
        (vec!["run-job", "missing.yaml"], "the job file missing.yaml cannot be read"),
        (vec!["run", "--job-command", "x"], "there is no image for the job"),
        (vec!["run", "ci", "--image", "x"], "a pipeline says itself what its jobs are"),
    ] {
        let ended = project.execute(&arguments);
        assert!(
            ended.code != Some(0) && (ended.stderr.contains(reason) || ended.stdout.contains(reason)),
            "{reason}: {ended:?}"
        );
    }
    project.assert_nothing_left();
}

#[test]
fn a_workflow_file_of_old_is_run() {
    let project = Project::empty();
    project.write(
        "pipeline.yaml",
        &format!(
            "workflow:\n  name: ci-pipeline\n\n  jobs:\n    - name: test\n      image: {BUSYBOX}\n      steps:\n        - name: checkout\n          run: echo checked out\n        - name: test\n          run: echo tested\n\n\
             \x20   - name: build\n      depends_on: [test]\n      image: {BUSYBOX}\n      steps:\n        - name: build\n          run: echo built\n\n\
             \x20   - name: deploy\n      depends_on: [build]\n      condition: branch == \"main\"\n      image: {BUSYBOX}\n      steps:\n        - name: deploy\n          run: echo deployed\n"
        ),
    );
    let ended =
        project.execute(&["run", "--workflow-file", "pipeline.yaml", "--event", "push", "--branch", "main"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in ["| tested", "| built", "| deployed"] {
        assert!(ended.stdout.contains(text), "{text}: {ended:?}");
    }
    let elsewhere = project.execute(&[
        "run",
        "--workflow-file",
        "pipeline.yaml",
        "--event",
        "push",
        "--branch",
        "feature",
    ]);
    assert!(!elsewhere.stdout.contains("| deployed"), "{elsewhere:?}");
    let one = project.execute(&["run", "--workflow-file", "pipeline.yaml", "--job", "test"]);
    assert!(one.stdout.contains("| tested") && !one.stdout.contains("| built"), "{one:?}");
    project.write("bad.yaml", "jobs: []");
    let bad = project.execute(&["run", "--workflow-file", "bad.yaml"]);
    assert!(bad.stderr.contains("neither `workflow` with `jobs`, nor `job`"), "{bad:?}");
    project.assert_nothing_left();
}

#[test]
fn a_secret_opens_a_repository_and_no_step_sees_it() {
    let project = Project::with_files(&[(
        ".reactorcide/all.yaml",
        &format!(
            "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: clone, project: p}}\nspec: {{}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n\
             \x20   look:\n      image: '{BUSYBOX}'\n      source: {{git: 'http://127.0.0.1:9/x.git', ref: main, credentials: clone}}\n      command: env\n"
        ),
    )]);
    let missing = project.run(&[]);
    assert!(missing.stderr.contains("there is no value for the secret clone"), "{missing:?}");
    let mut command = project.command(&["run", "ci", "--from-config", ".", "--secret", "clone=env:TOKEN"]);
    let ended = crate::docker::ended(command.env("TOKEN", "t0ken-of-somebody").output().expect("it runs"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains("failed (source)")
            && ended.stdout.contains("http://127.0.0.1:9/x.git cannot be reached"),
        "{ended:?}"
    );
    assert!(!format!("{ended:?}").contains("t0ken"), "{ended:?}");
}

#[test]
fn the_code_of_a_checkout_is_that_of_the_event() {
    let project = with_repository("");
    project.write(
        ".reactorcide/all.yaml",
        &format!(
            "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{source: {{git: '{repo}', credentials: clone}}}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: clone, project: p}}\nspec: {{}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n\
             \x20   a: {{image: '{DEBIAN}', command: make test, working_dir: src}}\n",
            repo = project.path().join("repo").display()
        ).replace(", credentials: clone", ""),
    );
    let run = |more: &[&str]| {
        let mut arguments = vec!["run", "ci", "--from-config", ".", "--checkout"];
        arguments.extend(more);
        project.execute(&arguments)
    };
    for (more, expected) in
        [(&[][..], "feature"), (&["--branch", "feature"], "feature"), (&["--branch", "main"], "main")]
    {
        let ended = run(more);
        assert!(
            ended.code == Some(0) && ended.stdout.contains(&format!("tested {expected}")),
            "{more:?}: {ended:?}"
        );
    }
    let nowhere = run(&["--branch", "nope"]);
    assert!(nowhere.code == Some(1) && nowhere.stdout.contains("failed (source)"), "{nowhere:?}");
    project.assert_nothing_left();
}

#[test]
fn jobs_with_dots_in_their_names_have_places_of_their_own() {
    let project = with_repository("");
    project.write("ci/check.sh", "sleep 1; ls /job/ci\n");
    project.write(
        ".reactorcide/all.yaml",
        &format!(
            "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{ci_source: {{copy: ci, path: check.sh}}}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n\
             \x20   py3.11: {{image: '{BUSYBOX}'}}\n    py3.12: {{image: '{BUSYBOX}'}}\n",
        ),
    );
    let ended = project.execute(&["run", "ci", "--from-config", "."]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(&ended, &["py3.11 | check.sh", "py3.12 | check.sh"]);
    project.assert_nothing_left();
}

#[test]
fn trusted_code_is_apart_from_the_code_under_test_and_cannot_be_changed() {
    let project = with_repository("");
    project.write("ci/pipelines/test.py", "import os, runnerlib\nprint(sorted(os.listdir('/job')), os.getcwd())\nrunnerlib.run_step('test', 'make test', working_dir='/job/src')\n");
    project.write("ci/check.sh", "echo checked; echo evil > /job/ci/check.sh || echo refused; rm -rf /job/ci || true; mv /job/ci /job/x || echo kept\n");
    project.write(
        ".reactorcide/all.yaml",
        &format!(
            "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec:\n  source: {{git: '{repo}', ref: feature}}\n  ci_source: {{copy: ci, path: pipelines/test.py}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n\
             \x20   script: {{image: '{DEBIAN}'}}\n\
             \x20   check: {{image: '{BUSYBOX}', ci_source: {{copy: ci, path: check.sh}}}}\n\
             \x20   static: {{image: '{STATIC}', command: [/program, print=static]}}\n",
            repo = project.path().join("repo").display()
        ),
    );
    let ended = project.execute(&["run", "ci", "--from-config", ".", "--checkout"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(
        &ended,
        &[
            "script | ['.reactorcide', 'artifacts', 'ci', 'src'] /job/src",
            "script | tested feature",
            "check  | checked",
            "check  | refused",
            "check  | kept",
            "static | static",
        ],
    );
    // The tree that is here instead, and another directory for all trusted code.
    project.write("other/pipelines/test.py", "print('another script')\n");
    project.write("other/check.sh", "pwd; ls /job/src\n");
    let ended = project.execute(&["run", "ci", "--from-config", ".", "--ci-dir", "other"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(&ended, &["script | another script", "check  | repo"]);
    project.assert_nothing_left();
}

#[test]
fn jobs_ask_for_jobs_and_about_them() {
    let project = Project::with_jobs(&format!(
        "    first:\n      image: '{BUSYBOX}'\n      command: |\n\
         \x20       r=$REACTORCIDE_RUNNER\n\
         \x20       $r job-running first && echo it is || echo not itself\n\
         \x20       $r job-running second || echo not yet\n\
         \x20       $r vars set color=green\n\
         \x20       $r output set version=7\n\
         \x20       $r secret register runtime-secret-1; echo runtime-secret-1\n\
         \x20       $r trigger third --env A=b --command 'echo third $A; $REACTORCIDE_RUNNER job-result first; $REACTORCIDE_RUNNER vars get color' --depends-on first --operation-id o\n\
         \x20       $r trigger third --env A=b --command 'echo third $A; $REACTORCIDE_RUNNER job-result first; $REACTORCIDE_RUNNER vars get color' --depends-on first --operation-id o\n\
         \x20   second:\n      image: '{DEBIAN}'\n      depends_on: [first]\n      when: vars.color == 'green' && needs.first.outputs.version == '7'\n      command:\n        - python3\n        - -c\n        - |\n\
         \x20         import runnerlib\n\
         \x20         print(runnerlib.get_job_result('first')['state'], runnerlib.get_job_result('first')['outputs'], runnerlib.workflow_vars())\n\
         \x20         print(runnerlib.get_job_result('nobody')['found'], runnerlib.env.event['type'])\n\
         \x20         runnerlib.trigger_jobs([runnerlib.Job('fourth', image='{BUSYBOX}', command='echo fourth $ITEM', for_each=['x', 'y'], item_var='ITEM')])\n"
    ));
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        "| not itself",
        "| not yet",
        "| ***",
        "| third b",
        "| succeeded",
        "| green",
        "| succeeded {'version': '7'} {'color': 'green'}",
        "| False manual",
        "| fourth x",
        "| fourth y",
    ] {
        assert!(ended.stdout.contains(line), "{line}\n{}\n{}", ended.stdout, ended.stderr);
    }
    assert!(!ended.stdout.contains("runtime-secret"), "{ended:?}");
}

#[test]
fn a_variable_that_two_jobs_set_differently_names_both() {
    let job = |name: &str, value: &str| {
        format!(
            "    {name}: {{image: '{BUSYBOX}', command: 'echo \"{{\\\"x\\\": \\\"{value}\\\", \\\"same\\\": 1}}\" > $RC_WF_VARS_FILE'}}\n"
        )
    };
    let project = Project::with_jobs(&format!("{}{}", job("one", "1"), job("two", "2")));
    let ended = project.run(&["--max-parallel", "1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("the variable \"x\" was set to another value by \"one\""), "{ended:?}");
}

#[test]
fn a_deploy_in_another_run_is_seen() {
    let project = Project::with_jobs(&format!(
        "    deploy: {{image: '{BUSYBOX}', command: 'echo deploying; sleep 60 || true'}}\n    ask: {{image: '{BUSYBOX}', command: '$REACTORCIDE_RUNNER job-running deploy --format json'}}\n"
    ));
    let first = project.start(&["--job", "deploy"]);
    // By its own output: other tests have jobs of this name too.
    let mut first = first;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(first.stdout.take().expect("piped")));
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("deploying"))));
    let asking = project.execute(&["run", "ci", "--from-config", ".", "--job", "ask"]);
    signal(&first, "INT");
    assert_eq!(wait(first).code, Some(130));
    assert_eq!(asking.code, Some(0), "{asking:?}");
    assert!(
        asking.stdout.contains("\"running\":true") && asking.stdout.contains("\"state\":\"running\""),
        "{asking:?}"
    );
    let after = project.run(&["--job", "ask"]);
    assert_eq!(after.code, Some(1), "it is over: {after:?}");
}

#[test]
fn hooks_of_trusted_code_are_called_and_those_of_the_code_under_test_are_not() {
    let project = with_repository("");
    let hook = |text: &str| {
        format!(
            "from runnerlib import Plugin\nclass P(Plugin):\n    def pre_execution(self, context):\n        print('{text}')\n        context.environment['HOOKED'] = '{text}'\n"
        )
    };
    project.write("ci/.reactorcide/plugins/plugin_a.py", &hook("trusted"));
    project.write("repo/.reactorcide/plugins/plugin_b.py", &hook("untrusted"));
    git(&project.path().join("repo"), &["add", "-A"]);
    git(&project.path().join("repo"), &["commit", "--quiet", "-m", "a plugin"]);
    let arguments = [
        "run",
        "--image",
        DEBIAN,
        "--git-url",
        "repo",
        "--git-ref",
        "feature",
        "--ci-source-type",
        "copy",
        "--ci-source-url",
        "ci",
        "--job-command",
        "echo hooked=$HOOKED",
    ];
    let ended = project.execute(&arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(&ended, &["job | hooked=trusted"]);
    assert!(!ended.stdout.contains("untrusted") && !ended.stderr.contains("untrusted"), "{ended:?}");
    let mut without = arguments.to_vec();
    without[2] = BUSYBOX;
    let ended = project.execute(&without);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("the image has no python3 to run them"), "{ended:?}");
}

#[test]
fn steps_are_tried_again_in_their_container() {
    let project = Project::with_jobs(&format!(
        "    flaky:\n      image: '{BUSYBOX}'\n      steps:\n        - {{name: try, run: 'echo x >> /job/runs; echo run $(wc -l < /job/runs); test $(wc -l < /job/runs) -ge 2', retry: {{max: 3, on: [exit], delay: 100ms}}}}\n"
    ));
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("run 1") && ended.stdout.contains("run 2") && !ended.stdout.contains("run 3"),
        "{ended:?}"
    );
}

#[test]
fn requests_in_the_output_count_only_where_a_job_says_so() {
    let ask = "echo \"${REACTORCIDE_TRIGGER_PREFIX:-none}{\\\"jobs\\\": [{\\\"job_name\\\": \\\"more\\\", \\\"command\\\": \\\"echo more\\\"}]}\"";
    let job = |name: &str, more: &str| {
        format!("    {name}:\n      image: '{BUSYBOX}'\n{more}      command: |\n        {ask}\n")
    };
    let project = Project::with_jobs(&job("opted", "      triggers_allowed: {stdout: true}\n"));
    let ended = project.run(&[]);
    assert!(ended.stdout.contains("| more\n") && !ended.stdout.contains("job_name"), "{ended:?}");
    let project = Project::with_jobs(&job("usual", ""));
    let ended = project.run(&[]);
    assert!(ended.stdout.contains("none{\"jobs\"") && !ended.stdout.contains("| more\n"), "{ended:?}");
}

#[test]
fn archives_and_other_repositories_are_sources_too() {
    let project = Project::empty();
    project.write("tree/web-1.0/file", "from an archive");
    let make = |program: &str, arguments: &[&str], at: &str| {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(project.path().join(at))
            .env("HGUSER", "t")
            .env("HGRCPATH", "/dev/null");
        assert!(command.status().expect("it runs").success(), "{program} {arguments:?}");
    };
    make("tar", &["-C", "tree", "-czf", "web.tar.gz", "web-1.0"], "");
    make("hg", &["init", "hgrepo"], "");
    project.write("hgrepo/file", "from hg");
    make("hg", &["commit", "-q", "-A", "-m", "x"], "hgrepo");
    project.write("import/file", "from svn");
    make("svnadmin", &["create", "svnrepo"], "");
    let svn = format!("file://{}/svnrepo/trunk", project.path().display());
    make("svn", &["import", "-q", "-m", "x", "import", &svn], "");
    project.write("plain/file", "from a directory");
    for (kind, url, expected) in [
        ("tarball", "web.tar.gz", "from an archive"),
        ("hg", "hgrepo", "from hg"),
        ("svn", svn.as_str(), "from svn"),
        ("copy", "plain", "from a directory"),
    ] {
        let ended = project.execute(&[
            "run",
            "--image",
            BUSYBOX,
            "--source-type",
            kind,
            "--source-url",
            url,
            "--job-command",
            "cat file; echo",
        ]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_lines(&ended, &[&format!("job | {expected}")]);
    }
    let wrong = project.execute(&[
        "run",
        "--image",
        BUSYBOX,
        "--source-type",
        "tarball",
        "--source-url",
        "web.tar.gz",
        "--source-checksum",
        &"0".repeat(64),
        "--job-command",
        "cat file",
    ]);
    assert!(wrong.stdout.contains("has the SHA-256"), "{wrong:?}");
    let none =
        project.execute(&["run", "--image", BUSYBOX, "--source-type", "none", "--job-command", "pwd; ls -A"]);
    assert_lines(&none, &["job | /job"]);
    project.assert_nothing_left();
}

/// The commands of the runner, as words: what each image can do with nothing of its own.
const COMMANDS: [&[&str]; 17] = [
    &["hello"],
    &["context"],
    &["trigger", "more", "--image", BUSYBOX, "--command", "echo more", "--operation-id", "m"],
    &["secret", "register", "registered-in-the-job"],
    &["output", "set", "k=v"],
    &["vars"],
    &["vars", "set", "x=1"],
    &["vars", "get", "x"],
    &["next", "deploy", "--reason", "tests passed"],
    &["config", "--job-command", "x"],
    &["validate", "--job-command", "x"],
    &["run", "--dry-run", "--job-command", "x"],
    &["copy", "/job/from", "--job-dir", "/job/w"],
    &["checkout", "--source-type", "copy", "--source-url", "/job/from", "--job-dir", "/job/w"],
    &["run", "--job-dir", "/job/w", "--job-command", "[]", "--timeout", "5", "--dry-run"],
    &["cleanup", "/job/w"],
    &["git", "tags", "--help-is-no-option"],
];

#[test]
fn every_command_of_the_runner_works_in_every_image() {
    let mut jobs = String::new();
    for (name, image) in [("busybox", BUSYBOX), ("debian", DEBIAN), ("scratch", STATIC)] {
        jobs.push_str(&format!("    {name}:\n      image: '{image}'\n      source: {{none: true}}\n      ci_source: {{copy: from}}\n      steps:\n"));
        for (index, words) in COMMANDS.iter().enumerate() {
            let words: Vec<String> = ["/reactorcide-runner"]
                .iter()
                .chain(*words)
                .map(|word| word.replace("/job/from", "/job/ci"))
                .collect();
            let words = serde_json::to_string(&words).expect("JSON");
            jobs.push_str(&format!(
                "        - {{name: c{index}, run: {words}, continue_on_error: {}}}\n",
                index == 16
            ));
        }
        // A job in the job: the same program, where there is a shell or a program to run.
        let inner = if name == "scratch" { "steps.yaml" } else { "shell.yaml" };
        jobs.push_str(&format!("        - {{name: inner, run: [/reactorcide-runner, run-job, /job/ci/{inner}, --job-dir, /job/inner]}}\n"));
    }
    let project = Project::with_jobs(&jobs);
    project.write("from/file", "x");
    project.write(
        "from/shell.yaml",
        "job_command: echo inner $API_KEY\nsecrets: [{name: API_KEY, value: in-the-file}]\n",
    );
    project.write("from/steps.yaml", "job_command: [/program, print=inner]\n");
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for name in ["busybox", "debian", "scratch"] {
        let printed: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with(name)).collect();
        let all = printed.join("\n");
        for text in [
            "\"v\":1",
            "\"type\":\"manual\"",
            "Configuration",
            "valid",
            "Nothing was run.",
            "2 files of /job/ci",
            "inner",
        ] {
            let text = if text.starts_with("2 files") { "3 files of /job/ci" } else { text };
            assert!(all.contains(text), "{name}: {text}\n{all}\n{}", ended.stderr);
        }
    }
    assert!(ended.stdout.contains("more"), "{ended:?}");
    assert!(
        !ended.stdout.contains("in-the-file") && !ended.stdout.contains("registered-in-the-job"),
        "{ended:?}"
    );
}

#[test]
fn every_name_of_runnerlib_works_in_a_container() {
    let project = Project::empty();
    project.write(
        "ci/all.py",
        r#"
import runnerlib
from runnerlib import Job, Plugin, PluginContext, PluginPhase, RunnerError, Step
from runnerlib.workflow import trigger_jobs

class Timed(Plugin):
    def pre_container(self, context):
        context.environment["HOOKED"] = "yes"
    def cleanup(self, context):
        print("cleaned up")

runnerlib.register_plugin(Timed("timed", priority=1))
job = Job("inner")
job.add_step("one", "echo one $HOOKED; echo artifact_url=s3://x >> $REACTORCIDE_OUTPUT")
job.add_step("two", ["echo", "two"], depends_on=["one"])
print("code", runnerlib.run_job(job), job.steps[0].artifact_url, job.steps[1].success)
print("step", runnerlib.run_step(Step("three", command="exit 3")).exit_code)
runnerlib.register_secret("secret-of-python")
print("secret-of-python")
runnerlib.set_workflow_var("v", "1")
runnerlib.set_workflow_output("o", "2")
print(runnerlib.workflow_vars(), runnerlib.is_job_running("nobody"), runnerlib.get_job_result("nobody")["found"], runnerlib.check_deploy_in_progress())
print(runnerlib.env.event["type"], runnerlib.env.branch, PluginPhase.PRE_CONTAINER is PluginPhase.PRE_EXECUTION, PluginContext().metadata)
print(runnerlib.get_config(job_command="x", source_type="none").job_command)
runnerlib.log_next_job("later", reason="why not")
runnerlib.trigger_job("a", image="reactorcide/busybox:local", command="echo a")
trigger_jobs([{"job_name": "b", "image": "reactorcide/static:local", "template": None, "command": "x"}][:0] + [Job("b", image="reactorcide/busybox:local", command="echo b")])
for ask in (runnerlib.git.info, runnerlib.git.tags, lambda: runnerlib.git.files_changed("main"), lambda: runnerlib.git.commits("main")):
    try:
        ask()
    except RunnerError as error:
        print("git:", "not installed" in str(error))
"#,
    );
    let ended = project.execute(&[
        "run",
        "--image",
        DEBIAN,
        "--ci-source-type",
        "copy",
        "--ci-source-url",
        "ci",
        "--job-command",
        "python3 /job/ci/all.py",
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        "| one yes",
        "| two",
        "| cleaned up",
        "| code 0 s3://x True",
        "| step 3",
        "| ***",
        "| {'v': '1'} False False False",
        "| manual None True {}",
        "| x",
        "| git: True",
    ] {
        assert!(ended.stdout.contains(line), "{line}\n{}\n{}", ended.stdout, ended.stderr);
    }
    assert!(ended.stdout.contains("a   | a\n") && ended.stdout.contains("b   | b\n"), "{ended:?}");
    assert!(
        ended.stderr.contains("next: later (why not)") || ended.stdout.contains("next: later (why not)"),
        "{ended:?}"
    );
    project.assert_nothing_left();
}

#[test]
fn the_script_of_old_runs_as_it_was_written_and_a_plugin_may_fetch_the_source() {
    let examples = include_str!("../runner/python/tests/test_examples.py");
    let (_, rest) = examples.split_once("SCRIPT = '''").expect("the example");
    let (script, _) = rest.split_once("'''").expect("its end");
    let project = Project::empty();
    project.write("ci/my_pipeline.py", script);
    project.write(
        "ci/.reactorcide/plugins/plugin_source.py",
        "import os\nfrom runnerlib import Plugin\nclass Source(Plugin):\n    def pre_source_prep(self, context):\n        os.makedirs('/job/src', exist_ok=True)\n        open('/job/src/Makefile', 'w').write('test:\\n\\t@echo tested\\nbuild:\\n\\t@echo built\\n')\n",
    );
    let ended = project.execute(&[
        "run",
        "--image",
        DEBIAN,
        "--source-type",
        "none",
        "--ci-source-type",
        "copy",
        "--ci-source-url",
        "ci",
        "--job-command",
        "python3 /job/ci/my_pipeline.py",
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(
        &ended,
        &[
            "job | Setting up custom build environment...",
            "job | tested",
            "job | built",
            "job | Build succeeded! Uploading artifacts...",
        ],
    );
    project.assert_nothing_left();
}

#[test]
fn the_same_job_on_a_laptop_with_a_tree_trusted_code_and_a_secret() {
    let project = Project::with_jobs(&format!(
        "    test: {{image: '{BUSYBOX}', ci_source: {{git: 'https://ci.example.com/x.git'}}, secrets: {{API_KEY: key}}, command: 'cat here; sh /job/ci/check.sh; echo $API_KEY'}}\n"
    ));
    project.write(
        ".reactorcide/key.yaml",
        "apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: key, project: p}\nspec: {}\n",
    );
    project.write("tree/here", "the tree\n");
    project.write("trusted/check.sh", "echo checked\n");
    let mut command = project.command(&[
        "run",
        "ci",
        "--from-config",
        ".",
        "--source-dir",
        "tree",
        "--ci-dir",
        "trusted",
        "--secret",
        "API_KEY=env:API_KEY",
    ]);
    let ended = crate::docker::ended(command.env("API_KEY", "k3y-of-mine").output().expect("it runs"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_lines(&ended, &["test | the tree", "test | checked", "test | ***"]);
}
