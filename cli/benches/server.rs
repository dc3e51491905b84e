//! A server and a worker as processes, as users start them: their memory and work while nothing happens, the way from an
//! event to the first line at somebody who follows, many followers of one log, and a flood of signed webhooks.
//!
//! `./dev bench server`; `REACTORCIDE_SECONDS=n` for how long the webhooks come (60).

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use reqwest::Client;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const IMAGE: &str = "reactorcide/busybox:local";
const SECRET: &str = "a-secret-of-this-measurement";
const FOLLOWERS: usize = 100;
/// Webhooks a second.
const RATE: u32 = 1_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let site = Site::start();
        site.idle("a server", site.server.id()).await;
        let cold = site.worker("cold", &[]);
        site.idle("a worker", cold.0.id()).await;
        site.first_line("cold").await;
        drop(cold);
        let warm = site.worker("warm", &["--pool", "warm"]);
        tokio::time::sleep(Duration::from_secs(3)).await;
        site.first_line("a container that waits").await;
        site.followers().await;
        drop(warm);
        let seconds = std::env::var("REACTORCIDE_SECONDS").ok().and_then(|text| text.parse().ok());
        site.webhooks(seconds.unwrap_or(60)).await;
    });
}

/// A workspace with a server.
struct Site {
    directory: tempfile::TempDir,
    server: Child,
    url: String,
    token: String,
    client: Client,
}

/// A worker, until it is dropped.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
    }
}

fn reactorcide(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reactorcide"));
    command.args(arguments).current_dir(directory).env("HOME", directory);
    for name in ["REACTORCIDE_STATE", "REACTORCIDE_SERVER", "REACTORCIDE_TOKEN"] {
        command.env_remove(name);
    }
    command
}

impl Site {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("secret"), SECRET).expect("a secret");
        let secret = directory.path().join("secret").display().to_string();
        let text = CONFIGURATION.replace("IMAGE", IMAGE).replace("SECRET", &secret);
        std::fs::write(directory.path().join("ci.yaml"), text).expect("a configuration");
        let applied =
            reactorcide(directory.path(), &["apply", "--auto-approve"]).output().expect("the binary");
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        let mut server = reactorcide(directory.path(), &["server", "--listen", "127.0.0.1:0"])
            .env("REACTORCIDE_LOG", "error")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let mut said =
            BufReader::new(server.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
        let line = said.find(|line| line.contains("serving at")).expect("it serves");
        let url = line.split_whitespace().nth(2).expect("a URL").trim_end_matches(',').to_owned();
        let token = said.find(|line| line.contains("rct_")).expect("a token").trim().to_owned();
        std::thread::spawn(move || said.for_each(|line| eprintln!("{line}")));
        Self { directory, server, url, token, client: Client::new() }
    }

    fn worker(&self, name: &str, more: &[&str]) -> Worker {
        let token = reactorcide(self.directory.path(), &["tokens", "create", "--worker", name]).output();
        let token = String::from_utf8(token.expect("the binary").stdout).expect("a token");
        let directory = self.directory.path().join(name).display().to_string();
        let mut arguments = vec!["worker", "--server", &self.url, "--slots", "2", "--directory", &directory];
        arguments.extend(more);
        let mut command = reactorcide(self.directory.path(), &arguments);
        command.env("REACTORCIDE_WORKER_TOKEN", token.trim()).env("REACTORCIDE_LOG", "error");
        Worker(command.spawn().expect("the binary"))
    }

    /// What a process has and does while nothing happens.
    async fn idle(&self, name: &str, process: u32) {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let before = switches(process);
        tokio::time::sleep(Duration::from_secs(10)).await;
        // Threads that ended in between took their count with them.
        let woken = switches(process).saturating_sub(before);
        let [resident, own] = ["VmRSS:", "RssAnon:"].map(|line| status(process, line) as f64 / 1024.0);
        println!(
            "{name} that has nothing to do: {resident:.1} MiB resident, {own:.1} MiB of it its own and the rest the program's file; \
             woken {woken} times in 10 seconds"
        );
    }

    async fn start_run(&self, pipeline: &str) -> String {
        let request = self.client.post(format!("{}/api/v1/runs", self.url)).bearer_auth(&self.token);
        let answer = request.json(&json!({"pipeline": pipeline})).send().await.expect("an answer");
        let run: Value = answer.error_for_status().expect("a run").json().await.expect("JSON");
        run["id"].as_str().expect("an id").to_owned()
    }

    /// Follows the log of a job: how many bytes came, and when the first output did.
    async fn follow(&self, run: &str, job: &str) -> (usize, Option<Instant>) {
        let request = self.client.get(format!("{}/api/v1/runs/{run}/jobs/{job}/log", self.url));
        let request = request.bearer_auth(&self.token).header("accept", "text/event-stream");
        let answer = request.send().await.expect("an answer").error_for_status().expect("a log");
        let (mut stream, mut size, mut first) = (answer.bytes_stream(), 0, None);
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.expect("bytes");
            let has_output = || bytes.windows(12).any(|part| part == br#""type":"log""#);
            if first.is_none() && has_output() {
                first = Some(Instant::now());
            }
            size += bytes.len();
        }
        (size, first)
    }

    async fn first_line(&self, how: &str) {
        let mut times = Vec::new();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(800)).await;
            let start = Instant::now();
            let run = self.start_run("p/hello").await;
            let (_, first) = self.follow(&run, "say").await;
            times.push((first.expect("it printed") - start).as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (median, most) = (times[times.len() / 2], times[times.len() * 9 / 10]);
        println!(
            "from the event to the first line at a follower, {how}: {median:.0} ms (90 % below {most:.0})"
        );
    }

    async fn followers(&self) {
        let run = self.start_run("p/long").await;
        let (size, _) = self.follow(&run, "say").await;
        let start = Instant::now();
        let all = futures_util::future::join_all((0..FOLLOWERS).map(|_| self.follow(&run, "say"))).await;
        let bytes: usize = all.iter().map(|(size, _)| size).sum();
        let rate = bytes as f64 / start.elapsed().as_secs_f64() / 1e6;
        assert!(all.iter().all(|(one, _)| *one > size / 2), "everybody gets all of it");
        println!(
            "{FOLLOWERS} followers of one log of {} MB: {rate:.0} MB a second together",
            size / 1_000_000
        );
        let peak = status(self.server.id(), "VmHWM:") as f64 / 1024.0;
        println!("the most memory of the server meanwhile: {peak:.0} MiB");
    }

    async fn webhooks(&self, seconds: u32) {
        let start = Instant::now();
        let send = async |n: u32| {
            let due = start + Duration::from_secs_f64(f64::from(n) / f64::from(RATE));
            tokio::time::sleep_until(due.into()).await;
            let body = format!(r#"{{"branch":"main","delivery_id":"{n}"}}"#);
            let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
            let request = self.client.post(format!("{}/api/v1/hooks/p", self.url));
            let request = request
                .header("x-reactorcide-timestamp", time.to_string())
                .header("x-reactorcide-signature", format!("sha256={}", signature(&format!("{time}.{body}"))))
                .header("content-type", "application/json");
            let sent = Instant::now();
            let answer = request.body(body).send().await;
            (answer.is_ok_and(|answer| answer.status().is_success()), sent.elapsed().as_secs_f64() * 1e3)
        };
        let sent: Vec<(bool, f64)> =
            futures_util::stream::iter(0..RATE * seconds).map(send).buffer_unordered(256).collect().await;
        let took = start.elapsed().as_secs_f64();
        let accepted = sent.iter().filter(|(accepted, _)| *accepted).count();
        let mut times: Vec<f64> = sent.iter().map(|(_, time)| *time).collect();
        times.sort_by(f64::total_cmp);
        println!(
            "webhooks: {} sent in {took:.1} s, {accepted} accepted, {:.0} a second; the median took {:.1} ms, 99 % less than {:.1} ms",
            sent.len(),
            accepted as f64 / took,
            times[times.len() / 2],
            times[times.len() * 99 / 100],
        );
        println!("runs that came of them: {}", self.count().await);
    }

    /// How many runs of webhooks there are.
    async fn count(&self) -> usize {
        let (mut count, mut cursor) = (0, None::<String>);
        loop {
            let mut query = vec![("limit", "1000".to_owned()), ("event", "webhook".to_owned())];
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let request = self.client.get(format!("{}/api/v1/runs", self.url)).bearer_auth(&self.token);
            let answer =
                request.query(&query).send().await.expect("an answer").error_for_status().expect("runs");
            let page: Value = answer.json().await.expect("JSON");
            count += page["items"].as_array().map_or(0, Vec::len);
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return count,
            }
        }
    }
}

const CONFIGURATION: &str = "
apiVersion: reactorcide/v1
kind: Project
metadata: {name: p}
spec: {webhook: {secret: hook}}
---
apiVersion: reactorcide/v1
kind: Secret
metadata: {name: hook}
spec: {source: file, location: SECRET}
---
apiVersion: reactorcide/v1
kind: WorkerPool
metadata: {name: warm}
spec: {standby: [{image: IMAGE, min: 2, max: 2}]}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {name: hello, project: p}
spec:
  jobs:
    say: {image: IMAGE, command: 'echo hello', source: {none: true}}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {name: long, project: p}
spec:
  jobs:
    say: {image: IMAGE, command: 'yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 20000000', source: {none: true}}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {name: hooked, project: p}
spec:
  triggers: [{event: webhook}]
  jobs:
    nothing: {image: IMAGE, command: 'true', runs_on: {nobody: 'yes'}}
";

/// An HMAC-SHA256 in hexadecimal.
fn signature(text: &str) -> String {
    let mut key = [0_u8; 64];
    key[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
    let pad = |byte: u8| key.map(|one| one ^ byte);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn status(process: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// How often the threads of a process began to wait.
fn switches(process: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten();
    let of = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.map(of).sum()
}
