//! Somebody who can write to the database moves sealed values and keys, or puts an older copy of it back.

use std::process::Command;

use rstest::rstest;

use crate::docker::{Place, Project, eventually};
use crate::server::harness::{BUSYBOX, Serving, Site};
use crate::server::pull_requests::set;

/// Secrets, and what is done to their rows.
const SECRETS: [&str; 8] = ["whole", "one", "other", "older", "copied", "flipped", "cut", "keyless"];

fn value(secret: &str) -> String {
    format!("v4lue-of-{secret}-5a3e")
}

/// A project with a job for each secret, each of which may have it.
fn configuration(policy: &str) -> String {
    let mut text = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: p}\nspec: {}\n".to_owned();
    for secret in SECRETS {
        text += &format!(
            "---\napiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: {secret}}}\nspec: {{}}\n"
        );
    }
    text += &format!(
        "---\napiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {{name: all}}\nspec: {policy}\n"
    );
    text +=
        "---\napiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ci, project: p}\nspec:\n  jobs:\n";
    for secret in SECRETS {
        text += &format!(
            "    {secret}: {{image: '{BUSYBOX}', secrets: {{KEY: {secret}}}, command: 'echo \"STARTED $(echo $KEY | rev)\"'}}\n"
        );
    }
    text
}

const GRANTS: &str = "{allow: [{secrets: ['*'], to: {project: p}}]}";

fn apply(site: &Site, policy: &str) {
    site.project.write(".reactorcide/all.yaml", &configuration(policy));
    let applied = site.project.execute(&["apply", "--auto-approve", "--accept-findings"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
}

fn site(place: Place) -> (Site, String) {
    let project = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: p}\nspec: {}\n";
    let site = Site::with_files(&[(".reactorcide/all.yaml", project)], place);
    apply(&site, GRANTS);
    let key = site.project.path().join("master-key");
    std::fs::write(&key, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").expect("a key");
    (site, format!("file:{}", key.display()))
}

/// Says something to the database itself, past everything of ours.
fn sql(project: &Project, statements: &str) -> String {
    let state = project.state.as_deref().expect("it is named");
    let mut client = match state.strip_prefix("sqlite:") {
        Some(file) => {
            let mut client = Command::new("sqlite3");
            client.args(["-bail", "-cmd", ".timeout 10000", file, statements]);
            client
        }
        None => {
            let (url, schema) = state.split_once("schema=").expect("a schema");
            let mut client = Command::new("psql");
            client.env("PGOPTIONS", format!("-c search_path={schema}"));
            client.args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set",
                "ON_ERROR_STOP=1",
            ]);
            client.args(["--single-transaction", "--command", statements, url.trim_end_matches(['?', '&'])]);
            client
        }
    };
    let done = client.output().expect("sqlite3 and psql: ./dev setup");
    assert!(done.status.success(), "{statements}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text").trim().to_owned()
}

/// Gives a version's row the sealed value that another one had before.
fn moved(from: &str, to: &str) -> String {
    let part = |column: &str| format!("{column} = (select {column} from earlier where {from})");
    let all = ["data_key", "nonce", "ciphertext", "fingerprint"].map(part).join(", ");
    format!("update vault_versions set {all} where {to};\n")
}

fn of(secret: &str, version: u32) -> String {
    format!("address = 'Secret/-/{secret}' and version = {version}")
}

/// How a run of all jobs ends for the job of each secret: its status, what it printed, and why.
fn outcomes(site: &Site, server: &Serving) -> (serde_json::Value, Vec<(&'static str, String)>, String) {
    let run = site.start(server, &[]);
    eventually("it has ended", || site.run(server, &run)["status"] != "running");
    let log = |secret| (secret, site.ask(server, &["jobs", "logs", &run, secret]).stdout);
    (site.run(server, &run), SECRETS.map(log).into(), site.say(server, &["runs", "why", &run]))
}

fn status<'a>(run: &'a serde_json::Value, job: &str) -> &'a str {
    let jobs = run["jobs"].as_array().expect("jobs");
    jobs.iter().find(|one| one["name"] == job).and_then(|one| one["status"].as_str()).expect("a status")
}

/// Nothing printed holds a value, also not backwards, which masking would not see.
fn assert_no_value(shown: &str) {
    for secret in SECRETS.iter().filter(|secret| **secret != "whole") {
        let value = value(secret);
        let backwards: String = value.chars().rev().collect();
        assert!(!shown.contains(&value) && !shown.contains(&backwards), "{secret}: {shown}");
    }
}

#[rstest]
#[case::sqlite(Place::Sqlite, "x'", "'", "hex(ciphertext)")]
#[case::postgres(Place::Postgres, "'\\x", "'::bytea", "encode(ciphertext, 'hex')")]
fn sealed_rows_that_were_moved_or_altered_open_for_nobody(
    #[case] place: Place,
    #[case] before: &str,
    #[case] after: &str,
    #[case] as_hex: &str,
) {
    let (mut site, key) = site(place);
    let server = site.server(&["--master-key", &key]);
    for secret in SECRETS {
        set(&site, &server, secret, &value(secret));
    }
    set(&site, &server, "older", "v4lue-that-replaces-it");
    let worker = site.worker(&server, &["--slots", "8"]);
    for secret in SECRETS.iter().filter(|secret| **secret != "older") {
        let revealed = site.say(&server, &["secret", "reveal", secret]);
        assert_eq!(revealed.trim(), value(secret), "before anybody did anything");
    }

    let bytes =
        sql(&site.project, &format!("select {as_hex} from vault_versions where {}", of("flipped", 1)));
    let (first, rest) = bytes.split_at(2);
    let first = u8::from_str_radix(first, 16).expect("a byte") ^ 1;
    let keyless = match place {
        Place::Sqlite => "",
        Place::Postgres => "alter table vault_versions drop constraint vault_versions_data_key_fkey;\n",
    };
    sql(
        &site.project,
        &[
            "create temporary table earlier as select * from vault_versions;\n",
            &moved(&of("one", 1), &of("other", 1)),
            &moved(&of("other", 1), &of("one", 1)),
            &moved(&of("older", 1), &of("older", 2)),
            &moved(&of("whole", 1), &of("copied", 1)),
            &format!(
                "update vault_versions set ciphertext = {before}{first:02x}{rest}{after} where {};\n",
                of("flipped", 1)
            ),
            &format!("update vault_versions set nonce = {before}00{after} where {};\n", of("cut", 1)),
            keyless,
            &format!("update vault_versions set data_key = 'dk-none' where {};\n", of("keyless", 1)),
        ]
        .concat(),
    );
    let (run, logs, why) = outcomes(&site, &server);
    assert_eq!(status(&run, "whole"), "succeeded", "{why}");
    for (secret, log) in &logs[1..] {
        assert_eq!(status(&run, secret), "failed", "{secret}: {why}");
        assert!(why.contains(&format!("the value of Secret/-/{secret} cannot be had")), "{secret}: {why}");
        assert!(!log.contains("STARTED"), "{secret}: {log}");
        let revealed = site.ask(&server, &["secret", "reveal", secret]);
        assert!(revealed.code == Some(1) && revealed.stdout.is_empty(), "{secret}: {revealed:?}");
        assert_no_value(&(log.clone() + &revealed.stderr));
    }
    assert_no_value(&why);
    assert_eq!(site.say(&server, &["secret", "reveal", "whole"]).trim(), value("whole"));

    // Keys that are swapped: nothing opens, also not what was left alone. Who had opened them must read them again.
    sql(
        &site.project,
        "insert into vault_keys (number, id, master, nonce, ciphertext, created_at)
           select number + 1, 'dk-0ther', master, nonce, ciphertext, created_at from vault_keys;
         update vault_versions set data_key = 'dk-0ther' where address = 'Secret/-/whole'",
    );
    let renamed = site.ask(&server, &["secret", "reveal", "whole"]);
    assert!(renamed.code == Some(1) && renamed.stdout.is_empty(), "{renamed:?}");
    assert!(renamed.stderr.contains("the data key dk-0ther does not open"), "{renamed:?}");
    let (run, _, why) = outcomes(&site, &server);
    assert_eq!(status(&run, "whole"), "failed", "{why}");
    assert!(
        why.contains("the value of Secret/-/whole cannot be had: the data key dk-0ther does not open"),
        "{why}"
    );
    let mut said = String::new();
    for mut process in [server.process, worker] {
        said += &process.rest();
    }
    assert!(!said.contains("panicked"), "{said}");
    assert_no_value(&said);
}

#[test]
fn a_state_that_was_put_back_is_told_by_an_end_of_the_log_that_was_kept() {
    let (mut site, key) = site(Place::Sqlite);
    let serve = |site: &mut Site| site.server(&["--master-key", &key]);
    let server = serve(&mut site);
    set(&site, &server, "whole", &value("whole"));
    let early = site.say(&server, &["audit", "head"]).trim().to_owned();
    let token = site.say(&server, &["tokens", "create", "--name", "leaked"]).trim().to_owned();
    let id = site.say(&server, &["tokens", "list", "--json"]);
    let id: serde_json::Value = id
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|row: &serde_json::Value| row["name"] == "leaked")
        .expect("it is listed");
    let id = id["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.process.stop(), Some(0));
    let directory = site.project.path().join(".reactorcide-state");
    let (state, copy) = (directory.join("state.db"), site.project.path().join("copy.db"));
    std::fs::copy(&state, &copy).expect("a copy");

    // What somebody would like to undo: a rotation, a policy that is gone, a token that is revoked.
    let server = serve(&mut site);
    set(&site, &server, "whole", "v4lue-that-replaces-it");
    apply(&site, "{}");
    site.say(&server, &["tokens", "revoke", &id]);
    let late = site.say(&server, &["audit", "head"]).trim().to_owned();
    let verified = site.say(&server, &["audit", "verify", "--kept", &early]);
    assert!(verified.starts_with("The log is whole"), "{verified}");
    assert_eq!(server.process.stop(), Some(0));
    for part in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(directory.join(part));
    }
    std::fs::copy(&copy, &state).expect("it is put back");

    // It is a state that once was. Nothing in it says more, and that is what docs/security.md says.
    let verify = |kept: &[&str]| site.project.execute(&[&["audit", "verify"], kept].concat());
    assert_eq!(verify(&[]).code, Some(0));
    assert_eq!(verify(&["--kept", &early]).code, Some(0));
    let number = |head: &str| head.split_once(':').expect("a head").0.parse::<u64>().expect("a number");
    let told = |broken: &crate::docker::Ended, words: &str| {
        assert!(broken.code == Some(1) && broken.stdout.is_empty(), "{broken:?}");
        assert!(
            broken.stderr.contains("the audit log is broken") && broken.stderr.contains(words),
            "{broken:?}"
        );
    };
    let once = format!("it once had entry {}", number(&late));
    told(&verify(&["--kept", &late]), &once);
    let server = serve(&mut site);
    told(&site.ask(&server, &["audit", "verify", "--kept", &late]), &once);
    assert_eq!(
        site.say(&server, &["secret", "reveal", "whole"]).trim(),
        value("whole"),
        "the old value is back"
    );
    assert_eq!(site.ask_as(&server, &token, &["whoami"]).code, Some(0), "and so is the token");
    // And once the log has grown past that end again.
    while number(site.say(&server, &["audit", "head"]).trim()) <= number(&late) {
        set(&site, &server, "whole", &format!("v4lue-{}", site.say(&server, &["audit", "head"])));
    }
    told(
        &site.ask(&server, &["audit", "verify", "--kept", &late]),
        "it has another hash than the one that was kept",
    );
    assert_eq!(site.ask(&server, &["audit", "verify", "--kept", &early]).code, Some(0));
}
