//! What is decided when a run is accepted is decided again when its secrets are handed out.

use rstest::rstest;

use crate::docker::{Place, eventually};
use crate::server::harness::{BUSYBOX, Site};
use crate::server::pull_requests::set;

const VALUE: &str = "gr4nted-at-first-77c1";

fn configuration(branches: &str) -> String {
    format!(
        "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
         apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: key}}\nspec: {{}}\n---\n\
         apiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {{name: grants}}\nspec:\n  allow:\n\
         \x20   - {{secrets: [key], to: {{project: p}}, when: {{branches: [{branches}]}}}}\n---\n\
         apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n\
         \x20   deploy: {{image: '{BUSYBOX}', secrets: {{KEY: key}}, command: 'echo \"STARTED with <$KEY>\"'}}\n"
    )
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn a_policy_that_is_taken_back_while_a_job_waits_counts(#[case] place: Place) {
    let project = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: p}\nspec: {}\n";
    let mut site = Site::with_files(&[(".reactorcide/all.yaml", project)], place);
    let apply = |site: &Site, branches: &str| {
        site.project.write(".reactorcide/all.yaml", &configuration(branches));
        let applied = site.project.execute(&["apply", "--auto-approve", "--accept-findings"]);
        assert_eq!(applied.code, Some(0), "{applied:?}");
    };
    apply(&site, "main");
    let key = site.project.path().join("master-key");
    std::fs::write(&key, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").expect("a key");
    let server = site.server(&["--master-key", &format!("file:{}", key.display())]);
    set(&site, &server, "key", VALUE);
    let tested =
        ["secret", "test", "key", "--as-job", "p/ci/deploy", "--event", "manual", "--branch", "main"];
    assert!(site.say(&server, &tested).contains("gets Secret/-/key"));
    // Nobody takes the job yet.
    let before = site.start(&server, &["--branch", "main"]);
    assert_eq!(site.job(&server, &before, "deploy")["status"], "queued");
    apply(&site, "release");
    let _worker = site.worker(&server, &[]);
    eventually("it is denied", || site.run(&server, &before)["status"] == "failed");
    let why = site.say(&server, &["runs", "why", &before]);
    assert!(
        why.contains("Secret/-/key")
            && why.contains("SecretPolicy/grants grants it only on the branches release"),
        "{why}"
    );
    assert!(!site.ask(&server, &["jobs", "logs", &before, "deploy"]).stdout.contains("STARTED"));
    // What is granted again is handed out again.
    apply(&site, "main");
    let granted = site.start(&server, &["--branch", "main"]);
    eventually("it has ended", || site.run(&server, &granted)["status"] != "running");
    let log = site.say(&server, &["jobs", "logs", &granted, "deploy"]);
    assert!(log.contains("STARTED with <***>"), "{log}");
    let audit = site.say(&server, &["audit", "list", "--action", "secrets.deliver"]);
    assert_eq!(audit.lines().filter(|line| line.contains("  denied  ")).count(), 1, "{audit}");
    assert!(!audit.contains(VALUE));
}
