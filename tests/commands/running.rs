//! `run` in the ways that a person calls it, with all that it prints. One job at a time, so that the order of lines is
//! the same each time; what really runs side by side is in `tests/run.rs`.

use crate::docker::Project;
use crate::terminal::Terminal;
use crate::transcript::Transcript;

const BUSYBOX: &str = "reactorcide/busybox:local";

/// A pipeline with a condition, a list that is made at run time, a trigger, a failure and a way to tidy up.
fn project() -> Project {
    let project = Project::empty();
    project.write(
        ".reactorcide/ci.yaml",
        &format!(
            "apiVersion: reactorcide/v1
kind: Project
metadata: {{name: web}}
spec: {{}}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {{name: ci, project: web}}
spec:
  triggers:
    - {{event: push, branches: [main]}}
    - event: pull_request
      paths: {{include: ['src/**']}}
  jobs:
    lint: {{image: '{BUSYBOX}', command: echo no complaints}}
    list:
      image: '{BUSYBOX}'
      steps:
        - {{name: look, run: 'echo two parts'}}
        - {{name: say, run: 'echo ''parts=[\"a\",\"b\"]'' >> \"$REACTORCIDE_OUTPUT\"'}}
    test:
      depends_on: [lint, list]
      image: '{BUSYBOX}'
      for_each: needs.list.outputs.parts
      item_var: PART
      command: echo testing $PART
    ship:
      depends_on: [test]
      when: event.type == \"push\" && event.branch == \"main\"
      image: '{BUSYBOX}'
      command: echo shipped
    fail: {{image: '{BUSYBOX}', command: 'echo no luck >&2; exit 3'}}
    tidy: {{depends_on: [fail], condition: any_failed, image: '{BUSYBOX}', command: echo tidied}}
    after: {{depends_on: [fail], image: '{BUSYBOX}', command: echo never}}
"
        ),
    );
    project
}

#[test]
fn a_deployment_that_wants_an_approval() {
    let project = Project::empty();
    project.write(
        ".reactorcide/ci.yaml",
        &format!(
            "apiVersion: reactorcide/v1
kind: Project
metadata: {{name: web}}
spec: {{}}
---
apiVersion: reactorcide/v1
kind: Environment
metadata: {{name: production}}
spec: {{protection: {{approvers: ['team:operators']}}}}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {{name: release, project: web}}
spec:
  triggers: [{{event: manual}}]
  jobs:
    deploy: {{image: '{BUSYBOX}', command: echo shipped, deploys_to: production}}
"
        ),
    );
    let mut session = Transcript::of(&project);
    session.run("run release --from-config . --approve deplyo");
    session.run("run release --from-config . --approve deploy").run("audit list");
    session.compare("a_deployment_that_wants_an_approval");
}

#[test]
fn a_pipeline_with_all_that_can_happen() {
    let project = project();
    let mut session = Transcript::of(&project);
    session.run("run ci").run("run ci --from-config . --max-parallel 1 --job test --follow-needs");
    session.run("run ci --from-config . --max-parallel 1 --event push --branch main");
    session.run("run ci --from-config . --max-parallel 1 --job lint");
    session.run("runs");
    session.compare("a_pipeline_with_all_that_can_happen");
    project.assert_nothing_left();
}

#[test]
fn what_would_run() {
    let project = project();
    let mut session = Transcript::of(&project);
    session.run("run ci --from-config . --dry-run");
    session
        .run("run ci --from-config . --dry-run --event pull_request --branch main --changed-file src/a.rs");
    session
        .run("run ci --from-config . --dry-run --event pull_request --branch main --changed-file README.md");
    session.run("run ci --from-config . --dry-run --job ship --follow-needs --event push --branch main");
    session.run("run ci --from-config . --dry-run --json");
    session.compare("what_would_run");
}

#[test]
fn the_first_pipeline_from_what_is_applied() {
    let project = Project::copy_of("examples/hello");
    let mut session = Transcript::of(&project);
    session.run("apply --auto-approve").run("run ci --max-parallel 1");
    session.run("runs --json").compare("the_first_pipeline");
    let events = project.execute(&["run", "hello/ci", "--json"]).stdout;
    let events: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    for job in ["count", "greet", "report"] {
        let of_job = events.iter().filter(|event| event["type"] == "transition" && event["job"] == job);
        let states: Vec<&str> = of_job.filter_map(|event| event["to"].as_str()).collect();
        assert_eq!(states, ["queued", "running", "succeeded"], "{job}");
    }
    assert!(events.iter().any(|event| event["type"] == "log" && event["text"] == "hello, world\n"));
    project.assert_nothing_left();
}

#[test]
fn runs_that_cannot_begin() {
    let project = project();
    let mut session = Transcript::of(&project);
    for line in [
        "run",
        "run ci",
        "run cii --from-config .",
        "run ci --from-config nowhere",
        "run ci --from-config . --job tset",
        "run ci --from-config . --event pusch",
        "run ci --from-config . --max-parallel 0",
        "run ci --from-config . --secret KEY=vault:x",
        "run ci --from-config . --input nothing=1",
    ] {
        session.run(line);
    }
    let mut command = project.command(&["run", "ci", "--from-config", "."]);
    let output = command.env("DOCKER_HOST", "unix:///nowhere/docker.sock").output().expect("the binary");
    session.append(
        "DOCKER_HOST=unix:///nowhere/docker.sock reactorcide run ci --from-config .",
        &crate::docker::ended(output),
    );
    session.compare("runs_that_cannot_begin");
}

#[test]
fn on_a_narrow_terminal_no_line_is_broken() {
    let project = project();
    let ended = Terminal::start(&project, "run ci --from-config . --job lint --max-parallel 1", 40).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // The status line is written over: what is longer than the terminal could not be.
    for line in ended.stdout.split(['\n', '\r']).filter(|line| line.contains("running")) {
        let plain =
            regex_lite::Regex::new("\u{1b}\\[[0-9;?]*[a-zA-Z]").expect("a pattern").replace_all(line, "");
        assert!(plain.chars().count() <= 40, "{plain:?}");
    }
}

#[test]
fn a_secret_is_nowhere_but_in_its_job() {
    const CANARY: &str = "canary-5b1f-not-to-be-seen";
    let project = Project::with_files(&[(
        ".reactorcide/ci.yaml",
        &format!(
            "apiVersion: reactorcide/v1
kind: Project
metadata: {{name: web}}
spec: {{}}
---
apiVersion: reactorcide/v1
kind: Secret
metadata: {{name: key}}
spec: {{source: env, location: CANARY, keys: [token]}}
---
apiVersion: reactorcide/v1
kind: SecretPolicy
metadata: {{name: key}}
spec: {{allow: [{{secrets: [key], to: {{project: web}}}}]}}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {{name: ci, project: web}}
spec:
  jobs:
    use:
      image: '{BUSYBOX}'
      secrets: {{KEY: 'key:token'}}
      command: |
        test ${{#KEY}} -eq {length} && echo \"it is $KEY\" && echo \"and $KEY\" >&2
        echo \"$KEY\" | base64; for i in 1 2 3; do echo $KEY; done
        echo found=$KEY >> \"$REACTORCIDE_OUTPUT\"
    fail: {{image: '{BUSYBOX}', secrets: {{KEY: 'key:token'}}, command: 'echo \"$KEY: not found\" >&2; exit 4'}}
",
            length = CANARY.len()
        ),
    )]);
    let mut all = String::new();
    for line in [
        "validate --json",
        "plan --json --out p.rcplan --markdown plan.md",
        "apply p.rcplan",
        "run ci --max-parallel 1",
        "run ci --json",
        "run ci --dry-run --json",
        "runs --json",
        "show Secret/-/key --json",
        "state export",
        "history --json",
        "reach --json",
    ] {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let output = project.command(&arguments).env("CANARY", CANARY).output().expect("the binary");
        let ended = crate::docker::ended(output);
        if line.starts_with("run ci --max") {
            assert!(ended.stdout.contains("it is ***"), "{ended:?}");
            assert_eq!(
                ended.code,
                Some(1),
                "an output that holds a secret is refused, and one job fails: {ended:?}"
            );
        }
        all.push_str(&ended.stdout);
        all.push_str(&ended.stderr);
    }
    assert!(!all.contains(CANARY), "{all}");
    let found = std::process::Command::new("grep")
        .args(["-rlaF", CANARY, "."])
        .current_dir(project.path())
        .output()
        .expect("grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "files with the secret");
}
