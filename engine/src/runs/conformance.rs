//! What every store of runs must do, as checks that run over any implementation.
//!
//! Each check takes an empty store and panics where it does not keep the contract of [`RunStore`].

use super::{RunRecord, RunStore};
use crate::scheduler::{Millis, RunStatus, Transition};

fn run(id: &str, pipeline: &str, started_at: Millis) -> RunRecord {
    RunRecord {
        id: id.to_owned(),
        pipeline: pipeline.to_owned(),
        event: "push".to_owned(),
        started_at,
        ended_at: None,
        status: RunStatus::Running,
    }
}

fn transition(node: Option<&str>, to: &str) -> Transition {
    Transition {
        at: 7,
        node: node.map(str::to_owned),
        attempt: node.map(|_| 1),
        to: to.to_owned(),
        reason: format!("it became {to}"),
    }
}

/// What was remembered is read back: runs newest first, transitions in their order, an end once.
pub async fn what_is_remembered_is_read_back(store: &dyn RunStore) {
    let (first, second) = (run("r1", "Pipeline/web/ci", 1), run("r2", "Pipeline/web/ci", 2));
    store.begin(&first).await.expect("it begins");
    store.begin(&second).await.expect("it begins");
    let all: Vec<Transition> = (0..600).map(|n| transition(Some(&format!("job-{n}")), "queued")).collect();
    store.append("r1", &all[..1]).await.expect("it is added");
    store.append("r1", &all[1..]).await.expect("it is added");
    store.append("r1", &[transition(None, "succeeded")]).await.expect("it is added");
    let mut expected = all;
    expected.push(transition(None, "succeeded"));
    assert_eq!(store.transitions("r1").await.expect("transitions"), expected);
    assert!(store.transitions("r2").await.expect("transitions").is_empty());
    assert!(store.transitions("nothing").await.expect("transitions").is_empty());

    store.finish("r1", RunStatus::Succeeded, 9).await.expect("it ends");
    let ended = RunRecord { status: RunStatus::Succeeded, ended_at: Some(9), ..first };
    assert_eq!(store.runs(10).await.expect("runs"), [second.clone(), ended.clone()]);
    assert_eq!(store.runs(1).await.expect("runs"), std::slice::from_ref(&second));
    // The first end stands.
    store.finish("r1", RunStatus::Failed, 11).await.expect("it is no error");
    assert_eq!(store.runs(10).await.expect("runs"), [second, ended]);
}

/// A job is active where the last thing that is known of it is that it is queued or runs, in a run that goes on.
pub async fn who_runs_a_job_is_found(store: &dyn RunStore) {
    let runs = [
        ("waits", "Pipeline/web/ci", 1, &["queued"][..]),
        ("runs", "Pipeline/web/deploy", 2, &["queued", "running"]),
        ("done", "Pipeline/web/ci", 3, &["queued", "running", "succeeded"]),
        ("ended", "Pipeline/web/ci", 4, &["running"]),
        ("other", "Pipeline/webshop/ci", 5, &["running"]),
        ("quiet", "Pipeline/web/ci", 6, &[]),
    ];
    for (id, pipeline, at, states) in runs {
        store.begin(&run(id, pipeline, at)).await.expect("it begins");
        for state in states {
            let both = [transition(Some("deploy"), state), transition(Some("another"), "running")];
            store.append(id, &both).await.expect("it is added");
        }
    }
    store.finish("ended", RunStatus::Failed, 9).await.expect("it ends");
    let active = |project: Option<&'static str>, job: &'static str| async move {
        let found = store.active(project, job).await.expect("an answer");
        found.into_iter().map(|one| format!("{} {}", one.run, one.state)).collect::<Vec<_>>()
    };
    assert_eq!(active(Some("web"), "deploy").await, ["runs running", "waits queued"]);
    assert_eq!(active(Some("webshop"), "deploy").await, ["other running"]);
    assert_eq!(active(Some("web"), "nothing").await, [""; 0]);
    assert_eq!(active(None, "deploy").await, [""; 0]);
}
