//! How many transitions of nodes a second the scheduler makes, on graphs of ten thousand jobs.

use std::collections::BTreeMap;

use divan::Bencher;
use divan::counter::ItemsCount;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Job, Kind};
use reactorcide_engine::scheduler::{AttemptResult, Command, Event, NewRun, RunState, RunStatus, step};
use reactorcide_engine::workflow::{Declaration, Profile, Workflow};
use serde_json::json;

const NODES: usize = 10_000;
/// Waiting → queued → running → succeeded.
const TRANSITIONS: usize = 3;

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 10)]
fn chain(bencher: Bencher) {
    run(bencher, |n| if n == 0 { vec![] } else { vec![n - 1] });
}

#[divan::bench(sample_count = 10)]
fn fan_out(bencher: Bencher) {
    run(bencher, |n| if n == 0 { vec![] } else { vec![0] });
}

/// Layers of ten, each of which waits for the whole layer before.
#[divan::bench(sample_count = 10)]
fn diamond(bencher: Bencher) {
    run(bencher, |n| if n < 10 { vec![] } else { (n / 10 * 10 - 10..n / 10 * 10).collect() });
}

fn run(bencher: Bencher, needs: impl Fn(usize) -> Vec<usize>) {
    let workflow = workflow(needs);
    bencher
        .counter(ItemsCount::new(NODES * TRANSITIONS))
        .with_inputs(|| {
            RunState::new(NewRun {
                id: "run".to_owned(),
                workflow: workflow.clone(),
                event: json!({"type": "manual"}),
                vars: BTreeMap::new(),
                inputs: BTreeMap::new(),
                selection: None,
            })
        })
        .bench_values(|mut state| {
            let mut pending = vec![Event::Begin];
            while let Some(event) = pending.pop() {
                for command in step(&mut state, event, 0) {
                    if let Command::Enqueue { node, attempt, .. } = command {
                        let result = AttemptResult {
                            failure: None,
                            exit_code: Some(0),
                            message: None,
                            outputs: BTreeMap::new(),
                            started: true,
                            permanent: false,
                            usage: None,
                        };
                        pending.push(Event::AttemptFinished { node: node.clone(), attempt, result });
                        pending.push(Event::AttemptStarted { node, attempt });
                    }
                }
            }
            assert_eq!(state.status(), RunStatus::Succeeded);
            state
        });
}

fn workflow(needs: impl Fn(usize) -> Vec<usize>) -> Workflow {
    let name = |n: usize| format!("job-{n:05}");
    let profile: Profile = serde_json::from_value(json!({"name": "trusted", "spec": {}})).expect("a profile");
    let job = |n: usize| Job {
        image: Some("image".to_owned()),
        depends_on: needs(n).into_iter().map(name).collect(),
        ..Job::default_said()
    };
    Workflow {
        address: Address::new(Kind::Pipeline, Some("p"), "ci"),
        vars: BTreeMap::new(),
        inputs: BTreeMap::new(),
        concurrency: None,
        jobs: (0..NODES).map(|n| (name(n), Declaration::new(job(n), profile.clone()))).collect(),
        templates: BTreeMap::new(),
    }
}
