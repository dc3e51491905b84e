//! What a server and a worker take they give back: round after round of runs, logs, and people who come to follow and go,
//! their memory stays where it was after the first ones, and so do their descriptors. More of it with `./dev test --all`.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::{assert_settled, is_long, unique};
use crate::docker::{Place, eventually, within};
use crate::server::harness::{BUSYBOX, Serving, Site};

/// How much of everything.
struct Amount {
    rounds: usize,
    /// Small runs a round.
    runs: usize,
    /// The large log of a round, in bytes.
    log: usize,
    /// How many of those a server keeps in memory for readers: so many are there before anything is measured.
    cached: usize,
}

/// What memory may differ by from the second round to the last, in KiB: less than one large log, and more than what is
/// kept of the newest runs and logs.
const GROWTH: u64 = 6 << 10;
/// The most sockets that may be there: those that listen and wait, and idle connections, of which each job has one at a time.
const IDLE: usize = 16;
/// The most connections to the database, each of which has its files open.
const MORE: usize = 8;

/// Memory that was asked for and not given back, in KiB.
fn memory(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("it says so");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// How many descriptors of each kind: `socket`, `pipe`, a file by its name.
fn descriptors(process: &Child) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    let all = std::fs::read_dir(format!("/proc/{}/fd", process.id())).expect("it runs").flatten();
    for target in all.filter_map(|one| std::fs::read_link(one.path()).ok()) {
        let target = target.to_string_lossy().into_owned();
        let kind = match target.split_once(":[") {
            Some((kind, _)) => kind,
            None => target.rsplit('/').next().unwrap_or(&target),
        };
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

/// Somebody who follows.
fn follower(site: &Site, server: &Serving, arguments: &[&str]) -> Child {
    let mut command = site.asking(&server.url, &site.token, arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
}

/// One round; the ids of its runs.
fn round(site: &Site, server: &Serving, amount: &Amount, small: &str, large: &str) -> Vec<String> {
    let talks = site.start(server, &["--job", large]);
    site.until_job(server, &talks, large, "running");
    let watch = ["runs", "watch", &talks];
    let log = ["jobs", "logs", "-f", &talks, large];
    let mut stay = [&watch[..], &log, &log].map(|arguments| follower(site, server, arguments));
    let go = [&watch[..], &log, &log].map(|arguments| follower(site, server, arguments));
    let mut runs: Vec<String> = (0..amount.runs)
        .map(|_| {
            let body = format!(r#"{{"pipeline": "p/ci", "jobs": ["{small}"]}}"#);
            let (status, run) = site.api(&server.url, "POST", "/runs", &body);
            assert_eq!(status, 201, "{run}");
            run["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    // These hang up in the middle of it.
    for mut follower in go {
        follower.kill().and_then(|()| follower.wait()).expect("it ends");
    }
    runs.push(talks);
    for run in &runs {
        within(Duration::from_secs(120), "it succeeds", || {
            site.api(&server.url, "GET", &format!("/runs/{run}"), "").1["status"] == "succeeded"
        });
    }
    for follower in &mut stay {
        assert!(follower.wait().expect("it ends").success());
    }
    runs
}

#[test]
fn memory_and_descriptors_come_back_to_where_they_were() {
    let amount = if is_long() {
        Amount { rounds: 4, runs: 25, log: 8 << 20, cached: 9 }
    } else {
        Amount { rounds: 4, runs: 4, log: 256 << 10, cached: 1 }
    };
    let (small, large) = (unique(), unique());
    let jobs = format!(
        "    {small}: {{image: '{BUSYBOX}', command: 'echo short'}}\n\
         \x20   {large}: {{image: '{BUSYBOX}', command: 'yes 0123456789012345678901234567890123456789 | head -c {}'}}\n",
        amount.log
    );
    let mut site = Site::new(&jobs, Place::Sqlite);
    let server = site.server(&[]);
    let worker = site.worker(&server, &["--slots", "4"]);
    let processes = [&server.process.child, &worker.child];

    let mut runs = Vec::new();
    for _ in 0..amount.cached {
        runs.push(site.start(&server, &["--job", &large]));
    }
    for run in &runs {
        within(Duration::from_secs(120), "it succeeds", || site.run(&server, run)["status"] == "succeeded");
    }
    let (mut before, mut memories) = (Vec::new(), Vec::new());
    for n in 1..=amount.rounds {
        runs.extend(round(&site, &server, &amount, &small, &large));
        memories.push(processes.map(memory));
        eprintln!("round {n}: {:?} KiB", memories[n - 1]);
        if n == 2 {
            before = processes.map(descriptors).to_vec();
        }
    }
    for (n, process) in processes.into_iter().enumerate() {
        // Connections that nobody uses are kept for a while, and closed.
        let most = |kind: &String| {
            let there = before[n].get(kind).copied().unwrap_or_default();
            let may_be = if kind == "socket" { IDLE } else { MORE };
            if kind == "socket" || kind.starts_with("state.db") { there.max(may_be) } else { there }
        };
        eventually("descriptors come back", || {
            descriptors(process).iter().all(|(kind, count)| *count <= most(kind))
        });
        let grown = memories[amount.rounds - 1][n].saturating_sub(memories[1][n]);
        assert!(grown < GROWTH, "it has grown by {grown} KiB: {memories:?}");
    }
    assert_eq!(worker.stop(), Some(0));
    assert_settled(&site, &server, &runs);
}
