//! Jobs that say far more than anybody wants to read. With `./dev test --all`, a gigabyte each.

use rstest::rstest;

use super::unique;
use crate::docker::Place;
use crate::server::harness::{BUSYBOX, Process, Site};

/// The most memory that a process has had, in mebibytes.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
}

#[rstest]
#[case::many_lines("yes 0123456789012345678901234567890123456789012345678901234567890123")]
#[case::one_line("tr '\\000' x < /dev/zero")]
fn a_flood_drowns_nobody(#[case] source: &str) {
    let megabytes = if std::env::var_os("REACTORCIDE_LONG_TESTS").is_some() { 1024 } else { 64 };
    let size = megabytes << 20;
    let (flood, beside) = (unique(), unique());
    let jobs = format!(
        "    {flood}: {{image: '{BUSYBOX}', command: \"{} | head -c {size}\"}}\n\
         \x20   {beside}: {{image: '{BUSYBOX}', command: 'echo heard'}}\n",
        source.replace('\\', "\\\\")
    );
    let mut site = Site::new(&jobs, Place::Sqlite);
    let server = site.server(&[]);
    let worker = site.worker(&server, &[]);
    let run = site.start(&server, &[]);
    crate::docker::within(std::time::Duration::from_secs(400), "the run ends", || {
        site.run(&server, &run)["status"] == "succeeded"
    });
    assert_eq!(site.say(&server, &["jobs", "logs", &run, &beside]), "heard\n");
    let (of_server, of_worker) = (peak(&server.process), peak(&worker));
    assert!(of_server < 200 && of_worker < 200, "{of_server} and {of_worker} MiB");
    let told = site.ask(&server, &["jobs", "logs", &run, &flood]);
    let log = told.stdout;
    // All of it, or it says how much is missing.
    assert!(
        log.len() >= size || log.contains("missing"),
        "{} of {size}: {}",
        log.len(),
        &log[log.len() - 300..]
    );
}
