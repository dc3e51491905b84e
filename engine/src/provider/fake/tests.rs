//! The fake's own strings and levers; the contract is checked by the conformance suite.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;

use super::*;
use crate::provider::{Limits, NetworkMode, User};

fn spec(name: &str, image: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        owner: Owner("me".to_owned()),
        labels: BTreeMap::new(),
        image: image.to_owned(),
        entrypoint: None,
        command: None,
        environment: BTreeMap::new(),
        working_dir: None,
        user: User { uid: 1001, gid: 1001 },
        mounts: Vec::new(),
        tmpfs: Vec::new(),
        overlays: Vec::new(),
        limits: Limits::default(),
        network: NetworkMode::None,
        read_only: false,
        devices: Vec::new(),
        capabilities: Vec::new(),
        stdin: true,
    }
}

async fn text(attachment: Attachment) -> String {
    let chunks: Vec<_> = attachment.output.collect().await;
    chunks.into_iter().map(|chunk| String::from_utf8(chunk.unwrap().bytes).unwrap()).collect()
}

#[tokio::test]
async fn answers_its_input() {
    let fake = Fake::new();
    let reply = |input: &[u8], _: bool| {
        let line = input.strip_suffix(b"\n")?;
        let bytes = [b"got ", line].concat();
        Some(vec![Step::Print { stderr: false, bytes }, Step::Exit(Exit { code: 3, oom: false })])
    };
    fake.script(Target::image("echo"), Behaviour::new().on_input(reply));
    let id = fake.create(&spec("a", "echo")).await.unwrap();
    let mut attachment = fake.attach(&id).await.unwrap();
    fake.start(&id).await.unwrap();
    let mut input = attachment.input.take().unwrap();
    input.write_all(b"spe").await.unwrap();
    assert_eq!(fake.running(), ["a"]);
    input.write_all(b"c\n").await.unwrap();
    assert_eq!(text(attachment).await, "got spec");
    assert_eq!(fake.wait(&id).await, Ok(Exit { code: 3, oom: false }));
}

#[tokio::test]
async fn waits_for_the_test_and_wakes_those_who_wait_for_it() {
    let fake = Fake::new();
    fake.script(Target::Any, Behaviour::new().prints("one").pauses().prints("two").exits(1));
    let id = fake.create(&spec("a", "x")).await.unwrap();
    let attachment = fake.attach(&id).await.unwrap();
    let waiting = tokio::spawn({
        let (fake, id) = (fake.clone(), id.clone());
        async move { fake.wait(&id).await }
    });
    let reading = tokio::spawn(text(attachment));
    fake.start(&id).await.unwrap();
    fake.until(|fake| fake.calls().iter().any(|call| call.operation() == Operation::Wait)).await;
    fake.release_paused("a");
    assert_eq!(reading.await.unwrap(), "onetwo");
    assert_eq!(waiting.await.unwrap().unwrap().code, 1);
}

#[tokio::test]
async fn fails_and_holds_calls_as_told() {
    let fake = Fake::new();
    let refused = ProviderError::Refused { reason: "no".to_owned() };
    fake.fail_once(Operation::Create, Target::image("x"), refused.clone());
    assert_eq!(fake.create(&spec("a", "x")).await, Err(refused));
    let id = fake.create(&spec("a", "x")).await.unwrap();

    fake.hold(Operation::Start, Target::name("a"));
    let start = fake.start(&id);
    let mut start = std::pin::pin!(start);
    assert!(futures_util::poll!(start.as_mut()).is_pending());
    assert_eq!(fake.inspect(&id).await, Ok(ContainerState::Created));
    fake.unhold(Operation::Start);
    start.await.unwrap();
    assert_eq!(fake.inspect(&id).await, Ok(ContainerState::Exited(Exit { code: 0, oom: false })));
}

#[tokio::test]
async fn scripts_for_one_container_come_before_those_for_all() {
    let fake = Fake::new();
    fake.script(Target::Any, Behaviour::new().exits(1));
    fake.script_next(Target::image("x"), Behaviour::new().exits(2));
    fake.script_next(Target::image("x"), Behaviour::new().exits(3));
    let mut codes = Vec::new();
    for name in ["a", "b", "c"] {
        let id = fake.create(&spec(name, "x")).await.unwrap();
        fake.start(&id).await.unwrap();
        codes.push(fake.wait(&id).await.unwrap().code);
    }
    assert_eq!(codes, [2, 3, 1]);
}

#[tokio::test]
async fn a_cut_ends_the_stream_and_not_the_container() {
    let fake = Fake::new();
    fake.script(Target::Any, Behaviour::new().prints("before").hangs());
    let id = fake.create(&spec("a", "x")).await.unwrap();
    let first = fake.attach(&id).await.unwrap();
    fake.start(&id).await.unwrap();
    fake.cut("a");
    let second = fake.attach(&id).await.unwrap();
    fake.print("a", "after");
    fake.exit("a", Exit { code: 0, oom: false });
    // A cut drops what was not read, as a lost connection does.
    assert_eq!(text(first).await, "");
    assert_eq!(text(second).await, "after");
}

#[tokio::test]
async fn does_as_told_on_sigterm() {
    let fake = Fake::new();
    let goodbye =
        [Step::Print { stderr: true, bytes: b"bye".to_vec() }, Step::Exit(Exit { code: 130, oom: false })];
    fake.script(Target::Any, Behaviour::new().hangs().on_term(goodbye));
    let id = fake.create(&spec("a", "x")).await.unwrap();
    let attachment = fake.attach(&id).await.unwrap();
    fake.start(&id).await.unwrap();
    fake.stop(&id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(fake.wait(&id).await.unwrap().code, 130);
    assert_eq!(text(attachment).await, "bye");
}
