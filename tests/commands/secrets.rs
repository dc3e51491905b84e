//! Values of secrets and their keys, in a state on one's own machine.

use crate::docker::{Ended, Project, ended};
use crate::transcript::Transcript;
use std::io::Write;
use std::process::Stdio;

const FILES: &str = "apiVersion: reactorcide/v1
kind: Project
metadata: {name: web}
spec: {}
---
apiVersion: reactorcide/v1
kind: Secret
metadata: {name: deploy/production}
spec: {}
---
apiVersion: reactorcide/v1
kind: Secret
metadata: {name: database, project: web}
spec: {keys: [user, password]}
---
apiVersion: reactorcide/v1
kind: Secret
metadata: {name: registry}
spec: {source: env, location: REGISTRY}
---
apiVersion: reactorcide/v1
kind: SecretPolicy
metadata: {name: deploy}
spec:
  allow:
    - secrets: ['deploy/*']
      to: {project: web, pipeline: ci, jobs: [deploy]}
      when: {events: [push], branches: [main]}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {name: ci, project: web}
spec:
  triggers: [{event: push}, {event: pull_request}]
  jobs:
    deploy: {image: 'busybox:1', command: 'true', secrets: {KEY: deploy/production}}
    test: {image: 'busybox:1', command: 'true'}
";

fn piped(project: &Project, line: &str, input: &str) -> Ended {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let mut command = project.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    // Who refuses does not read it.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    ended(child.wait_with_output().expect("it ends"))
}

#[test]
fn a_secret_gets_its_value() {
    let project = Project::with_files(&[(".reactorcide/all.yaml", FILES)]);
    let mut session = Transcript::of(&project);
    session.run("secret set deploy/production --from-stdin").run("secret list");
    session.run("apply --auto-approve --accept-findings").run("secret list").run("secret-key list");
    let set = |session: &mut Transcript<'_>, line: &str, input: &str| {
        let given = input.escape_debug().to_string();
        let ended = piped(&project, line, input);
        session.append(&format!("printf '{given}' | reactorcide {line}"), &ended);
    };
    session.run("secret set deploy/production");
    set(&mut session, "secret set deploy/production --from-stdin", "");
    set(&mut session, "secret set deploy/production --from-stdin", "abc\n");
    set(&mut session, "secret set deploy/prodution --from-stdin", "S3CRET\n");
    set(&mut session, "secret set registry --from-stdin", "S3CRET\n");
    set(&mut session, "secret rotate deploy/production --from-stdin", "S3CRET\n");
    set(&mut session, "secret set deploy/production --from-stdin", "S3CRET\n");
    set(&mut session, "secret set web/database --from-stdin", "root\n");
    set(&mut session, "secret set web/database --key user --from-stdin", "root\n");
    set(&mut session, "secret rotate deploy/production --from-stdin", "S3CRET\n");
    set(&mut session, "secret rotate deploy/production --from-stdin", "0THER-S3CRET\n");
    session
        .run("secret list")
        .run("secret versions deploy/production")
        .run("secret reveal deploy/production");
    let test = "secret test deploy/production --as-job web/ci";
    session
        .run(&format!("{test}/deploy --event push --branch main"))
        .run(&format!("{test}/deploy --event push --branch next"))
        .run(&format!("{test}/deploy --event pull_request --branch main --origin fork"))
        .run(&format!("{test}/deploy --branch main --profile untrusted"))
        .run(&format!("{test}/test --branch main"))
        .run(&format!("{test} --branch main"))
        .run(&format!("{test}/nothing"));
    session.run("secret-key list").run("secret-key rotate").run("secret-key list");
    session.run("secret-key retire dk-0000").run("secret reveal deploy/production --version 1");
    session.run("secret rotate deploy/production --retire-old").run("secret versions deploy/production");
    session.run("secret delete web/database").run("secret delete web/database --yes").run("secret list");
    session.run("audit list").run("audit verify");
    let shown = session.compare("a_secret_gets_its_value");
    // What was typed and what was revealed stands there, and nothing else of a value.
    let elsewhere = shown.lines().filter(|line| !line.starts_with("$ printf"));
    let revealed = elsewhere.filter(|line| line.contains("S3CRET")).collect::<Vec<_>>();
    assert_eq!(revealed, ["0THER-S3CRET", "S3CRET"]);
}
