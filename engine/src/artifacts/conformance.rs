//! What every store of artifacts must do, as checks that run over any implementation.
//!
//! Each check takes an empty store and panics where it does not keep the contract of [`ArtifactStore`].

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::{Artifact, ArtifactError, ArtifactKind, ArtifactStore, Content, Filter, Namespace, NewArtifact};
use crate::config::Origin;

/// A small artifact of a trusted job.
pub fn artifact(id: &str) -> Artifact {
    new(id, "web").with_content(3, sha256(b"abc"))
}

/// What is said of an artifact of a trusted job.
pub fn new(id: &str, name: &str) -> NewArtifact {
    NewArtifact {
        id: id.to_owned(),
        kind: ArtifactKind::Artifact,
        namespace: Namespace {
            project: "web".to_owned(),
            origin: Origin::Base,
            reference: "main".to_owned(),
        },
        run: "run".to_owned(),
        node: "build[0]".to_owned(),
        attempt: 1,
        name: name.to_owned(),
        executable: false,
        trusted: true,
        secretless: true,
        created_at: 1_000,
        expires_at: None,
        limit: u64::MAX,
        sha256: None,
    }
}

/// The SHA-256 of some bytes, in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that come in pieces.
pub fn content(bytes: &[u8], piece: usize) -> Content {
    let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

/// All bytes of a content.
pub async fn all_of(mut content: Content) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = content.next().await {
        all.extend_from_slice(&piece.expect("it can be read"));
    }
    all
}

async fn read(store: &dyn ArtifactStore, id: &str, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    all_of(store.get(id, range).await.expect("an answer").expect("it is there")).await
}

/// Whole, in part, empty and large; and it can be removed twice.
pub async fn what_is_put_is_read_back(store: &dyn ArtifactStore) {
    let large: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    for (id, bytes) in [("1", b"abcdef".as_slice()), ("2", b""), ("3", &large)] {
        let expected = NewArtifact {
            expires_at: Some(5_000),
            sha256: Some(sha256(bytes)),
            limit: bytes.len() as u64,
            ..new(id, &format!("target/{id}"))
        };
        let kept = store.put(&expected, content(bytes, 300_000)).await.expect("it is kept");
        assert_eq!(kept, expected.with_content(bytes.len() as u64, sha256(bytes)));
        assert_eq!(store.stat(id).await.expect("an answer"), Some(kept));
        assert!(read(store, id, None).await == bytes, "{id} is another now");
    }
    assert_eq!(read(store, "1", Some(1..3)).await, b"bc");
    assert_eq!(read(store, "1", Some(4..100)).await, b"ef");
    for nothing in [2..2, 6..9, 100..200] {
        assert_eq!(read(store, "1", Some(nothing)).await, b"");
    }
    assert!(read(store, "3", Some(9_999_990..15_000_000)).await == large[9_999_990..15_000_000]);
    for _ in 0..2 {
        store.remove("1").await.expect("it is removed");
        assert_eq!(store.stat("1").await.expect("an answer"), None);
        assert!(store.get("1", None).await.expect("an answer").is_none());
    }
    assert_eq!(store.remove_unreferenced(i64::MAX).await.expect("an answer"), Vec::<String>::new());
}

/// Too large, of another checksum, broken off, with a bad name: nothing is there.
pub async fn what_is_wrong_is_not_kept(store: &dyn ArtifactStore) {
    let limited = NewArtifact { limit: 5, ..new("1", "web") };
    let refused = store.put(&limited, content(b"abcdef", 2)).await;
    assert!(matches!(refused, Err(ArtifactError::TooLarge { limit: 5, .. })), "{refused:?}");
    let announced = NewArtifact { sha256: Some(sha256(b"other")), ..new("1", "web") };
    let refused = store.put(&announced, content(b"abcdef", 2)).await;
    assert!(matches!(refused, Err(ArtifactError::Checksum { .. })), "{refused:?}");
    let torn =
        stream::iter([Ok(Bytes::from(vec![1; 20_000_000])), Err(std::io::Error::other("torn"))]).boxed();
    let refused = store.put(&new("1", "web"), torn).await;
    assert!(matches!(refused, Err(ArtifactError::Content { .. })), "{refused:?}");
    let refused = store.put(&new("1", "../web"), content(b"a", 1)).await;
    assert!(matches!(refused, Err(ArtifactError::Name { .. })), "{refused:?}");
    assert_eq!(store.list(&Filter::default()).await.expect("a list"), Vec::new());
    assert_eq!(store.remove_unreferenced(i64::MAX).await.expect("an answer"), Vec::<String>::new());
}

/// The same again is the same; something else is refused; elsewhere the name is free.
pub async fn a_name_stands_for_one_content(store: &dyn ArtifactStore) {
    let put = async |new: &NewArtifact, bytes: &[u8]| store.put(new, content(bytes, 2)).await;
    let is_taken = |put: Result<Artifact, ArtifactError>| matches!(put, Err(ArtifactError::Taken { .. }));
    let first = put(&new("1", "web"), b"abc").await.expect("it is kept");
    assert_eq!(put(&new("2", "web"), b"abc").await.expect("it is there"), first);
    assert!(is_taken(put(&new("3", "web"), b"abd").await));
    let retried = NewArtifact { attempt: 2, ..new("4", "web") };
    assert_eq!(put(&retried, b"abd").await.expect("it is kept").id, "4");

    let cache = |id: &str, run: &str| NewArtifact {
        kind: ArtifactKind::Cache,
        run: run.to_owned(),
        ..new(id, "web")
    };
    assert_eq!(put(&cache("5", "run"), b"abc").await.expect("it is kept").id, "5");
    assert!(is_taken(put(&cache("6", "another run"), b"abd").await));
    let mut elsewhere = cache("7", "run");
    elsewhere.namespace.origin = Origin::Fork;
    assert_eq!(put(&elsewhere, b"abd").await.expect("it is kept").id, "7");
    // What one kind of job wrote, another may not read: it has its own under the same key.
    for (id, trusted, secretless) in [("8", true, false), ("9", false, true), ("10", false, false)] {
        let new = NewArtifact { trusted, secretless, ..cache(id, "run") };
        assert_eq!(put(&new, id.as_bytes()).await.expect("it is kept").id, id);
        assert!(is_taken(put(&NewArtifact { id: format!("{id}'"), ..new }, b"abd").await));
    }
    assert_eq!(read(store, "1", None).await, b"abc");
    assert_eq!(store.remove_unreferenced(i64::MAX).await.expect("an answer"), Vec::<String>::new());
}

/// By each thing that a filter can say. A prefix is no pattern.
pub async fn those_that_match_are_listed_newest_first(store: &dyn ArtifactStore) {
    let mut all = vec![
        NewArtifact { created_at: 3, ..new("1", "deps_1") },
        NewArtifact { created_at: 1, kind: ArtifactKind::Cache, ..new("2", "deps_1") },
        NewArtifact { created_at: 2, run: "other".to_owned(), expires_at: Some(7), ..new("3", "deps-1") },
        NewArtifact { created_at: 2, node: "test".to_owned(), expires_at: Some(8), ..new("4", "%") },
        NewArtifact {
            created_at: 4,
            trusted: false,
            secretless: false,
            executable: true,
            ..new("5", "Deps_1")
        },
    ];
    all[4].namespace.project = "api".to_owned();
    all[3].namespace.reference = "next".to_owned();
    for new in &all {
        store.put(new, content(b"abc", 3)).await.expect("it is kept");
    }
    let ids = async |filter: Filter| {
        let found = store.list(&filter).await.expect("a list");
        found.into_iter().map(|artifact| artifact.id).collect::<String>()
    };
    let any = Filter::default;
    assert_eq!(ids(any()).await, "51432");
    assert_eq!(ids(Filter { limit: Some(2), ..any() }).await, "51");
    assert_eq!(ids(Filter { kind: Some(ArtifactKind::Cache), ..any() }).await, "2");
    assert_eq!(ids(Filter { project: Some("api".to_owned()), ..any() }).await, "5");
    assert_eq!(ids(Filter { namespace: Some(all[3].namespace.clone()), ..any() }).await, "4");
    assert_eq!(ids(Filter { run: Some("other".to_owned()), ..any() }).await, "3");
    assert_eq!(ids(Filter { node: Some("test".to_owned()), ..any() }).await, "4");
    assert_eq!(ids(Filter { prefix: Some("deps_".to_owned()), ..any() }).await, "12");
    assert_eq!(ids(Filter { expired: Some(7), ..any() }).await, "3");
    assert_eq!(ids(Filter { prefix: Some("%".to_owned()), ..any() }).await, "4");
    let untrusted = store.stat("5").await.expect("an answer").expect("it is there");
    assert!(!untrusted.trusted && !untrusted.secretless && untrusted.executable);
    assert!(!store.stat("1").await.expect("an answer").expect("it is there").executable);
}
