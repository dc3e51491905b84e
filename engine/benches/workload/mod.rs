//! Configurations of any size, like those of a company: for each project a repository, pipelines of three jobs, secrets,
//! a policy and a schedule, one file a project.

use std::fmt::Write;

use reactorcide_engine::read::InputFile;

/// Resources of one project.
const PER_PROJECT: usize = 10;

/// A configuration of about `resources` resources.
pub fn configuration(resources: usize) -> Vec<InputFile> {
    let projects = resources.div_ceil(PER_PROJECT);
    let mut files =
        vec![InputFile { path: ".reactorcide/shared.yaml".to_owned(), bytes: SHARED.as_bytes().to_vec() }];
    files.extend((0..projects).map(project));
    files
}

const SHARED: &str = "\
apiVersion: reactorcide/v1
kind: ExecutionProfile
metadata: {name: builder}
spec: {secrets: granted, max_timeout: 1h, limits: {cpu: '4', memory: 8Gi}}
---
apiVersion: reactorcide/v1
kind: JobTemplate
metadata: {name: cargo}
spec:
  parameters: {task: {description: What cargo does}}
  job: {image: 'rust:1.95', command: 'cargo ${param:task}', timeout: 20m}
---
apiVersion: reactorcide/v1
kind: Environment
metadata: {name: defaults}
spec: {variables: {LANG: C.UTF-8, TZ: UTC}}
";

fn project(number: usize) -> InputFile {
    let name = format!("project-{number:05}");
    let mut text = format!(
        "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: {name}}}\nspec:\n  source: {{git: 'https://git.example.com/{name}.git', default_branch: main}}\n  default_profile: builder\n"
    );
    for pipeline in ["check", "build", "deploy", "audit"] {
        write!(
            text,
            "---\napiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: {pipeline}, project: {name}}}\nspec:\n  triggers:\n    - event: push\n      branches: [main, \"release/**\"]\n    - event: pull_request\n      paths: {{include: [\"src/**\"], exclude: [\"**/*.md\"]}}\n  vars: {{channel: stable}}\n  jobs:\n    lint:\n      template: cargo\n      parameters: {{task: clippy}}\n      presets: [defaults]\n    test:\n      depends_on: [lint]\n      image: rust:1.95\n      steps:\n        - {{name: unit, run: cargo test}}\n        - {{name: docs, run: cargo doc, parallel: true}}\n      resources: {{cpu: '2', memory: 4Gi}}\n    ship:\n      depends_on: [test]\n      when: event.type == \"push\" && event.branch == \"main\"\n      image: debian:bookworm-slim\n      command: ./ship.sh\n      secrets: {{TOKEN: \"{pipeline}/token\"}}\n      timeout: 20m\n"
        )
        .expect("writing to a String");
    }
    for secret in ["check", "build", "deploy", "audit"] {
        write!(
            text,
            "---\napiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: {secret}/token, project: {name}}}\nspec: {{source: vault, keys: [value]}}\n"
        )
        .expect("writing to a String");
    }
    write!(
        text,
        "---\napiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {{name: {name}}}\nspec:\n  allow:\n    - secrets: [\"deploy/*\"]\n      to: {{project: {name}, pipeline: deploy, jobs: [ship]}}\n      when: {{events: [push], branches: [main]}}\n"
    )
    .expect("writing to a String");
    InputFile { path: format!(".reactorcide/{name}.yaml"), bytes: text.into_bytes() }
}
