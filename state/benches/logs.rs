//! How fast logs are taken in, and how fast a hundred followers of one log get what is printed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use reactorcide_engine::logs::{LogKey, LogStore};
use reactorcide_state::{LogSettings, Logs, Storage};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

fn main() {
    divan::main();
}

fn key() -> LogKey {
    LogKey::new("run", "test[0]", 1)
}

fn fresh(runtime: &Runtime) -> (TempDir, Arc<Logs>) {
    let _entered = runtime.enter();
    let directory = TempDir::new().expect("a directory");
    let storage = Storage::open(directory.path().to_str().expect("UTF-8")).expect("a storage");
    (directory, Arc::new(Logs::new(&storage, LogSettings::of(&storage))))
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// 256 appends of one log in a directory, one after another, each acknowledged; by their size.
#[divan::bench(args = [200, 4 << 10, 64 << 10, 1 << 20], sample_count = 5, sample_size = 1)]
fn appends(bencher: Bencher, size: usize) {
    const COUNT: usize = 256;
    let runtime = runtime();
    let bytes = Bytes::from(vec![b'x'; size]);
    bencher
        .counter(ItemsCount::new(COUNT))
        .counter(BytesCount::new(COUNT * size))
        .with_inputs(|| fresh(&runtime))
        .bench_local_values(|(directory, logs)| {
            runtime.block_on(async {
                for n in 0..COUNT {
                    let offset = (n * size) as u64;
                    logs.append(&key(), offset, bytes.clone()).await.expect("it is stored");
                }
            });
            (directory, logs)
        });
}

/// A hundred followers of one log while 32 MiB are written to it in batches: from the first append until the last follower
/// has the last byte. The bytes are those of all followers.
#[divan::bench(args = [16 << 10, 256 << 10], sample_count = 5, sample_size = 1)]
fn a_hundred_followers(bencher: Bencher, batch: usize) {
    const FOLLOWERS: usize = 100;
    const LENGTH: usize = 32 << 20;
    let runtime = runtime();
    let bytes = Bytes::from(vec![b'x'; batch]);
    bencher.counter(BytesCount::new(FOLLOWERS * LENGTH)).with_inputs(|| fresh(&runtime)).bench_local_values(
        |(directory, logs)| {
            runtime.block_on(async {
                let followers: Vec<_> = (0..FOLLOWERS).map(|_| tokio::spawn(follow(logs.clone()))).collect();
                for offset in (0..LENGTH).step_by(batch) {
                    logs.append(&key(), offset as u64, bytes.clone()).await.expect("it is stored");
                }
                logs.finish(&key()).await.expect("it is finished");
                for follower in followers {
                    let read = tokio::time::timeout(Duration::from_secs(60), follower).await;
                    assert_eq!(read.expect("in time").expect("it ends"), LENGTH as u64);
                }
            });
            (directory, logs)
        },
    );
}

async fn follow(logs: Arc<Logs>) -> u64 {
    let mut offset = 0;
    loop {
        let progress = logs.wait(&key(), offset).await.expect("an answer");
        while offset < progress.length {
            offset += logs.read(&key(), offset, 256 << 10).await.expect("bytes").len() as u64;
        }
        if progress.finished {
            return offset;
        }
    }
}
