//! Events and jobs that programs send.

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{CONFIGURATION, World};
use crate::api::hooks::sign;

#[tokio::test]
async fn an_event_starts_what_has_a_trigger_for_it() {
    let world = World::new().await;
    let more = "---\napiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: deploy, project: web}\nspec: {triggers: [{event: api, branches: [release]}], jobs: {a: {image: 'busybox:1', command: 'true'}}}\n";
    world.apply(&format!("{CONFIGURATION}{more}")).await;
    let writer = world.token("user:web-writer").await;
    let main = json!({"project": "web", "branch": "main"});
    let answer = world.post("/api/v1/events", &writer, &main).await.ok(202);
    assert_eq!(
        (&answer["started"][0]["pipeline"], &answer["started"][0]["new"]),
        (&json!("Pipeline/web/ci"), &json!(true))
    );
    assert_eq!(answer["others"][0]["pipeline"], "Pipeline/web/deploy");
    assert!(answer["others"][0]["reasons"][0].as_str().is_some_and(|why| why.contains("release")));
    let run = answer["started"][0]["run"].as_str().expect("a run");
    let shown = world.get(&format!("/api/v1/runs/{run}"), &writer).await.ok(200);
    assert_eq!((&shown["event"], &shown["trigger"]["branch"]), (&json!("api"), &json!("main")));
    for forged in ["push", "pull_request", "tag", "schedule", "manual"] {
        let body = json!({"project": "web", "type": forged});
        assert!(world.post("/api/v1/events", &writer, &body).await.status.is_client_error(), "{forged}");
    }
    world.post("/api/v1/events", &writer, &json!({"project": "docs"})).await.problem(403);
    let root = world.token("user:root").await;
    world.post("/api/v1/events", &root, &json!({"project": "nothing"})).await.problem(404);
    world.post("/api/v1/events", &root, &json!({"project": "web", "sha": "main"})).await.problem(422);
}

#[tokio::test]
async fn an_event_that_comes_again_starts_nothing_twice() {
    let world = World::new().await;
    let (writer, admin) = (world.token("user:web-writer").await, world.token("user:admin").await);
    let body = json!({"project": "web", "delivery_id": "d-1"});
    let run = |answer: &Value| (answer["started"][0]["run"].clone(), answer["started"][0]["new"].clone());
    let first = run(&world.post("/api/v1/events", &writer, &body).await.ok(202));
    let again = run(&world.post("/api/v1/events", &writer, &body).await.ok(202));
    assert_eq!(again, (first.0.clone(), json!(false)));
    let plain = json!({"project": "web"});
    let key = [("idempotency-key", "d-1")];
    let same = world.ask_with(Method::POST, "/api/v1/events", &writer, Some(&plain), &key).await.ok(202);
    assert_eq!(run(&same), (first.0.clone(), json!(false)));
    // What says nothing of itself is known by what it says, for a while.
    let release = json!({"project": "web", "branch": "release"});
    let once = run(&world.post("/api/v1/events", &writer, &release).await.ok(202));
    let twice = run(&world.post("/api/v1/events", &writer, &release).await.ok(202));
    assert_eq!((once.1, twice), (json!(true), (once.0.clone(), json!(false))));
    let theirs = run(&world.post("/api/v1/events", &admin, &release).await.ok(202));
    assert_ne!(theirs.0, once.0);
    // Nobody's key is another's.
    let other = run(&world.post("/api/v1/events", &admin, &body).await.ok(202));
    assert_ne!(other.0, first.0);
    assert_eq!(other.1, json!(true));
}

#[tokio::test]
async fn a_job_of_its_own_is_a_run() {
    let world = World::new().await;
    let writer = world.token("user:web-writer").await;
    let body = json!({"project": "web", "name": "hello", "job_image": "busybox:1", "job_command": "echo '${secret:a:b}'",
        "git_url": "https://example.com/a.git", "git_ref": "main", "git_commit": "a".repeat(40),
        "job_env": {"A": "1"}, "priority": 7, "timeout": 60});
    let key = [("idempotency-key", "j")];
    let first = world.ask_with(Method::POST, "/api/v1/jobs", &writer, Some(&body), &key).await.ok(201);
    let again = world.ask_with(Method::POST, "/api/v1/jobs", &writer, Some(&body), &key).await.ok(201);
    assert_eq!(first, again);
    assert_eq!(first["run"]["pipeline"], "Pipeline/web/ad-hoc");
    let queue = world.get("/api/v1/queue?project=web", &writer).await.ok(200);
    assert_eq!((&queue["items"][0]["job"], &queue["items"][0]["priority"]), (&json!("hello"), &json!(7)));
    world.get(first["job_url"].as_str().expect("a place"), &writer).await.ok(200);
    world.get(first["logs_url"].as_str().expect("a place"), &writer).await.ok(200);
    let workspace = json!({"job_image": "busybox:1", "job_command": "true"});
    world.post("/api/v1/jobs", &writer, &workspace).await.problem(403);
    let root = world.token("user:root").await;
    world.post("/api/v1/jobs", &root, &workspace).await.ok(201);
    for (field, value) in [
        ("git_commit", json!("main")),
        ("git_url", json!("--upload-pack=x")),
        ("git_ref", json!("-x")),
        ("job_command", json!(" ")),
        ("job_env", json!({"A B": "1"})),
        ("priority", json!(1000)),
        ("timeout", json!(0)),
        ("name", json!("A")),
        ("project", json!("nothing")),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value;
        assert_eq!(world.post("/api/v1/jobs", &root, &wrong).await.problem(422), "unprocessable", "{field}");
    }
}

#[tokio::test]
async fn a_job_of_its_own_takes_no_pipelines_name() {
    let world = World::new().await;
    let real = "---\napiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: ad-hoc, project: web}\nspec: {jobs: {a: {image: 'busybox:1', command: 'true'}}}\n";
    world.apply(&format!("{CONFIGURATION}{real}")).await;
    let root = world.token("user:root").await;
    let body = json!({"project": "web", "job_image": "busybox:1", "job_command": "true"});
    let job = world.post("/api/v1/jobs", &root, &body).await.ok(201);
    assert_eq!(job["run"]["pipeline"], "Pipeline/web/ad-hoc-1");
}

#[tokio::test]
async fn a_signed_webhook_is_an_event() {
    let world = World::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hook");
    std::fs::write(&path, "0123456789abcdef0123\n").expect("a file");
    let secret = format!(
        "---\napiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: web-hook}}\nspec: {{source: file, location: '{}'}}\n",
        path.display()
    );
    let signed =
        CONFIGURATION.replace("spec: {config: {path: .reactorcide}}", "spec: {webhook: {secret: web-hook}}");
    world.apply(&format!("{signed}{secret}")).await;
    let time = crate::conductor::now() / 1000;
    let send = |project: &'static str, time: i64, secret: &'static str, body: Value| {
        let world = &world;
        async move {
            let (time, signature) = (time.to_string(), sign(secret, time, &body.to_string()));
            let headers =
                [("x-reactorcide-timestamp", time.as_str()), ("x-reactorcide-signature", signature.as_str())];
            world.ask_with(Method::POST, &format!("/api/v1/hooks/{project}"), "", Some(&body), &headers).await
        }
    };
    let right = "0123456789abcdef0123";
    let first = send("web", time, right, json!({"branch": "main"})).await.ok(202);
    assert_eq!(
        (&first["started"][0]["pipeline"], &first["started"][0]["new"]),
        (&json!("Pipeline/web/ci"), &json!(true))
    );
    let replayed = send("web", time, right, json!({"branch": "main"})).await.ok(202);
    assert_eq!(
        (&replayed["started"][0]["run"], &replayed["started"][0]["new"]),
        (&first["started"][0]["run"], &json!(false))
    );
    let one = send("web", time, right, json!({"delivery_id": "1"})).await.ok(202);
    let again = send("web", time - 1, right, json!({"delivery_id": "1"})).await.ok(202);
    assert_eq!(one["started"][0]["run"], again["started"][0]["run"]);
    assert_eq!(send("web", time, "another secret of it", json!({})).await.problem(401), "unauthenticated");
    assert_eq!(send("web", time - 1000, right, json!({})).await.problem(401), "unauthenticated");
    assert_eq!(send("docs", time, right, json!({})).await.problem(401), "unauthenticated");
    assert_eq!(send("nothing", time, right, json!({})).await.problem(401), "unauthenticated");
    assert_eq!(send("web", time, right, json!({"type": "push"})).await.problem(422), "unprocessable");
    let admin = world.token("user:admin").await;
    let audit = world.get("/api/v1/audit?actor=webhook:web", &admin).await.ok(200);
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(2));
}
