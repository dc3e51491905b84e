//! How long it takes to read, check and plan a configuration that is applied already: the plan of every day.

mod workload;

use std::collections::BTreeMap;

use divan::{Bencher, black_box};
use reactorcide_engine::read::{Budget, read};
use reactorcide_engine::workflow;

fn main() {
    divan::main();
}

/// Reading and checking: by far the largest part of a plan.
#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 3, sample_size = 1)]
fn read_and_check(bencher: Bencher, resources: usize) {
    bencher.with_inputs(|| workload::configuration(resources)).bench_values(|files| {
        let reading = read(files, &Budget::default());
        assert!(reading.is_valid(), "{:?}", reading.diagnostics.first());
        reading
    });
}

/// Resolving every pipeline: templates, presets, profiles.
#[divan::bench(args = [1_000, 10_000], sample_count = 3, sample_size = 1)]
fn resolve(bencher: Bencher, resources: usize) {
    let reading = read(workload::configuration(resources), &Budget::default());
    let pipelines: BTreeMap<_, _> = reading
        .configuration
        .resources
        .iter()
        .filter(|(address, _)| address.kind == reactorcide_engine::config::Kind::Pipeline)
        .collect();
    bencher.bench(|| {
        for address in pipelines.keys() {
            let _ = black_box(workflow::resolve_declared(&reading.configuration, address).expect("resolves"));
        }
    });
}
