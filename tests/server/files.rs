//! Artifacts, caches and the tokens of jobs with a server and a worker.

use std::process::Child;

use crate::docker::Place;
use crate::server::harness::{BUSYBOX, Site};

/// The most memory that a process has had so far, in bytes.
fn peak(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[test]
fn files_go_from_job_to_job_and_to_people_and_large_ones_through_nobodys_memory() {
    let mut site = Site::new(
        &format!(
            "    build: {{image: '{BUSYBOX}', command: 'mkdir out; dd if=/dev/urandom of=out/large bs=1M count=200 2>/dev/null; sha256sum < out/large > out/sum', artifacts: {{paths: ['out/*']}}}}\n\
             \x20   check: {{image: '{BUSYBOX}', depends_on: [build], command: 'cd /job/artifacts/build/out; sha256sum < large | cmp - sum && echo the same; exit 3'}}\n\
             \x20   cached: {{image: '{BUSYBOX}', command: 'cat d/x 2>/dev/null || echo missed; mkdir -p d; echo hit > d/x', cache: {{key: k, paths: [d]}}}}\n"
        ),
        Place::Sqlite,
    );
    let server = site.server(&[]);
    let worker = site.worker(&server, &[]);
    let before = [peak(&server.process.child), peak(&worker.child)];
    let run = site.start(&server, &[]);
    site.until(&server, &run, "failed");
    assert!(site.say(&server, &["jobs", "logs", &run, "check"]).contains("the same"));
    for (process, before) in [&server.process.child, &worker.child].into_iter().zip(before) {
        let grown = peak(process) - before;
        assert!(grown < 64 << 20, "it has grown by {} MiB", grown >> 20);
    }
    let listed = site.say(&server, &["artifacts", "list", &run, "build"]);
    assert!(listed.contains("200 MiB") && listed.lines().count() == 2, "{listed}");
    site.say(&server, &["artifacts", "get", &run, "build", "--all", "-o", "got"]);
    let large = std::fs::metadata(site.project.path().join("got/out/large")).expect("it is there");
    assert_eq!(large.len(), 200 << 20);
    let shown = site.say(&server, &["jobs", "show", &run, "build", "--json"]);
    let detail: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(detail["artifacts_url"], format!("/api/v1/runs/{run}/jobs/build/artifacts"));

    // What succeeded is not run again, and what it has kept is still taken.
    let again = site.say(&server, &["runs", "retry", &run, "--failed-only"]).trim().to_owned();
    site.until(&server, &again, "failed");
    assert!(site.say(&server, &["jobs", "logs", &again, "check"]).contains("the same"));
    // The next run finds the cache of the first.
    let next = site.start(&server, &["--job", "cached"]);
    site.until(&server, &next, "succeeded");
    assert_eq!(site.say(&server, &["jobs", "logs", &next, "cached"]), "hit\n");
    assert_eq!(worker.stop(), Some(0));
}

#[test]
fn a_job_asks_the_server_with_its_own_token_as_long_as_it_runs() {
    let api = "U=http://$(ip route | awk '/default/ {print $3}'):${REACTORCIDE_API_URL##*:}/api/v1";
    let get = "wget -qO- --header \"Authorization: Bearer $REACTORCIDE_API_TOKEN\"";
    let mut site = Site::new(
        &format!(
            "    first: {{image: '{BUSYBOX}', command: 'echo kept > f', artifacts: {{paths: [f]}}}}\n\
             \x20   asks:\n      image: '{BUSYBOX}'\n      depends_on: [first]\n      command: |\n\
             \x20       {api}\n\
             \x20       {get} $U/job | grep -o '\"job\":\"asks\"'\n\
             \x20       {get} $U/job/artifacts | grep -o '\"path\":\"f\"'\n\
             \x20       {get} --post-data content \"$U/job/artifacts?path=by/hand.txt\"\n\
             \x20       {get} $U/runs >/dev/null 2>&1 || echo no more than that\n\
             \x20       echo token=$REACTORCIDE_API_TOKEN\n\
             \x20       echo -n $REACTORCIDE_API_TOKEN | base64 | tr -d '\\n' > t\n\
             \x20     artifacts: {{paths: [t]}}\n\
             \x20   bare: {{image: '{BUSYBOX}', runner: none, command: 'env'}}\n"
        ),
        Place::Sqlite,
    );
    let server = site.server_at("0.0.0.0:0", &[]);
    let worker = site.worker(&server, &["--job-api-url", &server.url.clone()]);
    let run = site.start(&server, &[]);
    site.until(&server, &run, "succeeded");
    let log = site.say(&server, &["jobs", "logs", &run, "asks"]);
    for line in ["\"job\":\"asks\"", "\"path\":\"f\"", "no more than that", "token=***"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!log.contains("rcj_"), "{log}");
    let by_hand = site.say(&server, &["artifacts", "get", &run, "asks", "by/hand.txt", "-o", "-"]);
    assert_eq!(by_hand, "content");
    let bare = site.say(&server, &["jobs", "logs", &run, "bare"]);
    assert!(!bare.contains("REACTORCIDE_API"), "an engine would see it: {bare}");
    // The attempt is over, and so is its token.
    let encoded = site.say(&server, &["artifacts", "get", &run, "asks", "t", "-o", "-"]);
    let decoded = std::process::Command::new("sh")
        .args(["-c", "echo \"$0\" | base64 -d", &encoded])
        .output()
        .expect("it runs");
    let token = String::from_utf8(decoded.stdout).expect("text");
    assert!(token.starts_with("rcj_"), "{token}");
    let mut asks = site.project.command(&["runs", "list"]);
    asks.env_remove("REACTORCIDE_STATE");
    asks.env("REACTORCIDE_SERVER", &server.url).env("REACTORCIDE_TOKEN", &token);
    let refused = crate::docker::ended(asks.output().expect("it starts"));
    assert!(refused.code == Some(1) && refused.stderr.contains("is over"), "{refused:?}");
    drop(worker);
}
