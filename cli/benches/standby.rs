//! From a lease to the first byte of its job, in turn: in a container that was started ahead, in one of its own, and with
//! `docker run` of the same image and command. Prints medians, and the memory of what waits.
//!
//! `./dev bench standby`; `REACTORCIDE_ROUNDS=n` for more rounds.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

#[path = "../../tests/standby/desk.rs"]
#[allow(dead_code, reason = "its tests use the rest")]
mod desk;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use desk::{Came, Working, repository};
use serde_json::{Value, json};

const IMAGE: &str = "reactorcide/busybox:local";
/// How many wait while memory is measured.
const MANY: usize = 20;

fn main() {
    let rounds = std::env::var("REACTORCIDE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        latency(rounds).await;
        memory().await;
    });
}

/// A job with a secret, limits and this source.
fn job(image: &str, source: &Value) -> Value {
    json!({
        "image": image, "command": "echo hello", "source": source, "secrets": {"KEY": "deploy/key"},
        "environment": {"NAME": "value"}, "resources": {"cpu": "2", "memory": "256Mi"},
    })
}

async fn latency(rounds: usize) {
    let standby = json!([{"image": IMAGE, "min": 2, "max": 2}]);
    let secrets = [("deploy/key", "a-value-that-is-secret")];
    let (mut waits, mut cold) = (Working::start(standby, &secrets), Working::start(json!([]), &secrets));
    println!("from the lease to the first byte of the job, {rounds} rounds in turn, milliseconds");
    println!(
        "{:24} {:>22} {:>16} {:>16} {:>8}",
        "source", "standby (90 % below)", "cold", "docker run", "ratio"
    );
    for files in [0, 20, 200, 400] {
        let origin = tempfile::tempdir().expect("a directory");
        let sha = if files > 0 { repository(origin.path(), files) } else { String::new() };
        let source = if files > 0 { at(origin.path()) } else { json!({"none": true}) };
        let job = job(IMAGE, &source);
        // The first of its shape runs in a container of its own, and fills the cache.
        for _ in 0..2 {
            byte(&waits.run(job.clone(), &sha).await);
            byte(&cold.run(job.clone(), &sha).await);
            waits.until_waiting(2).await;
        }
        let mut times = Vec::new();
        for _ in 0..rounds {
            waits.until_waiting(2).await;
            // What else is under way, such as the removal of the last one, ends.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let standby = byte(&waits.run(job.clone(), &sha).await);
            waits.until_waiting(2).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            times.push((standby, byte(&cold.run(job.clone(), &sha).await), docker_run()));
        }
        let column = |pick: fn(&(f64, f64, f64)) -> f64| {
            let mut column: Vec<f64> = times.iter().map(pick).collect();
            column.sort_by(f64::total_cmp);
            (column[column.len() / 2], column[column.len() * 9 / 10])
        };
        let ((standby, ninety), (cold, _), (docker, _)) = (column(|t| t.0), column(|t| t.1), column(|t| t.2));
        let (ratio, _) = column(|t| t.2 / t.0);
        let name = if files > 0 { format!("commit of {files} files") } else { "none".to_owned() };
        println!("{name:24} {standby:10.2} ({ninety:8.2}) {cold:16.1} {docker:16.1} {ratio:7.0}x");
    }
    tokio::join!(waits.drain(), cold.drain());
}

fn at(path: &Path) -> Value {
    json!({"git": path.display().to_string()})
}

fn byte(came: &Came) -> f64 {
    assert_eq!(came.result.failure, None, "{came:?}");
    came.first_byte.expect("it printed").as_secs_f64() * 1e3
}

fn docker_run() -> f64 {
    let start = Instant::now();
    let arguments = ["run", "--rm", "--cpus", "2", "--memory", "256m", IMAGE, "echo", "hello"];
    let mut child = Command::new("docker").args(arguments).stdout(Stdio::piped()).spawn().expect("docker");
    let mut first = [0];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("a byte: run ./dev setup");
    let took = start.elapsed();
    child.wait().expect("it ends");
    took.as_secs_f64() * 1e3
}

/// What the whole machine has less while some wait.
async fn memory() {
    let before = available();
    let standby = json!([{"image": IMAGE, "min": MANY, "max": MANY}]);
    let working = Working::start(standby, &[]);
    working.until_waiting(MANY).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = before.saturating_sub(available()) as f64 / MANY as f64 / 1024.0;
    println!(
        "memory of the machine for each of {MANY} that wait, with all that the engine keeps for it: {each:.1} MiB"
    );
    working.drain().await;
}

fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
