//! What every store of logs must do, as checks that run over any implementation.
//!
//! Each check takes an empty store and panics where it does not keep the contract of [`LogStore`].

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join;

use super::{LogError, LogKey, LogStore, Progress};

fn key(node: &str) -> LogKey {
    LogKey::new("run-1", node, 1)
}

/// All bytes of a log from an offset on, read in pieces.
pub async fn read_all(store: &dyn LogStore, key: &LogKey, mut offset: u64, piece: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let bytes = store.read(key, offset, piece).await.expect("it can be read");
        assert!(bytes.len() <= piece, "{} bytes were read where {piece} were asked for", bytes.len());
        if bytes.is_empty() {
            return all;
        }
        offset += bytes.len() as u64;
        all.extend_from_slice(&bytes);
    }
}

async fn append(store: &dyn LogStore, key: &LogKey, offset: u64, text: &str) -> Result<u64, LogError> {
    store.append(key, offset, Bytes::copy_from_slice(text.as_bytes())).await
}

/// Twice, in part, in a piece that reaches beyond: what is there is skipped.
pub async fn an_append_that_is_repeated_changes_nothing(store: &dyn LogStore) {
    let key = key("build");
    assert_eq!(store.length(&key).await, Ok(0));
    assert_eq!(store.read(&key, 0, 100).await, Ok(Bytes::new()));
    for (offset, text, next) in
        [(0, "abc", 3), (0, "abc", 3), (1, "b", 3), (0, "", 3), (3, "", 3), (1, "bcde", 5), (5, "f", 6)]
    {
        assert_eq!(append(store, &key, offset, text).await, Ok(next), "{text:?} at {offset}");
    }
    for piece in [1, 2, 100] {
        assert_eq!(read_all(store, &key, 0, piece).await, b"abcdef");
    }
    assert_eq!(read_all(store, &key, 4, 100).await, b"ef");
    for beyond in [6, 7, u64::MAX] {
        assert_eq!(store.read(&key, beyond, 100).await, Ok(Bytes::new()));
    }
    assert_eq!(store.read(&key, 0, 0).await, Ok(Bytes::new()));
    assert_eq!(store.length(&key).await, Ok(6));
}

/// No hole, and the writer hears where to go on.
pub async fn a_hole_is_refused_by_the_offset_that_is_expected(store: &dyn LogStore) {
    let key = key("build");
    let gap = |expected, offset| Err(LogError::Gap { key: key.clone(), expected, offset });
    assert_eq!(append(store, &key, 1, "b").await, gap(0, 1));
    assert_eq!(append(store, &key, u64::MAX, "b").await, gap(0, u64::MAX));
    assert_eq!(append(store, &key, 0, "ab").await, Ok(2));
    assert_eq!(append(store, &key, 3, "d").await, gap(2, 3));
    assert_eq!(append(store, &key, 3, "").await, gap(2, 3));
    assert_eq!(append(store, &key, 2, "cd").await, Ok(4));
    assert_eq!(read_all(store, &key, 0, 100).await, b"abcd");
}

/// It stays what it was, and a late repetition is no error.
pub async fn a_finished_log_takes_nothing(store: &dyn LogStore) {
    let key = key("build");
    append(store, &key, 0, "abc").await.expect("an append");
    assert_eq!(store.is_finished(&key).await, Ok(false));
    for _ in 0..2 {
        store.finish(&key).await.expect("it is finished");
        assert_eq!(store.is_finished(&key).await, Ok(true));
        assert_eq!(append(store, &key, 0, "abc").await, Ok(3));
        let refused = Err(LogError::Finished { key: key.clone(), length: 3 });
        assert_eq!(append(store, &key, 3, "d").await, refused);
        assert_eq!(append(store, &key, 2, "cd").await, refused);
        assert_eq!(read_all(store, &key, 0, 2).await, b"abc");
    }
    assert_eq!(store.wait(&key, 3).await, Ok(Progress { length: 3, finished: true }));
    let nothing = LogKey { node: "nothing".to_owned(), ..key };
    store.finish(&nothing).await.expect("one without a byte can be finished too");
    assert_eq!((store.is_finished(&nothing).await, store.length(&nothing).await), (Ok(true), Ok(0)));
}

/// Names that look alike, reach elsewhere or are long are all different logs; a run that is removed is alone.
pub async fn logs_do_not_touch_each_other(store: &dyn LogStore) {
    let long = "a".repeat(300);
    let names = [
        "test",
        "Test",
        "test[0]",
        "test[00]",
        "test.0",
        "test_0",
        "test/0",
        "test%5B0%5D",
        "test_5b0_5d",
        "..",
        ".",
        "",
        "a/../../b",
        "ä",
        "a b",
        "a\\b",
        "\0",
        "1",
        &long,
        &format!("{long}b"),
        &format!("{long}c"),
        "Ä".repeat(100).as_str(),
    ]
    .map(str::to_owned);
    let keys: Vec<LogKey> = ["run-1", "run-10", "../run-1"]
        .iter()
        .flat_map(|run| names.iter().map(move |name| LogKey::new(*run, name, 1)))
        .chain((2..4).map(|attempt| LogKey::new("run-1", "test", attempt)))
        .collect();
    for key in &keys {
        let text = format!("{key:?}");
        assert_eq!(append(store, key, 0, &text).await, Ok(text.len() as u64), "{key}");
    }
    let mut runs = store.runs().await.expect("the runs");
    runs.sort_unstable();
    assert_eq!(runs, ["../run-1", "run-1", "run-10"]);
    for key in &keys {
        assert_eq!(read_all(store, key, 0, 1000).await, format!("{key:?}").as_bytes());
    }
    for _ in 0..2 {
        store.remove("run-1").await.expect("it is removed");
    }
    store.remove("run-9").await.expect("what is not there is gone");
    for key in &keys {
        let expected = if key.run == "run-1" { 0 } else { format!("{key:?}").len() as u64 };
        assert_eq!(store.length(key).await, Ok(expected), "{key}");
    }
}

/// By bytes, and by the end.
pub async fn who_waits_is_woken(store: &dyn LogStore) {
    let key = key("build");
    let (seen, _) = join(store.wait(&key, 0), append(store, &key, 0, "abc")).await;
    assert_eq!(seen, Ok(Progress { length: 3, finished: false }));
    assert_eq!(store.wait(&key, 2).await, Ok(Progress { length: 3, finished: false }));
    let (seen, _) = join(store.wait(&key, 3), store.finish(&key)).await;
    assert_eq!(seen, Ok(Progress { length: 3, finished: true }));
}

/// Random appends that repeat, overlap and leave holes, reads and ends, over servers that come and go, are held against
/// a vector of bytes. `open` starts another server on the same storage.
pub async fn a_log_is_what_a_simple_model_says(open: &(dyn Fn() -> Arc<dyn LogStore> + Sync), seed: u64) {
    let mut random = Random(seed);
    let key = LogKey::new(format!("run-{seed}"), "test[0]", 1);
    // What the writer will send in its life; the log is a prefix of it.
    let source: Bytes = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut end = 0_usize;
    let mut finished = false;
    let mut servers = vec![open(), open()];
    for step in 0..120 {
        let said = format!("seed {seed}, step {step}");
        let which = random.below(2);
        if random.below(10) == 0 {
            servers[which] = open();
        }
        let server = &*servers[which];
        match random.below(40) {
            0..24 => {
                let from = (end + random.below(40)).saturating_sub(random.below(60)).min(source.len());
                let reach = [50, 2_000, 20_000][random.below(3)];
                let count = random.below(reach).min(source.len() - from);
                let answer = server.append(&key, from as u64, source.slice(from..from + count)).await;
                let length = end as u64;
                if from > end {
                    let gap = LogError::Gap { key: key.clone(), expected: length, offset: from as u64 };
                    assert_eq!(answer, Err(gap), "{said}");
                } else if from + count > end && finished {
                    // Another server may not know it yet; then the bytes add nothing.
                    let refusal = LogError::Finished { key: key.clone(), length };
                    assert!(answer.is_ok() || answer == Err(refusal), "{said}: {answer:?}");
                    if answer.is_ok() {
                        servers[which] = open();
                    }
                } else {
                    end = end.max(from + count);
                    // What another server knows beyond these bytes it may tell or not.
                    let next = answer.unwrap_or_else(|error| panic!("{said}: {error}"));
                    assert!((from + count) as u64 <= next && next <= end as u64, "{said}: {next}");
                }
            }
            24..34 => {
                let from = random.below(end + 10);
                let max = random.below(30_000);
                let bytes = server.read(&key, from as u64, max).await.expect(&said);
                let expected = &source[from.min(end)..end.min(from.saturating_add(max)).max(from.min(end))];
                assert!(expected.starts_with(&bytes), "{said}: other bytes at {from}");
                assert_eq!(bytes.is_empty(), expected.is_empty(), "{said}: at {from} of {end}");
            }
            34..39 => {
                assert_eq!(server.length(&key).await, Ok(end as u64), "{said}");
                assert_eq!(server.is_finished(&key).await, Ok(finished), "{said}");
            }
            _ if step > 60 => {
                server.finish(&key).await.expect(&said);
                finished = true;
            }
            _ => assert_eq!(read_all(server, &key, 0, 5_000).await, source[..end], "{said}"),
        }
    }
    for server in &servers {
        assert!(read_all(&**server, &key, 0, 1 << 16).await == source[..end], "seed {seed}: at the end");
    }
}

/// A small generator, so that a seed gives the same steps everywhere. (SplitMix64.)
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).expect("it is below a usize")
    }
}
