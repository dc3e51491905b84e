//! What every vault must do, as checks that run over any implementation.
//!
//! Each check takes an empty vault and panics where it does not keep the contract of [`VaultStore`].

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{
    Content, DataKey, KEY, KeyId, MasterKey, NONCE, Place, Resealed, Sealed, VaultStore, Version, WrappedKey,
    current, seal,
};
use crate::address::Address;
use crate::config::Kind;
use crate::store::{Lineage, Uid};

fn workspace() -> Lineage {
    Lineage("workspace".to_owned())
}

fn data_key(seed: u8) -> DataKey {
    DataKey::new(Zeroizing::new([seed; KEY]))
}

fn wrapped(seed: u8, master: u8) -> WrappedKey {
    let master = MasterKey::new(Zeroizing::new([master; KEY]));
    master.wrap(&workspace(), &data_key(seed), [seed; NONCE], i64::from(seed))
}

fn address() -> Address {
    Address::new(Kind::Secret, Some("web"), "deploy/key")
}

fn sealed(seed: u8, place: &Place, value: &str) -> Sealed {
    seal(&workspace(), &data_key(seed), place, &address(), [seed; NONCE], value)
}

fn version(seed: u8, secret: &str, key: &str, number: u64) -> Version {
    let place = Place { secret: Uid(secret.to_owned()), key: key.to_owned(), version: number };
    let content = Content::Sealed(sealed(seed, &place, "S3CRET"));
    let request = Some(format!("{key} {number}"));
    Version { place, address: address(), actor: "user:ada".to_owned(), created_at: 5, request, content }
}

async fn ids(vault: &dyn VaultStore) -> Vec<(KeyId, u64)> {
    let keys = vault.keys().await.expect("keys");
    keys.into_iter().map(|one| (one.key.id, one.values)).collect()
}

fn id(seed: u8) -> KeyId {
    data_key(seed).id().clone()
}

/// Versions are read back as they were added, follow one another, and never change.
pub async fn versions_follow_one_another(vault: &dyn VaultStore) {
    assert!(vault.keys().await.expect("keys").is_empty());
    // Without its data key nothing can be opened, so nothing is added.
    assert!(!vault.add(&version(1, "a", "value", 1)).await.expect("an answer"));
    assert!(vault.add_key(&wrapped(1, 9), None).await.expect("an answer"));
    let all = [version(1, "a", "token", 1), version(1, "a", "value", 2), version(1, "a", "value", 1)];
    for one in all.iter().rev() {
        let is_next = |number| version(1, "a", &one.place.key, number);
        assert!(!vault.add(&is_next(one.place.version + 1)).await.expect("an answer"), "a gap");
        assert!(vault.add(one).await.expect("an answer"));
        assert!(!vault.add(one).await.expect("an answer"), "twice");
    }
    assert!(vault.add(&version(1, "b", "value", 1)).await.expect("an answer"));
    let secret = Uid("a".to_owned());
    assert_eq!(vault.versions(Some(&secret)).await.expect("versions"), all);
    assert_eq!(vault.versions(None).await.expect("versions").len(), 4);
    assert_eq!(vault.versions(Some(&Uid("c".to_owned()))).await.expect("versions"), []);
    assert_eq!(ids(vault).await, [(id(1), 4)]);
}

/// What is deleted leaves that it was, and its number is not given again.
pub async fn what_is_deleted_leaves_a_tombstone(vault: &dyn VaultStore) {
    assert!(vault.add_key(&wrapped(1, 9), None).await.expect("an answer"));
    let (first, second) = (version(1, "a", "value", 1), version(1, "a", "value", 2));
    for one in [&first, &second] {
        assert!(vault.add(one).await.expect("an answer"));
    }
    let gone = std::slice::from_ref(&second.place);
    assert_eq!(vault.delete(gone, 7, "user:bob").await.expect("a count"), 1);
    assert_eq!(vault.delete(gone, 8, "user:eve").await.expect("a count"), 0);
    let found = vault.versions(Some(&Uid("a".to_owned()))).await.expect("versions");
    let content = Content::Deleted { at: 7, by: "user:bob".to_owned() };
    assert_eq!(found, [Version { content, ..second.clone() }, first.clone()]);
    assert_eq!(current(&found, "value"), Some(&first));
    assert!(!vault.add(&second).await.expect("an answer"), "a number comes again");
    assert!(vault.add(&version(1, "a", "value", 3)).await.expect("an answer"));
    assert_eq!(ids(vault).await, [(id(1), 2)]);
    let dead = Resealed {
        place: second.place.clone(),
        before: second.sealed().expect("sealed").clone(),
        after: second.sealed().expect("sealed").clone(),
    };
    assert_eq!(vault.reseal(&[dead]).await.expect("a count"), 0, "it came back to life");
}

/// A newer data key takes over value by value; while it does, both are there, and what is used is not forgotten.
pub async fn keys_are_rotated(vault: &dyn VaultStore) {
    assert!(vault.add_key(&wrapped(1, 9), None).await.expect("an answer"));
    assert!(!vault.add_key(&wrapped(2, 9), None).await.expect("an answer"), "two are the first");
    for number in 1..=3 {
        assert!(vault.add(&version(1, "a", "value", number)).await.expect("an answer"));
    }
    assert!(!vault.forget_key(&id(1)).await.expect("an answer"), "the current one");
    assert!(vault.add_key(&wrapped(2, 9), Some(&id(1))).await.expect("an answer"));
    assert!(!vault.add_key(&wrapped(3, 9), Some(&id(1))).await.expect("an answer"), "it is not current");
    assert_eq!(ids(vault).await, [(id(2), 0), (id(1), 3)]);
    assert!(!vault.forget_key(&id(1)).await.expect("an answer"), "values use it");
    let others = vault.sealed_otherwise(&id(2), 2).await.expect("versions");
    assert_eq!(others.len(), 2);
    let resealed: Vec<Resealed> = others
        .iter()
        .map(|one| Resealed {
            place: one.place.clone(),
            before: one.sealed().expect("sealed").clone(),
            after: sealed(2, &one.place, "S3CRET"),
        })
        .collect();
    assert_eq!(vault.reseal(&resealed).await.expect("a count"), 2);
    assert_eq!(vault.reseal(&resealed).await.expect("a count"), 0, "they are not as before");
    assert_eq!(ids(vault).await, [(id(2), 2), (id(1), 1)]);
    let last = vault.sealed_otherwise(&id(2), 2).await.expect("versions");
    assert_eq!(last.len(), 1);
    assert_eq!(vault.delete(&[last[0].place.clone()], 9, "user:ada").await.expect("a count"), 1);
    assert!(vault.sealed_otherwise(&id(2), 2).await.expect("versions").is_empty());
    assert!(vault.forget_key(&id(1)).await.expect("an answer"));
    assert!(!vault.forget_key(&id(1)).await.expect("an answer"), "it is gone");
    // Whoever sealed with the key that is gone seals again.
    assert!(!vault.add(&version(1, "a", "value", 4)).await.expect("an answer"));
    assert!(vault.add(&version(2, "a", "value", 4)).await.expect("an answer"));
}

/// A data key changes its master key, and only from the one that it has.
pub async fn a_key_is_wrapped_anew(vault: &dyn VaultStore) {
    assert!(vault.add_key(&wrapped(1, 8), None).await.expect("an answer"));
    let (old, new) = (wrapped(1, 8), wrapped(1, 9));
    assert!(!vault.rewrap(&new, &new.master).await.expect("an answer"));
    assert!(vault.rewrap(&new, &old.master).await.expect("an answer"));
    assert!(!vault.rewrap(&new, &old.master).await.expect("an answer"));
    let keys = vault.keys().await.expect("keys");
    assert_eq!(keys.iter().map(|one| &one.key).collect::<Vec<_>>(), [&new]);
}

/// Of those who set a value at once, one sets each version. `vaults` are over the same place.
pub async fn one_sets_each_version(vaults: Vec<Arc<dyn VaultStore>>, rounds: u64) {
    assert!(vaults[0].add_key(&wrapped(1, 9), None).await.expect("an answer"));
    for number in 1..=rounds {
        let add = |vault: &Arc<dyn VaultStore>| {
            let vault = Arc::clone(vault);
            async move { vault.add(&version(1, "a", "value", number)).await.expect("an answer") }
        };
        let answers = futures_util::future::join_all(vaults.iter().map(add)).await;
        assert_eq!(answers.into_iter().filter(|was_added| *was_added).count(), 1);
    }
}
