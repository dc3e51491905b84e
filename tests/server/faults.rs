//! Processes are killed and frozen while jobs run: every run ends once, and nothing of a log is missing.

use crate::docker::{Place, eventually, running, signal};
use crate::server::harness::{BUSYBOX, Site};

/// A job that says one line a moment, `count` of them.
fn ticking(name: &str, count: u32) -> String {
    format!(
        "    {name}: {{image: '{BUSYBOX}', command: 'i=0; while [ $i -lt {count} ]; do echo tick $i; i=$((i+1)); sleep 0.2; done'}}\n"
    )
}

fn ticks(count: u32) -> String {
    (0..count).map(|n| format!("tick {n}\n")).collect()
}

#[test]
fn a_server_that_is_killed_loses_nothing_and_ends_no_job() {
    for place in [Place::Sqlite, Place::Postgres] {
        let job = format!("t{}", uuid::Uuid::new_v4().simple());
        let mut site = Site::new(&ticking(&job, 40), place);
        let mut server = site.server(&[]);
        let address = server.url.trim_start_matches("http://").to_owned();
        let _worker = site.worker(&server, &[]);
        let run = site.start(&server, &[]);
        for _ in 0..3 {
            site.until_job(&server, &run, &job, "running");
            eventually("the container runs", || running(&job).len() == 1);
            server.process.kill();
            server = site.server_at(&address, &[]);
        }
        site.until(&server, &run, "succeeded");
        assert_eq!(site.say(&server, &["jobs", "logs", &run, &job]), ticks(40), "{place:?}");
        let why = site.say(&server, &["runs", "why", &run, &job]);
        assert_eq!(why.matches("running").count(), 1, "it ran once: {why}");
        assert!(running(&job).is_empty());
    }
}

#[test]
fn what_a_lost_worker_had_another_one_runs_again() {
    let job = format!("t{}", uuid::Uuid::new_v4().simple());
    let mut site = Site::new(&ticking(&job, 30), Place::Sqlite);
    let server = site.server(&["--stop-after", "2s", "--lost-after", "4s"]);
    let first = site.worker(&server, &[]);
    let run = site.start(&server, &[]);
    site.until_job(&server, &run, &job, "running");
    first.kill();
    let _second = site.worker(&server, &[]);
    site.until(&server, &run, "succeeded");
    assert_eq!(site.job(&server, &run, &job)["attempts"], 2);
    assert_eq!(site.say(&server, &["jobs", "logs", &run, &job]), ticks(30));
    let why = site.say(&server, &["runs", "why", &run, &job]);
    assert!(why.contains("nothing was heard of"), "{why}");
}

#[test]
fn a_worker_that_was_frozen_past_its_lease_changes_nothing_when_it_wakes() {
    let job = format!("t{}", uuid::Uuid::new_v4().simple());
    let mut site = Site::new(&ticking(&job, 25), Place::Sqlite);
    let server = site.server(&["--stop-after", "2s", "--lost-after", "4s"]);
    // One slot, so that it asks for nothing more while it is frozen.
    let first = site.worker(&server, &["--slots", "1"]);
    let run = site.start(&server, &[]);
    site.until_job(&server, &run, &job, "running");
    signal(&first.child, "STOP");
    let _second = site.worker(&server, &[]);
    eventually("it is tried again", || site.job(&server, &run, &job)["attempts"] == 2);
    site.until_job(&server, &run, &job, "running");
    signal(&first.child, "CONT");
    site.until(&server, &run, "succeeded");
    assert_eq!(site.job(&server, &run, &job)["attempts"], 2);
    assert_eq!(site.say(&server, &["jobs", "logs", &run, &job]), ticks(25));
    let why = site.say(&server, &["runs", "why", &run]);
    assert_eq!(why.matches(" succeeded ").count(), 2, "the job and the run, once each: {why}");
    eventually("nothing runs", || running(&job).is_empty());
}
