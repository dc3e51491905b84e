//! A worker of an earlier version with today's server, as while somebody upgrades. `./dev test --all` builds one.

use super::{assert_ran, ticking, unique};
use crate::docker::{Place, signal};
use crate::server::harness::Site;

#[test]
fn a_worker_of_an_earlier_version_goes_on_working() {
    let Some(older) = std::env::var_os("REACTORCIDE_TEST_OLDER") else {
        eprintln!("skipped: REACTORCIDE_TEST_OLDER names no program of an earlier version");
        return;
    };
    let job = unique();
    let mut site = Site::new(&ticking(&job, 20), Place::Sqlite);
    let server = site.server(&["--stop-after", "5s", "--lost-after", "9s"]);
    let token = site.worker_token();
    let mut worker = site.worker_of(&older, &server, &token);
    worker.says("jobs from");
    let run = site.start(&server, &[]);
    assert_ran(&site, &server, &run, &job, 1, 20);
    // What it has when it goes, today's worker is given.
    let run = site.start(&server, &[]);
    site.until_job(&server, &run, &job, "running");
    signal(&worker.child, "KILL");
    let _next = site.worker(&server, &[]);
    assert_ran(&site, &server, &run, &job, 2, 20);
}
