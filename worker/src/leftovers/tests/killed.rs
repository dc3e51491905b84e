//! Each way to be killed, and what the next worker makes of it.

use super::*;

#[test]
fn a_job_goes_on_however_often_its_worker_is_killed() {
    let machine = Machine::new();
    machine.submit(job());
    let mut process = machine.start();
    let mut runner = machine.runner();
    machine.until("the beginning", |machine| !machine.files().is_empty() && machine.container().is_some());
    let mut expected = String::new();
    for round in 0..8 {
        let began = Instant::now();
        while !runner.connect() {
            assert!(began.elapsed() < PATIENCE, "nobody listens");
            std::thread::park_timeout(Duration::from_millis(2));
        }
        for line in 0..20 {
            let text = format!("{round}.{line}\n");
            runner.print(&text);
            expected.push_str(&text);
        }
        runner.say(trigger(&format!("job-{round}")));
        let values = [(format!("key-{round}"), json!(round))].into();
        runner.say(Body::Output { step: None, values });
        // Sometimes it hears that some of it is known, and sometimes the worker is killed before it says so.
        if round % 2 == 0 {
            runner.hear();
        }
        process.kill();
        process = machine.start();
    }
    runner.result(JobOutcome::Exit, 7);
    runner.finish(7);
    let result = machine.end();
    assert_eq!((result.failure, result.exit_code), (Some(FailureReason::Exit), Some(7)));
    assert_eq!(machine.desk.printed(), (expected, Vec::new()), "no hole, nothing twice");
    let triggered = machine.desk.triggered.lock().unwrap();
    assert_eq!(triggered.keys().copied().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    process.kill();
}

#[test]
fn what_a_job_handed_on_before_outlives_its_worker() {
    let machine = Machine::new();
    machine.submit(job());
    let process = machine.start();
    let mut runner = machine.runner();
    while !runner.connect() {}
    runner.say(Body::Output { step: None, values: [("version".to_owned(), json!("1.2"))].into() });
    runner.result(JobOutcome::Succeeded, 0);
    // All of it is acknowledged, so nobody will say it again.
    while runner.kept < 2 {
        assert!(runner.hear());
    }
    process.kill();
    machine.fake.exit(&runner.name, Exit { code: 0, oom: false });
    let process = machine.start();
    let result = machine.end();
    assert_eq!((result.failure, &result.outputs["version"]), (None, &json!("1.2")));
    process.kill();
}

#[rstest]
#[case(Operation::Pull)]
#[case(Operation::Create)]
#[case(Operation::Attach)]
#[case(Operation::Start)]
fn a_worker_that_is_killed_before_the_job_began_leaves_a_lost_one(#[case] at: Operation) {
    let machine = Machine::new();
    machine.fake.hold(at, Target::Any);
    machine.submit(job());
    let process = machine.start();
    machine.until("the call", |machine| machine.fake.calls().iter().any(|call| call.operation() == at));
    machine.until("the lease", |machine| machine.files().iter().any(|name| name.ends_with(".lease")));
    process.kill();
    machine.fake.unhold(at);
    let process = machine.start();
    let result = machine.end();
    assert_eq!((result.failure, result.started), (Some(FailureReason::LostWorker), false), "{result:?}");
    process.kill();
}

#[rstest]
#[case(Operation::List)]
#[case(Operation::Remove)]
fn a_worker_that_is_killed_after_the_job_ended_reports_its_end(#[case] at: Operation) {
    let machine = Machine::new();
    machine.submit(job());
    let process = machine.start();
    let mut runner = machine.runner();
    machine.fake.hold(at, Target::Any);
    while !runner.connect() {}
    runner.print("all\n");
    runner.result(JobOutcome::Exit, 3);
    let before = machine.fake.calls().len();
    runner.finish(3);
    machine.until("the call", |machine| {
        machine.fake.calls()[before..].iter().any(|call| call.operation() == at)
    });
    process.kill();
    machine.fake.unhold(at);
    let process = machine.start();
    let result = machine.end();
    assert_eq!((result.failure, result.exit_code), (Some(FailureReason::Exit), Some(3)));
    assert_eq!(machine.desk.printed().0, "all\n");
    process.kill();
}

#[test]
fn an_end_that_could_not_be_told_is_told_by_the_next_worker() {
    let machine = Machine::new();
    machine.submit(job());
    let process = machine.start();
    let mut runner = machine.runner();
    while !runner.connect() {}
    *machine.desk.away.lock().unwrap() = true;
    runner.print("all\n");
    runner.result(JobOutcome::Succeeded, 0);
    runner.finish(0);
    machine.until("the end", |machine| machine.container().is_none());
    process.kill();
    let process = machine.start();
    *machine.desk.away.lock().unwrap() = false;
    assert_eq!(machine.end().failure, None);
    assert_eq!(machine.desk.printed().0, "all\n");
    process.kill();
}

#[test]
fn what_has_no_lease_any_more_is_ended() {
    let machine = Machine::new();
    machine.submit(job());
    let process = machine.start();
    let runner = machine.runner();
    process.kill();
    *machine.desk.over.lock().unwrap() = true;
    let process = machine.start();
    machine.until("nothing left", |machine| machine.fake.names().is_empty() && machine.files().is_empty());
    assert!(machine.desk.finished.lock().unwrap().is_empty());
    drop(runner);
    process.kill();
}

#[test]
fn a_container_without_a_lease_is_removed_and_a_lease_without_a_container_is_lost() {
    let machine = Machine::new();
    machine.submit(job());
    let process = machine.start();
    let runner = machine.runner();
    machine.begun();
    process.kill();
    machine.fake.vanish(&runner.name);
    let process = machine.start();
    let result = machine.end();
    assert_eq!((result.failure, result.started), (Some(FailureReason::LostWorker), true));
    process.kill();

    let machine = Machine::new();
    machine.submit(job());
    let process = machine.start();
    let _runner = machine.runner();
    process.kill();
    for name in machine.files().iter().filter(|name| name.ends_with(".lease")) {
        std::fs::remove_file(machine.directory.path().join("workspaces/w").join(name)).expect("removed");
    }
    let process = machine.start();
    machine.until("nothing left", |machine| machine.fake.names().is_empty() && machine.files().is_empty());
    process.kill();
}

#[test]
fn what_ended_itself_while_its_worker_was_away_is_lost_and_not_failed() {
    for code in [75, 137, 64] {
        let machine = Machine::new();
        machine.submit(job());
        let process = machine.start();
        let runner = machine.runner();
        process.kill();
        machine.fake.exit(&runner.name, Exit { code, oom: false });
        let process = machine.start();
        let result = machine.end();
        assert_eq!(result.failure, Some(FailureReason::LostWorker), "{code}: {result:?}");
        process.kill();
    }
}

#[test]
fn an_image_that_runs_untouched_is_gone_on_with_and_shows_no_secret() {
    let job =
        json!({"image": "i", "runner": "none", "secrets": {"KEY": "key"}, "secrets_visible_to_engine": true});
    for changed in [false, true] {
        let mut machine = Machine::new();
        let secrets = |value: &str| {
            let value = reactorcide_engine::protocol::spec::Sensitive::new(value);
            Arc::new(Secrets::new([("key".to_owned(), value)]))
        };
        machine.secrets = secrets("S3CRET-OF-OLD");
        machine.submit(job.clone());
        let process = machine.start();
        machine.until("it runs", |machine| machine.container().is_some());
        let name = machine.container().expect("it runs");
        assert!(!machine.begun().contains("S3CRET"));
        machine.fake.print(&name, "first S3CRET-OF-OLD\n");
        machine.until("the log", |machine| machine.desk.printed().0.contains("first"));
        process.kill();
        if changed {
            machine.secrets = secrets("another value");
        }
        let attached = machine.fake.calls().len();
        let process = machine.start();
        machine.until("attached", |machine| {
            machine.fake.calls()[attached..].iter().any(|call| call.operation() == Operation::Wait)
        });
        machine.fake.print(&name, "second S3CRET-OF-OLD\n");
        machine.fake.exit(&name, Exit { code: 4, oom: false });
        let result = machine.end();
        assert_eq!((result.failure, result.exit_code), (Some(FailureReason::Exit), Some(4)));
        let (text, gaps) = machine.desk.printed();
        assert_eq!(text, if changed { "first ***\n" } else { "first ***\nsecond ***\n" });
        assert_eq!(gaps.len(), if changed { 2 } else { 1 }, "{gaps:?}");
        process.kill();
    }
}

#[test]
fn what_was_given_and_never_began_is_lost_at_once() {
    let mut machine = Machine::new();
    machine.given =
        vec![LeaseId { run: "r".into(), node: "job".into(), attempt: 1, token: "never-arrived".into() }];
    let process = machine.start();
    let result = machine.end();
    assert_eq!((result.failure, result.started), (Some(FailureReason::LostWorker), false));
    process.kill();

    // What it knows of goes on.
    let mut machine = Machine::new();
    machine.submit(job());
    let process = machine.start();
    let mut runner = machine.runner();
    machine.begun();
    process.kill();
    machine.given = vec![LeaseId { run: "r".into(), node: "job".into(), attempt: 1, token: "t".into() }];
    let process = machine.start();
    runner.result(JobOutcome::Succeeded, 0);
    runner.finish(0);
    assert_eq!(machine.end().failure, None);
    process.kill();
}

#[test]
fn jobs_of_two_runs_that_were_leased_together_have_nothing_in_common() {
    let machine = Machine::new();
    let job = json!({"image": "i", "runner": "none"});
    machine.submit_of("one", job.clone());
    machine.submit_of("two", job);
    let process = machine.start();
    machine.until("both run", |machine| machine.fake.running().len() == 2);
    let workspace = |name: &String| machine.fake.spec_of(name).expect("it runs").mounts[0].source.clone();
    let workspaces: Vec<_> = machine.fake.running().iter().map(workspace).collect();
    assert_ne!(workspaces[0], workspaces[1]);
    for name in machine.fake.running() {
        machine.fake.exit(&name, Exit { code: 0, oom: false });
    }
    machine.until("two ends", |machine| machine.desk.finished.lock().unwrap().len() == 2);
    assert!(machine.desk.finished.lock().unwrap().iter().all(|result| result.failure.is_none()));
    machine.until("nothing left", |machine| machine.fake.names().is_empty() && machine.files().is_empty());
    process.kill();
}

#[test]
fn a_timeout_goes_on_from_where_it_was() {
    let machine = Machine::new();
    machine.submit(json!({"image": "i", "runner": "none", "timeout": "3s", "grace": "1s"}));
    let process = machine.start();
    machine.until("it runs", |machine| machine.container().is_some());
    let began = Instant::now();
    machine.begun();
    let mut process = process;
    for _ in 0..4 {
        std::thread::park_timeout(Duration::from_millis(500));
        process.kill();
        process = machine.start();
    }
    assert_eq!(machine.end().failure, Some(FailureReason::Timeout));
    assert!(began.elapsed() < Duration::from_millis(4500), "{:?}", began.elapsed());
    process.kill();
}

#[test]
fn records_of_many_leases_are_told_apart() {
    let one = OsString::from("a-1-x");
    let belongs = |name: &str| belongs_to(&OsString::from(name), &one);
    assert!(belongs("a-1-x") && belongs("a-1-x.log") && belongs("a-1-x.lease"));
    assert!(!belongs("a-1-xy") && !belongs("a-1") && !belongs("b-1-x.log"));
}
