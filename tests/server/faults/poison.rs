//! A job that takes its worker with it each time: nobody is given it a fourth time, and what is beside it goes on.

use rstest::rstest;

use super::{assert_settled, is_long, unique};
use crate::docker::{Place, eventually, running};
use crate::server::harness::{BUSYBOX, Site};

/// What becomes of a worker that went down with its machine.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Worker {
    /// It is started again, and its containers are gone.
    ComesBack,
    /// Another one comes, which can have the job once the lease of the first is over.
    IsGone,
}

#[rstest]
fn a_job_that_takes_three_workers_with_it_is_given_to_no_fourth(
    #[values(Worker::ComesBack, Worker::IsGone)] then: Worker,
) {
    if then == Worker::IsGone && !is_long() {
        eprintln!("skipped: it waits for leases to be over, in ./dev test --all");
        return;
    }
    let (bad, good) = (unique(), unique());
    // It may be tried far more often for anything else.
    let retry = "retry: {max: 9, on: [lost_worker], delay: 10ms}, grace: 1s";
    let jobs = format!(
        "    {bad}: {{image: '{BUSYBOX}', command: 'echo here; sleep 300', {retry}}}\n\
         \x20   {good}: {{image: '{BUSYBOX}', command: 'echo well'}}\n"
    );
    let mut site = Site::new(&jobs, Place::Sqlite);
    let server = site.server(&["--stop-after", "2s", "--lost-after", "5s"]);
    let mut token = site.worker_token();
    // One slot, so that nothing else goes down with it.
    let slots = ["--slots", "1"];
    let mut worker = site.worker_with(&server, &token, &slots);
    let run = site.start(&server, &["--job", &bad]);
    let mut beside = Vec::new();
    for crash in 1..=3 {
        eventually("its container runs", || running(&bad).len() == 1);
        assert_eq!(site.job(&server, &run, &bad)["attempts"], crash);
        worker.kill();
        site.remove_containers();
        // Somebody else's, which waits behind it or goes before it.
        beside.push(site.start(&server, &["--job", &good]));
        if then == Worker::IsGone {
            token = site.worker_token();
        }
        worker = site.worker_with(&server, &token, &slots);
    }
    eventually("it is given up", || {
        let job = site.job(&server, &run, &bad);
        assert!(job["attempts"].as_u64() <= Some(3), "a fourth: {job}");
        job["status"] == "failed"
    });
    site.until(&server, &run, "failed");
    for other in &beside {
        site.until(&server, other, "succeeded");
        assert_eq!(site.say(&server, &["jobs", "logs", other, &good]), "well\n");
    }
    let job = site.job(&server, &run, &bad);
    assert_eq!((&job["failure"], &job["attempts"]), (&"poisoned".into(), &3.into()), "{job}");
    let why = site.say(&server, &["runs", "why", &run, &bad]);
    assert!(why.contains("3 workers were lost with it, so it is not tried again"), "{why}");
    assert_eq!(worker.stop(), Some(0));
    beside.push(run);
    assert_settled(&site, &server, &beside);
}
