//! What every ledger must do, as checks that run over any implementation.
//!
//! Each check takes an empty database and panics where it does not keep the contract of [`Ledger`].

use std::time::Duration;

use super::{Acquired, Entry, Goal, Lease, Ledger, LedgerError, Object, Outward, Owed, Place, TaskId};
use crate::address::Address;
use crate::config::Kind;
use crate::store::conformance::commit;
use crate::store::{Snapshot, Store, Uid};

const LONG: Duration = Duration::from_secs(3600);

fn place(id: &str) -> Place {
    Place::new("https://hooks.example.com/objects/", id)
}

/// A task for an object that is named like its resource.
fn task(serial: u64, ordinal: u32, name: &str, goal: Goal, document: &str) -> Owed {
    Owed {
        id: TaskId { serial, ordinal },
        uid: Uid(format!("uid-{name}")),
        address: Address::new(Kind::WebhookTarget, None, name),
        place: place(name),
        goal,
        document: document.to_owned(),
    }
}

async fn owe(store: &dyn Store, id: &str, outward: Outward) {
    let decide = |now: &Snapshot| {
        let mut commit = commit(now, id, Vec::new());
        commit.outward = outward;
        Ok(commit)
    };
    store.commit(Box::new(decide)).await.expect("a commit");
}

fn nobody_is_gone(_: &str) -> bool {
    false
}

async fn lease(ledger: &dyn Ledger, holder: &str) -> Lease {
    match ledger.acquire(holder, LONG, &nobody_is_gone).await.expect("an answer") {
        Acquired::Ours(lease) => lease,
        Acquired::Held { holder, .. } => panic!("{holder} has the lease"),
    }
}

/// What is owed stands in the snapshot until it is done; then the object is known as what it was made.
pub async fn what_is_owed_stays_until_it_is_done<S: Store + Ledger>(database: &S) {
    let first = vec![task(1, 0, "a", Goal::Put, "{}"), task(1, 1, "b", Goal::Put, "{}")];
    owe(database, "c1", Outward { owed: first.clone(), forgotten: Vec::new() }).await;
    let snapshot = database.snapshot().await.expect("a snapshot");
    assert_eq!((&snapshot.owed, &snapshot.owed), (&first, &database.owed().await.expect("what is owed")));
    let object = |name: &str, begun, applied: Option<&str>| Object {
        uid: Uid(format!("uid-{name}")),
        place: place(name),
        begun,
        applied: applied.map(str::to_owned),
        tried: None,
    };
    assert_eq!(snapshot.objects, [object("a", false, None), object("b", false, None)]);

    let ours = lease(database, "me").await;
    let begun = Entry::Begun("create".to_owned());
    database.write(&ours, first[0].id, 7, &begun).await.expect("it is ours");
    let objects = database.objects().await.expect("objects");
    assert_eq!(objects, [object("a", true, None), object("b", false, None)]);
    database.write(&ours, first[0].id, 8, &Entry::Done).await.expect("it is ours");
    database.write(&ours, first[1].id, 9, &Entry::Failed("no".to_owned())).await.expect("it is ours");
    assert_eq!(database.owed().await.expect("what is owed"), first[1..]);
    let objects = database.objects().await.expect("objects");
    assert_eq!(objects, [object("a", true, Some("{}")), object("b", false, None)]);
    let journal = database.journal(1).await.expect("the journal");
    let entries: Vec<_> = journal.iter().map(|line| (line.task.ordinal, line.at, &line.entry)).collect();
    assert_eq!(entries, [(0, 7, &begun), (0, 8, &Entry::Done), (1, 9, &Entry::Failed("no".to_owned()))]);
    assert!(journal.iter().all(|line| line.token == ours.token));

    // A later commit says something else of the same places.
    let second = vec![task(2, 0, "a", Goal::Remove, "{}"), task(2, 1, "b", Goal::Put, r#"{"b":1}"#)];
    owe(database, "c2", Outward { owed: second.clone(), forgotten: Vec::new() }).await;
    assert_eq!(database.owed().await.expect("what is owed"), second, "the older task for b is owed no more");
    for entry in [begun.clone(), Entry::Done, Entry::Failed("no".to_owned())] {
        let late = database.write(&ours, first[1].id, 10, &entry).await;
        assert!(matches!(late, Err(LedgerError::Void(_))), "{entry:?}: {late:?}");
    }
    assert_eq!(database.journal(1).await.expect("the journal").len(), 3, "nothing was written about it");
    assert_eq!(database.owed().await.expect("what is owed"), second);
    database.write(&ours, second[0].id, 11, &Entry::Done).await.expect("it is ours");
    assert_eq!(database.objects().await.expect("objects"), [object("b", false, None)]);
    owe(database, "c3", Outward { owed: Vec::new(), forgotten: vec![(Uid("uid-b".into()), place("b"))] })
        .await;
    let snapshot = database.snapshot().await.expect("a snapshot");
    assert_eq!((snapshot.objects, snapshot.owed), (Vec::new(), Vec::new()));
}

/// What was begun and never ended is remembered, all of it, until something is done.
pub async fn what_was_tried_is_remembered<S: Store + Ledger>(database: &S) {
    let document = |body: &str| {
        format!(
            r#"{{"apiVersion":"reactorcide/v1","kind":"WebhookTarget","metadata":{{"name":"a","deletion_policy":"allow"}},"spec":{{"url":"https://hooks.example.com/objects","body":{body},"timeout":"10s"}}}}"#
        )
    };
    let begun = Entry::Begun("replace".to_owned());
    let put = |serial, body: &str| task(serial, 0, "a", Goal::Put, &document(body));
    let ours = lease(database, "me").await;
    for (serial, body) in [(1, r#"{"x":1}"#), (2, r#"{"y":{"z":1}}"#)] {
        owe(database, &format!("c{serial}"), Outward { owed: vec![put(serial, body)], forgotten: vec![] })
            .await;
        database.write(&ours, TaskId { serial, ordinal: 0 }, 1, &begun).await.expect("it is ours");
    }
    let objects = database.objects().await.expect("objects");
    assert_eq!(objects[0].tried.as_deref(), Some(r#"{"x":1,"y":{"z":1}}"#));
    assert_eq!(objects[0].applied, None);
    database.write(&ours, TaskId { serial: 2, ordinal: 0 }, 1, &Entry::Done).await.expect("it is ours");
    let objects = database.objects().await.expect("objects");
    assert_eq!((objects[0].tried.as_deref(), objects[0].applied.is_some()), (None, true));
}

/// One has the lease at a time, and who lost it writes nothing.
pub async fn one_has_the_lease_at_a_time<S: Store + Ledger>(database: &S) {
    let owed = vec![task(1, 0, "a", Goal::Put, "{}")];
    owe(database, "c1", Outward { owed: owed.clone(), forgotten: Vec::new() }).await;
    let mine = lease(database, "me").await;
    let Acquired::Held { holder, remaining } =
        database.acquire("you", LONG, &nobody_is_gone).await.expect("an answer")
    else {
        panic!("two have it");
    };
    assert!(holder == "me" && remaining <= LONG && remaining > LONG / 2, "{holder} {remaining:?}");
    let again = lease(database, "me").await;
    assert!(again.token > mine.token, "a holder may ask again, and is another then");
    assert!(matches!(database.renew(&mine, LONG).await, Err(LedgerError::Lost(_))));
    // Who is gone need not be waited for, nor whose time is over.
    let taken = database.acquire("you", Duration::ZERO, &|holder| holder == "me").await.expect("an answer");
    let Acquired::Ours(yours) = taken else { panic!("{taken:?}") };
    let late = database.write(&again, owed[0].id, 1, &Entry::Done).await;
    assert!(matches!(late, Err(LedgerError::Lost(_))), "{late:?}");
    assert!(database.journal(1).await.expect("the journal").is_empty());
    assert_eq!(database.owed().await.expect("what is owed"), owed);
    let mine = lease(database, "me").await;
    assert!(mine.token > yours.token && yours.token > again.token);
    database.release(&yours).await.expect("it is not theirs to give back");
    database.renew(&mine, LONG).await.expect("it is ours still");
    database.release(&mine).await.expect("it is ours");
    let next = lease(database, "you").await;
    assert!(next.token > mine.token);
}
