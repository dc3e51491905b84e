//! Seeded simulation of the scheduler: random workflows, a worker that does everything a worker may do, and an
//! oracle that knows what must hold and nothing of how it is done.
//!
//! A failure prints its seed; `REACTORCIDE_SEED=n cargo test -p reactorcide-engine --test scheduling` runs that one
//! alone, and `REACTORCIDE_SEEDS=n` runs that many.

mod oracle;
mod scenario;
mod trigger;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use world::{Outcome, simulate};

/// How many runs are simulated where nothing else is said.
const SEEDS: u64 = 12_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

fn check(seed: u64) -> Outcome {
    let told = catch_unwind(AssertUnwindSafe(|| {
        let outcome = simulate(seed, false);
        // Stored and read back wherever it happens to be, a run goes on as if nothing had been.
        assert_eq!(simulate(seed, true), outcome, "a stored run went on differently");
        outcome
    }));
    told.unwrap_or_else(|_| {
        panic!("the simulation of seed {seed} failed; REACTORCIDE_SEED={seed} repeats it")
    })
}

#[test]
fn every_run_keeps_what_is_promised() {
    if let Some(seed) = number("REACTORCIDE_SEED") {
        check(seed);
        return;
    }
    let seeds = number("REACTORCIDE_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = || {
        let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || failed.load(Ordering::Relaxed) {
                return seen;
            }
            match catch_unwind(|| check(seed)) {
                Ok(outcome) => {
                    outcome.seen.into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count)
                }
                Err(_) => {
                    failed.store(true, Ordering::Relaxed);
                    return seen;
                }
            }
        }
    };
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        for worker in workers {
            for (what, count) in worker.join().expect("panics are caught inside") {
                *seen.entry(what).or_default() += count;
            }
        }
    });
    assert!(!failed.load(Ordering::Relaxed), "a seed failed: see above");
    // A simulation that no longer reaches something proves nothing about it.
    if seeds >= SEEDS {
        for what in world::EVERYTHING {
            assert!(seen.get(what).is_some_and(|count| *count > 20), "hardly ever seen: {what}: {seen:?}");
        }
    }
}
