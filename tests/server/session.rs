//! What a user of a server sees, from the first start on.

use crate::docker::Place;
use crate::server::harness::{BUSYBOX, Site};

fn jobs() -> String {
    format!(
        "    say: {{image: '{BUSYBOX}', command: 'echo hello from $REACTORCIDE_RUN_ID; echo more'}}\n\
         \x20   bad: {{image: '{BUSYBOX}', command: 'exit 3'}}\n\
         \x20   after: {{image: '{BUSYBOX}', depends_on: [bad], command: 'echo never'}}\n\
         \x20   gpu: {{image: '{BUSYBOX}', runs_on: {{gpu: 'yes'}}, command: 'echo gpu'}}\n"
    )
}

fn session(place: Place) {
    let mut site = Site::new(&jobs(), place);
    let server = site.server(&[]);
    // Without a worker it waits, and says for what.
    let run = site.start(&server, &[]);
    let queue = site.say(&server, &["queue", "show"]);
    assert!(queue.contains("waits for a worker: there is none"), "{queue}");
    let worker = site.worker(&server, &["--label", "os=linux"]);
    for (job, status) in [("say", "succeeded"), ("bad", "failed"), ("after", "skipped")] {
        site.until_job(&server, &run, job, status);
    }
    assert_eq!(site.job(&server, &run, "bad")["exit_code"], 3);
    let queue = site.say(&server, &["queue", "show"]);
    assert!(queue.contains("it needs the label gpu=yes"), "{queue}");
    let log = site.say(&server, &["jobs", "logs", &run, "say"]);
    assert_eq!(log, format!("hello from {run}\nmore\n"));
    assert_eq!(site.say(&server, &["jobs", "logs", "-f", &run, "say"]), log, "a follower has the same");
    let why = site.say(&server, &["runs", "why", &run, "after"]);
    assert!(why.contains("bad failed"), "{why}");

    // One job is stopped, and the run is what the rest made of it.
    site.say(&server, &["jobs", "cancel", &run, "gpu", "--reason", "no such machine"]);
    site.until(&server, &run, "failed");
    let shown = site.say(&server, &["runs", "show", &run]);
    assert!(shown.contains("cancelled by user:admin: no such machine"), "{shown}");
    let ended = site.ask(&server, &["runs", "cancel", &run]);
    assert!(ended.code == Some(1) && ended.stderr.contains("already ended"), "{ended:?}");

    // What failed runs again; what succeeded does not.
    let again = site.say(&server, &["runs", "retry", &run, "--failed-only"]).trim().to_owned();
    site.until_job(&server, &again, "bad", "failed");
    let said = site.job(&server, &again, "say");
    assert!(said["reason"].as_str().is_some_and(|reason| reason.contains(&run)), "{said}");
    site.say(&server, &["runs", "cancel", &again]);
    site.until(&server, &again, "cancelled");
    let watched = site.ask(&server, &["runs", "watch", &again]);
    assert_eq!(watched.code, Some(130), "{watched:?}");
    assert!(watched.stdout.contains("the run"), "{watched:?}");

    // Whoever does not know whether it was heard asks again, and has one run.
    let once = ["runs", "start", "p/ci", "--job", "gpu", "--idempotency-key", "deploy-7"];
    let keyed = site.say(&server, &once);
    assert_eq!(site.say(&server, &once), keyed);
    site.say(&server, &["runs", "cancel", keyed.trim()]);
    site.until(&server, keyed.trim(), "cancelled");

    // What is asked wrongly is answered with what is right.
    for (arguments, words) in [
        (&["runs", "start", "p/c"][..], "did you mean p/ci?"),
        (&["runs", "start", "p/ci", "--job", "sya"], "did you mean say?"),
        (&["runs", "start", "p/ci", "--input", "x=1"], "there is no input"),
        (&["runs", "show", "nothing"], "runs list"),
        (&["jobs", "logs", &run, "sya"], "no job"),
        (&["workers", "drain", "nobody"], "there is no worker"),
    ] {
        let ended = site.ask(&server, arguments);
        assert!(ended.code == Some(1) && ended.stderr.contains(words), "{arguments:?}: {ended:?}");
    }

    // A worker that is drained takes nothing more.
    let name = site.last_worker().to_owned();
    site.say(&server, &["workers", "drain", &name]);
    let listed = site.say(&server, &["workers", "list"]);
    assert!(listed.contains("draining"), "{listed}");
    let waits = site.start(&server, &["--job", "say"]);
    let queue = site.say(&server, &["queue", "show"]);
    assert!(queue.contains("there is none"), "{queue}");
    site.say(&server, &["workers", "enable", &name]);
    site.until(&server, &waits, "succeeded");
    assert_eq!(worker.stop(), Some(0));
    assert_eq!(server.process.stop(), Some(0));
}

#[test]
fn a_user_of_a_server_on_sqlite() {
    session(Place::Sqlite);
}

#[test]
fn a_user_of_a_server_on_postgresql() {
    session(Place::Postgres);
}

#[test]
fn one_process_is_enough() {
    let mut site =
        Site::new(&format!("    say: {{image: '{BUSYBOX}', command: echo hello}}\n"), Place::Sqlite);
    let server = site.server(&["--with-worker", "--slots", "1"]);
    let watched = site.ask(&server, &["runs", "start", "ci", "--watch"]);
    assert_eq!(watched.code, Some(0), "{watched:?}");
    let run = watched.stdout.lines().next().expect("an id");
    assert_eq!(site.say(&server, &["jobs", "logs", run, "say"]), "hello\n");
    assert_eq!(server.process.stop(), Some(0));
    // It is there again, and knows what was; nobody is let in twice as the first.
    let mut again = site.server(&["--with-worker"]);
    assert!(!again.process.heard.contains("rct_"));
    assert_eq!(site.say(&again, &["jobs", "logs", run, "say"]), "hello\n");
    let nobody = site.project.execute(&["runs", "list", "--server", &again.url]);
    assert!(nobody.code == Some(1) && nobody.stderr.contains("there is no token"), "{nobody:?}");
    let mut wrong = site.project.command(&["runs", "list", "--server", &again.url]);
    let forged = format!("{}x", &site.token[..site.token.len() - 1]);
    let wrong = crate::docker::ended(wrong.env("REACTORCIDE_TOKEN", forged).output().expect("it starts"));
    assert!(wrong.code == Some(1) && wrong.stderr.contains("login"), "{wrong:?}");
    again.process.heard.clear();
}
