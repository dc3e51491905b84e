//! Outputs and triggers.

use reactorcide_protocol::frame::Body;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Finished, run, script, steps};

fn outputs(done: &Finished) -> Vec<(Option<String>, Value)> {
    let all = done.frames.iter().filter_map(|frame| match &frame.body {
        Body::Output { step, values } => Some((step.clone(), json!(values))),
        _ => None,
    });
    all.collect()
}

fn triggered(done: &Finished) -> Vec<String> {
    let all = done.frames.iter().filter_map(|frame| match &frame.body {
        Body::Trigger { request } => {
            Some(request.jobs.iter().map(|job| job.job_name.clone()).collect::<Vec<_>>().join("+"))
        }
        _ => None,
    });
    all.collect()
}

#[test]
fn outputs_of_steps_and_of_a_command() {
    let done = steps(&[
        ("a", run("echo x=1 >> $REACTORCIDE_OUTPUT")),
        ("b", run("echo '{\"y\": [2]}' > $RC_WF_OUTPUT_FILE")),
    ])
    .finish();
    assert_eq!(
        outputs(&done),
        [(Some("a".to_owned()), json!({"x": "1"})), (Some("b".to_owned()), json!({"y": [2]}))]
    );
    let job = script("printf 'x<<E\\n1\\n2\\nE\\n' > $REACTORCIDE_OUTPUT");
    assert_eq!(outputs(&job.finish()), [(None, json!({"x": "1\n2"}))]);
    assert!(!job.path(".reactorcide").exists());
}

#[rstest]
#[case::secret(
    "echo key=$TOKEN > $REACTORCIDE_OUTPUT",
    "key contains a secret value, which may not leave the job"
)]
#[case::encoded("echo key=$(printf %s $TOKEN | base64) > $REACTORCIDE_OUTPUT", "key contains a secret value")]
#[case::nested(r#"echo "{\"a\": [{\"b\": \"$TOKEN\"}]}" > $REACTORCIDE_OUTPUT"#, "a contains a secret value")]
#[case::line("echo nonsense > $REACTORCIDE_OUTPUT", "line 1 is neither KEY=VALUE nor KEY<<DELIMITER")]
#[case::link("ln -sf /etc/passwd $REACTORCIDE_OUTPUT", "it is a symbolic link")]
#[case::fifo("rm $REACTORCIDE_OUTPUT; mkfifo $REACTORCIDE_OUTPUT", "it is not a regular file")]
#[case::directory("rm $REACTORCIDE_OUTPUT; mkdir $REACTORCIDE_OUTPUT", "it is not a regular file")]
#[case::large("yes a=1 | head -c 300000 > $REACTORCIDE_OUTPUT", "it is longer than 262144 bytes")]
fn outputs_that_are_refused(#[case] text: &str, #[case] problem: &str) {
    let done = steps(&[("a", run(text))])
        .with("secrets", json!([{"name": "TOKEN", "value": "s3cr3t-value-1"}]))
        .finish();
    let expected = format!("config - step \"a\": the outputs file cannot be used: {problem}");
    assert!(done.summary().starts_with(&expected), "{}", done.summary());
    assert_eq!((done.code, outputs(&done).len()), (Some(78), 0));
    assert!(!done.everything().contains("s3cr3t-value-1"));
}

#[test]
fn triggers_become_frames_before_the_result() {
    let text = r#"echo '[{"type": "trigger_job", "jobs": [{"job_name": "a"}, {"job_name": "b"}]}, {"jobs": [{"name": "c"}]}]' > triggers.json"#;
    let done = script(text).finish();
    assert_eq!((triggered(&done), done.code), (vec!["a+b".to_owned(), "c".to_owned()], Some(0)));
    let failed = script(&format!("{text}; exit 4")).finish();
    assert_eq!((triggered(&failed).len(), failed.code), (2, Some(4)));
}

#[test]
fn triggers_of_an_earlier_attempt_do_not_count() {
    let job = script("true");
    std::fs::write(job.path("triggers.json"), r#"{"jobs": [{"name": "a"}]}"#).unwrap();
    assert!(triggered(&job.finish()).is_empty());
}

#[rstest]
#[case::garbage("echo nonsense > triggers.json", "it is not valid JSON")]
#[case::link("ln -s /etc/passwd triggers.json", "it is a symbolic link")]
#[case::many(
    r#"echo '{"jobs": [{"name": "a", "for_each": [1,2,3,4,5,6]}]}' > triggers.json"#,
    "it asks for 6 jobs, this job may trigger at most 5"
)]
#[case::secret(
    r#"echo "{\"jobs\": [{\"name\": \"a\", \"env\": {\"KEY\": \"$TOKEN\"}}]}" > triggers.json"#,
    "jobs[0].env.KEY contains a secret value"
)]
#[case::large("head -c 2000 /dev/zero > triggers.json", "it is longer than 1000 bytes")]
#[case::repeated(
    r#"echo '{"jobs": [], "jobs": [{"name": "a"}]}' > triggers.json"#,
    "it is not valid JSON: key \"jobs\" is repeated"
)]
fn triggers_that_are_refused(#[case] text: &str, #[case] problem: &str) {
    let job = script(text)
        .with("secrets", json!([{"name": "TOKEN", "value": "s3cr3t-value-1"}]))
        .with("trigger_limits", json!({"jobs": 5, "depth": 3, "file_bytes": 1000}));
    let done = job.finish();
    let expected = format!("config - {} cannot be used: {problem}", job.path("triggers.json").display());
    assert!(done.summary().starts_with(&expected), "{}", done.summary());
    assert_eq!((done.code, triggered(&done).len()), (Some(78), 0));
    assert!(!done.everything().contains("s3cr3t-value-1"));
}
