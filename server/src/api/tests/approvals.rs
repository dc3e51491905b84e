//! Pull requests: where they come from, what a trust policy makes of them, and who approves what.

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{Answer, CONFIGURATION, World};
use crate::api::hooks::sign;

const SECRET: &str = "0123456789abcdef0123";
const OWN: &str = "https://git.example.com/team/web.git";
const FORK: &str = "https://git.example.com/mallory/web.git";

struct Forge {
    world: World,
    applied: String,
    _directory: tempfile::TempDir,
}

/// A project with a repository, a pipeline whose job has a secret, and a trust policy of these rules.
async fn forge(rules: Value) -> Forge {
    let world = World::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hook");
    std::fs::write(&path, SECRET).expect("a file");
    let project =
        format!("spec: {{webhook: {{secret: web-hook}}, source: {{git: '{OWN}', default_branch: main}}}}");
    let signed = CONFIGURATION
        .replace("spec: {config: {path: .reactorcide}}", &project)
        .replace("{event: push}]", "{event: push}, {event: pull_request}]")
        .replace(
            "test: {image: 'busybox:1', command: 'true', depends_on: [build]}",
            "test: {image: 'busybox:1', command: 'true', secrets: {KEY: key}, depends_on: [build]}",
        );
    let more = format!(
        "---\napiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: web-hook}}\nspec: {{source: file, location: '{}'}}\n\
         ---\napiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: key}}\nspec: {{}}\n\
         ---\napiVersion: reactorcide/v1\nkind: TrustPolicy\nmetadata: {{name: everybody}}\nspec: {{projects: ['*'], rules: {rules}}}\n",
        path.display()
    );
    let applied = format!("{signed}{more}");
    world.apply(&applied).await;
    Forge { world, applied, _directory: directory }
}

impl Forge {
    async fn send(&self, body: Value) -> Answer {
        let time = crate::conductor::now() / 1000;
        let (time, signature) = (time.to_string(), sign(SECRET, time, &body.to_string()));
        let headers = [("x-reactorcide-timestamp", &*time), ("x-reactorcide-signature", &*signature)];
        self.world.ask_with(Method::POST, "/api/v1/hooks/web", "", Some(&body), &headers).await
    }

    /// The run of `web/ci` that a pull request starts.
    async fn proposed(&self, head: &str, sha: char) -> Value {
        let delivered = self.send(pull_request(head, sha)).await.ok(202);
        let run = delivered["started"][0]["run"].as_str().unwrap_or_else(|| panic!("no run: {delivered}"));
        self.run(run).await
    }

    async fn run(&self, id: &str) -> Value {
        let root = self.world.token("user:root").await;
        self.world.get(&format!("/api/v1/runs/{id}"), &root).await.ok(200)
    }
}

fn sha(digit: char) -> String {
    digit.to_string().repeat(40)
}

fn pull_request(head: &str, digit: char) -> Value {
    json!({
        "type": "pull_request", "branch": "main", "changed_files": ["src/a.rs"],
        "pull_request": {
            "number": 12, "author": {"user": "Mallory", "first_time": true}, "head": {"repository": head, "sha": sha(digit)},
            "base": {"repository": OWN, "sha": sha('b')},
        },
    })
}

#[tokio::test]
async fn the_code_of_a_fork_runs_at_once_without_secrets_where_a_policy_says_so() {
    let forge = forge(json!([{"origins": ["fork"], "action": "run", "profile": "untrusted"}])).await;
    let run = forge.proposed(FORK, 'a').await;
    assert_eq!(run["status"], "running");
    let trigger = &run["trigger"];
    assert_eq!(
        (&trigger["origin"], &trigger["ceiling"], &trigger["number"], &trigger["author"]),
        (&json!("fork"), &json!("untrusted"), &json!(12), &json!("Mallory"))
    );
    let id = run["id"].as_str().expect("an id").to_owned();
    let declared = forge.world.api.conductor.look(&id, false, |known| known.state.workflow.jobs.clone());
    let declared = declared.await.expect("a run");
    assert_eq!(declared["test"].withheld, ["KEY"]);
    assert!(declared["test"].job.secrets.is_empty());
    let source = declared["test"].job.source.as_ref().expect("code");
    assert_eq!((source.git.as_deref(), source.reference.as_deref()), (Some(FORK), Some(&*sha('a'))));
    // The same of the project's own branch: no ceiling, its own repository.
    let push = json!({"type": "push", "branch": "main", "sha": sha('c'), "repository": OWN});
    let pushed = forge.send(push).await.ok(202);
    let pushed = forge.run(pushed["started"][0]["run"].as_str().expect("a run")).await;
    assert_eq!((&pushed["trigger"]["origin"], &pushed["trigger"]["ceiling"]), (&json!("base"), &Value::Null));
}

#[tokio::test]
async fn an_event_that_lies_about_itself_changes_nothing() {
    let forge = forge(json!([{"origins": ["head"], "action": "run", "profile": "trusted"}])).await;
    // No rule speaks of a fork, whatever it calls itself.
    let run = forge.proposed(FORK, 'a').await;
    assert_eq!((&run["status"], &run["trigger"]["origin"]), (&json!("waiting"), &json!("fork")));
    for (field, lie) in [
        ("origin", json!("base")),
        ("source_origin", json!("base")),
        ("ceiling", json!("trusted")),
        ("profile", json!("trusted")),
        ("repository", json!(OWN)),
        ("sha", json!(sha('9'))),
    ] {
        let mut body = pull_request(FORK, 'a');
        body[field] = lie;
        assert_eq!(forge.send(body).await.problem(422), "unprocessable", "{field}");
    }
    // What is about another repository starts nothing of this project.
    let mut elsewhere = pull_request(FORK, 'd');
    elsewhere["pull_request"]["base"]["repository"] = json!(FORK);
    let delivered = forge.send(elsewhere).await.ok(202);
    assert_eq!(delivered["started"], json!([]));
    let push = json!({"type": "push", "branch": "main", "sha": sha('c'), "repository": FORK});
    assert_eq!(forge.send(push).await.ok(202)["started"], json!([]));
    let push = json!({"type": "push", "branch": "main", "sha": sha('c')});
    assert_eq!(forge.send(push).await.problem(422), "unprocessable");
}

#[tokio::test]
async fn an_approval_is_for_one_commit_by_somebody_else() {
    let forge = forge(json!([{"action": "require_approval", "profile": "untrusted"}])).await;
    let world = &forge.world;
    let first = forge.proposed(FORK, 'a').await;
    let path = |run: &Value| format!("/api/v1/runs/{}/approve", run["id"].as_str().expect("an id"));
    let by_number = "/api/v1/projects/web/pull-requests/12/approve";
    let writer = world.token("user:web-writer").await;
    // Who may not, a program, and the author of the code whatever their rights.
    let reader = world.token("user:web-reader").await;
    world.post(&path(&first), &reader, &json!({})).await.problem(403);
    let program = world.token("service:web-bot").await;
    world.post(&path(&first), &program, &json!({})).await.problem(403);
    world.user("mallory", true).await;
    let author = world.token("user:mallory").await;
    world.post(&path(&first), &author, &json!({})).await.problem(403);
    assert_eq!(forge.run(first["id"].as_str().expect("an id")).await["status"], "waiting");
    // A new push: the approval of the commit before is none of it.
    let second = forge.proposed(FORK, 'c').await;
    world.post(&path(&second), &writer, &json!({"head": sha('a')})).await.problem(409);
    world.post(by_number, &writer, &json!({"head": sha('f')})).await.problem(409);
    world
        .post("/api/v1/projects/web/pull-requests/13/approve", &writer, &json!({"head": sha('a')}))
        .await
        .problem(404);
    let approved = world.post(by_number, &writer, &json!({"head": sha('c')})).await.ok(200);
    assert_eq!((&approved[0]["run"], approved.as_array().map(Vec::len)), (&second["id"], Some(1)));
    assert_eq!(forge.run(second["id"].as_str().expect("an id")).await["status"], "running");
    assert_eq!(forge.run(first["id"].as_str().expect("an id")).await["status"], "waiting");
    world.post(&path(&second), &writer, &json!({})).await.problem(409);
    let admin = world.token("user:admin").await;
    let audit = world.get("/api/v1/audit?action=runs.approve", &admin).await.ok(200);
    let outcomes: Vec<&Value> =
        audit["items"].as_array().expect("rows").iter().map(|row| &row["outcome"]).collect();
    assert!(outcomes.contains(&&json!("done")) && outcomes.contains(&&json!("denied")), "{audit}");
}

#[tokio::test]
async fn an_approval_is_for_what_was_applied_when_the_run_was_accepted() {
    let rules = json!([{"action": "require_approval", "profile": "untrusted"}]);
    let forge = forge(rules).await;
    let world = &forge.world;
    let run = forge.proposed(FORK, 'a').await;
    let more = "---\napiVersion: reactorcide/v1\nkind: ExecutionProfile\nmetadata: {name: untrusted}\nspec: {secrets: granted}\n";
    world.apply(&format!("{}{more}", forge.applied)).await;
    let writer = world.token("user:web-writer").await;
    let path = format!("/api/v1/runs/{}/approve", run["id"].as_str().expect("an id"));
    world.post(&path, &writer, &json!({"head": sha('a')})).await.problem(409);
}

#[tokio::test]
async fn whose_code_it_is_counts_whoever_touched_it_last() {
    let rules = json!([
        {"origins": ["fork"], "actors": {"teams": ["core"]}, "action": "run"},
        {"origins": ["fork"], "action": "require_approval", "profile": "untrusted"},
    ]);
    let forge = forge(rules).await;
    let touched = |action: &str| {
        let mut event = pull_request(FORK, 'a');
        event["pull_request"]["action"] = json!(action);
        event["sender"] = json!({"user": "admin", "teams": ["core"], "first_time": false});
        event["delivery_id"] = json!(action);
        event
    };
    let admin = forge.world.token("user:admin").await;
    for (action, may) in [("reopened", true), ("synchronize", false)] {
        let delivered = forge.send(touched(action)).await.ok(202);
        let run = forge.run(delivered["started"][0]["run"].as_str().expect("a run")).await;
        assert_eq!((&run["status"], &run["trigger"]["author"]), (&json!("waiting"), &json!("Mallory")));
        let path = format!("/api/v1/runs/{}/approve", run["id"].as_str().expect("an id"));
        let answer = forge.world.post(&path, &admin, &json!({})).await;
        // Whoever brought its commits does not let them in.
        assert_eq!(answer.status.as_u16(), if may { 200 } else { 403 }, "{action}");
    }
    let mut unsigned = pull_request(FORK, 'a');
    unsigned["pull_request"].as_object_mut().expect("a pull request").remove("author");
    forge.send(unsigned).await.problem(422);
}

#[tokio::test]
async fn a_run_that_nobody_could_approve_any_more_is_not_repeated() {
    let forge = forge(json!([{"origins": ["fork"], "profile": "untrusted"}])).await;
    let run = forge.proposed(FORK, 'a').await;
    let path = format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"));
    let root = forge.world.token("user:root").await;
    forge.world.post(&format!("{path}/cancel"), &root, &json!({})).await.ok(204);
    forge.world.post(&format!("{path}/retry"), &root, &json!({})).await.ok(201);
    forge.world.apply(&forge.applied.replace("profile\":\"untrusted", "profile\":\"trusted")).await;
    forge.world.post(&format!("{path}/retry"), &root, &json!({})).await.problem(409);
}
