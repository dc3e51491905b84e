//! A secret through a server: set by standard input, given to the one job that a policy speaks of, masked in its log, and
//! nowhere else in any form.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rstest::rstest;
use serde_json::Value;

use crate::docker::{Ended, Place, ended};
use crate::server::harness::{BUSYBOX, Serving, Site};

/// The value that is looked for everywhere. It has a character that URLs and JSON write otherwise.
const CANARY: &str = "canary/7f3a9c\"2e5d18-not-to-be-seen";
/// The one that replaces it.
const NEXT: &str = "canary/b41e0a\"97c6f2-nor-this-one!";
const NAME: &str = "deploy/production";

fn configuration() -> String {
    let job = |command: &str| {
        format!("{{image: '{BUSYBOX}', secrets: {{KEY: deploy/production}}, command: '{command}'}}")
    };
    let length = CANARY.len();
    let show =
        format!("test ${{#KEY}} -eq {length} && echo \"it is <$KEY>\"; echo \"$KEY\" | base64; exit 0");
    format!(
        "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
         apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: deploy/production}}\nspec: {{}}\n---\n\
         apiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {{name: deploy}}\nspec:\n  allow:\n\
         \x20   - secrets: ['deploy/*']\n      to: {{project: p, pipeline: ci, jobs: [deploy]}}\n\
         \x20     when: {{events: [manual], branches: [main]}}\n---\n\
         apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n    deploy: {}\n---\n\
         apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: other, project: p}}\nspec:\n  jobs:\n    deploy: {}\n",
        job(&show),
        job("echo other $KEY"),
    )
}

/// Runs a command with something on its standard input.
fn with_input(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it is written");
    ended(child.wait_with_output().expect("it ends"))
}

fn set(site: &Site, server: &Serving, arguments: &[&str], value: &str) -> Ended {
    with_input(site.asking(&server.url, &site.token, arguments), &format!("{value}\n"))
}

/// Runs a pipeline to its end: how its job ended and why, and its log.
fn outcome(site: &Site, server: &Serving, arguments: &[&str]) -> (Value, String, String) {
    let mut all = vec!["runs", "start"];
    all.extend(arguments);
    let run = site.say(server, &all).trim().to_owned();
    crate::docker::eventually("it has ended", || site.run(server, &run)["status"] != "running");
    let job = site.job(server, &run, "deploy");
    let log = site.say(server, &["jobs", "logs", &run, "deploy"]);
    let why = site.say(server, &["runs", "why", &run]);
    (job, log, why)
}

#[rstest]
#[case::sqlite(Place::Sqlite, false)]
#[case::postgres(Place::Postgres, true)]
fn a_secret_reaches_the_job_that_a_policy_names_and_is_nowhere_else(
    #[case] place: Place,
    #[case] apart: bool,
) {
    let project = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: p}\nspec: {}\n";
    let mut site = Site::with_files(&[(".reactorcide/all.yaml", project)], place);
    site.project.write(".reactorcide/all.yaml", &configuration());
    let applied = site.project.execute(&["apply", "--auto-approve", "--accept-findings"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    // A database elsewhere has no place for a key beside it.
    let key = site.project.path().join("master-key");
    let bytes: Vec<u8> = (0..32).map(|index: u8| index.wrapping_mul(37).wrapping_add(11)).collect();
    std::fs::write(&key, BASE64_STANDARD.encode(bytes)).expect("a key");
    let source = format!("file:{}", key.display());
    let key: &[&str] = if apart { &["--master-key", &source] } else { &[] };
    let mut more = key.to_vec();
    if !apart {
        more.push("--with-worker");
    }
    let mut server = site.server(&more);
    let worker = apart.then(|| site.worker(&server, &[]));

    let missing = set(&site, &server, &["secret", "set", "deploy/staging", "--from-stdin"], CANARY);
    assert!(missing.stderr.contains("no secret \"deploy/staging\" is applied"), "{missing:?}");
    let short = set(&site, &server, &["secret", "set", NAME, "--from-stdin"], "abc");
    assert!(short.code != Some(0) && short.stderr.contains("nothing was set"), "{short:?}");
    let unset = outcome(&site, &server, &["p/ci", "--branch", "main"]);
    assert!(unset.2.contains("reactorcide secret set deploy/production"), "{unset:?}");
    let done = set(&site, &server, &["secret", "set", NAME, "--from-stdin"], CANARY);
    assert!(done.code == Some(0) && done.stderr.contains("version 1 is the current one"), "{done:?}");
    let tested = ["secret", "test", NAME, "--as-job", "p/ci/deploy", "--event", "manual", "--branch", "main"];
    let tested = site.say(&server, &tested);
    assert!(tested.contains("gets Secret/-/deploy/production: SecretPolicy/deploy #1"), "{tested}");

    let (job, log, _) = outcome(&site, &server, &["p/ci", "--branch", "main"]);
    assert_eq!(job["status"], "succeeded", "{job} {log}");
    assert!(log.contains("it is <***>"), "{log}");
    // Another pipeline, another branch, and a commit that could be anybody's.
    let commit = "0123456789012345678901234567890123456789";
    for (arguments, reason) in [
        (vec!["p/other", "--branch", "main"], "no policy grants it"),
        (vec!["p/ci", "--branch", "next"], "SecretPolicy/deploy grants it only on the branches main"),
        (
            vec!["p/ci", "--branch", "main", "--sha", commit],
            "SecretPolicy/deploy grants it only to code from base",
        ),
    ] {
        let (job, log, why) = outcome(&site, &server, &arguments);
        assert!(job["status"] == "failed" && !log.contains("other"), "{arguments:?}: {job} {log}");
        assert!(why.contains("Secret/-/deploy/production") && why.contains(reason), "{arguments:?}: {why}");
    }

    // The next value, under the next key; the old one can be read until it is retired.
    let same = set(&site, &server, &["secret", "rotate", NAME, "--from-stdin"], CANARY);
    assert!(same.stderr.contains("the new value is the one that it has"), "{same:?}");
    let rotated = set(&site, &server, &["secret", "rotate", NAME, "--from-stdin"], NEXT);
    assert!(rotated.stderr.contains("version 2 is the current one"), "{rotated:?}");
    site.say(&server, &["secret-key", "rotate"]);
    let versions = site.say(&server, &["secret", "versions", NAME]);
    assert!(versions.contains("current") && versions.contains("old"), "{versions}");
    let old = site.say(&server, &["secret", "reveal", NAME, "--version", "1"]);
    assert_eq!(old.trim_end(), CANARY);
    assert_eq!(site.say(&server, &["secret", "reveal", NAME]).trim_end(), NEXT);
    site.say(&server, &["secret", "rotate", NAME, "--retire-old"]);
    let gone = site.ask(&server, &["secret", "reveal", NAME, "--version", "1"]);
    assert!(gone.code != Some(0), "{gone:?}");
    let keys: Value =
        serde_json::from_str(&site.say(&server, &["secret-key", "list", "--json"])).expect("JSON");
    let data = keys["keys"].as_array().expect("keys");
    assert_eq!((data[0]["values"].as_u64(), data[1]["values"].as_u64()), (Some(1), Some(0)), "{keys}");
    let in_use = site.ask(&server, &["secret-key", "retire", data[0]["id"].as_str().expect("an id")]);
    assert!(in_use.code != Some(0) && in_use.stderr.contains("is needed"), "{in_use:?}");
    site.say(&server, &["secret-key", "retire", data[1]["id"].as_str().expect("an id")]);
    let (job, log, _) = outcome(&site, &server, &["p/ci", "--branch", "main"]);
    assert!(job["status"] == "succeeded" && log.contains("***"), "{job} {log}");

    let audit = site.say(&server, &["audit", "list", "--limit", "1000"]);
    for words in ["secrets.set", "secrets.rotate", "secrets.reveal", "secrets.deliver", "secrets.keys.rotate"]
    {
        assert!(audit.contains(words), "{words}: {audit}");
    }
    assert!(
        audit.contains("\"policy\":\"SecretPolicy/deploy\"") && audit.contains("grants it only"),
        "{audit}"
    );
    site.say(&server, &["audit", "verify"]);
    let deleted = site.ask(&server, &["secret", "delete", NAME, "--yes"]);
    assert!(deleted.stderr.contains("deleted 1 value"), "{deleted:?}");

    // The search. What was said and stored must hold neither value in any form.
    let mut said = audit + &versions + &log;
    said.push_str(&server.process.rest());
    said.push_str(&worker.map(|mut worker| worker.rest()).unwrap_or_default());
    let mut dump = dump(&site);
    dump.extend(said.into_bytes());
    for value in [CANARY, NEXT] {
        for form in forms(value) {
            assert!(!contains(&dump, &form), "{} in the dump", String::from_utf8_lossy(&form));
            search(site.project.path(), &form);
        }
    }
}

/// What a database elsewhere holds, as text with bytes in hexadecimal digits.
fn dump(site: &Site) -> Vec<u8> {
    let Some((url, schema)) = site.project.state.as_ref().and_then(|state| state.split_once("schema="))
    else {
        return Vec::new();
    };
    let programs = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let newest =
        programs.flatten().map(|version| version.path().join("bin/pg_dump")).max().expect("a version");
    let url = url.trim_end_matches(['?', '&']);
    let output = Command::new(newest).args(["--schema", schema, "--inserts", url]).output().expect("pg_dump");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(contains(&output.stdout, b"vault_versions"));
    output.stdout
}

/// A value as it is, and as others may write it.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let url: String = value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let json = value.replace('"', "\\\"");
    let mut forms = vec![value.to_owned(), hex.clone(), hex.to_uppercase(), url.to_lowercase(), url, json];
    for before in 0..3 {
        // What does not depend on the bytes around it.
        let text = BASE64_STANDARD.encode([vec![0; before], value.as_bytes().to_vec()].concat());
        forms.push(text[4..text.len() - 4].to_owned());
    }
    forms.into_iter().map(String::into_bytes).collect()
}

fn contains(text: &[u8], form: &[u8]) -> bool {
    text.windows(form.len()).any(|part| part == form)
}

/// Looks through every file below a directory, also through what is compressed.
fn search(directory: &Path, form: &[u8]) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            search(&path, form);
        } else if metadata.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            assert!(!contains(&bytes, form), "{} in {}", String::from_utf8_lossy(form), path.display());
            if bytes.starts_with(&[0x1f, 0x8b]) {
                let output = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip");
                assert!(!contains(&output.stdout, form), "in {}", path.display());
            }
        }
    }
}
