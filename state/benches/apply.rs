//! How long the one transaction of an apply takes: read the state, decide, write revisions and heads, sync.

#[path = "../../engine/benches/workload/mod.rs"]
mod workload;

use divan::Bencher;
use reactorcide_engine::apply::{Stamp, decide};
use reactorcide_engine::plan::{Desired, Options, between};
use reactorcide_engine::read::{Budget, read};
use reactorcide_engine::store::{Author, ChangeId, Lineage, Owner, Snapshot, Uid};
use reactorcide_state::{Location, State};
use tempfile::TempDir;

fn main() {
    divan::main();
}

#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 5, sample_size = 1)]
fn creates_in_sqlite(bencher: Bencher, resources: usize) {
    creates(bencher, resources, Place::Sqlite);
}

/// On the server that `./dev setup` starts for the tests.
#[divan::bench(args = [1_000, 10_000], sample_count = 5, sample_size = 1)]
fn creates_in_postgres(bencher: Bencher, resources: usize) {
    creates(bencher, resources, Place::Postgres);
}

#[derive(Clone, Copy)]
enum Place {
    Sqlite,
    Postgres,
}

fn postgres() -> String {
    let server = std::env::var("REACTORCIDE_TEST_POSTGRES").unwrap_or_else(|_| {
        "postgres://reactorcide@localhost/postgres?host=/tmp/reactorcide-postgres-0".to_owned()
    });
    format!("{server}&schema=test_{}", uuid::Uuid::now_v7().simple())
}

fn creates(bencher: Bencher, resources: usize, place: Place) {
    let reading = read(workload::configuration(resources), &Budget::default());
    let desired = Desired { owner: Owner::Workspace, resources: reading.configuration.into_catalog() };
    let plan = between(&desired, &Snapshot::default(), &Options::default()).expect("a plan");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let fresh = || {
        let directory = TempDir::new().expect("a directory");
        let location = match place {
            Place::Sqlite => Location::Sqlite(directory.path().join("state.db")),
            Place::Postgres => Location::Postgres(postgres()),
        };
        let state = runtime.block_on(State::create(&location, reactorcide_state::Options::default()));
        (directory, state.expect("a state").store(Lineage("bench".to_owned())))
    };
    bencher.with_inputs(fresh).bench_local_values(|(directory, store)| {
        let mut next = 0_u64;
        let mut uids = || {
            next += 1;
            Uid(uuid::Uuid::from_u64_pair(1 << 63, next).to_string())
        };
        let stamp = Stamp {
            id: ChangeId("change".to_owned()),
            at: 0,
            author: Author { actor: "bench".to_owned(), message: None, commit: None },
            uids: &mut uids,
        };
        let change = runtime.block_on(store.commit(Box::new(|now| decide(&plan, now, stamp))));
        assert_eq!(change.expect("a change").counts.create as usize, desired.resources.len());
        (directory, store)
    });
}
