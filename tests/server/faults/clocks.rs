//! The clock of the server or of a worker is moved by an hour and back while a job runs.

use std::path::Path;
use std::time::Duration;

use rstest::rstest;

use super::{assert_ran, ticking, unique};
use crate::docker::Place;
use crate::server::harness::{Around, Site};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Whoever is started within this takes the time from a file: `+3600s` is an hour later. What counts up since the machine
/// started goes on as it is, as with a real clock.
fn clock(file: &Path) -> Around {
    assert!(Path::new(LIBRARY).exists(), "libfaketime is missing: ./dev setup");
    let variables = [
        ("LD_PRELOAD", LIBRARY.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Around { variables, ..Around::default() }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Whose {
    Server,
    Worker,
}

#[rstest]
fn a_clock_that_is_moved_ends_nothing(#[values(Whose::Server, Whose::Worker)] whose: Whose) {
    let job = unique();
    let jobs = ticking(&job, 50).replace(", command", ", timeout: 2m, command");
    let mut site = Site::new(&jobs, Place::Sqlite);
    let file = site.project.path().join("clock");
    let set = |offset: &str| std::fs::write(&file, offset).expect("written");
    set("+0s");
    let around =
        |site: &mut Site, is_it: bool| site.around = if is_it { clock(&file) } else { Around::default() };
    around(&mut site, whose == Whose::Server);
    let server = site.server(&["--stop-after", "20s", "--lost-after", "40s"]);
    around(&mut site, whose == Whose::Worker);
    let _worker = site.worker(&server, &[]);
    around(&mut site, false);
    let run = site.start(&server, &[]);
    site.until_job(&server, &run, &job, "running");
    for offset in ["+3600s", "-3600s", "+0s"] {
        set(offset);
        std::thread::sleep(Duration::from_millis(2500));
    }
    assert_ran(&site, &server, &run, &job, 1, 50);
}
