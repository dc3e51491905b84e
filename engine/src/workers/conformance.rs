//! What every store of workers must do, as a check that runs over any implementation.

use serde_json::json;

use super::{Worker, WorkerStatus, WorkerStore};

/// Workers register, are heard of, are drained and removed; people's word on them stays.
pub async fn workers_come_change_and_go(store: &dyn WorkerStore) {
    let worker = |name: &str, slots: u32, at| Worker {
        name: name.into(),
        labels: [("os".to_owned(), "linux".to_owned())].into(),
        pool: Some("big".into()),
        slots,
        provider: "docker".into(),
        version: "1".into(),
        status: WorkerStatus::Active,
        registered_at: at,
        seen_at: at,
        health: None,
    };
    store.register(&worker("b", 1, 10)).await.expect("written");
    store.register(&worker("a", 2, 11)).await.expect("written");
    assert_eq!(store.list().await.expect("read"), [worker("a", 2, 11), worker("b", 1, 10)]);
    assert!(store.set_status("a", WorkerStatus::Draining).await.expect("written"));
    assert!(!store.set_status("c", WorkerStatus::Draining).await.expect("written"));
    store.seen("a", 20, Some(&json!({"disk": 1}))).await.expect("written");
    store.seen("a", 21, None).await.expect("written");
    store.seen("c", 21, None).await.expect("of nobody");
    // It comes again with more slots: what people said of it stays.
    store
        .register(&Worker { health: Some(json!({"disk": 1})), ..worker("a", 9, 30) })
        .await
        .expect("written");
    let known = store.get("a").await.expect("read").expect("it is there");
    let expected = Worker {
        status: WorkerStatus::Draining,
        registered_at: 11,
        seen_at: 30,
        health: Some(json!({"disk": 1})),
        ..worker("a", 9, 30)
    };
    assert_eq!(known, expected);
    assert!(store.remove("a").await.expect("written"));
    assert!(!store.remove("a").await.expect("written"));
    assert_eq!(store.get("a").await.expect("read"), None);
}
