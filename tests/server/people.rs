//! Who there is on a server, by its commands; jobs without a pipeline, and jobs that somebody watches.

use std::io::Read;
use std::process::Stdio;

use serde_json::Value;

use crate::docker::{Place, eventually, signal};
use crate::server::harness::{BUSYBOX, Site};

#[test]
fn accounts_and_tokens_are_made_listed_and_ended() {
    let mut site = Site::new(&format!("    a: {{image: '{BUSYBOX}', command: 'echo a'}}\n"), Place::Sqlite);
    let server = site.server(&[]);
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(site.say(&server, arguments).lines().next().unwrap_or_default()).expect("JSON")
    };
    site.say(&server, &["users", "create", "ada", "--email", "ada@example.com"]);
    assert_eq!(json(&["users", "show", "ada", "--json"])["email"], "ada@example.com");
    site.say(&server, &["users", "change", "ada", "--email", ""]);
    assert_eq!(json(&["users", "show", "ada", "--json"])["email"], Value::Null);
    site.say(&server, &["teams", "create", "core", "--member", "ada"]);
    site.say(&server, &["teams", "add", "core", "admin"]);
    let team = site.say(&server, &["teams", "show", "core"]);
    assert!(team.contains("2 members") && team.contains("  ada\n  admin\n"), "{team}");
    site.say(&server, &["teams", "remove", "core", "ada"]);
    assert_eq!(json(&["teams", "list", "--json"])["size"], 1);
    site.say(&server, &["service-accounts", "create", "bot"]);
    site.say(&server, &["service-accounts", "rename", "bot", "robot"]);
    assert!(site.say(&server, &["service-accounts", "list"]).starts_with("service:robot"));

    // A token is limited, shown once, and ended.
    let limited = [
        "tokens",
        "create",
        "--owner",
        "service:robot",
        "--name",
        "ci",
        "--capability",
        "runs.read",
        "--project",
        "p",
    ];
    let mut limited = limited.to_vec();
    limited.extend(["--expires-in", "1h"]);
    let token = site.say(&server, &limited).trim().to_owned();
    let who = site.ask_as(&server, &token, &["whoami", "--project", "p", "--json"]);
    let who: Value = serde_json::from_str(&who.stdout).expect("JSON");
    assert_eq!((&who["name"], &who["token_project"]), (&"service:robot".into(), &"p".into()));
    assert!(who["expires_at"].is_i64(), "{who}");
    let id = who["token"].as_str().expect("an id").to_owned();
    let listed = site.say(&server, &["tokens", "list", "--owner", "service:robot"]);
    assert!(
        listed.contains(&id) && listed.contains("works") && listed.contains("only runs.read"),
        "{listed}"
    );
    site.say(&server, &["tokens", "revoke", &id]);
    let refused = site.ask_as(&server, &token, &["whoami"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("revoked"), "{refused:?}");
    let wrong = site.ask(&server, &["tokens", "create", "--capability", "runs.raed"]);
    assert!(wrong.code == Some(64) && wrong.stderr.contains("did you mean runs.read?"), "{wrong:?}");
    let whose = site.project.execute(&["tokens", "create", "--owner", "user:ada"]);
    assert!(whose.code == Some(64) && whose.stderr.contains("is for a server"), "{whose:?}");

    site.say(&server, &["users", "disable", "ada"]);
    assert!(site.say(&server, &["users", "list"]).contains("disabled"));
    site.say(&server, &["users", "enable", "ada"]);
    site.say(&server, &["users", "delete", "ada"]);
    assert_eq!(site.ask(&server, &["users", "show", "ada"]).code, Some(1));

    // All of it is in the audit log, which is whole.
    let log = site.say(&server, &["audit", "list", "--action", "users.admin"]);
    assert!(log.contains("user:ada") && log.contains("user:admin"), "{log}");
    let head = site.say(&server, &["audit", "head"]).trim().to_owned();
    let verified = site.say(&server, &["audit", "verify", "--kept", &head]);
    assert!(verified.starts_with("The log is whole up to "), "{verified}");
    let other = format!("{}:{}", head.split_once(':').expect("a head").0, "0".repeat(64));
    let broken = site.ask(&server, &["audit", "verify", "--kept", &other]);
    assert!(broken.code == Some(1) && broken.stderr.contains("the audit log is broken"), "{broken:?}");
    site.say(&server, &["audit", "export", "--out", "audit.ndjson"]);
    let export = std::fs::read_to_string(site.project.path().join("audit.ndjson")).expect("it was written");
    let entries = head.split_once(':').and_then(|(count, _)| count.parse::<usize>().ok());
    assert_eq!(Some(export.lines().count()), entries, "{head}");
}

#[test]
fn a_job_without_a_pipeline_and_one_that_somebody_watches() {
    let jobs = format!(
        "    again:\n      image: '{BUSYBOX}'\n      command: 'echo try; exit 3'\n      retry: {{max: 1, on: [exit], delay: 1s}}\n\
         \x20   long: {{image: '{BUSYBOX}', command: 'echo begun; sleep 600'}}\n"
    );
    let mut site = Site::new(&jobs, Place::Sqlite);
    let server = site.server(&[]);
    let _worker = site.worker(&server, &["--slots", "4"]);
    let say = "echo $GREETING from a job";
    let start = ["jobs", "start", "--image", BUSYBOX, "--env", "GREETING=hello", "--priority", "-3"];
    let mut watched = start.to_vec();
    watched.extend(["--timeout", "5m", "--name", "greet", "--watch", say]);
    let ended = site.ask(&server, &watched);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "hello from a job\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("greet is succeeded"), "{ended:?}");
    let mut plain = start.to_vec();
    plain.push("exit 4");
    let run = site.say(&server, &plain).trim().to_owned();
    assert_eq!(site.ask(&server, &["jobs", "attach", &run, "job"]).code, Some(1));
    assert_eq!(site.ask(&server, &["jobs", "attach", &run, "nothing"]).code, Some(1));
    let wrong = site.ask(&server, &["jobs", "start", "--image", BUSYBOX, "--env", "A", "true"]);
    assert_eq!(wrong.code, Some(64), "{wrong:?}");

    // Through both attempts, from the beginning of the first.
    let run = site.start(&server, &[]);
    let ended = site.ask(&server, &["jobs", "attach", &run, "again"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "try\ntry\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("again is running (attempt 2)"), "{ended:?}");

    // Who has seen enough leaves the job as it is.
    site.until_job(&server, &run, "long", "running");
    let mut attached = site.asking(&server.url, &site.token, &["jobs", "attach", &run, "long"]);
    let mut child =
        attached.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut heard = [0; 6];
    child.stdout.as_mut().expect("it is piped").read_exact(&mut heard).expect("it prints");
    assert_eq!(&heard, b"begun\n");
    signal(&child, "INT");
    let left = crate::docker::wait(child);
    assert_eq!(left.code, Some(130), "{left:?}");
    assert!(left.stderr.contains("detached: the job goes on"), "{left:?}");
    assert_eq!(site.job(&server, &run, "long")["status"], "running");
    site.say(&server, &["jobs", "kill", &run, "long"]);
    assert_eq!(site.ask(&server, &["jobs", "attach", &run, "long"]).code, Some(130));
    eventually("the run is over", || site.run(&server, &run)["status"] != "running");
}
