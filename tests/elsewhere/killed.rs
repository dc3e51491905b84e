//! An apply that is killed around each of its requests, and applies at once.

use std::process::{Command, Stdio};

use rstest::rstest;
use serde_json::json;

use super::{TOKEN, Target, targets, value};
use crate::crashes::tampered_on;
use crate::docker::{Ended, Place, Project, ended, signal, wait};

/// The stages of a life: made, changed and moved, gone.
fn stages(url: &str) -> [String; 3] {
    let after = ", depends_on: [a]";
    let elsewhere = format!("{url}/two");
    let url = format!("{url}/one");
    [
        targets(&url, &[("a", value(1), ""), ("b", value(1), after)]),
        targets(&url, &[("a", value(2), "")]) + &targets(&elsewhere, &[("b", value(1), after)])[ONE_SECRET..],
        targets(&url, &[]),
    ]
}

/// How long the declaration of the secret is, which stands before the targets.
const ONE_SECRET: usize = "apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: hooks/token}\n\
                           spec: {source: env, location: HOOKS_TOKEN}\n"
    .len();

/// An apply whose process the other system can find.
fn apply(project: &Project) -> Ended {
    let plain = project.command(&["apply", "--auto-approve", "--allow-destroy"]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $$ > pid && exec \"$@\"", "sh"])
        .arg(plain.get_program())
        .args(plain.get_args());
    command.current_dir(project.path()).env_clear().stdin(Stdio::null());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ended(command.output().expect("it starts"))
}

fn objects(target: &Target) -> Vec<String> {
    let (_, objects) = target.log();
    let objects = objects.as_object().expect("objects").iter();
    objects
        .map(|(path, body)| format!("{} {}", path.split('/').nth(1).expect("a collection"), body["value"]))
        .collect()
}

#[rstest]
#[case::before_on_sqlite(Place::Sqlite, "kill_before")]
#[case::after_on_sqlite(Place::Sqlite, "kill_after")]
#[case::before_on_postgres(Place::Postgres, "kill_before")]
#[case::after_on_postgres(Place::Postgres, "kill_after")]
fn killed_around_any_request_the_next_apply_goes_on(#[case] place: Place, #[case] action: &str) {
    let mut kills = 0;
    for killed in 0..3 {
        for number in 1.. {
            assert!(number < 50, "it never ends");
            let target = Target::start();
            let project = Project::empty().at(place).with_variable("HOOKS_TOKEN", TOKEN);
            let mut came = false;
            for (stage, text) in stages(&target.url()).iter().enumerate() {
                let what = format!("{action} of request {number} in stage {killed}, seen in stage {stage}");
                project.write(".reactorcide/hooks.yaml", text);
                target.log();
                if stage == killed {
                    let pid = project.path().join("pid");
                    target
                        .rule(json!({"method": "ANY", "number": number, "action": action, "pid_file": pid}));
                    let ended = apply(&project);
                    target.rule(json!(null));
                    came = ended.code.is_none();
                    assert!(came || ended.code == Some(0), "{what}: {ended:?}");
                }
                let again = apply(&project);
                assert_eq!(again.code, Some(0), "{what}: {again:?}");
                let (log, _) = target.log();
                let mut once = log.clone();
                once.sort();
                once.dedup();
                assert_eq!(once.len(), log.len(), "{what}: twice: {log:?}");
                let expected: &[&str] = [&["one 1", "one 1"][..], &["one 2", "two 1"], &[]][stage];
                assert_eq!(objects(&target), expected, "{what}");
                let quiet = project.execute(&["plan", "--detailed-exitcode"]);
                assert_eq!(quiet.code, Some(0), "{what}: {quiet:?}");
            }
            if !came {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills >= 12, "{kills} kills");
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn applies_at_once_do_everything_once(#[case] place: Place) {
    let target = Target::start();
    let project = Project::empty().at(place).with_variable("HOOKS_TOKEN", TOKEN);
    for round in 1..=10 {
        let text = targets(&target.url(), &[("a", value(round), ""), ("b", value(round), "")]);
        project.write(".reactorcide/hooks.yaml", &text);
        target.log();
        let start = || {
            let mut command = project.command(&["apply", "--auto-approve"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary")
        };
        let children = [start(), start(), start()];
        let ends = children.map(wait);
        assert!(ends.iter().any(|end| end.code == Some(0)), "{ends:?}");
        for end in &ends {
            // Who planned the same and came second is told so.
            assert!(matches!(end.code, Some(0 | 3)), "{end:?}");
        }
        let (log, _) = target.log();
        assert_eq!(log.len(), 2, "round {round}: {log:?}");
        let quiet = project.execute(&["plan", "--detailed-exitcode"]);
        assert_eq!(quiet.code, Some(0), "{quiet:?}");
    }
}

#[test]
fn an_answer_that_never_comes_is_not_waited_for() {
    let target = Target::start();
    let project = Project::empty().with_variable("HOOKS_TOKEN", TOKEN);
    let text = targets(&target.url(), &[("a", value(1), ", timeout: 300ms")]);
    project.write(".reactorcide/hooks.yaml", &text);
    target.rule(json!({"method": "PUT", "number": 1, "action": "slow", "seconds": 3, "always": true}));
    let end = apply(&project);
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.stderr.contains("no answer in 0.3 s"), "{end:?}");
    target.rule(json!(null));
    // The late one may have been carried out after all: then there is nothing left to do.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let again = apply(&project);
    assert_eq!(again.code, Some(0), "{again:?}");
    let (log, objects) = target.log();
    assert_eq!((log.len(), objects.as_object().map(serde_json::Map::len)), (1, Some(1)), "{log:?}");
}

/// Killed at writes of its database, and of everything that it sends: the same holds. All of them with
/// `./dev test --all`, but of what goes to PostgreSQL one of three; else one of five.
#[rstest]
#[case::pages_of_sqlite(Place::Sqlite, "pwrite64", true, 5)]
#[case::flushes_of_sqlite(Place::Sqlite, "fsync", true, 1)]
#[case::requests_with_sqlite(Place::Sqlite, "writev", false, 1)]
#[case::everything_sent_with_postgres(Place::Postgres, "sendto", false, 5)]
fn killed_at_any_write_the_next_apply_goes_on(
    #[case] place: Place,
    #[case] call: &str,
    #[case] on_state: bool,
    #[case] stride: usize,
) {
    let stride = if std::env::var_os("REACTORCIDE_LONG_TESTS").is_some() {
        if matches!(place, Place::Postgres) { 3 } else { 1 }
    } else {
        stride
    };
    let mut kills = 0;
    for number in (1..).step_by(stride) {
        assert!(number < 2000, "it never ends");
        let target = Target::start();
        let project = Project::empty().at(place).with_variable("HOOKS_TOKEN", TOKEN);
        project.write(".reactorcide/hooks.yaml", &targets(&target.url(), &[("a", value(1), "")]));
        let fault = format!("signal=KILL:when={number}");
        let (ended, came) = tampered_on(&project, call, &fault, on_state);
        let what = format!("killed at {call} {number}: {ended:?}");
        let again = project.execute(&["apply", "--auto-approve"]);
        assert_eq!(again.code, Some(0), "{what}: {again:?}");
        let (log, objects) = target.log();
        assert_eq!(
            (log.len(), objects.as_object().map(serde_json::Map::len)),
            (1, Some(1)),
            "{what}: {log:?}"
        );
        let quiet = project.execute(&["plan", "--detailed-exitcode"]);
        assert_eq!(quiet.code, Some(0), "{what}: {quiet:?}");
        if !came {
            assert_eq!(ended.code, Some(0), "{what}");
            break;
        }
        kills += 1;
    }
    assert!(kills > 0, "it was never killed");
}

#[test]
fn ctrl_c_leaves_the_rest_to_the_next_apply() {
    let target = Target::start();
    let project = Project::empty().with_variable("HOOKS_TOKEN", TOKEN);
    project.write(".reactorcide/hooks.yaml", &targets(&target.url(), &[("a", value(1), "")]));
    target.rule(json!({"method": "GET", "number": 1, "action": "slow", "seconds": 5, "always": true}));
    let mut child = project
        .command(&["apply", "--auto-approve"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    // It has committed once it says so, and then waits for an answer.
    let mut output = std::io::BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    while !line.starts_with("Applied change") {
        line.clear();
        std::io::BufRead::read_line(&mut output, &mut line).expect("it says so");
    }
    signal(&child, "INT");
    let end = wait(child);
    assert_eq!(end.code, Some(130), "{end:?}");
    assert!(end.stderr.contains("left to the next `reactorcide apply`"), "{end:?}");
    target.rule(json!(null));
    assert_eq!(apply(&project).code, Some(0));
    assert_eq!(target.log().0.len(), 1);
}
