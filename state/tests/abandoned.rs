//! Whoever asks may stop waiting at any moment: what others do afterwards must not end in what was left behind.

use std::time::Duration;

use reactorcide_engine::queue::{Claim, Claimant};
use reactorcide_engine::runs::conformance::Both;
use reactorcide_engine::runs::{EntryFilter, NewRecord, RunFilter, conformance};
use reactorcide_state::{PostgresRuns, SqliteRuns};

use crate::conformance::{in_postgres, sqlite};
use crate::postgres;

/// Does everything again and again, and mostly does not wait for the end of it. What was waited for must be there.
async fn is_abandoned(store: &dyn Both) {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut known = Vec::new();
    let claim = |n: usize, max: usize| Claim {
        claimant: Claimant { worker: "w".into(), ..Claimant::default() },
        max,
        now: 1_000_000_000 + n as i64,
        expires_at: 2_000_000_000,
        token: format!("token-{n}"),
    };
    let mut claimed = 0;
    for n in 0..400 {
        let patience = Duration::from_micros(rng.u64(0..4_000));
        let new: NewRecord = conformance::one_job(&format!("r{n}"));
        if let Ok(accepted) = tokio::time::timeout(patience, store.accept(&[new])).await {
            accepted.expect("it is accepted");
            known.push(format!("r{n}"));
        }
        let claim = claim(n, 1);
        if let Ok(taken) = tokio::time::timeout(patience, store.claim(&claim)).await {
            claimed += taken.expect("an answer").len();
        }
        let _ = tokio::time::timeout(patience, store.overdue(1_000_000_000, 10)).await;
        let _ = tokio::time::timeout(patience, store.load("r0")).await;
    }
    // What nobody waits for may still be under way.
    let (runs, all) = loop {
        let runs = store.runs(&RunFilter::newest(10_000)).await.expect("runs");
        let all =
            store.entries(&EntryFilter { limit: 10_000, ..EntryFilter::default() }).await.expect("entries");
        let again = store.runs(&RunFilter::newest(10_000)).await.expect("runs");
        if runs == again {
            break (runs, all);
        }
    };
    for run in &known {
        assert!(runs.iter().any(|one| one.id == *run), "{run} was acknowledged and is not there");
    }
    assert_eq!(all.len(), runs.len(), "each run has its attempt");
    let leased = all.iter().filter(|row| row.worker.is_some()).count();
    assert!(leased >= claimed && claimed > 0 && known.len() > 20, "{leased} {claimed} {}", known.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    is_abandoned(&SqliteRuns::new(sqlite(directory.path()).await.database().clone())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_server() {
    let url = postgres::url();
    is_abandoned(&PostgresRuns::new(in_postgres(&url).await.database().clone())).await;
}
