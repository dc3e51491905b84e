//! Artifacts and caches of runs on this machine, on a real container engine.

use std::os::unix::fs::PermissionsExt;

use crate::docker::{Ended, Project};
use crate::server::harness::BUSYBOX;

fn succeeded(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// The id of the last run.
fn last_run(project: &Project) -> String {
    let ended = project.execute(&["runs", "--json", "--limit", "1"]);
    succeeded(&ended);
    let first: serde_json::Value =
        serde_json::from_str(ended.stdout.lines().next().expect("a run")).expect("JSON");
    first["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_job_finds_what_the_jobs_before_it_have_kept() {
    let project = Project::with_jobs(&format!(
        "    build:\n      image: '{BUSYBOX}'\n      matrix: {{axes: {{os: [linux, plan9]}}}}\n\
         \x20     environment: {{OS: '${{matrix:os}}'}}\n\
         \x20     command: \"mkdir -p out/deep; echo 'echo built for '$OS > out/run; chmod +x out/run; echo x > out/deep/a.txt; echo y > left.out\"\n\
         \x20     artifacts: {{paths: ['out/**']}}\n\
         \x20   use:\n      image: '{BUSYBOX}'\n      depends_on: [build]\n\
         \x20     command: '/job/artifacts/build[0]/out/run; /job/artifacts/build[1]/out/run; find /job/artifacts -type f | sort'\n\
         \x20   last: {{image: '{BUSYBOX}', depends_on: [use], command: 'ls /job/artifacts; echo nothing more'}}\n"
    ));
    let ended = project.run(&[]);
    succeeded(&ended);
    for line in
        ["built for linux", "built for plan9", "/job/artifacts/build[1]/out/deep/a.txt", "nothing more"]
    {
        assert!(ended.stdout.contains(line), "{line}: {ended:?}");
    }
    assert!(!ended.stdout.contains("left.out"), "{ended:?}");

    let run = last_run(&project);
    let listed = project.execute(&["artifacts", "list", &run]);
    assert_eq!(listed.stdout.lines().count(), 4, "{listed:?}");
    succeeded(&project.execute(&["artifacts", "get", &run, "build[0]", "--all", "-o", "got"]));
    let program = project.path().join("got/out/run");
    assert_eq!(std::fs::read_to_string(&program).expect("it"), "echo built for linux\n");
    assert_eq!(std::fs::metadata(&program).expect("it").permissions().mode() & 0o777, 0o755);
    let printed = project.execute(&["artifacts", "get", &run, "build[1]", "out/run", "-o", "-"]);
    assert_eq!(printed.stdout, "echo built for plan9\n");
    let none = project.execute(&["artifacts", "get", &run, "use", "x"]);
    assert!(none.code == Some(1) && none.stderr.contains("has kept no file \"x\""), "{none:?}");
}

#[test]
fn a_failed_job_keeps_what_it_says_and_a_missing_file_fails_one() {
    let project = Project::with_jobs(&format!(
        "    fails: {{image: '{BUSYBOX}', command: 'echo r > report.xml; exit 3', artifacts: {{paths: [report.xml, none], on_failure: true}}}}\n\
         \x20   silent: {{image: '{BUSYBOX}', command: 'echo r > report.xml; exit 3', artifacts: {{paths: [report.xml]}}}}\n\
         \x20   forgets: {{image: '{BUSYBOX}', command: 'true', artifacts: {{paths: [target/web]}}}}\n\
         \x20   globs: {{image: '{BUSYBOX}', command: 'true', artifacts: {{paths: ['*.none']}}}}\n\
         \x20   looks: {{image: '{BUSYBOX}', depends_on: [fails], condition: any_failed, command: 'cat /job/artifacts/fails/report.xml'}}\n"
    ));
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("looks   | r"), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("there is no file \"target/web\""), "{ended:?}");
    let listed = project.execute(&["artifacts", "list", &last_run(&project)]);
    assert_eq!(listed.stdout.lines().count(), 1, "{listed:?}");
    assert!(listed.stdout.contains("report.xml"), "{listed:?}");
}

#[test]
fn no_trick_of_a_job_takes_a_file_of_the_host() {
    let project = Project::with_jobs(&format!(
        "    evil:\n      image: '{BUSYBOX}'\n\
         \x20     command: |\n\
         \x20       mkdir out; echo fine > out/fine\n\
         \x20       ln -s /etc/passwd out/absolute; ln -s ../../../../../../etc/passwd out/relative\n\
         \x20       ln -s /etc out/directory; ln -s /proc/self/root out/magic; ln -s . out/around\n\
         \x20       mkfifo out/pipe; ln out/fine out/hard; mknod out/zero c 1 5 || true\n\
         \x20     artifacts: {{paths: ['out/**', '/job/**/passwd']}}\n\
         \x20   direct: {{image: '{BUSYBOX}', command: 'ln -s /etc/passwd passwd', artifacts: {{paths: [passwd]}}}}\n\
         \x20   through: {{image: '{BUSYBOX}', command: 'ln -s /etc etc', artifacts: {{paths: [etc/passwd]}}}}\n\
         \x20   upwards: {{image: '{BUSYBOX}', command: 'true', artifacts: {{paths: [../../passwd]}}}}\n"
    ));
    let ended = project.run(&[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let listed = project.execute(&["artifacts", "list", &last_run(&project), "--json"]);
    let names: Vec<String> = listed
        .stdout
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            format!("{}:{}", row["job"].as_str().expect("a job"), row["path"].as_str().expect("a path"))
        })
        .collect();
    assert_eq!(names, ["evil:out/fine", "evil:out/hard"], "{ended:?}");
}

#[test]
fn a_cache_is_there_the_second_time_and_a_proposal_changes_no_trusted_one() {
    let project = Project::with_files(&[(
        ".reactorcide/ci.yaml",
        &format!(
            "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n\
             \x20 triggers: [{{event: pull_request}}, {{event: manual}}]\n\
             \x20 jobs:\n    deps:\n      image: '{BUSYBOX}'\n\
             \x20     command: 'cat deps/who 2>/dev/null || echo missed; mkdir -p deps; echo made by $(cat name) > deps/who; ln -sf who deps/link'\n\
             \x20     cache: {{key: 'deps-${{hash:lock*}}', paths: [deps], restore_keys: [deps-]}}\n"
        ),
    )]);
    let run = |more: &[&str]| {
        project.write("name", if more[0] == "--event" { "mallory" } else { "ada" });
        let ended = project.run(more);
        succeeded(&ended);
        ended.stdout
    };
    project.write("lock", "1");
    let proposal = &["--event", "pull_request", "--branch", "main"][..];
    let trusted = &["--branch", "main"][..];
    // Who proposes something first has written nothing that a trusted run reads.
    assert!(run(proposal).contains("deps | missed"));
    assert!(run(trusted).contains("deps | missed"));
    assert!(run(trusted).contains("deps | made by ada"));
    // And reads what a trusted one has made, without changing it.
    assert!(run(proposal).contains("deps | made by ada"));
    assert!(run(trusted).contains("deps | made by ada"));
    // With other dependencies the nearest is better than none.
    project.write("lock", "2");
    assert!(run(trusted).contains("deps | made by ada"));
}

#[test]
fn what_is_declared_lives_as_long_as_it_says() {
    let project = Project::with_jobs(&format!(
        "    short: {{image: '{BUSYBOX}', command: 'touch f', artifacts: {{paths: [f], expires: 2h}}}}\n\
         \x20   usual: {{image: '{BUSYBOX}', command: 'touch f', artifacts: {{paths: [f]}}}}\n"
    ));
    succeeded(&project.run(&[]));
    let listed = project.execute(&["artifacts", "list", &last_run(&project), "--json"]);
    let rows: Vec<serde_json::Value> =
        listed.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [short, usual] = rows.as_slice() else { panic!("two: {listed:?}") };
    let at = |value: &serde_json::Value| value.as_i64().expect("a time");
    assert_eq!(at(&short["expires_at"]) - at(&short["created_at"]), 7_200_000);
    assert!(usual["expires_at"].is_null(), "{usual}");
}

#[test]
fn a_cache_that_does_not_fit_is_told_of_and_can_be_deleted() {
    let project = Project::with_files(&[(
        ".reactorcide/ci.yaml",
        &format!(
            "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
             apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n\
             \x20 triggers: [{{event: manual}}]\n\
             \x20 jobs:\n    deps:\n      image: '{BUSYBOX}'\n\
             \x20     command: 'if test -f deps; then cat deps; else mkdir -p deps; echo new > deps/file; fi; echo done'\n\
             \x20     cache: {{key: deps, paths: [deps]}}\n"
        ),
    )]);
    let run = || {
        let ended = project.run(&[]);
        succeeded(&ended);
        ended.stdout + &ended.stderr
    };
    assert!(run().contains("deps | done"));
    // From now on the code has a file where the cache has a directory.
    project.write("deps", "a file of the code");
    for _ in 0..2 {
        let shown = run();
        assert!(
            shown
                .contains("the cache \"deps\" was not taken: it cannot be unpacked: src/deps is a file here"),
            "{shown}"
        );
        assert!(shown.contains("deps | a file of the code"), "{shown}");
        assert_eq!(shown.matches("was not taken").count(), 1, "{shown}");
    }
    let listed = project.execute(&["caches", "list", "--json"]);
    let row: serde_json::Value = serde_json::from_str(listed.stdout.trim()).expect("one cache");
    assert_eq!((row["key"].as_str(), row["trusted"].as_bool()), (Some("deps"), Some(true)));
    let id = row["id"].as_str().expect("an id");
    let deleted = project.execute(&["caches", "delete", &id[id.len() - 8..]]);
    assert_eq!((deleted.code, deleted.stderr.starts_with("deleted deps (")), (Some(0), true), "{deleted:?}");
    assert_eq!(project.execute(&["caches", "list"]).stdout, "");
    assert_eq!(project.execute(&["caches", "delete", id]).code, Some(1));
    assert!(!run().contains("was not taken"));
}
