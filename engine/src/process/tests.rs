//! Files of servers and workers: what is good is read, what is not is said with its place.

use super::*;

fn said<T: ProcessFile>(text: &str) -> Result<T, Vec<String>> {
    let (read, source) = read::<T>(InputFile { path: "f.yaml".to_owned(), bytes: text.as_bytes().to_vec() });
    read.map_err(|found| {
        let line = |one: &Diagnostic| {
            let place = one.span.map(|span| source.place(span.start));
            let place = place.map_or_else(
                || one.path.clone().unwrap_or_default(),
                |place| format!("{}:{}", place.line, place.column),
            );
            let hint = one.hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
            format!("{place} {}{hint}", one.message)
        };
        found.iter().map(line).collect()
    })
}

#[test]
fn a_whole_file_of_each_is_read() {
    let server: ServerFile = said(
        "listen: 0.0.0.0:7420\nstate_from: {environment: STATE_URL}\nstorage: s3://ci/objects\nfirst_user: ada\n\
         leases: {stop_after: 1m, lost_after: 2m}\nretention: {logs: 30d, artifacts: 7d, per_project: 20Gi}\n\
         logging: {format: json, level: warn}\nwith_worker: true\nworker: {slots: 2, disk_floor: 5%}\n",
    )
    .expect("a file");
    assert_eq!(
        server.retention.expect("retention").logs.map(|logs| logs.to_string()).as_deref(),
        Some("30d")
    );
    assert_eq!(server.worker.expect("a worker").disk_floor.as_deref(), Some("5%"));
    let worker: WorkerFile = said(
        "server: https://ci.example.com\ntoken_from: {file: /run/secrets/token}\nlogging: {format: text}\n\
         worker:\n  provider: docker\n  slots: 4\n  labels: {os: linux, gpu: \"no\"}\n  pool: big\n  directory: /srv/ci\n\
         \x20 keep_workspace: false\n  disk_floor: 10Gi\n  spool: 1Gi\n",
    )
    .expect("a file");
    assert_eq!(worker.worker.expect("a worker").labels.len(), 2);
    assert_eq!(said::<ServerFile>(""), Ok(ServerFile::default()), "nothing is said");
    assert_eq!(said::<WorkerFile>("# nothing\n"), Ok(WorkerFile::default()));
}

#[test]
fn a_secret_in_a_file_is_refused_and_where_it_goes_is_said() {
    let found = said::<WorkerFile>("server: https://ci.example.com\ntoken: rct_x\n").expect_err("a token");
    assert_eq!(
        found,
        [
            "f.yaml:2:1 a file holds no token (write `token_from: {file: PATH}` or `token_from: {environment: NAME}`)"
        ]
    );
    for url in ["postgres://ada:secret@db/ci", "postgres://ada@db/ci?password=secret"] {
        let found = said::<ServerFile>(&format!("state: {url}\n")).expect_err("a password");
        assert!(found[0].starts_with("f.yaml:1:8 a file holds no password"), "{found:?}");
    }
    assert!(said::<ServerFile>("state: postgres://ada@db/ci\n").is_ok());
    for text in ["token_from: {}\n", "token_from: {file: a, environment: B}\n"] {
        let found = said::<WorkerFile>(text).expect_err("not one");
        assert!(found[0].starts_with("1:1 token_from names not exactly one thing"), "{found:?}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_with_its_place() {
    let found = said::<ServerFile>(
        "lisen: x\nretention:\n  logs: thirty days\nworker:\n  slots: 0\n  labels: [os]\n",
    )
    .expect_err("errors");
    let starts =
        |place: &str, words: &str| found.iter().any(|one| one.starts_with(place) && one.contains(words));
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(starts("1:1", "(did you mean listen?)"), "{found:?}");
    assert!(starts("3:9", "is not a duration"), "{found:?}");
    assert!(starts("5:10", "less than 1"), "{found:?}");
    assert!(starts("6:", "expected a mapping"), "{found:?}");
    let found = said::<WorkerFile>("server: ftp://x\nworker:\n  disk_floor: a bit\n").expect_err("errors");
    assert!(found[0].starts_with("1:9 this is no URL of a server"), "{found:?}");
    assert!(found[1].starts_with("3:15 \"a bit\" is neither a size"), "{found:?}");
    let found = said::<ServerFile>("leases: {stop_after: 2m, lost_after: 1m}\n").expect_err("an error");
    assert_eq!(found, ["1:38 lost_after must be longer than stop_after (else a job could run twice)"]);
    assert_eq!(said::<ServerFile>("a: [\n").expect_err("broken").len(), 1);
    assert!(said::<WorkerFile>("server: x\n---\nserver: y\n").is_err(), "one document");
}
