//! Runs that start by the clock, whoever of the servers is killed.

use std::time::{Duration, Instant};

use crate::docker::{Place, eventually};
use crate::server::harness::{BUSYBOX, Serving, Site};

fn schedule(more: &str) -> String {
    format!(
        "apiVersion: reactorcide/v1\nkind: Schedule\nmetadata: {{name: often, project: p}}\n\
         spec: {{pipeline: ci, cron: '* * * * *', {more}}}\n"
    )
}

fn apply(site: &Site, more: &str) {
    site.project.write(".reactorcide/often.yaml", &schedule(more));
    let applied = site.project.execute(&["apply", "--auto-approve"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
}

fn shown(site: &Site, server: &Serving) -> serde_json::Value {
    let text = site.say(server, &["schedules", "show", "p/often", "--json"]);
    serde_json::from_str(&text).expect("JSON")
}

fn started(site: &Site, server: &Serving) -> Vec<serde_json::Value> {
    let text = site.say(server, &["runs", "list", "--json"]);
    let runs = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    runs.filter(|run: &serde_json::Value| run["event"] == "schedule").collect()
}

#[test]
fn a_schedule_starts_one_run_a_minute_on_two_servers_of_which_one_is_killed() {
    let jobs = format!("    say: {{image: '{BUSYBOX}', command: 'echo on time'}}\n");
    let mut site = Site::new(&jobs, Place::Postgres);
    let (one, other) = (site.server(&[]), site.server(&[]));
    let _worker = site.worker(&other, &[]);
    apply(&site, "branch: main");
    eventually("the servers know of it", || shown(&site, &other)["next"][0].is_i64());
    one.process.kill();
    let deadline = Instant::now() + Duration::from_secs(90);
    while started(&site, &other).is_empty() {
        assert!(Instant::now() < deadline, "nothing was started");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    // A new server, right after the start, does not start it again.
    let one = site.server(&[]);
    let run = started(&site, &one)[0]["id"].as_str().expect("an id").to_owned();
    site.until(&one, &run, "succeeded");
    let whole = site.run(&one, &run);
    assert_eq!(
        (whole["actor"].as_str(), whole["trigger"]["schedule"].as_str()),
        (Some("schedule:p/often"), Some("often"))
    );
    assert_eq!(whole["trigger"]["branch"], "main");
    assert_eq!(shown(&site, &one)["last_run"], whole["id"]);

    // Suspended is suspended, at once.
    apply(&site, "suspended: true");
    let row = shown(&site, &other);
    assert_eq!((row["status"].as_str(), row["next"].as_array().map(Vec::len)), (Some("suspended"), Some(0)));
    let due: Vec<serde_json::Value> = started(&site, &one)
        .iter()
        .map(|run| site.run(&one, run["id"].as_str().expect("an id"))["trigger"]["due"].clone())
        .collect();
    let different: std::collections::BTreeSet<String> = due.iter().map(ToString::to_string).collect();
    assert_eq!(different.len(), due.len(), "each due time is one run: {due:?}");
    let listed = site.say(&one, &["schedules", "list"]);
    assert!(listed.contains("p/often") && listed.contains("suspended"), "{listed}");
}
