//! What may happen to servers, workers and what they need, with real containers, and what holds afterwards: every
//! accepted run once, with one end and its whole log, and nothing that runs without a lease.

mod baseline;
mod cancels;
mod clocks;
mod database;
mod floods;
mod kills;
mod network;
mod poison;
mod processes;
mod servers;
mod slow_store;
mod twice;
mod versions;

use serde_json::Value;

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

/// Whether there is time for more: `./dev test --all`.
fn is_long() -> bool {
    std::env::var_os("REACTORCIDE_LONG_TESTS").is_some()
}

/// What holds once everything is over and the workers have ended: each of these runs and each of its jobs ended once,
/// nothing waits or is leased, no container is there, and nothing of a job lies on the disk of the last worker.
fn assert_settled(site: &Site, server: &Serving, runs: &[String]) {
    let get = |path: &str| {
        let (status, answer) = site.api(&server.url, "GET", path, "");
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    let is_end =
        |status: &Value| matches!(status.as_str(), Some("succeeded" | "failed" | "cancelled" | "skipped"));
    for run in runs {
        let shown = get(&format!("/runs/{run}"));
        assert!(is_end(&shown["status"]), "{shown}");
        let decisions = get(&format!("/runs/{run}/transitions?limit=1000"));
        let decisions = decisions["items"].as_array().expect("decisions");
        let ends_of = |job: &Value| {
            decisions.iter().filter(|decision| decision["job"] == *job && is_end(&decision["to"])).count()
        };
        assert_eq!(ends_of(&Value::Null), 1, "the run ends once: {decisions:#?}");
        for job in shown["jobs"].as_array().expect("jobs") {
            assert!(is_end(&job["status"]), "{shown}");
            assert_eq!(ends_of(&job["name"]), 1, "each job ends once: {decisions:#?}");
        }
    }
    assert_eq!(
        get("/queue?limit=1000")["items"],
        Value::Array(Vec::new()),
        "nothing waits, and nothing is leased"
    );
    for status in ["running", "waiting"] {
        assert_eq!(get(&format!("/runs?status={status}"))["items"], Value::Array(Vec::new()), "{status}");
    }
    assert_eq!(site.containers(&[]), Vec::<String>::new(), "containers");
    let owners =
        std::fs::read_dir(site.project.path().join("worker/workspaces")).into_iter().flatten().flatten();
    let own = owners.filter(|owner| owner.file_name().to_string_lossy().contains(site.last_worker()));
    let left = own.flat_map(|owner| std::fs::read_dir(owner.path()).into_iter().flatten().flatten());
    assert_eq!(left.map(|entry| entry.path()).collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new(), "files");
}
