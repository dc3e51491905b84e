//! What every store of removals must do, as a check that runs over any implementation.

use super::{RemovalRecord, RemovalStore};

/// One begins a sweep; what is about to go is open until it is gone, and told of its run from then on.
pub async fn removals_are_written_down_carried_out_and_told(store: &dyn RemovalStore) {
    assert!(store.begin_sweep(1000, 400).await.expect("an answer"), "the first");
    assert!(!store.begin_sweep(1001, 401).await.expect("an answer"), "there was one after 401");
    assert!(store.begin_sweep(1700, 1100).await.expect("an answer"));
    assert!(store.begin_sweep(1600, 1000).await.expect("an answer"), "one of the future does not count");

    let removal = |subject: &str, run: &str, decided_at| RemovalRecord {
        subject: subject.into(),
        run: run.into(),
        name: Some("web".into()),
        bytes: Some(7),
        reason: "it is older than 30d".into(),
        decided_at,
        removed_at: None,
    };
    let logs = RemovalRecord { name: None, bytes: None, ..removal("logs:r1", "r1", 5) };
    let all = [removal("artifact:b", "r1", 6), logs.clone(), removal("artifact:a", "r2", 6)];
    store.intend(&all).await.expect("written");
    store.intend(&[removal("artifact:a", "r2", 9)]).await.expect("it is there");
    assert_eq!(store.open(9).await.expect("read"), [logs.clone(), all[2].clone(), all[0].clone()]);
    assert_eq!(store.open(1).await.expect("read"), std::slice::from_ref(&logs));
    store.done(&["logs:r1".into(), "artifact:a".into(), "artifact:none".into()], 20).await.expect("written");
    assert_eq!(store.open(9).await.expect("read"), [all[0].clone()]);
    let gone = RemovalRecord { removed_at: Some(20), ..logs };
    assert_eq!(store.of_run("r1").await.expect("read"), [all[0].clone(), gone]);
    assert_eq!(store.of_run("r3").await.expect("read"), []);
}
