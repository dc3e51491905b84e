//! Examples of each rule, and properties over random graphs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::spec::Command;

fn step(name: &str) -> StepSpec {
    StepSpec {
        name: name.to_owned(),
        run: Command::Script("true".to_owned()),
        shell: None,
        parallel: false,
        depends_on: None,
        when: None,
        condition: Condition::AllSuccess,
        continue_on_error: false,
        timeout_ms: None,
        retry: None,
        working_dir: None,
        environment: BTreeMap::new(),
        secrets: Vec::new(),
    }
}

fn parallel(name: &str) -> StepSpec {
    StepSpec { parallel: true, ..step(name) }
}

fn after(name: &str, dependencies: &[&str]) -> StepSpec {
    StepSpec { depends_on: Some(dependencies.iter().map(|d| (*d).to_owned()).collect()), ..step(name) }
}

fn on(condition: Condition, step: StepSpec) -> StepSpec {
    StepSpec { condition, ..step }
}

fn failed(code: i32) -> Ending {
    Ending::Failed(JobResult { outcome: JobOutcome::Exit, exit_code: Some(code), reason: None })
}

/// Runs all steps to the end, one at a time in the order offered; those named fail with their position.
fn run(specs: &[StepSpec], failing: &[&str]) -> (Vec<String>, Vec<String>, JobResult) {
    let mut steps = Steps::new(specs).expect("valid steps");
    let (mut ran, mut skipped) = (Vec::new(), Vec::new());
    loop {
        let advance = steps.advance();
        skipped.extend(advance.skipped.into_iter().map(|s| s.name));
        let Some(name) = advance.start.first() else { break };
        steps.started(name);
        ran.push(name.clone());
        let code = failing.iter().position(|f| f == name);
        steps.finished(name, code.map_or(Ending::Succeeded, |code| failed(code as i32 + 1)));
    }
    assert!(steps.is_done());
    skipped.sort();
    (ran, skipped, steps.result())
}

#[test]
fn sequential_steps_run_one_after_another() {
    let mut steps = Steps::new(&[step("a"), step("b")]).unwrap();
    assert_eq!(steps.advance().start, ["a"]);
    steps.started("a");
    assert_eq!(steps.advance(), Advance::default());
    steps.finished("a", Ending::Succeeded);
    assert_eq!(steps.advance().start, ["b"]);
}

#[test]
fn parallel_steps_wait_for_the_last_sequential_one_and_the_next_sequential_one_for_all() {
    let mut steps = Steps::new(&[step("a"), parallel("b"), parallel("c"), step("d")]).unwrap();
    steps.finished("a", Ending::Succeeded);
    assert_eq!(steps.advance().start, ["b", "c"]);
    steps.started("b");
    steps.started("c");
    steps.finished("c", Ending::Succeeded);
    assert_eq!(steps.advance().start, Vec::<String>::new());
    steps.finished("b", Ending::Succeeded);
    assert_eq!(steps.advance().start, ["d"]);
}

#[test]
fn an_empty_depends_on_waits_for_nothing() {
    let mut steps = Steps::new(&[step("a"), after("b", &[])]).unwrap();
    assert_eq!(steps.advance().start, ["a", "b"]);
}

#[rstest]
#[case::stops_at_the_failure(vec![step("a"), step("b"), step("c")], &["a"], "a", "bc", 1)]
#[case::condition_always(vec![step("a"), on(Condition::Always, step("b")), step("c")], &["a"], "ab", "c", 1)]
#[case::condition_any_failed(vec![step("a"), on(Condition::AnyFailed, step("b"))], &["a"], "ab", "", 1)]
#[case::any_failed_is_skipped(vec![step("a"), on(Condition::AnyFailed, step("b"))], &[], "a", "b", 0)]
#[case::any_failed_sees_through_a_skip(
    vec![step("a"), step("b"), on(Condition::AnyFailed, after("c", &["b"]))], &["a"], "ac", "b", 1)]
#[case::first_failure_decides(
    vec![step("a"), on(Condition::Always, step("b"))], &["b", "a"], "ab", "", 2)]
#[case::a_parallel_neighbour_goes_on(
    vec![parallel("a"), parallel("b"), step("c")], &["a"], "ab", "c", 1)]
#[case::a_separate_branch_goes_on(
    vec![step("a"), after("b", &["a"]), after("c", &[])], &["a"], "ac", "b", 1)]
#[case::parallel_after_a_cleanup_does_not_run(
    vec![step("a"), on(Condition::Always, step("b")), parallel("c")], &["a"], "ab", "c", 1)]
fn failures(
    #[case] specs: Vec<StepSpec>,
    #[case] failing: &[&str],
    #[case] ran: &str,
    #[case] skipped: &str,
    #[case] code: i32,
) {
    let (did_run, did_skip, result) = run(&specs, failing);
    assert_eq!((did_run.concat().as_str(), did_skip.concat().as_str()), (ran, skipped));
    assert_eq!(result.exit_code, Some(code));
}

#[test]
fn a_tolerated_failure_counts_as_success() {
    let tolerated = StepSpec { continue_on_error: true, ..step("a") };
    let specs = [tolerated, step("b"), on(Condition::AnyFailed, step("c"))];
    let (ran, skipped, result) = run(&specs, &["a"]);
    assert_eq!((ran, skipped), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
    assert_eq!(result.outcome, JobOutcome::Succeeded);
}

#[test]
fn a_false_when_does_not_stop_what_follows() {
    let mut steps = Steps::new(&[step("a"), step("b")]).unwrap();
    steps.skip("a");
    assert_eq!(steps.advance().start, ["b"]);
    assert_eq!(steps.outcome("a"), Some(StepOutcome::Skipped));
}

#[test]
fn the_reason_of_a_skip_names_the_failure() {
    let mut steps = Steps::new(&[step("a"), step("b"), step("c")]).unwrap();
    steps.finished("a", failed(3));
    let reasons: Vec<String> = steps.advance().skipped.into_iter().map(|s| s.reason).collect();
    assert_eq!(reasons, [r#"step "a" failed"#, r#"step "a" failed"#]);
}

#[test]
fn after_a_stop_nothing_starts_and_the_stop_decides() {
    let mut steps = Steps::new(&[step("a"), on(Condition::Always, step("b"))]).unwrap();
    steps.started("a");
    let cancelled = JobResult {
        outcome: JobOutcome::Cancelled,
        exit_code: None,
        reason: Some("the job was cancelled".to_owned()),
    };
    steps.stop(cancelled.clone());
    let advance = steps.advance();
    assert!(advance.start.is_empty());
    assert_eq!(advance.skipped[0].reason, "the job was cancelled");
    assert!(!steps.is_done());
    steps.finished("a", Ending::Cancelled);
    assert!(steps.is_done());
    assert_eq!(steps.result(), cancelled);
}

#[rstest]
#[case::duplicate(vec![step("a"), step("a")], r#"two steps are named "a""#)]
#[case::unknown(vec![after("a", &["b"])], r#"step "a" depends on "b", which is not a step of this job"#)]
#[case::itself(vec![after("a", &["a"])], "steps wait for each other: a -> a")]
#[case::cycle(vec![after("a", &["c"]), after("b", &["a"]), after("c", &["b"])],
    "steps wait for each other: a -> c -> b -> a")]
#[case::against_the_default_order(vec![after("a", &["b"]), step("b")],
    "steps wait for each other: a -> b -> a")]
fn refusals(#[case] specs: Vec<StepSpec>, #[case] message: &str) {
    assert_eq!(Steps::new(&specs).unwrap_err().to_string(), message);
}

#[test]
fn a_long_chain_is_no_problem() {
    let specs: Vec<StepSpec> = (0..MAX_STEPS).map(|i| step(&i.to_string())).collect();
    assert_eq!(run(&specs, &[]).0.len(), MAX_STEPS);
    let more: Vec<StepSpec> = (0..=MAX_STEPS).map(|i| step(&i.to_string())).collect();
    assert_eq!(Steps::new(&more).unwrap_err(), GraphError::TooMany { count: MAX_STEPS + 1 });
}

fn specs() -> impl Strategy<Value = Vec<StepSpec>> {
    let one = (
        any::<bool>(),
        proptest::option::of(proptest::collection::vec(0usize..12, 0..4)),
        prop_oneof![Just(Condition::AllSuccess), Just(Condition::AnyFailed), Just(Condition::Always)],
        any::<bool>(),
    );
    proptest::collection::vec(one, 1..12).prop_map(|all| {
        let count = all.len();
        let make = |(index, (parallel, needs, condition, continue_on_error)): (
            usize,
            (_, Option<Vec<usize>>, _, _),
        )| {
            let names = |needs: Vec<usize>| needs.iter().map(|n| (n % count).to_string()).collect();
            let depends_on = needs.map(names);
            StepSpec { parallel, condition, continue_on_error, depends_on, ..step(&index.to_string()) }
        };
        all.into_iter().enumerate().map(make).collect()
    })
}

proptest! {
    /// Whatever the graph and the failures: every step is either run or skipped, once; none starts before
    /// its dependencies ended; the job fails if and only if a step failed that is not tolerated.
    #[test]
    fn every_step_ends_once(specs in specs(), fails in proptest::collection::vec(any::<bool>(), 12), order in any::<u64>()) {
        let Ok(mut steps) = Steps::new(&specs) else { return Ok(()) };
        let dependencies = graph::dependencies(&specs).unwrap();
        let mut random = order;
        let (mut seen, mut running, mut failure) = (Vec::new(), Vec::<String>::new(), false);
        loop {
            let advance = steps.advance();
            seen.extend(advance.skipped.into_iter().map(|s| s.name));
            for name in advance.start {
                for &dependency in &dependencies[name.parse::<usize>().unwrap()] {
                    prop_assert!(steps.outcome(&specs[dependency].name).is_some());
                }
                steps.started(&name);
                seen.push(name.clone());
                running.push(name);
            }
            if running.is_empty() { break }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let name = running.swap_remove((random >> 33) as usize % running.len());
            let index: usize = name.parse().unwrap();
            failure |= fails[index] && !specs[index].continue_on_error;
            steps.finished(&name, if fails[index] { failed(1) } else { Ending::Succeeded });
        }
        prop_assert!(steps.is_done());
        seen.sort();
        let mut all: Vec<String> = specs.iter().map(|s| s.name.clone()).collect();
        all.sort();
        prop_assert_eq!(seen, all);
        prop_assert_eq!(steps.result().outcome == JobOutcome::Succeeded, !failure);
    }
}
