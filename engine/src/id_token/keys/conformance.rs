//! What every store of signing keys must do, as a check that runs over any implementation.

use super::{SigningKey, SigningKeyStore};
use crate::protocol::spec::Sensitive;

/// Keys follow one another; who is second adds none; a number that is gone does not come back.
pub async fn signing_keys_are_kept(store: &dyn SigningKeyStore) {
    let key = |number: u64| SigningKey {
        number,
        created_at: 1000 + i64::try_from(number).unwrap_or_default(),
        private: Sensitive::new(format!("private part of {number}")),
    };
    assert_eq!(store.keys().await.expect("read"), []);
    assert_eq!(store.next().await.expect("read"), 1);
    assert!(store.add(&key(1)).await.expect("written"));
    let other = SigningKey { private: Sensitive::new("of somebody else"), ..key(1) };
    assert!(!store.add(&other).await.expect("an answer"), "the number is taken");
    assert!(!store.add(&key(3)).await.expect("an answer"), "2 is next");
    assert!(store.add(&key(2)).await.expect("written"));
    assert_eq!(store.keys().await.expect("read"), [key(1), key(2)]);
    store.forget(2, 5000).await.expect("written");
    store.forget(2, 5001).await.expect("it is gone already");
    assert_eq!(store.keys().await.expect("read"), [key(1)]);
    assert_eq!(store.next().await.expect("read"), 3);
    assert!(!store.add(&key(2)).await.expect("an answer"), "its number was used");
    assert!(store.add(&key(3)).await.expect("written"));
    assert_eq!(store.keys().await.expect("read"), [key(1), key(3)]);
}
