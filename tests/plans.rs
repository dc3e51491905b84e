//! What holds for every plan: the same input gives the same bytes wherever it is made, and what is printed agrees with the
//! exit code.

use std::path::Path;
use std::process::Command;

use crate::docker::{Ended, Project, ended};

const NO_CHANGES: &str = "No changes. The applied state is what the configuration says.\n";

/// Every file of a directory, by its path below it.
fn files(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                std::fs::read_dir(&path).expect("a directory").map(|one| one.expect("an entry").path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = path.strip_prefix(directory).expect("it is below").to_string_lossy().into_owned();
            found.push((name, std::fs::read_to_string(&path).expect("a text")));
        }
    }
    found.sort();
    found
}

/// A number that is as good as any, from a number.
fn mixed(number: usize) -> usize {
    let mut value = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    for _ in 0..3 {
        value ^= value >> 33;
        value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    }
    usize::try_from(value >> 33).expect("31 bits")
}

/// Somebody's change of a configuration: a line is gone, doubled or another, or a file is gone. Most are mistakes.
fn changed(files: &mut Vec<(String, String)>, seed: usize) {
    let index = mixed(seed) % files.len();
    let kind = mixed(seed + 1) % 5;
    if kind == 0 {
        files.remove(index);
        return;
    }
    let text = &mut files[index].1;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = mixed(seed + 2) % lines.len();
    match kind {
        1 => drop(lines.remove(line)),
        2 => lines[line] = lines[line].replace("main", "other"),
        3 => lines[line] = lines[line].replace("cargo", "make").replace("on: ", "on: x"),
        _ => lines.insert(line, "# a remark".to_owned()),
    }
    *text = lines.join("\n") + "\n";
}

#[test]
fn what_a_plan_prints_agrees_with_its_exit_code() {
    let project = Project::copy_of("examples/company");
    let applied = project.execute(&["apply", "--auto-approve", "--accept-findings"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let original = files(&project.path().join(".reactorcide"));
    let mut codes = [0; 3];
    for seed in 0..60 {
        let mut files = original.clone();
        changed(&mut files, seed * 7);
        std::fs::remove_dir_all(project.path().join(".reactorcide")).expect("it is there");
        for (name, text) in &files {
            project.write(&format!(".reactorcide/{name}"), text);
        }
        let arguments = ["plan", "--detailed-exitcode", "--markdown", "plan.md", "--json-into", "plan.json"];
        let _ = std::fs::remove_file(project.path().join("plan.md"));
        let plan = project.execute(&arguments);
        let markdown = std::fs::read_to_string(project.path().join("plan.md")).unwrap_or_default();
        let json = || std::fs::read_to_string(project.path().join("plan.json")).expect("it was written");
        let counts = || {
            let json: serde_json::Value = serde_json::from_str(&json()).expect("JSON");
            json["summary"]
                .as_object()
                .expect("counts")
                .values()
                .filter_map(serde_json::Value::as_u64)
                .sum::<u64>()
        };
        match plan.code {
            Some(0) => {
                assert!(plan.stdout.starts_with(NO_CHANGES), "seed {seed}: {plan:?}");
                assert!(markdown.starts_with("### No changes\n"), "seed {seed}: {markdown}");
                assert_eq!(counts(), 0, "seed {seed}");
                codes[0] += 1;
            }
            // Refused, but a plan.
            Some(2 | 5) => {
                assert!(
                    !plan.stdout.contains(NO_CHANGES) && plan.stdout.contains("\nPlan: "),
                    "seed {seed}: {plan:?}"
                );
                assert!(markdown.starts_with("### Plan: "), "seed {seed}: {markdown}");
                assert!(counts() > 0, "seed {seed}");
                codes[1] += 1;
            }
            Some(1) => {
                assert!(plan.stdout.is_empty() && plan.stderr.contains("error"), "seed {seed}: {plan:?}");
                assert!(markdown.is_empty(), "seed {seed}");
                codes[2] += 1;
            }
            _ => panic!("seed {seed}: {plan:?}"),
        }
    }
    assert!(codes.into_iter().all(|count| count >= 5), "each of them came: {codes:?}");
}

#[test]
fn a_plan_is_the_same_wherever_and_whenever_it_is_made() {
    let project = Project::copy_of("examples/company");
    let applied = project.execute(&["apply", "--auto-approve", "--accept-findings"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let state = format!("sqlite:{}/.reactorcide-state/state.db", project.path().display());
    let change =
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/company-change/.reactorcide"));
    // Each in a directory of its own, with the files under other names, in another order.
    let plan = |number: usize, variables: &[(&str, &str)]| -> String {
        let elsewhere = Project::empty();
        for (index, (_, text)) in change.iter().enumerate() {
            let name = mixed(index + number * 1000);
            elsewhere.write(&format!("deep/{}/{name:x}.yml", name % 3), text);
        }
        let plain =
            elsewhere.command(&["plan", "--state", &state, "--as-of", "2026-01-01", "--out", "p.rcplan"]);
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", if number.is_multiple_of(2) { "0" } else { "0-1" }])
            .arg(plain.get_program());
        command.args(plain.get_args()).current_dir(elsewhere.path()).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.envs(variables.iter().copied());
        let made: Ended = ended(command.output().expect("taskset is there"));
        assert_eq!(made.code, Some(0), "{made:?}");
        std::fs::read_to_string(elsewhere.path().join("p.rcplan")).expect("it was written")
    };
    let first = plan(0, &[]);
    let places: [&[(&str, &str)]; 5] = [
        &[("LANG", "tr_TR.UTF-8"), ("LC_ALL", "tr_TR.UTF-8")],
        &[("TZ", "Pacific/Kiritimati"), ("LC_ALL", "C")],
        &[("TZ", "America/New_York"), ("RAYON_NUM_THREADS", "7")],
        &[("HOME", "/nonexistent"), ("USER", "somebody")],
        &[("COLUMNS", "20"), ("CLICOLOR_FORCE", "1")],
    ];
    for (index, variables) in places.into_iter().enumerate() {
        assert!(plan(index + 1, variables) == first, "another plan with {variables:?}");
    }
}

#[test]
fn what_is_no_plain_file_is_written_through_and_what_is_no_plan_is_spared() {
    let project = Project::copy_of("examples/hello");
    project.write("comment.md", "old");
    std::os::unix::fs::symlink("comment.md", project.path().join("link.md")).expect("a link");
    let made = project.execute(&["plan", "--markdown", "link.md", "--json-into", "/dev/stdout"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("\"format_version\": 1"), "{made:?}");
    assert!(std::fs::symlink_metadata(project.path().join("link.md")).expect("it is there").is_symlink());
    let comment = std::fs::read_to_string(project.path().join("comment.md")).expect("the comment");
    assert!(comment.starts_with("### Plan: "), "{comment}");

    let spared = project.execute(&["plan", "--out", "comment.md"]);
    assert_eq!(spared.code, Some(1), "{spared:?}");
    assert!(spared.stderr.contains("comment.md is there and is no saved plan"), "{spared:?}");
    for _ in 0..2 {
        assert_eq!(project.execute(&["plan", "--out", "p.rcplan"]).code, Some(0));
    }
}

#[test]
fn output_that_finds_no_room_is_a_failure() {
    let project = Project::copy_of("examples/hello");
    for arguments in [&["plan"][..], &["plan", "--json"], &["schema"], &["validate"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("the device");
        let output = project.command(arguments).stdout(full).output().expect("it starts");
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {shown}");
        assert!(shown.contains("No space left"), "{arguments:?}: {shown}");
    }
}
