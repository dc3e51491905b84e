//! What every store of positions must do, as a check that runs over any implementation.

use super::{Position, PositionStore, Skipped};

/// Who is faster writes; what is written is read back; what is gone is forgotten.
pub async fn positions_move_on_one_at_a_time(store: &dyn PositionStore) {
    let first =
        Position { uid: "a".into(), version: 1, timing: "x".into(), settled: 5, ..Position::default() };
    assert!(store.put(&first).await.expect("written"));
    assert!(!store.put(&first).await.expect("asked"), "there is one already");
    let next = Position {
        settled: 9,
        suspended: true,
        last_due: Some(9),
        last_run: Some("run".into()),
        skipped: Some(Skipped { due: 7, reason: "why".into() }),
        missed: 3,
        ..first.next()
    };
    assert!(store.put(&next).await.expect("written"));
    let late = Position { settled: 6, ..first.next() };
    assert!(!store.put(&late).await.expect("asked"), "somebody was faster");
    let other = Position { uid: "b".into(), version: 1, ..Position::default() };
    assert!(!store.put(&other.next()).await.expect("asked"), "there is none to go on with");
    assert!(store.put(&other).await.expect("written"));
    assert_eq!(store.list().await.expect("read"), [next.clone(), other]);
    store.forget(&["b".into(), "c".into()]).await.expect("written");
    assert_eq!(store.list().await.expect("read"), [next]);
}
