//! Settings of a job from every layer and in every old form.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Layer {
    Layer::of_environment(|name| {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

fn arguments(pairs: &[(&str, &str)]) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in pairs {
        assert!(layer.argument(name, (*value).to_owned()), "{name}");
    }
    layer
}

fn file(text: &str) -> Layer {
    Layer::of_file("job.yaml", parse_file(text.as_bytes()).expect("a job file"))
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let settings = Settings::resolve([
        environment(&[
            ("REACTORCIDE_JOB_COMMAND", "env"),
            ("REACTORCIDE_TIMEOUT", "10"),
            ("REACTORCIDE_GIT_REF", "env"),
            ("REACTORCIDE_JOB_ENV", "A=1,B=x,y,C="),
        ]),
        file("job_command: file\ntimeout: 20m\njob_env: {B: 1.10, D: true}\n"),
        arguments(&[("job-command", "argument"), ("job-env", "A=2")]),
    ]);
    let said = |name: &str| {
        settings.get(name).map(|setting| (setting.value.clone(), setting.origin.to_string())).expect(name)
    };
    assert_eq!(said("job_command"), (json!("argument"), "--job-command".to_owned()));
    assert_eq!(said("timeout"), (json!("20m"), "job.yaml".to_owned()));
    assert_eq!(said("job_dir"), (json!("/job"), "default".to_owned()));
    assert_eq!(said("source_ref"), (json!("env"), "$REACTORCIDE_GIT_REF".to_owned()));
    let environment: Vec<_> = settings
        .environment()
        .iter()
        .map(|(name, setting)| {
            (name.as_str(), setting.value.as_str().unwrap_or("?"), setting.origin.to_string())
        })
        .collect();
    assert_eq!(
        environment,
        [
            ("A", "2", "--job-env".to_owned()),
            ("B", "1.10", "job.yaml".to_owned()),
            ("C", "", "$REACTORCIDE_JOB_ENV".to_owned()),
            ("D", "true", "job.yaml".to_owned())
        ]
    );
    assert_eq!(settings.timeout(), Ok(Some(std::time::Duration::from_secs(1200))));
}

#[test]
fn the_job_file_of_old_is_read() {
    let settings = Settings::resolve([file(
        "job_command: \"make test && make build\"\ncode_dir: /job/src\njob_env:\n  NODE_ENV: test\n  CI: \"true\"\ngit:\n  url: https://github.com/user/repo.git\n  ref: main\nsecrets:\n  - name: API_KEY\n    value: secret123\n",
    )]);
    assert_eq!(settings.problems(), []);
    let source = settings.source("source").unwrap().unwrap();
    assert_eq!(
        (source.kind, source.url.as_str(), source.reference.as_deref()),
        (SourceKind::Git, "https://github.com/user/repo.git", Some("main"))
    );
    assert_eq!(settings.code_dir(), "/job/src");
    let shown = json!(settings.shown()).to_string();
    assert!(!shown.contains("secret123") && shown.contains("API_KEY"), "{shown}");
}

#[test]
fn json_is_read_too_and_commands_in_every_form() {
    let read = |text: &str| Settings::resolve([file(text)]);
    assert_eq!(
        read(r#"{"job_command": ["make", "test"]}"#).get("job_command").unwrap().value,
        json!(["make", "test"])
    );
    assert_eq!(read("command: true").get("job_command").unwrap().value, json!("true"));
    let steps = read("steps:\n- {name: a, run: x}\n- {name: b, command: [y], depends_on: [a], timeout: 5}\n");
    assert_eq!(
        steps.get("steps").unwrap().value,
        json!([{"name": "a", "run": "x"}, {"name": "b", "run": ["y"], "depends_on": ["a"], "timeout": "5"}])
    );
    assert_eq!(steps.problems(), []);
}

#[rstest]
#[case("a: 1", "unknown field")]
#[case("job_command: x\njob_command: y", "duplicate")]
#[case("- x", "")]
#[case("job_command: {a: b}", "a command")]
#[case("git: {ref: main}", "missing field `url`")]
#[case("x: &a [*a]", "")]
fn files_that_are_refused(#[case] text: &str, #[case] message: &str) {
    let error = parse_file(text.as_bytes()).unwrap_err().to_string();
    assert!(error.to_lowercase().contains(message) && !error.contains('\n'), "{error}");
}

#[rstest]
#[case(&[], &["job_command"])]
#[case(&[("job-command", "x"), ("code-dir", "../x")], &["code_dir"])]
#[case(&[("job-command", "x"), ("code-dir", "/etc")], &["code_dir"])]
#[case(&[("job-command", "x"), ("code-dir", "/jobber/x")], &["code_dir"])]
#[case(&[("job-command", "x"), ("job-dir", "/"), ("timeout", "soon")], &["job_dir", "timeout"])]
#[case(&[("job-command", "x"), ("source-type", "cvs")], &["source_type"])]
#[case(&[("job-command", "x"), ("source-type", "git")], &["source_url"])]
#[case(&[("job-command", "x"), ("ci-source-ref", "main")], &["ci_source_type"])]
#[case(&[("job-command", "x"), ("job-env", "../secrets")], &["job_env"])]
#[case(&[("job-command", "x"), ("job-env", "1A=x")], &["job_env"])]
#[case(&[("job-command", "x"), ("job-env", "a.env"), ("timeout", "0")], &["timeout"])]
fn problems_are_all_found(#[case] pairs: &[(&str, &str)], #[case] expected: &[&str]) {
    let problems = Settings::resolve([arguments(pairs)]).problems();
    let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, expected, "{problems:?}");
}

#[test]
fn a_file_of_variables_fills_what_was_not_said() {
    let mut settings = Settings::resolve([
        arguments(&[("job-command", "x"), ("job-env", "job.env")]),
        arguments(&[("job-env", "A=1")]),
    ]);
    assert_eq!(settings.environment_files()[0].0, "job.env");
    settings.add_environment_file("job.env", "# note\nA=2\nexport B='b c'\n\nC=\"x\"\n nonsense\n");
    let value = |name: &str| settings.environment()[name].value.clone();
    assert_eq!((value("A"), value("B"), value("C")), (json!("1"), json!("b c"), json!("x")));
    assert_eq!(settings.problems()[0].message, "job.env:6: this is not NAME=VALUE");
}

#[test]
fn the_workspace_may_lie_elsewhere() {
    let settings = Settings::resolve([arguments(&[
        ("job-command", "x"),
        ("job-dir", "/tmp/w"),
        ("code-dir", "/job/src/sub"),
    ])]);
    assert_eq!(settings.problems(), []);
    assert_eq!(settings.code_dir(), "/tmp/w/src/sub");
    assert!(inside("/tmp/w", "/jobs/x").is_err());
}

#[test]
fn passwords_in_addresses_are_not_shown() {
    assert_eq!(without_password("https://me:s3cret@host/x@y"), "https://***@host/x@y");
    assert_eq!(without_password("https://ghp_token@host/x"), "https://***@host/x");
    assert_eq!(without_password("ssh://git@host/x"), "ssh://git@host/x");
    assert_eq!(without_password("/path:with@sign"), "/path:with@sign");
    assert_eq!(without_password("https://me:a@b:c@host"), "https://***@host");
}

proptest! {
    #[test]
    fn a_path_inside_is_inside(path in "[/.a]{0,12}") {
        if let Ok(path) = inside("/job", &path) {
            prop_assert!(path == "/job" || path.starts_with("/job/"));
            prop_assert!(!path.split('/').any(|part| part == ".."));
        }
    }

    #[test]
    fn no_file_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = parse_file(&bytes);
    }
}
