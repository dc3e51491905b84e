//! Reconciles that are killed at any of their steps, overtaken, or refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use reactorcide_engine::address::Address;
use reactorcide_engine::apply::{Stamp, decide};
use reactorcide_engine::canonical::read_document;
use reactorcide_engine::config::Catalog;
use reactorcide_engine::outside::{FakeOutside, JournalLine, Object, Place, Seen};
use reactorcide_engine::plan::{self, Desired, Options};
use reactorcide_engine::store::{Author, ChangeId, Lineage, MemoryStore, Owner, Store, Uid};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;

/// Stops everything at its n-th step: for good, as a kill does, or until it is let go on.
struct Fuse {
    steps: AtomicUsize,
    blown: Notify,
    mended: Notify,
}

impl Fuse {
    fn new(steps: usize) -> Arc<Self> {
        Arc::new(Self { steps: AtomicUsize::new(steps), blown: Notify::new(), mended: Notify::new() })
    }

    /// Lets it go on, and never stops it again.
    fn mend(&self) {
        self.steps.store(usize::MAX, Ordering::SeqCst);
        self.mended.notify_one();
    }

    async fn step(&self) {
        let left = self.steps.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            self.blown.notify_one();
            self.mended.notified().await;
        }
    }
}

/// Something that has a fuse before and after each of its steps.
struct Fused<T> {
    inner: T,
    fuse: Arc<Fuse>,
}

macro_rules! fused {
    ($self:ident, $call:ident($($argument:expr),*)) => {{
        $self.fuse.step().await;
        let answer = $self.inner.$call($($argument),*).await;
        $self.fuse.step().await;
        answer
    }};
}

#[async_trait]
impl Ledger for Fused<Arc<MemoryStore>> {
    async fn owed(&self) -> Result<Vec<Owed>, StoreError> {
        fused!(self, owed())
    }

    async fn objects(&self) -> Result<Vec<Object>, StoreError> {
        fused!(self, objects())
    }

    async fn acquire(
        &self,
        holder: &str,
        time: Duration,
        is_gone: &(dyn for<'a> Fn(&'a str) -> bool + Send + Sync),
    ) -> Result<Acquired, StoreError> {
        fused!(self, acquire(holder, time, is_gone))
    }

    async fn renew(&self, lease: &Lease, time: Duration) -> Result<(), LedgerError> {
        self.inner.renew(lease, time).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        fused!(self, release(lease))
    }

    async fn write(&self, lease: &Lease, task: TaskId, at: u64, entry: &Entry) -> Result<(), LedgerError> {
        fused!(self, write(lease, task, at, entry))
    }

    async fn journal(&self, serial: u64) -> Result<Vec<JournalLine>, StoreError> {
        self.inner.journal(serial).await
    }
}

#[async_trait]
impl Outside for Fused<Arc<FakeOutside>> {
    async fn look(&self, access: &Access) -> Result<Option<Seen>, OutsideError> {
        fused!(self, look(access))
    }

    async fn put(&self, access: &Access, body: &Value, only_if: &Precondition) -> Result<(), OutsideError> {
        fused!(self, put(access, body, only_if))
    }

    async fn remove(&self, access: &Access) -> Result<(), OutsideError> {
        fused!(self, remove(access))
    }
}

struct World {
    store: Arc<MemoryStore>,
    outside: Arc<FakeOutside>,
    numbers: usize,
}

/// A WebhookTarget in one of two collections.
fn target(name: &str, collection: &str, value: u32, depends_on: &[&str]) -> (Address, String) {
    let document = json!({
        "apiVersion": "reactorcide/v1", "kind": "WebhookTarget",
        "metadata": {"name": name, "deletion_policy": "allow"},
        "spec": {
            "url": format!("https://{collection}.example.com"), "body": {"value": value}, "timeout": "10s",
            "depends_on": depends_on,
        },
    });
    let resource = read_document(&document.to_string()).expect("a resource");
    (resource.address(), document.to_string())
}

impl World {
    fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new(Lineage("l".into()))),
            outside: Arc::new(FakeOutside::default()),
            numbers: 0,
        }
    }

    async fn apply(&mut self, targets: &[(Address, String)]) {
        let resources: Catalog = targets
            .iter()
            .map(|(address, text)| (address.clone(), read_document(text).expect("it reads").into()))
            .collect();
        let desired = Desired { owner: Owner::Workspace, resources };
        let options = Options { as_of: "2026-01-01".into(), allow_destroy: true, ..Options::default() };
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        let plan = plan::between(&desired, &snapshot, &options).expect("a plan");
        self.numbers += 1;
        let (number, mut count) = (self.numbers, 0);
        let mut uids = || {
            count += 1;
            Uid(format!("u{number}-{count}"))
        };
        let author = Author { actor: "user:test".into(), message: None, commit: None };
        let stamp = Stamp { id: ChangeId(format!("c{number}")), at: 1, author, uids: &mut uids };
        self.store.commit(Box::new(|now| decide(&plan, now, stamp))).await.expect("a commit");
    }

    /// A reconcile that is killed at its n-th step. Whether it came to that.
    async fn killed_at(&self, steps: usize) -> bool {
        let fuse = Fuse::new(steps);
        let ledger = Fused { inner: self.store.clone(), fuse: fuse.clone() };
        let outside = Fused { inner: self.outside.clone(), fuse: fuse.clone() };
        let reconcile = Reconcile { holder: "killed".into(), ..reconcile(&ledger, &outside) };
        let mut report = |_: Progress<'_>| {};
        tokio::select! {
            biased;
            () = fuse.blown.notified() => true,
            ended = reconcile.run(&mut report) => {
                assert_eq!(ended.expect("it comes through").left, 0);
                false
            }
        }
    }

    async fn reconcile(&self) -> Reconciled {
        reconcile(&*self.store, &*self.outside).run(&mut |_| {}).await.expect("it comes through")
    }

    /// What there is outside: collection and value.
    fn objects(&self) -> Vec<String> {
        let places = self.outside.places().into_iter();
        places
            .map(|place| {
                format!("{} {}", place.collection, self.outside.object(&place).expect("there")["value"])
            })
            .collect()
    }
}

fn reconcile<'a>(ledger: &'a dyn Ledger, outside: &'a dyn Outside) -> Reconcile<'a> {
    Reconcile {
        ledger,
        outside,
        workspace: "w".into(),
        holder: "second".into(),
        is_gone: &|holder| holder == "killed",
        now: &|| 1,
        patience: Duration::ZERO,
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_step_the_next_one_goes_on_and_nothing_happens_twice() {
    let stages = [
        vec![target("a", "one", 1, &[]), target("b", "one", 1, &["a"]), target("c", "two", 1, &[])],
        vec![target("a", "one", 2, &[]), target("b", "two", 1, &["a"])],
        vec![target("b", "two", 1, &[]), target("d", "one", 1, &["b"])],
        vec![],
    ];
    let mut ends = BTreeSet::new();
    for killed in 0..stages.len() {
        for step in 0.. {
            assert!(step < 500, "it never ends");
            let mut world = World::new();
            let mut came = false;
            for (number, stage) in stages.iter().enumerate() {
                let before = world.outside.effects().len();
                world.apply(stage).await;
                if number == killed {
                    came = world.killed_at(step).await;
                }
                world.reconcile().await;
                let what = format!("stage {number}, killed at step {step} of {killed}");
                let effects = world.outside.effects().split_off(before);
                let once: BTreeSet<&String> = effects.iter().collect();
                assert_eq!(once.len(), effects.len(), "{what}: twice: {effects:?}");
                assert!(world.store.owed().await.expect("what is owed").is_empty(), "{what}");
                ends.insert((number, world.objects()));
            }
            if !came {
                break;
            }
        }
    }
    // Whatever happened, each stage has one end.
    let ends: Vec<(usize, Vec<String>)> = ends.into_iter().collect();
    let (one, two) = ("https://one.example.com", "https://two.example.com");
    let expected = [
        (0, vec![format!("{one} 1"), format!("{one} 1"), format!("{two} 1")]),
        (1, vec![format!("{one} 2"), format!("{two} 1")]),
        (2, vec![format!("{one} 1"), format!("{two} 1")]),
        (3, vec![]),
    ];
    assert_eq!(ends, expected);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_comes_while_another_is_half_done_wins() {
    for step in 0.. {
        let mut world = World::new();
        world.apply(&[target("a", "one", 1, &[])]).await;
        let came = world.killed_at(step).await;
        world.apply(&[target("a", "two", 2, &[])]).await;
        world.reconcile().await;
        assert_eq!(world.objects(), ["https://two.example.com 2"], "killed at step {step}");
        if !came {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_left_and_what_depends_on_it_is_not_tried() {
    let mut world = World::new();
    world
        .apply(&[target("a", "one", 1, &[]), target("b", "one", 1, &["a"]), target("c", "two", 1, &[])])
        .await;
    let place = Place::new("https://one.example.com", "u1-1");
    let refused = OutsideError::Refused { place: place.clone(), what: "it says 400 Bad Request".into() };
    world.outside.refuse(&place, Some(refused));
    let mut failed = Vec::new();
    let ended = reconcile(&*world.store, &*world.outside)
        .run(&mut |progress| {
            if let Progress::Failed { task, error } = progress {
                failed.push(format!("{}: {error}", task.address));
            }
        })
        .await
        .expect("it comes through");
    assert_eq!(ended, Reconciled { done: 1, left: 2 });
    assert_eq!(failed, ["WebhookTarget/a: https://one.example.com/u1-1 refuses: it says 400 Bad Request"]);
    let journal = world.store.journal(1).await.expect("the journal");
    assert!(journal.iter().any(|line| matches!(&line.entry, Entry::Failed(what) if what.contains("400"))));
    world.outside.refuse(&place, None);
    assert_eq!(world.reconcile().await, Reconciled { done: 2, left: 0 });
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again_and_what_others_hold_is_waited_for() {
    let mut world = World::new();
    world.apply(&[target("a", "one", 1, &[])]).await;
    let place = Place::new("https://one.example.com", "u1-1");
    world.outside.refuse(&place, Some(OutsideError::Unreachable { place: place.clone(), what: "no".into() }));
    let outside = world.outside.clone();
    let recovers = async {
        tokio::time::sleep(PAUSE + PAUSE / 2).await;
        outside.refuse(&place, None);
    };
    let (ended, ()) = tokio::join!(world.reconcile(), recovers);
    assert_eq!(ended, Reconciled { done: 1, left: 0 });

    world.apply(&[target("a", "one", 2, &[])]).await;
    let held = world.store.acquire("somebody", Duration::from_secs(60), &|_| false).await.expect("an answer");
    let Acquired::Ours(lease) = held else { panic!("{held:?}") };
    let ended = reconcile(&*world.store, &*world.outside).run(&mut |_| {}).await;
    assert!(matches!(ended, Err(ReconcileError::Held { holder }) if holder == "somebody"));
    let store = world.store.clone();
    let gives_back = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        store.release(&lease).await.expect("it is theirs");
    };
    let patient = Reconcile { patience: Duration::from_secs(5), ..reconcile(&*world.store, &*world.outside) };
    let mut told = 0;
    let mut report =
        |progress: Progress<'_>| told += usize::from(matches!(progress, Progress::Waiting { .. }));
    let (ended, ()) = tokio::join!(patient.run(&mut report), gives_back);
    assert_eq!(ended.expect("it comes through"), Reconciled { done: 1, left: 0 });
}

#[tokio::test(start_paused = true)]
async fn who_was_overtaken_does_nothing_more() {
    let mut frozen_somewhere = 0;
    for step in 0.. {
        let mut world = World::new();
        world.apply(&[target("a", "one", 1, &[])]).await;
        let fuse = Fuse::new(step);
        let ledger = Fused { inner: world.store.clone(), fuse: fuse.clone() };
        let outside = Fused { inner: world.outside.clone(), fuse: fuse.clone() };
        let frozen = Reconcile { holder: "killed".into(), ..reconcile(&ledger, &outside) };
        let mut report = |_: Progress<'_>| {};
        let mut run = Box::pin(frozen.run(&mut report));
        tokio::select! {
            biased;
            () = fuse.blown.notified() => {}
            ended = &mut run => {
                assert_eq!(ended.expect("it comes through").left, 0);
                break;
            }
        }
        // While it stands still, another carries that out, and then something newer.
        world.reconcile().await;
        world.apply(&[target("a", "one", 2, &[])]).await;
        world.reconcile().await;
        let before = world.outside.effects();
        fuse.mend();
        let ended = run.await;
        // What it had read before it stood still may let it end well, if there is nothing to do.
        assert!(
            matches!(ended, Err(ReconcileError::Lost) | Ok(Reconciled { left: 0, .. })),
            "{step}: {ended:?}"
        );
        assert_eq!(world.outside.effects(), before, "step {step}");
        assert_eq!(world.objects(), ["https://one.example.com 2"], "step {step}");
        assert!(world.store.owed().await.expect("what is owed").is_empty(), "step {step}");
        frozen_somewhere += 1;
    }
    assert!(frozen_somewhere > 10, "{frozen_somewhere}");
}
