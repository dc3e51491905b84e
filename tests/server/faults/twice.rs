//! Whatever a worker or another system says may come twice, since an answer may be lost. Said by hand, as a worker would.

use serde_json::{Value, json};

use super::unique;
use crate::docker::Place;
use crate::server::harness::{BUSYBOX, Serving, Site};

/// A worker that says what a test wants.
struct Spoken<'a> {
    site: &'a Site,
    server: &'a Serving,
    authorization: String,
}

impl Spoken<'_> {
    fn say(&self, what: &str, body: &str) -> (u16, Value) {
        let url = format!("{}/worker/v1/{what}", self.server.url);
        let (status, answer) =
            self.site.send(&url, &[&self.authorization, "Content-Type: application/json"], body);
        (status, serde_json::from_str(&answer).unwrap_or_default())
    }

    fn claim(&self, token: &str, again: bool) -> Vec<Value> {
        let body = json!({"max": 1, "wait_ms": 2000, "token": token, "again": again});
        let (status, answer) = self.say("claim", &body.to_string());
        assert_eq!(status, 200, "{answer}");
        answer["leases"].as_array().expect("leases").clone()
    }

    fn report(&self, lease: &Value, report: &Value) -> u16 {
        self.say("report", &json!({"lease": lease["id"], "report": report}).to_string()).0
    }

    fn log(&self, lease: &Value, offset: usize, lines: &str) -> (u16, Value) {
        let id = &lease["id"];
        let text = |name: &str| id[name].as_str().expect("text").to_owned();
        let query = format!(
            "log?run={}&node={}&attempt={}&token={}&offset={offset}",
            text("run"),
            text("node"),
            id["attempt"],
            text("token")
        );
        self.say(&query, lines)
    }
}

#[test]
fn what_a_worker_says_twice_counts_once() {
    let job = unique();
    let mut site = Site::new(&format!("    {job}: {{image: '{BUSYBOX}', command: 'true'}}\n"), Place::Sqlite);
    let server = site.server(&[]);
    let token = site.worker_token();
    let worker =
        Spoken { site: &site, server: &server, authorization: format!("Authorization: Bearer {token}") };
    let who = json!({"labels": {}, "pool": null, "slots": 1, "provider": "by-hand", "version": "0"});
    for _ in 0..2 {
        assert_eq!(worker.say("register", &who.to_string()).0, 200);
    }
    let run = site.start(&server, &[]);

    // The answer to a claim was lost: who asks again gets the same, who asks anew gets nothing.
    let mine = "0123456789abcdef0123456789abcdef.1";
    let first = worker.claim(mine, false);
    assert_eq!(worker.claim(mine, true)[0]["id"], first[0]["id"]);
    assert!(worker.claim("0123456789abcdef0123456789abcdef.2", true).is_empty());
    let lease = &first[0];
    for _ in 0..2 {
        assert_eq!(worker.report(lease, &json!("started")), 204);
    }

    let frame = |seq: u32, text: &str| {
        let frame = json!({"v": 1, "attempt": 1, "seq": seq, "at": 1, "type": "log", "stream": "stdout", "text": text});
        format!("{frame}\n")
    };
    let (one, two) = (frame(1, "one\n"), frame(2, "two\n"));
    let both = format!("{one}{two}");
    for (offset, lines, next) in
        [(0, &one, one.len()), (0, &one, one.len()), (0, &both, both.len()), (one.len(), &two, both.len())]
    {
        let (status, answer) = worker.log(lease, offset, lines);
        assert_eq!((status, answer["next"].as_u64()), (200, Some(next as u64)), "{answer}");
    }
    let (status, answer) = worker.log(lease, both.len() + 1, &two);
    assert_eq!((status, answer["expected_offset"].as_u64()), (409, Some(both.len() as u64)), "{answer}");

    let end = json!({"finished": {"failure": null, "exit_code": 0, "message": null, "outputs": {}, "started": true, "permanent": false}});
    assert_eq!(worker.report(lease, &end), 204);
    // The lease is over: what is said again changes nothing, and neither does something else.
    let other = json!({"finished": {"failure": "exit", "exit_code": 1, "message": null, "outputs": {}, "started": true, "permanent": false}});
    for late in [&end, &other] {
        assert_eq!(worker.report(lease, late), 409);
    }
    assert_eq!(worker.log(lease, both.len(), &two).0, 409);
    site.until(&server, &run, "succeeded");
    assert_eq!(site.say(&server, &["jobs", "logs", &run, &job]), "one\ntwo\n");
    let why = site.say(&server, &["runs", "why", &run]);
    assert_eq!(why.matches(" succeeded ").count(), 2, "{why}");
}

#[test]
fn an_event_that_comes_twice_makes_one_run() {
    let configuration = format!(
        "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
         apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\n\
         spec:\n  triggers: [{{event: api}}]\n  jobs:\n    say: {{image: '{BUSYBOX}', command: 'true', runs_on: {{nobody: 'yes'}}}}\n"
    );
    let mut site = Site::with_files(&[(".reactorcide/ci.yaml", &configuration)], Place::Sqlite);
    let server = site.server(&[]);
    let authorization = format!("Authorization: Bearer {}", site.token);
    let url = format!("{}/api/v1/events", server.url);
    let send = |body: &Value| {
        let headers = [authorization.as_str(), "Content-Type: application/json"];
        let (status, answer) = site.send(&url, &headers, &body.to_string());
        assert_eq!(status, 202, "{answer}");
    };
    for id in ["a", "b", "a", "b", "a"] {
        send(&json!({"project": "p", "type": "api", "branch": "main", "delivery_id": id}));
    }
    assert_eq!(site.say(&server, &["runs", "list"]).lines().count(), 2);
    // Without an id, by what it says.
    for branch in ["main", "main", "other"] {
        send(&json!({"project": "p", "type": "api", "branch": branch}));
    }
    assert_eq!(site.say(&server, &["runs", "list"]).lines().count(), 4);
}
