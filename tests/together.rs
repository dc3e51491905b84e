//! Two applies at once: the second waits its turn, and then commits, rebases or is refused. Never a mix.

use std::process::{Command, Stdio};

use rstest::rstest;

use crate::docker::{Place, Project, ended, wait};

const PROJECT: &str = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n";

fn pipeline(name: &str, command: &str) -> String {
    format!(
        "---\napiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: {name}, project: web}}\nspec:\n  jobs:\n    \
         build: {{image: 'debian:12', command: '{command}'}}\n"
    )
}

/// What is applied, by address.
fn commands(project: &Project) -> Vec<String> {
    let list = project.execute(&["state", "list"]);
    let pipelines = list.stdout.lines().filter(|line| line.starts_with("Pipeline/"));
    pipelines
        .map(|address| {
            let shown = project.execute(&["state", "show", address]).stdout;
            shown
                .lines()
                .find_map(|line| line.trim().strip_prefix("command: "))
                .expect("a command")
                .to_owned()
        })
        .collect()
}

#[rstest]
#[case::sqlite(Place::Sqlite)]
#[case::postgres(Place::Postgres)]
fn of_many_applies_of_the_same_thing_one_wins_and_the_others_are_told(#[case] place: Place) {
    const MANY: usize = 6;
    let project = Project::with_files(&[(".reactorcide/web.yaml", PROJECT)]).at(place);
    for number in 0..MANY {
        let text = format!(
            "{PROJECT}{}{}",
            pipeline("a", &format!("a{number}")),
            pipeline("b", &format!("b{number}"))
        );
        project.write(&format!("{number}/web.yaml"), &text);
    }
    let state = match place {
        Place::Sqlite => Some(format!("sqlite:{}/.reactorcide-state/state.db", project.path().display())),
        Place::Postgres => None,
    };
    for round in 0..20 {
        let start = |number: usize| {
            let directory = number.to_string();
            let mut arguments = vec!["apply", "--auto-approve", "--config", &directory];
            arguments.extend(state.iter().flat_map(|state| ["--state", state]));
            let child = project.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
            child.expect("the binary")
        };
        let children: Vec<_> = (0..MANY).map(start).collect();
        let ends: Vec<_> = children.into_iter().map(wait).collect();
        let won = ends.iter().filter(|end| end.code == Some(0)).count();
        assert!(won >= 1, "round {round}: {ends:?}");
        for end in &ends {
            match end.code {
                Some(0) => assert!(
                    end.stdout.contains("Applied change") || end.stdout.contains("No changes."),
                    "{end:?}"
                ),
                Some(3) => assert!(end.stderr.contains("nothing was changed"), "{end:?}"),
                _ => panic!("{end:?}"),
            }
        }
        let now = commands(&project);
        assert!(now.len() == 2 && now[0][1..] == now[1][1..], "round {round}: a mix: {now:?}");
    }
    // Every apply that says it committed is in the history, and nothing else is.
    let history = project.execute(&["history", "--json"]);
    let history: serde_json::Value = serde_json::from_str(&history.stdout).expect("JSON");
    let serials: Vec<u64> = history["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .filter_map(|change| change["serial"].as_u64())
        .collect();
    let expected: Vec<u64> = (1..=serials.len() as u64).rev().collect();
    assert_eq!(serials, expected);
}

#[test]
fn who_cannot_have_the_state_in_time_is_told_who_to_wait_for() {
    let project = Project::with_files(&[(".reactorcide/web.yaml", PROJECT)]);
    assert_eq!(project.execute(&["apply", "--auto-approve"]).code, Some(0));
    project.write(".reactorcide/ci.yaml", &pipeline("ci", "make"));
    let mut holder = Command::new("sqlite3")
        .arg(project.path().join(".reactorcide-state/state.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 is there: ./dev setup");
    let mut keyboard = holder.stdin.take().expect("its input");
    std::io::Write::write_all(&mut keyboard, b"begin immediate; select 'held';\n").expect("it reads");
    let mut screen = std::io::BufReader::new(holder.stdout.take().expect("its output"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut screen, &mut line).expect("it answers");
    assert_eq!(line, "held\n");

    let end = project.execute(&["apply", "--auto-approve", "--lock-timeout", "1500ms"]);
    assert_eq!(end.code, Some(4), "{end:?}");
    assert!(end.stderr.contains("waiting for another apply to end"), "{end:?}");
    assert!(
        end.stderr.contains("hint: wait for the other apply to end and try again; nothing was changed"),
        "{end:?}"
    );
    assert_eq!(
        project.execute(&["plan", "--detailed-exitcode"]).code,
        Some(2),
        "who only looks does not wait"
    );

    let second =
        project.command(&["apply", "--auto-approve"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    drop(keyboard);
    let second = wait(second.expect("the binary"));
    assert_eq!(second.code, Some(0), "{second:?}");
    ended(holder.wait_with_output().expect("it ends"));
}
