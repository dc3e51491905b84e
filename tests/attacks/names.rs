//! Names that are programs, escapes or variables of ours.

use super::{project, run};
use crate::docker::Place;
use crate::server::harness::Site;

#[test]
fn a_branch_that_looks_like_a_command_is_a_name() {
    let jobs = format!("    a: {{image: '{}', command: 'true'}}\n", super::BUSYBOX);
    let mut site = Site::new(&jobs, Place::Sqlite);
    let server = site.server(&[]);
    for branch in [
        "$(touch pwned)",
        "`touch pwned`",
        "x; touch pwned",
        "--upload-pack=touch pwned",
        "red\u{1b}[31m\u{1b}]0;title\u{7}",
        "two\nlines\r::stop",
    ] {
        let started = site.ask(&server, &["runs", "start", "p/ci", &format!("--branch={branch}")]);
        let mut shown = started.stdout.clone() + &started.stderr;
        if started.code == Some(0) {
            let run = started.stdout.trim().to_owned();
            for asked in [&["runs", "show", &run][..], &["runs", "list"], &["runs", "why", &run], &["queue"]]
            {
                let answer = site.ask(&server, asked);
                shown += &(answer.stdout + &answer.stderr);
            }
        }
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\r']), "{shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with("lines")), "{shown:?}");
    }
    let body = serde_json::json!({"pipeline": "p/ci", "branch": "$(touch pwned)\u{1b}[31m\nx"}).to_string();
    let token = format!("Authorization: Bearer {}", site.token);
    let headers = [token.as_str(), "Content-Type: application/json"];
    let (status, answer) = site.send(&format!("{}/api/v1/runs", server.url), &headers, &body);
    assert!(matches!(status, 201 | 400 | 422), "{status}: {answer}");
    assert!(!answer.contains('\u{1b}'), "{answer:?}");
    assert!(!site.project.path().join("pwned").exists());
}

#[test]
fn variables_of_ours_and_of_loaders_cannot_be_set_by_who_triggers() {
    for variable in ["LD_PRELOAD", "PATH", "REACTORCIDE_JOB", "BASH_ENV", "GIT_SSH_COMMAND"] {
        let ended = run(&format!(
            "      triggers_allowed: {{count: 3}}\n      command: |\n\
             \x20       $REACTORCIDE_RUNNER trigger '{{\"jobs\": []}}' >/dev/null 2>&1 || true\n\
             \x20       printf '%s' '{{\"type\": \"trigger_job\", \"jobs\": [{{\"job_name\": \"made\", \"image\": \"{}\", \"command\": \"true\", \"env\": {{\"{variable}\": \"/job/evil.so\"}}}}]}}' > /job/triggers.json\n",
            super::BUSYBOX
        ));
        assert_eq!(ended.code, Some(1), "{variable}: {ended:?}");
        assert!(format!("{}{}", ended.stdout, ended.stderr).contains(variable), "{ended:?}");
    }
}

#[test]
fn variables_of_ours_cannot_be_declared_and_loaders_do_not_reach_the_runner() {
    let refused = project("      command: 'true'\n      environment: {REACTORCIDE_JOB: other}\n").run(&[]);
    assert!(refused.code != Some(0) && refused.stderr.contains("RC1036"), "{refused:?}");
    let ended = run(
        "      secrets: {KEY: key}\n      environment: {LD_PRELOAD: /job/evil.so, PATH: '/job/evil:/bin'}\n      command: |\n\
        \x20       mkdir -p /job/evil; printf '#!/bin/sh\\necho EVIL $KEY\\n' > /job/evil/env; chmod +x /job/evil/env\n\
        \x20       $REACTORCIDE_RUNNER hello | grep -c victim\n",
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
