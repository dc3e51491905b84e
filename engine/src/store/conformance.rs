//! What every store must do, as checks that run over any implementation.
//!
//! Each check takes an empty store and panics where it does not keep the contract of [`Store`].

use std::sync::Arc;

use super::{
    Author, Change, ChangeId, Commit, CommitError, Compaction, Counts, Head, Operation, Owner, Snapshot,
    Store, StoreError, Uid, Write,
};
use crate::address::Address;
use crate::apply::Refusal;
use crate::config::Kind;
use crate::fingerprint::Fingerprint;
use crate::outside::Outward;

/// A commit that creates these projects on top of a snapshot.
pub fn creates(snapshot: &Snapshot, id: &str, names: impl IntoIterator<Item = String>) -> Commit {
    let writes: Vec<Write> = names
        .into_iter()
        .map(|name| {
            let document = format!(
                r#"{{"apiVersion":"reactorcide/v1","kind":"Project","metadata":{{"name":"{name}"}},"spec":{{"weight":1}}}}"#
            );
            Write {
                operation: Operation::Create,
                address: Address::new(Kind::Project, None, &name),
                head: Head {
                    uid: Uid(format!("uid-{name}")),
                    generation: 1,
                    fingerprint: Fingerprint::of_document(&document),
                    owner: Owner::Workspace,
                    document,
                },
            }
        })
        .collect();
    commit(snapshot, id, writes)
}

/// A commit of these writes on top of a snapshot.
pub fn commit(snapshot: &Snapshot, id: &str, writes: Vec<Write>) -> Commit {
    let mut counts = Counts::default();
    writes.iter().for_each(|write| counts.add(write.operation));
    let change = Change {
        id: ChangeId(id.to_owned()),
        serial: snapshot.serial + 1,
        at: 1_000 + snapshot.serial,
        author: Author { actor: "user:test".into(), message: Some("why".into()), commit: None },
        plan: Fingerprint::of_document(id),
        counts,
    };
    Commit { change, writes, outward: Outward::default() }
}

/// What is committed is what is read, and history remembers all of it.
pub async fn what_is_committed_is_read_back(store: &dyn Store) {
    assert_eq!(store.snapshot().await.expect("a snapshot").serial, 0);
    let made = |store_snapshot: &Snapshot| Ok(creates(store_snapshot, "c1", ["a".into(), "b".into()]));
    let change = store.commit(Box::new(made)).await.expect("a commit");
    let snapshot = store.snapshot().await.expect("a snapshot");
    assert_eq!((change.serial, snapshot.serial), (1, 1));
    assert!(snapshot.lineage.is_some(), "a workspace has a lineage once something was applied");
    let expected = creates(&Snapshot::default(), "c1", ["a".into(), "b".into()]);
    let heads: Vec<_> = expected.writes.iter().map(|write| (&write.address, &write.head)).collect();
    assert_eq!(snapshot.heads.iter().collect::<Vec<_>>(), heads);

    let (old, new) = (Address::new(Kind::Project, None, "a"), Address::new(Kind::Project, None, "c"));
    let moves = |now: &Snapshot| {
        let renamed = Head { generation: 2, ..now.heads[&old].clone() };
        let b = Address::new(Kind::Project, None, "b");
        let deleted = Head { generation: 2, ..now.heads[&b].clone() };
        let writes = vec![
            Write { operation: Operation::Delete, address: b, head: deleted },
            Write { operation: Operation::Rename, address: new.clone(), head: renamed },
        ];
        Ok(commit(now, "c2", writes))
    };
    let second = store.commit(Box::new(moves)).await.expect("a commit");
    let snapshot = store.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.heads.keys().collect::<Vec<_>>(), [&new]);
    assert_eq!(snapshot.heads[&new].generation, 2);
    assert_eq!(second.counts, Counts { rename: 1, delete: 1, ..Counts::default() });

    let history = store.history(None, 10).await.expect("history");
    assert_eq!(history, [second.clone(), change.clone()], "newest first");
    assert_eq!(store.history(None, 1).await.expect("history"), std::slice::from_ref(&second));
    assert_eq!(store.history(Some(&old), 10).await.expect("history"), [change]);
    assert_eq!(store.revisions(&old).await.expect("revisions").len(), 1);
    let (found, revisions) = store.change("c2").await.expect("a change").expect("it exists");
    assert_eq!((found, revisions.len()), (second, 2));
    assert!(store.change("c").await.expect("a change").is_none(), "the start of two ids names neither");
    assert!(store.change("x").await.expect("a change").is_none());
}

/// A refusal leaves no trace.
pub async fn a_refusal_changes_nothing(store: &dyn Store) {
    let refused = store.commit(Box::new(|_| Err(Refusal::OtherWorkspace))).await;
    assert!(matches!(refused, Err(CommitError::Refused(Refusal::OtherWorkspace))));
    assert_eq!(store.snapshot().await.expect("a snapshot").serial, 0);
    assert!(store.history(None, 10).await.expect("history").is_empty());
}

/// Many commits at once follow one another: each sees what the one before it wrote.
pub async fn commits_at_once_follow_one_another(stores: Vec<Arc<dyn Store>>, each: usize) {
    let count = stores.len() * each;
    let commits = stores.iter().enumerate().map(|(index, store)| async move {
        for round in 0..each {
            let name = format!("p{index}-{round}");
            let decide = |now: &Snapshot| Ok(creates(now, &name.clone(), [name.clone()]));
            store.commit(Box::new(decide)).await.expect("each commit gets its turn");
        }
    });
    futures_util::future::join_all(commits).await;
    let snapshot = stores[0].snapshot().await.expect("a snapshot");
    assert_eq!((snapshot.serial, snapshot.heads.len()), (count as u64, count));
}

/// What is forgotten is only what nothing needs: what is applied, and every later moment, stays as it is.
pub async fn what_is_forgotten_is_what_nothing_needs(store: &dyn Store) {
    let address = |name: &str| Address::new(Kind::Project, None, name);
    let again = |now: &Snapshot, id: &str, operation: Operation, name: &str| {
        let head = &now.heads[&address(name)];
        let head = Head { generation: head.generation + 1, ..head.clone() };
        commit(now, id, vec![Write { operation, address: address(name), head }])
    };
    let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    store.commit(Box::new(|now| Ok(creates(now, "c1", names)))).await.expect("a commit");
    for (id, operation, name) in [
        ("c2", Operation::Update, "a"),
        ("c3", Operation::Delete, "b"),
        ("c4", Operation::Update, "a"),
        ("c5", Operation::Update, "a"),
    ] {
        store.commit(Box::new(|now| Ok(again(now, id, operation, name)))).await.expect("a commit");
    }
    let mut before = Vec::new();
    for serial in 0..=5 {
        before.push(store.at(serial).await.expect("a moment"));
    }
    let wanted = Compaction { at: 7, actor: "user:test".into(), until: 4, changes: 0, revisions: 0 };
    let done = store.compact(&wanted).await.expect("a compaction");
    // Of `a` three, of `b` both; the changes that made nothing which is left are gone with them.
    assert_eq!(done, Compaction { revisions: 4, changes: 2, ..wanted.clone() });
    assert_eq!(store.compactions().await.expect("compactions"), [done]);
    let snapshot = store.snapshot().await.expect("a snapshot");
    assert_eq!((snapshot.serial, &snapshot.heads), (5, &before[5].heads));
    for (serial, moment) in before.iter().enumerate() {
        match store.at(serial as u64).await {
            Ok(now) => assert!(serial >= 4 && now == *moment, "{serial}"),
            Err(StoreError::Compacted { until: 4, .. }) => assert!(serial < 4, "{serial}"),
            Err(error) => panic!("{serial}: {error}"),
        }
    }
    let serials: Vec<u64> =
        store.history(None, 10).await.expect("history").iter().map(|change| change.serial).collect();
    assert_eq!(serials, [5, 4, 1]);
    let second = store.compact(&wanted).await.expect("a compaction");
    assert_eq!((second.changes, second.revisions), (0, 0), "there is nothing left to forget");
    store.commit(Box::new(|now| Ok(again(now, "c6", Operation::Update, "c")))).await.expect("a commit");
    assert_eq!(store.at(5).await.expect("a moment"), before[5]);
}

/// Ten thousand resources in one commit are no trouble.
pub async fn ten_thousand_resources_are_no_trouble(store: &dyn Store) {
    let names = (0..10_000).map(|n| format!("p{n:05}"));
    store.commit(Box::new(move |now| Ok(creates(now, "many", names)))).await.expect("a commit");
    assert_eq!(store.snapshot().await.expect("a snapshot").heads.len(), 10_000);
    assert_eq!(store.change("many").await.expect("a change").expect("it exists").1.len(), 10_000);
}
