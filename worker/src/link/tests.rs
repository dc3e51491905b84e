//! Runners, strangers, and connections that break.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;

const ATTEMPT: u32 = 3;

fn key() -> Key {
    Key::new([9; 32])
}

/// A socket in a directory whose path is too long for one.
fn listen() -> (tempfile::TempDir, Link) {
    let directory = tempfile::Builder::new().prefix(&"x".repeat(120)).tempdir().expect("a directory");
    let link = Link::listen(directory.path(), host_user(), key(), ATTEMPT).expect("a socket");
    (directory, link)
}

async fn connect(directory: &tempfile::TempDir) -> BufReader<UnixStream> {
    let handle = File::open(directory.path()).expect("the directory");
    let path = format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd());
    BufReader::new(UnixStream::connect(path).await.expect("somebody listens"))
}

async fn hear(stream: &mut BufReader<UnixStream>) -> Option<ToRunner> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

fn hello(key: &Key, challenge: Nonce, attempt: u32, first: u64) -> ToWorker {
    let nonce = Nonce([4; 32]);
    ToWorker::Hello {
        v: VERSION,
        attempt,
        first,
        nonce,
        proof: key.of_runner(challenge, nonce, attempt, first),
    }
}

/// Says hello. Returns what was said.
async fn greet(stream: &mut BufReader<UnixStream>, key: &Key, attempt: u32, first: u64) -> Vec<u8> {
    let Some(ToRunner::Challenge { nonce, .. }) = hear(stream).await else { panic!("a challenge") };
    let hello = hello(key, nonce, attempt, first).line();
    stream.write_all(&hello).await.expect("written");
    hello
}

/// Runs a link beside something else.
async fn beside<T>(link: &mut Link, other: impl Future<Output = T>) -> T {
    tokio::select! {
        heard = link.next() => panic!("nothing should be heard: {heard:?}"),
        done = other => done,
    }
}

/// A runner that was let in.
async fn runner(directory: &tempfile::TempDir, link: &mut Link, first: u64) -> BufReader<UnixStream> {
    let mut stream = connect(directory).await;
    let greeting = async {
        greet(&mut stream, &key(), ATTEMPT, first).await;
        std::future::pending::<()>().await;
    };
    let heard = tokio::select! { heard = link.next() => heard, () = greeting => unreachable!() };
    assert_eq!(heard, Heard::Connected(first));
    link.welcome(first);
    assert!(matches!(hear(&mut stream).await, Some(ToRunner::Welcome { next, .. }) if next == first));
    stream
}

async fn lines(link: &mut Link, bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < bytes {
        let Heard::Lines(lines) = link.next().await else { panic!("lines") };
        assert!(lines.ends_with(b"\n"));
        all.extend_from_slice(&lines);
    }
    all
}

#[tokio::test]
async fn a_runner_proves_itself_and_so_does_the_worker() {
    let (directory, mut link) = listen();
    let mut stream = connect(&directory).await;
    let (challenge, heard) = tokio::join!(
        async {
            let Some(ToRunner::Challenge { v: VERSION, nonce }) = hear(&mut stream).await else { panic!() };
            stream.write_all(&hello(&key(), nonce, ATTEMPT, 7).line()).await.expect("written");
            nonce
        },
        link.next()
    );
    assert_eq!(heard, Heard::Connected(7));
    link.welcome(11);
    let Some(ToRunner::Welcome { next, proof }) = hear(&mut stream).await else { panic!("a welcome") };
    assert!(next == 11 && key().is_of_worker(proof, challenge, Nonce([4; 32]), 11));
    link.say(&ToRunner::Ack { next: 12 });
    assert_eq!(hear(&mut stream).await, Some(ToRunner::Ack { next: 12 }));
}

#[tokio::test]
async fn strangers_are_let_go_and_disturb_nobody() {
    let (directory, mut link) = listen();
    let mut stream = runner(&directory, &mut link, 0).await;
    // The wrong key, the wrong attempt, what another connection said before, nonsense, and too much of it.
    let (mut one, mut two, mut three, mut four, mut five) = (
        connect(&directory).await,
        connect(&directory).await,
        connect(&directory).await,
        connect(&directory).await,
        connect(&directory).await,
    );
    beside(&mut link, async {
        greet(&mut one, &Key::new([1; 32]), ATTEMPT, 0).await;
        assert_eq!(hear(&mut one).await, None);
        let said = greet(&mut two, &key(), ATTEMPT + 1, 0).await;
        assert_eq!(hear(&mut two).await, None);
        assert!(hear(&mut three).await.is_some());
        three.write_all(&said).await.expect("written");
        assert_eq!(hear(&mut three).await, None);
        four.write_all(b"{\"v\":1,\"attempt\":3,\"seq\":0,\"at\":0,\"type\":\"result\"}\n")
            .await
            .expect("written");
        assert!(hear(&mut four).await.is_some());
        assert_eq!(hear(&mut four).await, None);
        let _ = five.write_all(&vec![b'x'; 1 << 20]).await;
        assert!(hear(&mut five).await.is_some());
        assert_eq!(hear(&mut five).await, None);
    })
    .await;
    stream.write_all(b"still\n").await.expect("written");
    assert_eq!(lines(&mut link, 6).await, b"still\n");
}

#[tokio::test]
async fn what_one_connection_proved_is_no_use_to_another() {
    let (directory, mut link) = listen();
    let mut stream = connect(&directory).await;
    let key = key();
    let (said, heard) = tokio::join!(greet(&mut stream, &key, ATTEMPT, 0), link.next());
    assert_eq!(heard, Heard::Connected(0));
    link.welcome(0);
    let mut thief = connect(&directory).await;
    beside(&mut link, async {
        assert!(matches!(hear(&mut thief).await, Some(ToRunner::Challenge { .. })));
        thief.write_all(&said).await.expect("written");
        assert_eq!(hear(&mut thief).await, None);
    })
    .await;
    assert!(link.is_connected());
}

#[tokio::test]
async fn a_flood_of_connections_keeps_nobody_out() {
    let (directory, mut link) = listen();
    let mut silent = Vec::new();
    for _ in 0..200 {
        let stream = connect(&directory).await;
        silent.push(
            beside(&mut link, async move {
                let mut stream = stream;
                hear(&mut stream).await;
                stream
            })
            .await,
        );
    }
    assert!(link.greetings.len() <= MAX_GREETINGS + 1 && link.oldest.len() <= MAX_GREETINGS + 1);
    let began = tokio::time::Instant::now();
    runner(&directory, &mut link, 5).await;
    assert!(began.elapsed() < GREETING, "it waited for nobody's patience to end");
}

#[tokio::test]
async fn lines_are_whole_however_they_are_cut_and_too_long_ones_end_it() {
    let (directory, mut link) = listen();
    let mut stream = runner(&directory, &mut link, 0).await;
    let text: Vec<u8> = (0..50).flat_map(|at| format!("{}\n", "y".repeat(at * 7)).into_bytes()).collect();
    for size in [1, 3, 64, 4096] {
        let writing = async {
            for piece in text.chunks(size) {
                stream.write_all(piece).await.expect("written");
                tokio::task::yield_now().await;
            }
        };
        let (all, ()) = tokio::join!(lines(&mut link, text.len()), writing);
        assert_eq!(all, text);
    }
    let endless = async {
        let piece = vec![b'z'; 64 << 10];
        while stream.write_all(&piece).await.is_ok() {}
    };
    beside(&mut link, endless).await;
    assert!(!link.is_connected());
    runner(&directory, &mut link, 9).await;
}

#[tokio::test]
async fn a_new_connection_takes_the_place_of_the_old_one_also_for_a_new_worker() {
    let (directory, mut link) = listen();
    let mut old = runner(&directory, &mut link, 0).await;
    old.write_all(b"half a li").await.expect("written");
    let mut new = runner(&directory, &mut link, 4).await;
    assert_eq!(hear(&mut old).await, None);
    new.write_all(b"whole\n").await.expect("written");
    assert_eq!(lines(&mut link, 6).await, b"whole\n");
    // A worker that is restarted listens in the same place, and nobody is left with the one before.
    let mut again = Link::listen(directory.path(), host_user(), key(), ATTEMPT).expect("a socket");
    drop(link);
    assert_eq!(hear(&mut new).await, None);
    runner(&directory, &mut again, 6).await;
}

#[tokio::test]
async fn a_runner_that_reads_nothing_is_not_waited_for() {
    let (directory, mut link) = listen();
    let mut stream = runner(&directory, &mut link, 0).await;
    for next in 0..100_000 {
        link.say(&ToRunner::Ack { next });
    }
    stream.write_all(b"line\n").await.expect("written");
    assert_eq!(lines(&mut link, 5).await, b"line\n");
    let reading = async {
        for next in 0..100_000 {
            assert_eq!(hear(&mut stream).await, Some(ToRunner::Ack { next }));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), beside(&mut link, reading))
        .await
        .expect("all of it arrives");
}
