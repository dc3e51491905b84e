//! Many servers and workers on one PostgreSQL.

use crate::docker::Place;
use crate::server::harness::{BUSYBOX, Site};

#[test]
fn two_servers_and_three_workers_share_the_work() {
    let many = format!(
        "    many:\n      image: '{BUSYBOX}'\n      matrix: {{axes: {{of: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}}}}\n\
         \x20     command: 'echo part ${{matrix:of}}'\n\
         \x20   last: {{image: '{BUSYBOX}', depends_on: [many], command: 'echo last'}}\n"
    );
    let mut site = Site::new(&many, Place::Postgres);
    let (one, other) = (site.server(&[]), site.server(&[]));
    let _workers =
        [site.worker(&one, &[]), site.worker(&other, &[]), site.worker(&other, &["--label", "os=linux"])];
    let runs: Vec<String> = (0..4).map(|n| site.start(if n % 2 == 0 { &one } else { &other }, &[])).collect();
    for (n, run) in runs.iter().enumerate() {
        // Whoever is asked knows.
        let asked = if n % 2 == 0 { &other } else { &one };
        site.until(asked, run, "succeeded");
        let why = site.say(asked, &["runs", "why", run]);
        assert_eq!(
            why.matches(" succeeded ").count(),
            15,
            "12 parts, their group, the last and the run: {why}"
        );
        assert_eq!(site.say(asked, &["jobs", "logs", run, "many[11]"]), "part 12\n");
    }
    // A second request with the same key is the same run.
    assert_eq!(one.process.stop(), Some(0));
    let after = site.start(&other, &["--job", "last"]);
    site.until(&other, &after, "succeeded");
}
