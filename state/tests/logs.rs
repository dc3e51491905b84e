//! Logs in a directory and in a bucket: the engine's conformance suite, and what only a storage can do wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reactorcide_engine::logs::{LogError, LogKey, LogStore, conformance};
use reactorcide_state::{LogSettings, Logs, Storage};

use crate::s3;

fn storage(directory: &Path) -> Storage {
    Storage::open(directory.to_str().unwrap()).unwrap()
}

fn settings(storage: &Storage) -> LogSettings {
    // Pieces small enough that a test meets every border, and a clock that does not wait.
    LogSettings {
        pace: Duration::from_millis(if storage.location().starts_with('/') { 0 } else { 1 }),
        poll: Duration::from_millis(20),
        cached: 20_000,
        cached_in_all: 50_000,
        object: 30_000,
        ..LogSettings::of(storage)
    }
}

fn logs(storage: &Storage) -> Arc<dyn LogStore> {
    Arc::new(Logs::new(storage, settings(storage)))
}

/// The files of all logs, below the directory of the storage.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path.strip_prefix(directory).unwrap().display().to_string());
            }
        }
    }
    found.sort_unstable();
    found
}

macro_rules! over_all {
    ($($check:ident),* $(,)?) => {$(
        mod $check {
            #[tokio::test]
            async fn in_a_directory() {
                let directory = tempfile::tempdir().unwrap();
                super::conformance::$check(&*super::logs(&super::storage(directory.path()))).await;
            }

            #[tokio::test]
            async fn in_a_bucket() {
                let server = super::s3::Server::start().await;
                super::conformance::$check(&*super::logs(&server.storage())).await;
            }
        }
    )*};
}

over_all!(
    an_append_that_is_repeated_changes_nothing,
    a_hole_is_refused_by_the_offset_that_is_expected,
    a_finished_log_takes_nothing,
    logs_do_not_touch_each_other,
    who_waits_is_woken,
);

#[tokio::test]
async fn a_log_is_what_a_simple_model_says() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    for seed in 0..40 {
        conformance::a_log_is_what_a_simple_model_says(&|| logs(&storage), seed).await;
    }
}

#[tokio::test]
async fn a_log_in_a_bucket_is_what_a_simple_model_says() {
    let server = s3::Server::start().await;
    let storage = server.storage();
    for seed in 100..102 {
        conformance::a_log_is_what_a_simple_model_says(&|| logs(&storage), seed).await;
    }
}

#[tokio::test]
async fn a_finished_log_is_few_large_objects() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let logs = logs(&storage);
    let key = LogKey::new("run", "test[0]", 1);
    let all: Bytes = (0..70_000_u32).map(|n| (n % 251) as u8).collect();
    for first in (0..all.len()).step_by(100) {
        logs.append(&key, first as u64, all.slice(first..first + 100)).await.unwrap();
        // Others put together what is small.
        assert!(files(directory.path()).len() < 200);
    }
    logs.finish(&key).await.unwrap();
    let below = "logs/run/test_5b0_5d/1";
    assert_eq!(
        files(directory.path()),
        [
            format!("{below}/00000000000000000000-00000000000000030000"),
            format!("{below}/00000000000000030000-00000000000000060000"),
            format!("{below}/00000000000000060000-00000000000000070000"),
            format!("{below}/finished-00000000000000070000"),
        ]
    );
    assert!(conformance::read_all(&*logs, &key, 0, 1 << 20).await == all);
}

/// As a machine that lost its power leaves it: a file that is shorter than it should be, and later ones that are there.
#[tokio::test]
async fn what_a_machine_lost_is_asked_for_again() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let key = LogKey::new("run", "job", 1);
    let first = logs(&storage);
    for n in 0..4 {
        first.append(&key, n * 3, Bytes::from_static(b"abc")).await.unwrap();
    }
    let torn = directory.path().join("logs/run/job/1/00000000000000000003-00000000000000000006");
    std::fs::write(torn, "a").unwrap();
    let second = logs(&storage);
    let gap = LogError::Gap { key: key.clone(), expected: 3, offset: 12 };
    assert_eq!(second.append(&key, 12, Bytes::from_static(b"abc")).await, Err(gap));
    assert_eq!(second.append(&key, 3, Bytes::from_static(b"abcabcabcabc")).await, Ok(15));
    assert_eq!(conformance::read_all(&*second, &key, 0, 100).await, b"abcabcabcabcabc");
}

/// Appends that are sent at once, as by a writer that does not wait for answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_at_once_are_one_sequence() {
    let directory = tempfile::tempdir().unwrap();
    let logs = logs(&storage(directory.path()));
    let key = LogKey::new("run", "job", 1);
    let mut tasks = Vec::new();
    for n in 0..200_u64 {
        let (logs, key) = (logs.clone(), key.clone());
        tasks.push(tokio::spawn(async move {
            let bytes = Bytes::from(vec![n as u8; 10]);
            loop {
                match logs.append(&key, n * 10, bytes.clone()).await {
                    Err(LogError::Gap { .. }) => tokio::task::yield_now().await,
                    other => break other,
                }
            }
        }));
    }
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), Ok((n as u64 + 1) * 10));
    }
    let expected: Vec<u8> = (0..200).flat_map(|n| [n as u8; 10]).collect();
    assert_eq!(conformance::read_all(&*logs, &key, 0, 77).await, expected);
}
