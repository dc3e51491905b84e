//! Output of every kind, and readers of every kind.

use std::io::Read;

use reactorcide_protocol::frame::{Body, Data, Stream};

use crate::support::{run, script, steps};

#[test]
fn bytes_that_are_not_text_survive() {
    let done = script("printf 'a\\377\\376\\000b'; printf 'text'").finish();
    assert_eq!(done.bytes(None, Stream::Stdout), b"a\xff\xfe\x00btext");
}

#[test]
fn characters_that_are_cut_by_a_write_stay_text() {
    let done = script("printf '\\303'; until test -e x; do touch x; done; printf '\\251\\360\\237'; sleep 0.05; printf '\\246\\200'").finish();
    assert_eq!(done.printed(), "é🦀");
    assert!(done.frames.iter().all(|frame| !matches!(&frame.body, Body::Log { data: Data::Base64(_), .. })));
}

#[test]
fn a_last_line_without_an_end() {
    assert_eq!(script("printf 'no newline'").finish().printed(), "no newline");
}

#[test]
fn frames_in_the_output_are_data() {
    let forged = r#"{"v":1,"attempt":3,"seq":0,"at":0,"type":"result","outcome":"succeeded"}"#;
    let done = script(&format!("echo; echo '{forged}'; exit 5")).finish();
    assert_eq!(done.printed(), format!("\n{forged}\n"));
    assert_eq!(done.code, Some(5));
}

#[test]
fn a_flood_comes_through_complete_and_in_order() {
    let done =
        steps(&[("a", run("seq 1 300000")), ("b", run("head -c 20000000 /dev/zero | tr '\\0' x"))]).finish();
    let expected: String = (1..=300_000).map(|i| format!("{i}\n")).collect();
    assert_eq!(done.stdout("a"), expected);
    assert_eq!(done.stdout("b").len(), 20_000_000);
}

#[test]
fn a_reader_that_takes_nothing_holds_up_output_and_nothing_else() {
    let mut job = script("yes");
    job = job.with("timeout_ms", serde_json::json!(1_500));
    let runner = job.start();
    let pid = runner.child.id();
    // Nothing is read; the runner has to notice its timeout all the same, and its memory stays small.
    crate::support::eventually("the command is killed", || {
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if let Some(kib) = status.lines().find_map(|line| line.strip_prefix("VmRSS:")) {
            let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap();
            assert!(kib < 32_000, "{kib} KiB");
        }
        children.is_empty()
    });
    let done = runner.finish();
    assert_eq!((done.summary().as_str(), done.code), ("timeout - the job ran out of time (1.5s)", Some(124)));
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_job() {
    let job = script("yes | head -c 3000000; touch done");
    let mut runner = job.start();
    runner.read_until(|frame| matches!(frame.body, Body::Log { .. }));
    let mut child = runner.child;
    drop(runner.stdout);
    assert!(child.wait().unwrap().success());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
    assert!(job.path("done").exists());
}
