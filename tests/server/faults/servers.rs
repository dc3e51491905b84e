//! Two servers on one database, of which one stands still or goes.

use super::{assert_ran, ticking, unique};
use crate::docker::{Place, eventually, signal};
use crate::server::harness::Site;

const TERMS: [&str; 4] = ["--stop-after", "5s", "--lost-after", "9s"];

#[test]
fn what_a_frozen_server_had_the_other_one_sees_to() {
    let job = unique();
    let mut site = Site::new(&ticking(&job, 20), Place::Postgres);
    let (one, other) = (site.server(&TERMS), site.server(&TERMS));
    let lost = site.worker(&one, &[]);
    let first = site.start(&one, &[]);
    site.until_job(&other, &first, &job, "running");
    signal(&one.process.child, "STOP");
    // Its worker can tell nobody anything, and ends what it runs.
    let _worker = site.worker(&other, &[]);
    let second = site.start(&other, &[]);
    assert_ran(&site, &other, &second, &job, 1, 20);
    assert_ran(&site, &other, &first, &job, 2, 20);
    signal(&one.process.child, "CONT");
    eventually("it goes on with what is true by now", || {
        site.ask(&one, &["runs", "show", &first, "--json"]).stdout.contains(r#""status":"succeeded""#)
    });
    let third = site.start(&one, &[]);
    assert_ran(&site, &one, &third, &job, 1, 20);
    drop(lost);
}

#[test]
fn both_killed_at_once_and_started_again_lose_nothing() {
    let job = unique();
    let mut site = Site::new(&ticking(&job, 40), Place::Postgres);
    let (one, other) = (site.server(&[]), site.server(&[]));
    let at = [&one, &other].map(|server| server.url.trim_start_matches("http://").to_owned());
    let _workers = [site.worker(&one, &[]), site.worker(&other, &[])];
    let runs = [site.start(&one, &[]), site.start(&other, &[])];
    for run in &runs {
        site.until_job(&one, run, &job, "running");
    }
    one.process.kill();
    other.process.kill();
    let again = at.map(|address| site.server_at(&address, &[]));
    for run in &runs {
        assert_ran(&site, &again[0], run, &job, 1, 40);
    }
}
