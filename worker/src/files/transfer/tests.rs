//! Files on their way between a workspace and a coordinator that breaks off, stays away, or knows too much.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use reactorcide_engine::artifacts::Content;
use reactorcide_engine::coordinator::{Report, Urgency, Work};
use reactorcide_engine::protocol::query::{Answer, Query};
use reactorcide_engine::queue::Renewed;
use serde_json::json;

use super::*;

/// Keeps what it is given, and breaks off as often as it is told.
#[derive(Default)]
struct Store {
    kept: Mutex<Vec<(Keeping, Vec<u8>)>>,
    offered: Mutex<Vec<(Offered, Vec<u8>)>>,
    /// How many times it fails, in the middle.
    failures: Mutex<usize>,
    /// From which bytes on content was asked for.
    asked_from: Mutex<Vec<u64>>,
}

impl Store {
    fn fails(&self) -> bool {
        let mut failures = self.failures.lock().expect("it");
        let fails = *failures > 0;
        *failures = failures.saturating_sub(1);
        fails
    }

    fn offer(&self, job: &str, name: &str, bytes: &[u8]) {
        let mut offered = self.offered.lock().expect("it");
        let one = Offered {
            id: offered.len().to_string(),
            job: job.to_owned(),
            name: name.to_owned(),
            size: bytes.len() as u64,
            executable: name.ends_with(".sh"),
        };
        offered.push((one, bytes.to_vec()));
    }
}

fn away() -> CoordinatorError {
    CoordinatorError::Unavailable("away".to_owned())
}

#[async_trait]
impl Coordinator for Store {
    async fn claim(&self, _: usize, _: Duration) -> Result<Work, CoordinatorError> {
        Ok(Work::Closed)
    }
    async fn renew(&self, _: &[(LeaseId, Urgency)], _: Duration) -> Result<Vec<Renewed>, CoordinatorError> {
        Ok(Vec::new())
    }
    async fn report(&self, _: &LeaseId, _: Report) -> Result<(), CoordinatorError> {
        Ok(())
    }
    async fn log(&self, _: &LeaseId, offset: u64, _: Vec<u8>) -> Result<u64, CoordinatorError> {
        Ok(offset)
    }
    async fn ask(&self, _: &LeaseId, _: Query) -> Result<Answer, CoordinatorError> {
        Err(away())
    }

    async fn keep(
        &self,
        _: &LeaseId,
        keeping: &Keeping,
        mut content: Content,
    ) -> Result<(), CoordinatorError> {
        let mut bytes = Vec::new();
        while let Some(piece) = content.next().await {
            bytes
                .extend_from_slice(&piece.map_err(|error| CoordinatorError::Unavailable(error.to_string()))?);
            if self.fails() {
                return Err(away());
            }
        }
        self.kept.lock().expect("it").push((keeping.clone(), bytes));
        Ok(())
    }

    async fn inputs(&self, _: &LeaseId) -> Result<Vec<Offered>, CoordinatorError> {
        Ok(self.offered.lock().expect("it").iter().map(|(offered, _)| offered.clone()).collect())
    }

    async fn cache(
        &self,
        _: &LeaseId,
        key: &str,
        restore: &[String],
    ) -> Result<Option<Offered>, CoordinatorError> {
        let kept = self.kept.lock().expect("it");
        let is_it = |name: &str| name == key || restore.iter().any(|prefix| name.starts_with(prefix));
        let Some((keeping, bytes)) = kept.iter().find(|(keeping, _)| is_it(&keeping.name)) else {
            return Ok(None);
        };
        drop(self.offered.lock().expect("it").drain(..));
        self.offer("cache", &keeping.name, bytes);
        Ok(self.offered.lock().expect("it").first().map(|(offered, _)| offered.clone()))
    }

    async fn content(&self, _: &LeaseId, id: &str, from: u64) -> Result<Content, CoordinatorError> {
        self.asked_from.lock().expect("it").push(from);
        let offered = self.offered.lock().expect("it");
        let bytes = offered.iter().find(|(offered, _)| offered.id == id).map(|(_, bytes)| bytes.clone());
        let bytes = bytes.expect("it was offered").split_off(usize::try_from(from).expect("small"));
        let mut pieces: Vec<io::Result<Bytes>> =
            bytes.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        if self.fails() {
            pieces.truncate(2);
            pieces.push(Err(io::Error::other("torn")));
        }
        Ok(stream::iter(pieces).boxed())
    }
}

struct Place {
    directory: tempfile::TempDir,
    store: Arc<Store>,
    transfer: Transfer,
}

impl Place {
    fn new(store: Arc<Store>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("src")).expect("made");
        let lease = LeaseId { run: "r".into(), node: "n".into(), attempt: 1, token: "t".into() };
        let transfer = Transfer {
            coordinator: store.clone(),
            lease,
            tree: Arc::new(Tree::open(directory.path()).expect("opened")),
            base: Some(PathBuf::from("src")),
            mount: "/job".to_owned(),
            owner: None,
            room: u64::MAX,
        };
        Self { directory, store, transfer }
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, content).expect("written");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

fn artifacts(paths: &[&str]) -> Artifacts {
    Artifacts { paths: paths.iter().map(|&path| path.to_owned()).collect(), ..Artifacts::default() }
}

fn cache(value: serde_json::Value) -> Cache {
    serde_json::from_value(value).expect("a cache")
}

// A clock that is held stands still while somebody reads by blocking.
#[tokio::test]
async fn what_one_job_keeps_another_takes_however_often_it_breaks_off() {
    let place = Place::new(Arc::default());
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    place.write("src/out/large", &large);
    place.write("src/out/run.sh", b"#!");
    place.write("src/other", b"x");
    *place.store.failures.lock().expect("it") = 3;
    let (files, bytes) = place.transfer.keep(&artifacts(&["out/**"]), true).await.expect("kept");
    assert_eq!((files, bytes), (2, 3_000_002));
    let mut kept = place.store.kept.lock().expect("it").clone();
    kept.sort_by(|one, other| one.0.name.cmp(&other.0.name));
    let names: Vec<_> = kept.iter().map(|(keeping, bytes)| (keeping.name.as_str(), bytes.len())).collect();
    assert_eq!(names, [("out/large", 3_000_000), ("out/run.sh", 2)]);
    assert!(kept[0].1 == large);

    let next = Place::new(place.store.clone());
    for (keeping, bytes) in &kept {
        next.store.offer("build[0]", &keeping.name, bytes);
    }
    *next.store.failures.lock().expect("it") = 2;
    assert_eq!(next.transfer.take_inputs().await.expect("taken"), (2, 3_000_002));
    assert!(next.read("artifacts/build[0]/out/large") == large);
    assert_eq!(next.read("artifacts/build[0]/out/run.sh"), b"#!");
    assert!(next.store.asked_from.lock().expect("it").contains(&2000), "it goes on where it broke off");
}

#[tokio::test(start_paused = true)]
async fn a_declared_file_that_is_not_there_is_an_error_unless_the_job_failed() {
    let place = Place::new(Arc::default());
    let missing = place.transfer.keep(&artifacts(&["web", "*.log"]), true).await;
    assert!(matches!(&missing, Err(FilesError::Nothing(name)) if name == "web"), "{missing:?}");
    assert_eq!(place.transfer.keep(&artifacts(&["web", "*.log"]), false).await.expect("nothing"), (0, 0));
    let outside = Transfer { base: None, ..place.transfer.clone() };
    assert!(matches!(outside.keep(&artifacts(&["web"]), true).await, Err(FilesError::Pattern { .. })));
    place.write("artifacts/x", b"x");
    assert_eq!(outside.keep(&artifacts(&["/job/artifacts/x"]), true).await.expect("kept").0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_stays_away_fails_the_job_and_keeps_it_no_longer() {
    let place = Place::new(Arc::default());
    place.write("src/a", b"a");
    *place.store.failures.lock().expect("it") = usize::MAX;
    let begun = Instant::now();
    let failed = place.transfer.keep(&artifacts(&["a"]), true).await;
    assert!(matches!(failed, Err(FilesError::Coordinator(CoordinatorError::Unavailable(_)))), "{failed:?}");
    assert!(begun.elapsed() < PATIENCE * 2);
}

#[tokio::test(start_paused = true)]
async fn a_cache_is_kept_under_what_its_key_stands_for_and_found_again() {
    let place = Place::new(Arc::default());
    let declared = cache(json!({
        "key": "deps-${hash:Cargo.lock}-${var:channel}", "paths": ["target", "/job/.home"], "restore_keys": ["deps-"],
    }));
    let vars = BTreeMap::from([("channel".to_owned(), json!("stable"))]);
    place.write("src/Cargo.lock", b"1");
    let first = place.transfer.restore(&declared, &vars).await.expect("looked for");
    assert_eq!(first.found, None);
    assert!(first.key.starts_with("deps-") && first.key.ends_with("-stable"));
    place.write("src/target/lib", b"lib");
    place.write(".home/registry", b"r");
    *place.store.failures.lock().expect("it") = 1;
    place.transfer.save(&declared, &first.key).await.expect("saved");

    let next = Place::new(place.store.clone());
    next.write("src/Cargo.lock", b"1");
    *next.store.failures.lock().expect("it") = 1;
    let again = next.transfer.restore(&declared, &vars).await.expect("found");
    assert_eq!(again.found, Some(first.key.clone()));
    assert_eq!((next.read("src/target/lib"), next.read(".home/registry")), (b"lib".to_vec(), b"r".to_vec()));

    let other = Place::new(place.store.clone());
    other.write("src/Cargo.lock", b"2");
    let fallen_back = other.transfer.restore(&declared, &vars).await.expect("found");
    assert!(fallen_back.key != first.key && fallen_back.found == Some(first.key));
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_does_not_fit_is_said_and_leaves_nothing() {
    let place = Place::new(Arc::default());
    let declared = cache(json!({"key": "deps", "paths": ["deps"]}));
    place.write("src/deps/a", b"a");
    place.write("src/deps/b/lib", &[7; 5000]);
    place.transfer.save(&declared, "deps").await.expect("saved");
    let vars = BTreeMap::new();
    let refused = async |next: &Place| {
        let restored = next.transfer.restore(&declared, &vars).await.expect("the job goes on");
        assert_eq!(restored.found.as_deref(), Some("deps"));
        assert!(
            !next.directory.path().join("src/deps/a").exists()
                && !next.directory.path().join(UNPACKED).exists()
        );
        let note = restored.note().expect("a reason");
        note.strip_prefix("the cache \"deps\" was not taken: ").expect("what it is about").to_owned()
    };

    let mut small = Place::new(place.store.clone());
    small.transfer.room = 4096;
    assert_eq!(refused(&small).await, "it cannot be unpacked: its files have more than 4 KiB together");
    let other = Place::new(place.store.clone());
    other.write("src/deps/b", b"a file of the code");
    assert_eq!(refused(&other).await, "it cannot be unpacked: src/deps/b is a file here");
    assert_eq!(other.read("src/deps/b"), b"a file of the code");

    place.store.kept.lock().expect("it")[0].1.truncate(60);
    refused(&Place::new(place.store.clone())).await;

    small.write("src/deps/b/lib", &[7; 5000]);
    let not_kept = small.transfer.save(&declared, "other").await.expect_err("nobody could take it");
    assert_eq!(not_kept.to_string(), "it cannot be packed: its files have more than 4 KiB together");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_no_file_and_paths_that_lead_outside_are_said() {
    let place = Place::new(Arc::default());
    let none = BTreeMap::new();
    let restore = async |value| place.transfer.restore(&cache(value), &none).await;
    let no_file = restore(json!({"key": "${hash:none}", "paths": ["t"]})).await;
    assert!(matches!(no_file, Err(FilesError::Pattern { what: "cache.key:", .. })), "{no_file:?}");
    for path in ["../x", "/etc", "/job/../etc", "a/../../b"] {
        let refused = restore(json!({"key": "k", "paths": [path]})).await;
        assert!(
            matches!(refused, Err(FilesError::Pattern { what: "cache.paths:", .. })),
            "{path}: {refused:?}"
        );
    }
}
