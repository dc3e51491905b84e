//! A worker whose disk is full takes nothing, and says so wherever somebody asks.

use crate::docker::{Place, eventually};
use crate::server::harness::{BUSYBOX, Site};

#[test]
fn a_worker_without_room_takes_no_jobs_and_is_named_as_the_reason() {
    let mut site =
        Site::new(&format!("    say: {{image: '{BUSYBOX}', command: 'echo hi'}}\n"), Place::Sqlite);
    let server = site.server(&[]);
    let mut full = site.worker(&server, &["--disk-floor", "4096Ti"]);
    full.says("taking no jobs");
    let name = site.last_worker().to_owned();
    let run = site.start(&server, &[]);
    eventually("the server knows", || site.say(&server, &["workers", "list"]).contains(" full "));
    let reason = format!("{name} takes none: its disk has ");
    let why = site.say(&server, &["runs", "why", &run, "say"]);
    assert!(why.contains(&reason) && why.contains("takes jobs from 4096Ti on"), "{why}");
    let queue = site.say(&server, &["queue", "show"]);
    assert!(queue.contains(&reason), "{queue}");
    let shown = site.say(&server, &["workers", "show", &name]);
    for line in ["load ", "memory free ", "disk free ", "takes no jobs"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    // Another one has room.
    let _roomy = site.worker(&server, &["--disk-floor", "0"]);
    site.until(&server, &run, "succeeded");
    assert_eq!(full.stop(), Some(0));
}
