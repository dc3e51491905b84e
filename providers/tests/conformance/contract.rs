//! What holds for every provider.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reactorcide_engine::provider::{ContainerId, ContainerState, Exit, Owner, ProviderError};

use crate::environment::{Environment, Program, ok, read, read_until, within};

/// One test for each point of the contract, for the environment that the expression makes.
macro_rules! contract {
    ($environment:expr; $($check:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                $environment.leaves_nothing(crate::contract::$check).await;
            }
        )*
    };
    ($environment:expr) => {
        crate::contract::contract! { $environment;
            create_is_idempotent_by_name, two_creations_of_one_name_make_one, a_name_of_another_owner_is_not_taken,
            no_line_is_lost, both_streams_are_told_apart, input_arrives_and_ends, exit_codes_are_told,
            waiting_after_the_end_returns_at_once, many_may_wait, stop_gives_time, stop_kills_what_ignores_it,
            stop_without_grace_kills, what_is_gone_may_be_stopped_and_removed, states_follow_the_life,
            the_list_has_all_of_an_owner, a_dropped_wait_harms_nothing, starting_twice_is_no_error,
            removal_takes_what_runs, waiting_for_what_is_removed_ends, release_keeps_what_is_in_use,
        }
    };
}
pub(crate) use contract;

type Shared = Arc<Environment>;

fn gone() -> ContainerId {
    ContainerId("0123456789abcdef".to_owned())
}

pub async fn create_is_idempotent_by_name(environment: Shared) {
    let spec = environment.spec("twice", Program::Sleep);
    let first = ok(environment.provider.create(&spec)).await;
    let second = ok(environment.provider.create(&spec)).await;
    assert_eq!(first, second);
    ok(environment.provider.start(&first)).await;
    assert_eq!(ok(environment.provider.create(&spec)).await, first, "also while it runs");
    assert_eq!(ok(environment.provider.list(&environment.owner)).await.len(), 1);
}

pub async fn two_creations_of_one_name_make_one(environment: Shared) {
    let spec = environment.spec("at-once", Program::Sleep);
    let creations = (0..4).map(|_| environment.provider.create(&spec));
    let ids = within(futures_util::future::join_all(creations)).await;
    let ids: Vec<_> = ids.into_iter().map(|id| id.expect("created")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(ok(environment.provider.list(&environment.owner)).await.len(), 1);
}

pub async fn a_name_of_another_owner_is_not_taken(environment: Shared) {
    let mut spec = environment.spec("theirs", Program::Sleep);
    ok(environment.provider.create(&spec)).await;
    spec.owner = Owner(format!("{}-other", environment.owner.0));
    let refused = within(environment.provider.create(&spec)).await.expect_err("it is another's");
    assert!(refused.to_string().contains(&spec.name), "{refused}");
    assert_eq!(ok(environment.provider.list(&spec.owner)).await, []);
}

pub async fn no_line_is_lost(environment: Shared) {
    const COUNT: u32 = 100_000;
    let (exit, text) = environment.output(&environment.spec("lines", Program::Lines(COUNT))).await;
    assert_eq!(exit.code, 0);
    let mut lines = text.lines();
    for number in 1..=COUNT {
        assert_eq!(lines.next(), Some(format!("line {number}").as_str()));
    }
    assert_eq!(lines.next(), None);
}

pub async fn both_streams_are_told_apart(environment: Shared) {
    let (_, attachment) = environment.started(&environment.spec("streams", Program::BothStreams)).await;
    assert_eq!(read(attachment).await, ("out\n".to_owned(), "err\n".to_owned()));
}

pub async fn input_arrives_and_ends(environment: Shared) {
    let (id, mut attachment) = environment.started(&environment.spec("echo", Program::Echo)).await;
    let mut input = attachment.input.take().expect("the spec asks for input");
    ok(input.write_all(b"first\n")).await;
    read_until(&mut attachment, "first\n").await;
    let long = vec![b'x'; 300_000];
    // Written and read at once: a pipe holds less than this.
    let (written, (text, _)) = within(futures_util::future::join(
        async {
            input.write_all(&long).await?;
            input.close().await
        },
        read(attachment),
    ))
    .await;
    written.expect("written");
    assert_eq!(text.len(), long.len());
    assert_eq!(ok(environment.provider.wait(&id)).await.code, 0);
}

pub async fn exit_codes_are_told(environment: Shared) {
    for code in [0, 1, 42, 137, 255] {
        let (exit, _) =
            environment.output(&environment.spec(&format!("exit-{code}"), Program::Exit(code))).await;
        assert_eq!(exit, Exit { code, oom: false });
    }
}

pub async fn waiting_after_the_end_returns_at_once(environment: Shared) {
    let (id, _attachment) = environment.started(&environment.spec("ended", Program::Exit(3))).await;
    for _ in 0..3 {
        assert_eq!(ok(environment.provider.wait(&id)).await.code, 3);
    }
}

pub async fn many_may_wait(environment: Shared) {
    let (id, _attachment) = environment.started(&environment.spec("waited", Program::IgnoreTerm)).await;
    let waits = futures_util::future::join_all((0..5).map(|_| environment.provider.wait(&id)));
    let stop = environment.provider.stop(&id, Duration::ZERO);
    let (exits, stopped) = within(futures_util::future::join(waits, stop)).await;
    stopped.expect("stopped");
    assert!(exits.iter().all(|exit| exit.as_ref().is_ok_and(|exit| exit.code == 137)), "{exits:?}");
}

pub async fn stop_gives_time(environment: Shared) {
    let (id, mut attachment) = environment.started(&environment.spec("polite", Program::Sleep)).await;
    read_until(&mut attachment, "ready").await;
    let begun = Instant::now();
    ok(environment.provider.stop(&id, Duration::from_secs(60))).await;
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(ok(environment.provider.wait(&id)).await, Exit { code: 143, oom: false });
}

pub async fn stop_kills_what_ignores_it(environment: Shared) {
    let (id, mut attachment) = environment.started(&environment.spec("stubborn", Program::IgnoreTerm)).await;
    read_until(&mut attachment, "ready").await;
    let grace = Duration::from_millis(300);
    let begun = Instant::now();
    ok(environment.provider.stop(&id, grace)).await;
    assert!(begun.elapsed() >= grace || !environment.has_clock);
    assert_eq!(
        ok(environment.provider.inspect(&id)).await,
        ContainerState::Exited(Exit { code: 137, oom: false })
    );
}

pub async fn stop_without_grace_kills(environment: Shared) {
    let (id, mut attachment) = environment.started(&environment.spec("killed", Program::Sleep)).await;
    read_until(&mut attachment, "ready").await;
    ok(environment.provider.stop(&id, Duration::ZERO)).await;
    assert_eq!(ok(environment.provider.wait(&id)).await.code, 137);
}

pub async fn what_is_gone_may_be_stopped_and_removed(environment: Shared) {
    ok(environment.provider.stop(&gone(), Duration::from_secs(1))).await;
    ok(environment.provider.remove(&gone())).await;
    assert_eq!(ok(environment.provider.inspect(&gone())).await, ContainerState::Missing);
    let missing = ProviderError::Missing(gone().0);
    assert_eq!(within(environment.provider.start(&gone())).await, Err(missing.clone()));
    assert_eq!(within(environment.provider.wait(&gone())).await, Err(missing.clone()));
    assert_eq!(within(environment.provider.disk_usage(&gone())).await, Err(missing.clone()));
    assert_eq!(within(environment.provider.attach(&gone())).await.map(|_| ()), Err(missing));

    let id = ok(environment.provider.create(&environment.spec("unstarted", Program::Sleep))).await;
    ok(environment.provider.stop(&id, Duration::from_secs(1))).await;
    let (ended, _attachment) = environment.started(&environment.spec("ended", Program::Exit(0))).await;
    ok(environment.provider.wait(&ended)).await;
    ok(environment.provider.stop(&ended, Duration::from_secs(1))).await;
    ok(environment.provider.remove(&ended)).await;
    ok(environment.provider.remove(&ended)).await;
}

pub async fn states_follow_the_life(environment: Shared) {
    let spec = environment.spec("life", Program::Sleep);
    let id = ok(environment.provider.create(&spec)).await;
    assert_eq!(ok(environment.provider.inspect(&id)).await, ContainerState::Created);
    ok(environment.provider.start(&id)).await;
    assert_eq!(ok(environment.provider.inspect(&id)).await, ContainerState::Running);
    ok(environment.provider.stop(&id, Duration::ZERO)).await;
    assert!(matches!(ok(environment.provider.inspect(&id)).await, ContainerState::Exited(_)));
    ok(environment.provider.remove(&id)).await;
    assert_eq!(ok(environment.provider.inspect(&id)).await, ContainerState::Missing);
}

pub async fn the_list_has_all_of_an_owner(environment: Shared) {
    let created = environment.spec("created", Program::Sleep);
    ok(environment.provider.create(&created)).await;
    let (_running, _attachment) = environment.started(&environment.spec("running", Program::Sleep)).await;
    let (ended, _attachment) = environment.started(&environment.spec("ended", Program::Exit(0))).await;
    ok(environment.provider.wait(&ended)).await;
    let mut listed = ok(environment.provider.list(&environment.owner)).await;
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    let facts: Vec<_> =
        listed.iter().map(|line| (line.labels["reactorcide.job"].as_str(), line.running)).collect();
    assert_eq!(facts, [("created", false), ("ended", false), ("running", true)]);
    assert_eq!(listed[0].name, created.name);
    assert_eq!(ok(environment.provider.list(&Owner(format!("{}-other", environment.owner.0)))).await, []);
}

pub async fn a_dropped_wait_harms_nothing(environment: Shared) {
    let (id, _attachment) = environment.started(&environment.spec("dropped", Program::Sleep)).await;
    let waited = tokio::time::timeout(Duration::from_millis(200), environment.provider.wait(&id)).await;
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(ok(environment.provider.inspect(&id)).await, ContainerState::Running);
    ok(environment.provider.stop(&id, Duration::ZERO)).await;
    assert_eq!(ok(environment.provider.wait(&id)).await.code, 137);
}

pub async fn starting_twice_is_no_error(environment: Shared) {
    let (id, _attachment) = environment.started(&environment.spec("again", Program::Sleep)).await;
    ok(environment.provider.start(&id)).await;
    assert_eq!(ok(environment.provider.inspect(&id)).await, ContainerState::Running);
}

pub async fn removal_takes_what_runs(environment: Shared) {
    let (id, attachment) = environment.started(&environment.spec("removed", Program::IgnoreTerm)).await;
    let removals = (0..3).map(|_| environment.provider.remove(&id));
    let removed = within(futures_util::future::join_all(removals)).await;
    assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    assert_eq!(ok(environment.provider.inspect(&id)).await, ContainerState::Missing);
    read(attachment).await;
}

pub async fn waiting_for_what_is_removed_ends(environment: Shared) {
    let (id, _attachment) = environment.started(&environment.spec("under", Program::Sleep)).await;
    let remover = async {
        // Only once the wait has begun; it is polled first.
        tokio::task::yield_now().await;
        environment.provider.remove(&id).await
    };
    let (waited, removed) = within(futures_util::future::join(environment.provider.wait(&id), remover)).await;
    removed.expect("removed");
    assert!(matches!(waited, Err(ProviderError::Missing(_)) | Ok(Exit { code: 137, .. })), "{waited:?}");
    assert_eq!(within(environment.provider.wait(&id)).await, Err(ProviderError::Missing(id.0.clone())));
}

pub async fn release_keeps_what_is_in_use(environment: Shared) {
    let mut spec = environment.spec("using", Program::Sleep);
    spec.network = reactorcide_engine::provider::NetworkMode::Isolated;
    let (id, _attachment) = environment.started(&spec).await;
    ok(environment.provider.release(&environment.owner)).await;
    assert_eq!(ok(environment.provider.inspect(&id)).await, ContainerState::Running);
    let mut another = environment.spec("after", Program::Exit(0));
    another.network = reactorcide_engine::provider::NetworkMode::Isolated;
    assert_eq!(environment.output(&another).await.0.code, 0);
}
