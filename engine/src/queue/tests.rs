//! Whose turn it is, who may take what, and what is said of who waits.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::WorkerPoolSpec;

fn share(project: &str, weight: u32, time: i64) -> Share {
    Share { project: project.into(), weight, time }
}

fn worker(labels: &[(&str, &str)], pool: Option<(&str, WorkerPoolSpec)>) -> Claimant {
    Claimant {
        worker: "w1".into(),
        labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        pool: pool.map(|(name, spec)| (name.to_owned(), spec)),
    }
}

fn counts(turns: &[usize], of: usize) -> Vec<usize> {
    (0..of).map(|index| turns.iter().filter(|turn| **turn == index).count()).collect()
}

#[test]
fn projects_take_turns_by_their_weight() {
    let new = || [share("b", 1, 0), share("a", 1, 0), share("heavy", 2, 0)];
    let mut shares = new();
    let turns = allot(&mut shares, 8);
    assert_eq!(counts(&turns, 3), [2, 2, 4]);
    assert_eq!(turns[..3], [1, 0, 2], "ties go by name");
    // One at a time gives the same.
    let mut one = new();
    let single: Vec<usize> = (0..8).flat_map(|_| allot(&mut one, 1)).collect();
    assert_eq!((single, one), (turns, shares));
    assert_eq!(allot(&mut [], 5), [0usize; 0]);
}

#[test]
fn who_wanted_nothing_does_not_save_up() {
    let mut busy = [share("busy", 1, 0), share("other", 1, 0)];
    allot(&mut busy, 1000);
    let mut shares = [busy[0].clone(), share("idle", 1, 0)];
    let counts = counts(&allot(&mut shares, 10), 2);
    assert!(counts[1] <= 6, "{counts:?}");
    let mut back = shares[1].clone();
    back.give_back(counts[1]);
    assert_eq!(back.time + i64::try_from(counts[1]).expect("few") * 1_000_000, shares[1].time);
}

#[test]
fn priority_is_time_and_what_waits_long_enough_passes() {
    assert!(rank(1_000, 10) < rank(1_000, 5));
    assert!(rank(0, 5) < rank(6 * MILLIS_A_POINT, 10), "six minutes outweigh five points");
    assert!(rank(0, 5) > rank(4 * MILLIS_A_POINT, 10));
    assert_eq!(rank(Millis::MIN, 100), Millis::MIN);
}

#[test]
fn a_worker_is_what_a_job_needs_or_it_is_said_why_not() {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let needs = Needs { labels: labels(&[("os", "linux")]), profile: "trusted".into(), ..Needs::default() };
    assert_eq!(needs.met_by(&worker(&[("os", "linux"), ("gpu", "no")], None), "web"), Ok(()));
    let why = |needs: &Needs, worker: &Claimant| needs.met_by(worker, "web").expect_err("it is not");
    assert_eq!(why(&needs, &worker(&[("os", "mac")], None)), "it needs the label os=linux");
    assert_eq!(why(&needs, &worker(&[], None)), "it needs the label os=linux");

    let spec = WorkerPoolSpec {
        labels: labels(&[("os", "linux")]),
        profiles: Some(vec!["trusted".into()]),
        projects: Some(vec!["web*".into()]),
        ..WorkerPoolSpec::default()
    };
    let pooled = worker(&[], Some(("big", spec)));
    assert_eq!(needs.met_by(&pooled, "webshop"), Ok(()), "a pool's labels are its workers'");
    assert!(needs.met_by(&pooled, "api").expect_err("closed").contains("project"));
    let untrusted = Needs { profile: "untrusted".into(), ..needs.clone() };
    assert!(why(&untrusted, &pooled).contains("not open to the profile"));
    let elsewhere = Needs { pools: ["small".to_owned()].into(), ..needs.clone() };
    assert!(why(&elsewhere, &pooled).contains("pool small"));
    // A worker that says that it is in a pool is in it where the pool says so too.
    let mut closed = pooled.clone();
    if let Some((_, spec)) = &mut closed.pool {
        spec.workers = Some(vec!["big-*".into()]);
    }
    assert_eq!(why(&needs, &closed), "the worker \"w1\" is none of the pool \"big\"");
    closed.worker = "big-1".into();
    assert_eq!(needs.met_by(&closed, "webshop"), Ok(()));
    let local = Needs { only: Some("w2".into()), ..Needs::default() };
    assert!(why(&local, &pooled).contains("w2"));
    assert_eq!(Needs { only: Some("w1".into()), ..needs }.met_by(&worker(&[], None), "web"), Ok(()));
}

#[test]
fn what_is_waited_for_is_said() {
    let entry = Entry {
        run: "r".into(),
        node: "n".into(),
        attempt: 1,
        project: "web".into(),
        needs: Needs { labels: [("gpu".to_owned(), "yes".to_owned())].into(), ..Needs::default() },
        priority: 0,
        enqueued_at: 0,
        due_at: 50,
        slot: Some(Slot { group: "deploy".into(), limit: 1, mode: ConcurrencyMode::Queue }),
        timeout: None,
    };
    let row = |status| Row {
        entry: entry.clone(),
        status,
        stop: Urgency::None,
        worker: Some("w1".into()),
        leased_at: None,
        expires_at: None,
    };
    let group = Group { limit: 1, holders: vec!["r9 deploy".into()] };
    let plain = worker(&[], None);
    let able = worker(&[("gpu", "yes")], None);
    let says = |status, workers: &[Claimant], now| explain(&row(status), Some(&group), workers, now);
    assert_eq!(says(EntryStatus::Ready, std::slice::from_ref(&able), 10), Waiting::Until(50));
    assert_eq!(says(EntryStatus::Ready, &[plain.clone(), able], 50), Waiting::Turn);
    let none = Waiting::Worker(vec!["it needs the label gpu=yes".into()]);
    assert_eq!(says(EntryStatus::Ready, &[plain.clone(), plain], 50), none);
    assert_eq!(says(EntryStatus::Ready, &[], 50), Waiting::Worker(vec![]));
    assert!(
        matches!(says(EntryStatus::Blocked, &[], 50), Waiting::Group(text) if text.contains("r9 deploy"))
    );
    assert!(matches!(says(EntryStatus::Leased, &[], 50), Waiting::Runs(text) if text.contains("w1")));
}

proptest! {
    /// However often and how much is asked for, no project that always has work is ever more than one attempt behind
    /// its share, and everything that was asked for is handed out.
    #[test]
    fn shares_are_fair(weights in prop::collection::vec(1u32..5, 1..6), asks in prop::collection::vec(1usize..20, 1..40)) {
        let mut shares: Vec<Share> =
            weights.iter().enumerate().map(|(n, weight)| share(&format!("p{n}"), *weight, 0)).collect();
        let turns: Vec<usize> = asks.iter().flat_map(|ask| allot(&mut shares, *ask)).collect();
        let counts = counts(&turns, shares.len());
        let total: usize = asks.iter().sum();
        prop_assert_eq!(counts.iter().sum::<usize>(), total);
        let all: u32 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(&weights) {
            let fair = total as f64 * f64::from(*weight) / f64::from(all);
            let most = f64::from(*weight) + weights.len() as f64 + 1.0;
            prop_assert!((*count as f64 - fair).abs() <= most, "{:?} of {:?}: {} for {}", counts, weights, count, fair);
        }
    }
}

#[test]
fn a_job_that_keeps_files_is_not_ended_while_it_does() {
    let timeout = |job: serde_json::Value| {
        let assignment = serde_json::from_value(serde_json::json!({
            "run": "r", "node": "n", "attempt": 1, "job": job, "profile": {"name": "trusted", "spec": {"secrets": "granted"}},
            "triggered": false, "depth": 0, "event": {"type": "push"}, "vars": {}, "needs": {}, "inputs": {}, "at": 0,
        }));
        entry(&assignment.expect("an assignment"), None, 0, None, None).timeout
    };
    let plain = serde_json::json!({"image": "i", "command": "c", "timeout": "1m", "grace": "5s"});
    assert_eq!(timeout(plain.clone()), Some(65_000));
    let mut keeps = plain;
    keeps["artifacts"] = serde_json::json!({"paths": ["x"]});
    assert_eq!(timeout(keeps.clone()), Some(65_000 + FILES));
    keeps.as_object_mut().expect("a job").remove("timeout");
    assert_eq!(timeout(keeps), None);
}
