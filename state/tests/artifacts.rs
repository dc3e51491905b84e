//! Artifacts in a directory and in a bucket, with rows in both databases: the engine's conformance suite, what a crash
//! leaves, and retention.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reactorcide_engine::artifacts::{ArtifactStore, Filter, NewArtifact, conformance};
use reactorcide_engine::logs::{LogKey, LogStore};
use reactorcide_engine::removals::{MemoryRemovals, RemovalRecord, RemovalStore};
use reactorcide_engine::retention::Policy;
use reactorcide_engine::store::StoreError;
use reactorcide_state::{Location, LogSettings, Logs, Options, Runs, State, Storage, Sweep};

use crate::{postgres, s3};

fn storage(directory: &Path) -> Storage {
    Storage::open(directory.join("storage").to_str().unwrap()).unwrap()
}

async fn in_sqlite(directory: &Path, storage: &Storage) -> Arc<dyn ArtifactStore> {
    let options = Options { lock_timeout: Duration::from_millis(50), ..Options::default() };
    let state = State::create(&Location::Sqlite(directory.join("state.db")), options).await.unwrap();
    state.artifacts(storage)
}

macro_rules! over_both {
    ($($check:ident),* $(,)?) => {$(
        mod $check {
            #[tokio::test]
            async fn in_a_directory_and_sqlite() {
                let directory = tempfile::tempdir().unwrap();
                let storage = super::storage(directory.path());
                super::conformance::$check(&*super::in_sqlite(directory.path(), &storage).await).await;
            }

            #[tokio::test]
            async fn in_a_bucket_and_postgres() {
                let server = super::s3::Server::start().await;
                let location = super::Location::Postgres(super::postgres::url());
                let state = super::State::create(&location, super::Options::default()).await.unwrap();
                super::conformance::$check(&*state.artifacts(&server.storage())).await;
            }
        }
    )*};
}

over_both!(
    what_is_put_is_read_back,
    what_is_wrong_is_not_kept,
    a_name_stands_for_one_content,
    those_that_match_are_listed_newest_first,
);

fn contents(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory.join("storage/artifacts")).into_iter().flatten();
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// The database refuses the row, as if the process had been killed before it: the content is found by nobody, until it is
/// removed; and so is what was never finished. What is young may still get its row.
#[tokio::test]
async fn content_without_a_row_is_found_by_nobody_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let artifacts = in_sqlite(directory.path(), &storage).await;
    let kept = conformance::new("1", "web");
    artifacts.put(&kept, conformance::content(b"abc", 3)).await.unwrap();

    let other = sqlx_lock::hold(&directory.path().join("state.db")).await;
    let refused = artifacts.put(&conformance::new("2", "api"), conformance::content(b"abc", 3)).await;
    assert!(refused.is_err(), "{refused:?}");
    drop(other);
    std::fs::write(directory.path().join("storage/artifacts/3#1"), "half").unwrap();

    assert_eq!(contents(directory.path()), ["1", "2", "3#1"]);
    assert!(artifacts.stat("2").await.unwrap().is_none());
    assert!(artifacts.get("2", None).await.unwrap().is_none());
    assert_eq!(artifacts.list(&Filter::default()).await.unwrap().len(), 1);
    assert_eq!(artifacts.remove_unreferenced(1).await.unwrap(), Vec::<String>::new());
    assert_eq!(artifacts.remove_unreferenced(i64::MAX).await.unwrap(), ["artifacts/2", "3#1"]);
    assert_eq!(contents(directory.path()), ["1"]);
    // The job's next try succeeds.
    let again = NewArtifact { id: "4".to_owned(), ..conformance::new("4", "api") };
    artifacts.put(&again, conformance::content(b"abc", 3)).await.unwrap();
}

/// Holds SQLite's write lock, as another process that writes does.
mod sqlx_lock {
    use std::path::Path;

    use sqlx::Connection;
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

    pub async fn hold(path: &Path) -> SqliteConnection {
        let mut connection =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap();
        sqlx::query("begin immediate").execute(&mut connection).await.unwrap();
        connection
    }
}

#[tokio::test]
async fn a_sweep_removes_what_goes_and_tells_it() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let artifacts = in_sqlite(directory.path(), &storage).await;
    let logs = Logs::new(&storage, LogSettings::of(&storage));
    for run in ["old", "goes-on"] {
        logs.append(&LogKey::new(run, "job", 1), 0, Bytes::from_static(b"abc")).await.unwrap();
        let new = NewArtifact { run: run.to_owned(), ..conformance::new(run, "web") };
        artifacts.put(&new, conformance::content(b"abc", 3)).await.unwrap();
    }
    let runs = BTreeMap::from([("old".to_owned(), Some(2_000)), ("goes-on".to_owned(), None)]);
    let day = "1d".parse().unwrap();
    let policy = Policy { logs: Some(day), artifacts: Some(day), ..Policy::default() };
    let removals = MemoryRemovals::default();
    let runs = FixedRuns { ends: runs, ..FixedRuns::default() };
    runs.needed.lock().unwrap().insert("goes-on".to_owned());
    let sweep = async |now| {
        let (logs, artifacts, removals, policy) = (&logs, &*artifacts, &removals, &policy);
        Sweep { logs, artifacts, removals, runs: &runs, policy }.sweep(now).await.unwrap()
    };
    assert!(sweep(3_000).await.removed.is_empty());
    let swept = sweep(90_000_000).await;
    let said: Vec<String> =
        swept.removed.iter().map(|removal| format!("{}: {}", removal.subject, removal.reason)).collect();
    assert_eq!(said, ["artifact:old: it is older than 1d", "logs:old: it is older than 1d"]);
    let told = removals.of_run("old").await.unwrap();
    assert!(told.len() == 2 && told.iter().all(|removal| removal.removed_at == Some(90_000_000)), "{told:?}");
    assert!(swept.failed.is_empty() && swept.left_over.is_empty());
    assert_eq!(logs.runs().await.unwrap(), ["goes-on"]);
    assert_eq!(contents(directory.path()), ["goes-on"]);
    assert!(sweep(90_000_000).await.removed.is_empty());
}

#[tokio::test]
async fn what_a_killed_sweep_had_written_down_goes_with_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let artifacts = in_sqlite(directory.path(), &storage).await;
    let logs = Logs::new(&storage, LogSettings::of(&storage));
    for run in ["gone", "kept"] {
        logs.append(&LogKey::new(run, "job", 1), 0, Bytes::from_static(b"abc")).await.unwrap();
    }
    let removals = MemoryRemovals::default();
    let removal = |subject: &str| RemovalRecord {
        subject: subject.to_owned(),
        run: "gone".to_owned(),
        name: None,
        bytes: None,
        reason: "why".to_owned(),
        decided_at: 1,
        removed_at: None,
    };
    // The second was removed before the process died, and only that was not written down.
    removals.intend(&[removal("logs:gone"), removal("artifact:long-gone")]).await.unwrap();
    let (runs, policy, artifacts) = (FixedRuns::default(), &Policy::default(), &*artifacts);
    let sweep = Sweep { logs: &logs, artifacts, removals: &removals, runs: &runs, policy };
    let swept = sweep.sweep(5).await.unwrap();
    assert_eq!((swept.removed.len(), swept.failed.len()), (2, 0));
    assert_eq!(logs.runs().await.unwrap(), ["kept"]);
    assert!(removals.open(9).await.unwrap().is_empty());
    let asked = runs.asked.load(Relaxed);
    sweep.sweep(6).await.unwrap();
    assert_eq!(runs.asked.load(Relaxed), asked, "where nothing goes nobody asks for runs");
}

#[tokio::test]
async fn what_a_run_needs_that_is_repeated_meanwhile_stays() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(directory.path());
    let artifacts = in_sqlite(directory.path(), &storage).await;
    for (id, run) in [("1", "ended"), ("2", "repeated")] {
        let new = NewArtifact { run: run.to_owned(), ..conformance::new(id, "web") };
        artifacts.put(&new, conformance::content(b"abc", 3)).await.unwrap();
    }
    let (logs, removals) = (Logs::new(&storage, LogSettings::of(&storage)), MemoryRemovals::default());
    let policy = Policy { artifacts: Some("1d".parse().unwrap()), ..Policy::default() };
    // It is repeated after it was decided what goes, and before that is carried out.
    let runs = FixedRuns { repeated_after: Some((1, "repeated")), ..FixedRuns::default() };
    let sweep =
        Sweep { logs: &logs, artifacts: &*artifacts, removals: &removals, runs: &runs, policy: &policy };
    let removed = async |now| {
        let swept = sweep.sweep(now).await.unwrap();
        swept.removed.into_iter().map(|removal| removal.subject).collect::<Vec<_>>()
    };
    assert_eq!(removed(90_000_000).await, ["artifact:1"]);
    assert_eq!(contents(directory.path()), ["2"]);
    // What a killed sweep had written down of it stays as well.
    let open = removals.of_run("ended").await.unwrap().remove(0);
    let open =
        RemovalRecord { subject: "artifact:2".into(), run: "repeated".into(), removed_at: None, ..open };
    removals.intend(&[open]).await.unwrap();
    assert!(removed(90_000_000).await.is_empty());
    // Until the run that repeats it has ended.
    runs.needed.lock().unwrap().clear();
    assert_eq!(removed(90_000_000).await, ["artifact:2"]);
}

/// Runs that are as somebody says.
#[derive(Default)]
struct FixedRuns {
    ends: BTreeMap<String, Option<i64>>,
    needed: Mutex<BTreeSet<String>>,
    /// After so many questions a run is needed.
    repeated_after: Option<(usize, &'static str)>,
    asked: AtomicUsize,
}

#[async_trait]
impl Runs for FixedRuns {
    async fn ends(&self, runs: &BTreeSet<String>) -> Result<BTreeMap<String, Option<i64>>, StoreError> {
        self.asked.fetch_add(1, Relaxed);
        let known = self.ends.iter().filter(|(run, _)| runs.contains(*run));
        Ok(known.map(|(run, end)| (run.clone(), *end)).collect())
    }

    async fn needed(&self) -> Result<BTreeSet<String>, StoreError> {
        let asked = self.asked.fetch_add(1, Relaxed);
        let needed = self.needed.lock().unwrap().clone();
        if let Some((_, run)) = self.repeated_after.filter(|(after, _)| asked + 1 == *after) {
            self.needed.lock().unwrap().insert(run.to_owned());
        }
        Ok(needed)
    }
}
