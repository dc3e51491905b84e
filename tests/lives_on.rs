//! Jobs that live on while everything around them is killed: the worker, the server, the container engine.
#![allow(clippy::unwrap_used)]

mod engine;
mod service;

use std::time::Duration;

use crate::docker::{eventually, running};
use engine::Engine;
use service::Service;

const BUSYBOX: &str = "reactorcide/busybox:local";
/// Lines that a job prints, a hundred at once and some more each tenth of a second.
const LINES: usize = 6_000;

/// A job that prints all lines in some seconds and then fails in its own way. It does so again if it is retried.
fn counting(name: &str, more: &str) -> String {
    format!(
        "    {name}:\n      image: '{BUSYBOX}'\n{more}      command: |\n\
         \x20       i=0\n\
         \x20       while [ $i -lt {LINES} ]; do\n\
         \x20         echo \"line $i of it\"\n\
         \x20         i=$((i + 1))\n\
         \x20         [ $((i % 100)) != 0 ] || sleep 0.1\n\
         \x20       done\n\
         \x20       exit 7\n"
    )
}

fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[test]
fn no_kill_of_worker_or_server_is_noticed_by_a_job() {
    let mut service = Service::new(&counting("count", ""), None, &[]);
    service.start_worker();
    let run = service.start_run();
    eventually("it runs", || running("count").len() == 1);
    let container = running("count");
    for round in 0..3 {
        pause(400);
        service.kill_worker();
        if round == 1 {
            service.kill_server();
        }
        pause(400);
        service.start_server();
        service.start_worker();
    }
    assert_eq!(running("count"), container, "the same container goes on");
    let job = service.end_of(&run, "count");
    assert_eq!(
        (&job["failure"], &job["exit_code"], &job["attempts"]),
        (&"exit".into(), &7.into(), &1.into()),
        "{job}"
    );
    let expected: Vec<String> = (0..LINES).map(|line| format!("line {line} of it")).collect();
    let log = service.log(&run, "count");
    assert_eq!(log.lines().count(), LINES);
    assert!(log.lines().eq(expected.iter().map(String::as_str)), "{log}");
    service.assert_nothing_left();
}

#[test]
fn a_job_whose_worker_is_gone_for_good_ends_by_itself() {
    let job =
        format!("    lonely: {{image: '{BUSYBOX}', command: sleep 600, grace: 1s, retry: {{max: 0}}}}\n");
    let mut service = Service::new(&job, None, &["--stop-after", "3s", "--lost-after", "8s"]);
    service.start_worker();
    let run = service.start_run();
    eventually("it runs", || running("lonely").len() == 1);
    // As long as its worker lives it goes on.
    pause(5_000);
    assert_eq!(running("lonely").len(), 1);
    service.kill_worker();
    eventually("it ends by itself", || running("lonely").is_empty());
    let job = service.end_of(&run, "lonely");
    assert_eq!(job["failure"], "lost_worker", "{job}");
    service.start_worker();
    service.assert_nothing_left();
}

#[test]
fn a_job_outlives_an_engine_that_lets_it() {
    let Some(mut engine) = Engine::start(true) else { return };
    let jobs = counting("count", "      network: none\n");
    let mut service = Service::new(&jobs, Some(engine.host()), &[]);
    service.start_worker();
    let run = service.start_run();
    eventually("it runs", || engine.running().len() == 1);
    pause(500);
    engine.kill();
    pause(1_000);
    engine.start_again();
    let job = service.end_of(&run, "count");
    assert_eq!((&job["exit_code"], &job["attempts"]), (&7.into(), &1.into()), "{job}\n{}", service.why(&run));
    assert!(service.log(&run, "count").lines().eq((0..LINES).map(|line| format!("line {line} of it"))));
    eventually("nothing left", || engine.all().is_empty());
}

#[test]
fn what_an_engine_kills_when_it_starts_is_tried_again() {
    let Some(mut engine) = Engine::start(false) else { return };
    let jobs = counting("count", "      network: none\n")
        + &counting("bare", "      network: none\n      runner: none\n");
    let mut service = Service::new(&jobs, Some(engine.host()), &[]);
    service.start_worker();
    let run = service.start_run();
    eventually("they run", || engine.running().len() == 2);
    pause(500);
    engine.kill();
    pause(500);
    engine.start_again();
    let job = service.end_of(&run, "count");
    let why = service.why(&run);
    assert_eq!((&job["failure"], &job["exit_code"]), (&"exit".into(), &7.into()), "{job}\n{why}");
    assert_eq!(job["attempts"], 2, "the engine's doing is not the job's: {why}");
    let log = service.log(&run, "count");
    assert!(log.lines().eq((0..LINES).map(|line| format!("line {line} of it"))), "{log}");
    // Without a runner nothing heeds the engine's SIGTERM: it comes to its own end first, or is tried again.
    let job = service.end_of(&run, "bare");
    assert_eq!(
        (&job["failure"], &job["exit_code"]),
        (&"exit".into(), &7.into()),
        "{job}\n{}",
        service.why(&run)
    );
    eventually("nothing left", || engine.all().is_empty());
}
