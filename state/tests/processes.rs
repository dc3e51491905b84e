//! Several processes on one log: readers beside a writer, and a writer that is killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use reactorcide_engine::logs::{LogKey, LogStore, conformance};
use reactorcide_state::{LogSettings, Logs, Storage};

/// Names the part that this program plays, when one of these tests starts it again.
const PART: &str = "REACTORCIDE_TEST_LOG_PART";
const DIRECTORY: &str = "REACTORCIDE_TEST_LOG_DIRECTORY";

fn key() -> LogKey {
    LogKey::new("run", "job", 1)
}

fn open(directory: &str) -> Logs {
    let storage = Storage::open(directory).unwrap();
    Logs::new(
        &storage,
        LogSettings { poll: std::time::Duration::from_millis(10), ..LogSettings::of(&storage) },
    )
}

fn line(number: u64) -> Bytes {
    Bytes::from(format!("line {number:8}\n"))
}

fn start(part: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::a_process_plays_its_part", "--nocapture"])
        .env(PART, part)
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the other tests start; by itself it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_plays_its_part() {
    let (Ok(part), Ok(directory)) = (std::env::var(PART), std::env::var(DIRECTORY)) else { return };
    let logs = open(&directory);
    if part == "write" {
        for number in 0.. {
            let next = logs.append(&key(), number * 14, line(number)).await.unwrap();
            println!("stored {next}");
        }
    }
    let (mut all, mut finished) = (Vec::new(), false);
    while !finished {
        let progress = logs.wait(&key(), all.len() as u64).await.unwrap();
        while (all.len() as u64) < progress.length {
            all.extend_from_slice(&logs.read(&key(), all.len() as u64, 1000).await.unwrap());
        }
        finished = progress.finished;
    }
    let expected: Vec<u8> = (0..all.len() as u64 / 14).flat_map(line).collect();
    assert!(all == expected, "the lines are others, or in another order");
    println!("read {}", all.len());
}

fn said<'a>(child: &'a mut Child, word: &'static str) -> impl Iterator<Item = u64> + 'a {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.filter_map(move |line| line.unwrap().split_once(word)?.1.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_read_while_one_writes() {
    let directory = tempfile::tempdir().unwrap();
    let mut readers = [start("read", directory.path()), start("read", directory.path())];
    let logs = open(directory.path().to_str().unwrap());
    for number in 0..1_000 {
        logs.append(&key(), number * 14, line(number)).await.unwrap();
    }
    logs.finish(&key()).await.unwrap();
    for reader in &mut readers {
        assert_eq!(said(reader, "read ").last(), Some(14_000));
        assert!(reader.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    // Somewhere among the first segments, and around where small ones are put together.
    for acknowledged in [1, 30, 63, 64, 65, 130] {
        let root = directory.path().join(acknowledged.to_string());
        let mut writer = start("write", &root);
        let last = said(&mut writer, "stored ").nth(acknowledged - 1).unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();
        let logs = open(root.to_str().unwrap());
        let length = logs.length(&key()).await.unwrap();
        assert!(length >= last && length % 14 == 0, "{length} of {last}");
        let expected: Vec<u8> = (0..length / 14).flat_map(line).collect();
        assert!(conformance::read_all(&logs, &key(), 0, 100).await == expected);
        // Another server goes on.
        assert_eq!(logs.append(&key(), length, line(length / 14)).await, Ok(length + 14));
        logs.finish(&key()).await.unwrap();
    }
}
