//! What may happen to servers, workers and what they need, with real containers, and what holds afterwards: every
//! accepted run once, with one end and its whole log, and nothing that runs without a lease.

mod clocks;
mod database;
mod floods;
mod kills;
mod network;
mod processes;
mod servers;
mod twice;
mod versions;

use crate::docker::{eventually, running};
use crate::server::harness::{BUSYBOX, Serving, Site};

/// A job that says one line every 200 ms, `count` of them.
fn ticking(name: &str, count: u32) -> String {
    format!(
        "    {name}: {{image: '{BUSYBOX}', command: 'i=0; while [ $i -lt {count} ]; do echo tick $i; i=$((i+1)); sleep 0.2; done'}}\n"
    )
}

/// What it says.
fn ticks(count: u32) -> String {
    (0..count).map(|n| format!("tick {n}\n")).collect()
}

/// A name that no other test has.
fn unique() -> String {
    format!("t{}", uuid::Uuid::new_v4().simple())
}

/// The run of one ticking job went well after so many attempts, whatever happened meanwhile; nothing of it is left.
fn assert_ran(site: &Site, server: &Serving, run: &str, job: &str, attempts: u32, count: u32) {
    site.until(server, run, "succeeded");
    assert_eq!(site.job(server, run, job)["attempts"], attempts);
    assert_eq!(site.say(server, &["jobs", "logs", run, job]), ticks(count));
    let why = site.say(server, &["runs", "why", run]);
    assert_eq!(why.matches(" succeeded ").count(), 2, "the job and the run, once each: {why}");
    eventually("nothing of it is left", || running(job).is_empty());
}
