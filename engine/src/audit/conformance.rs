//! What every audit log must do, as checks that run over any implementation.
//!
//! Each check takes an empty log and panics where it does not keep the contract of [`AuditLog`].

use std::sync::Arc;

use serde_json::json;

use super::{AuditLog, Draft, Entry, Filter, Head, Outcome, verify};
use crate::scheduler::Millis;

/// An entry of nothing in particular.
pub fn draft(at: Millis, actor: &str, action: &str) -> Draft {
    Draft {
        at,
        actor: actor.to_owned(),
        action: action.to_owned(),
        target: format!("Run/{at}"),
        outcome: Outcome::Done,
        detail: json!({"z": 1, "a": [null, "é\u{0}\n"], "n": 1.5}).into(),
        request: None,
    }
}

/// The whole log.
pub async fn whole(log: &dyn AuditLog) -> Vec<Entry> {
    log.read(0, u32::MAX).await.expect("it is read")
}

/// What is added is read back in its order, in pages, and its chain holds.
pub async fn what_is_added_is_read_back(log: &dyn AuditLog) {
    assert_eq!(log.head().await.expect("a head"), Head::EMPTY);
    assert_eq!(log.append(&[]).await.expect("nothing is added"), Head::EMPTY);
    assert_eq!(whole(log).await, []);
    let strange = Draft {
        actor: "user:\u{1F600}'\"; drop".to_owned(),
        outcome: Outcome::Denied,
        detail: json!(null).into(),
        target: "a\0b".to_owned(),
        request: Some(String::new()),
        ..draft(Millis::MIN, "", "runs.start")
    };
    let many: Vec<Draft> = (0..1_000).map(|n| draft(n, "user:ada", "runs.start")).collect();
    let first = log.append(std::slice::from_ref(&strange)).await.expect("it is added");
    let last = log.append(&many).await.expect("they are added");
    assert_eq!((first.seq, last.seq), (1, 1_001));
    assert_eq!(log.head().await.expect("a head"), last);
    let entries = whole(log).await;
    // The one character that not every database holds.
    assert_eq!(entries[0].draft, Draft { target: "a\u{fffd}b".to_owned(), ..strange });
    assert!(entries[1..].iter().map(|entry| &entry.draft).eq(&many));
    assert_eq!(verify(&entries, Some(first)), Ok(last));
    let page = log.read(999, 10).await.expect("a page");
    assert_eq!(page, entries[999..]);
    assert_eq!(log.read(1, 2).await.expect("a page"), entries[1..3]);
}

/// A filter shows the newest first.
pub async fn entries_are_found(log: &dyn AuditLog) {
    let denied = Draft { outcome: Outcome::Denied, ..draft(30, "user:bob", "config.apply") };
    let drafts = [draft(10, "user:ada", "runs.start"), draft(20, "user:bob", "runs.start"), denied];
    log.append(&drafts).await.expect("they are added");
    let all = Filter::default();
    for (filter, limit, expected) in [
        (all.clone(), 10, &[3, 2, 1][..]),
        (all.clone(), 2, &[3, 2]),
        (Filter { before: Some(3), ..all.clone() }, 10, &[2, 1]),
        (Filter { actor: Some("user:bob".to_owned()), ..all.clone() }, 10, &[3, 2]),
        (Filter { action: Some("runs.start".to_owned()), ..all.clone() }, 10, &[2, 1]),
        (Filter { target: Some("Run/20".to_owned()), ..all.clone() }, 10, &[2]),
        (Filter { outcome: Some(Outcome::Denied), ..all.clone() }, 10, &[3]),
        (Filter { from: Some(20), ..all.clone() }, 10, &[3, 2]),
        (Filter { until: Some(20), ..all.clone() }, 10, &[1]),
        (Filter { actor: Some("user:%".to_owned()), ..all.clone() }, 10, &[]),
    ] {
        let found = log.search(&filter, limit).await.expect("an answer");
        assert_eq!(found.iter().map(|entry| entry.seq).collect::<Vec<_>>(), expected, "{filter:?}");
        assert!(found.iter().all(|entry| filter.admits(entry)));
    }
}

/// Servers that add at once make one chain, without a gap or a fork, in which what one added together stays together.
/// `logs` are over the same place.
pub async fn servers_at_once_make_one_chain(logs: Vec<Arc<dyn AuditLog>>, rounds: u32) {
    let writers = logs.iter().enumerate().map(|(writer, log)| async move {
        let actor = format!("server:{writer}");
        for round in 0..rounds {
            let at = Millis::from(round);
            let pair = [draft(at, &actor, "first"), draft(at, &actor, "second")];
            log.append(&pair).await.expect("they are added");
        }
    });
    futures_util::future::join_all(writers).await;
    let entries = whole(&*logs[0]).await;
    assert_eq!(entries.len(), logs.len() * rounds as usize * 2);
    let head = verify(&entries, None).expect("one chain");
    assert_eq!(logs[logs.len() - 1].head().await.expect("a head"), head);
    for pair in entries.chunks(2) {
        let (first, second) = (&pair[0].draft, &pair[1].draft);
        assert_eq!((first.action.as_str(), second.action.as_str()), ("first", "second"));
        assert_eq!((&first.actor, first.at), (&second.actor, second.at));
    }
}
