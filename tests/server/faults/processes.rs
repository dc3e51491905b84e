//! Processes are killed and frozen while jobs run: every run ends once, and nothing of a log is missing.

use super::{assert_ran, ticking, unique};
use crate::docker::{Place, eventually, running, signal};
use crate::server::harness::Site;

#[test]
fn a_server_that_is_killed_loses_nothing_and_ends_no_job() {
    for place in [Place::Sqlite, Place::Postgres] {
        let job = unique();
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
        assert_ran(&site, &server, &run, &job, 1, 40);
    }
}

#[test]
fn what_a_lost_worker_had_another_one_runs_again() {
    let job = unique();
    let mut site = Site::new(&ticking(&job, 30), Place::Sqlite);
    let server = site.server(&["--stop-after", "5s", "--lost-after", "9s"]);
    let first = site.worker(&server, &[]);
    let run = site.start(&server, &[]);
    site.until_job(&server, &run, &job, "running");
    first.kill();
    let _second = site.worker(&server, &[]);
    assert_ran(&site, &server, &run, &job, 2, 30);
    let why = site.say(&server, &["runs", "why", &run, &job]);
    assert!(why.contains("nothing was heard of"), "{why}");
}

#[test]
fn a_worker_that_was_frozen_past_its_lease_changes_nothing_when_it_wakes() {
    let job = unique();
    let mut site = Site::new(&ticking(&job, 50), Place::Sqlite);
    let server = site.server(&["--stop-after", "5s", "--lost-after", "9s"]);
    // One slot, so that it asks for nothing more while it is frozen.
    let first = site.worker(&server, &["--slots", "1"]);
    let run = site.start(&server, &[]);
    site.until_job(&server, &run, &job, "running");
    signal(&first.child, "STOP");
    let _second = site.worker(&server, &[]);
    eventually("it is tried again", || site.job(&server, &run, &job)["attempts"] == 2);
    site.until_job(&server, &run, &job, "running");
    signal(&first.child, "CONT");
    assert_ran(&site, &server, &run, &job, 2, 50);
}
