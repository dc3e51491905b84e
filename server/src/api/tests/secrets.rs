//! Values of secrets over HTTP: in, and out to nobody but a worker's own lease, and who may reveal them.

use axum::http::Method;
use reactorcide_engine::audit::Filter;
use serde_json::{Value, json};

use super::world::{CONFIGURATION, World};

const VALUE: &str = "S3CRET-of-the-project";
const PATH: &str = "/api/v1/secrets/web%2Fdeploy%2Fkey";

/// The usual configuration, in which `web/ci` asks for the secret and gets it when somebody starts it on main.
fn configuration(policy: &str) -> String {
    let asks = CONFIGURATION.replace(
        "build: {image: 'busybox:1', command: 'true', triggers_allowed",
        "build: {image: 'busybox:1', command: 'true', secrets: {KEY: deploy/key}, triggers_allowed",
    );
    format!(
        "{asks}---\napiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {{name: deploy}}\nspec: {policy}\n"
    )
}

const POLICY: &str = "{allow: [{secrets: ['deploy/*'], to: {project: web, pipeline: ci}, when: {events: [manual], branches: [main]}}]}";

async fn world() -> (World, String) {
    let world = World::new().await;
    world.apply(&configuration(POLICY)).await;
    let root = world.token("user:root").await;
    (world, root)
}

async fn set(world: &World, token: &str, value: &str) -> Value {
    world.post(&format!("{PATH}/versions"), token, &json!({ "value": value })).await.ok(201)
}

/// The whole audit log as text.
async fn audit(world: &World) -> String {
    let found = world.api.audit.search(&Filter::default(), 1000).await.expect("a log");
    found.iter().map(|entry| serde_json::to_string(entry).expect("JSON")).collect()
}

#[tokio::test]
async fn a_value_goes_in_and_comes_out_for_whom_it_is_written_down() {
    let (world, root) = world().await;
    let listed = world.get("/api/v1/secrets", &root).await.ok(200);
    assert_eq!(listed["items"][0]["values"][0]["version"], Value::Null);
    let row = set(&world, &root, VALUE).await;
    assert_eq!((row["version"].as_u64(), row["status"].as_str()), (Some(1), Some("current")));
    set(&world, &root, "the next one").await;
    let listed = world.get("/api/v1/secrets", &root).await.ok(200);
    assert_eq!(
        (&listed["items"][0]["values"][0]["version"], &listed["items"][0]["name"]),
        (&json!(2), &json!("deploy/key"))
    );
    let first = world.get(&format!("{PATH}/versions?limit=1"), &root).await.ok(200);
    let next = first["next"].as_str().expect("a second page");
    let second = world.get(&format!("{PATH}/versions?limit=1&cursor={next}"), &root).await.ok(200);
    assert_eq!((&first["items"][0]["version"], &second["items"][0]["version"]), (&json!(2), &json!(1)));
    for text in [&listed, &first, &second] {
        assert!(!text.to_string().contains("S3CRET") && !text.to_string().contains("the next one"));
    }
    let revealed = world.post(&format!("{PATH}/reveal"), &root, &json!({"version": 1})).await.ok(200);
    assert_eq!(revealed["value"], VALUE);
    let log = audit(&world).await;
    assert!(
        log.contains("secrets.set") && log.contains("secrets.reveal") && !log.contains("S3CRET"),
        "{log}"
    );
    let gone = world.ask(Method::DELETE, &format!("{PATH}/versions?version=2"), &root, None).await.ok(200);
    assert_eq!(gone["deleted"], 1);
    world.ask(Method::DELETE, &format!("{PATH}/versions?version=9"), &root, None).await.problem(404);
    let revealed = world.post(&format!("{PATH}/reveal"), &root, &json!({})).await.ok(200);
    assert_eq!(revealed["version"], 1);
    world.post(&format!("{PATH}/reveal"), &root, &json!({"version": 2})).await.problem(404);
}

#[tokio::test]
async fn what_cannot_be_a_value_is_refused_and_not_repeated() {
    let (world, root) = world().await;
    let path = format!("{PATH}/versions");
    for body in
        [json!({"value": "abc"}), json!({"value": ""}), json!({"value": "good enough", "key": "toke"})]
    {
        let answer = world.post(&path, &root, &body).await;
        assert_eq!(answer.problem(422), "unprocessable");
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("good enough"));
    }
    let unknown = world.post("/api/v1/secrets/nothing/versions", &root, &json!({"value": VALUE})).await;
    assert!(unknown.ok(404)["hint"].as_str().expect("a hint").contains("kind: Secret"));
    // A rotation needs something to rotate, and something new.
    let rotate = json!({"value": VALUE, "rotate": true});
    world.post(&path, &root, &rotate).await.problem(422);
    set(&world, &root, VALUE).await;
    world.post(&path, &root, &rotate).await.problem(422);
    assert_eq!(
        world.post(&path, &root, &json!({"value": "another", "rotate": true})).await.ok(201)["version"],
        2
    );
}

#[tokio::test]
async fn a_request_that_is_repeated_sets_one_value() {
    let (world, root) = world().await;
    let path = format!("{PATH}/versions");
    let send = async |value: &str| {
        let body = json!({ "value": value });
        world.ask_with(Method::POST, &path, &root, Some(&body), &[("idempotency-key", "k1")]).await
    };
    assert_eq!(send(VALUE).await.ok(201)["version"], 1);
    assert_eq!(send(VALUE).await.ok(201)["version"], 1);
    send("another value").await.problem(409);
}

#[tokio::test]
async fn who_may_not_see_a_project_learns_nothing_of_its_secrets() {
    let (world, root) = world().await;
    set(&world, &root, VALUE).await;
    let other = world.token("user:docs-admin").await;
    world.get(&format!("{PATH}/versions"), &other).await.problem(403);
    world.get("/api/v1/secrets/web%2Fnothing/versions", &other).await.problem(403);
    world.get("/api/v1/secrets", &other).await.problem(403);
    // One's own project's secrets, but another's jobs.
    let own = world.token("user:web-admin").await;
    world.post(&format!("{PATH}/test"), &own, &json!({"job": "docs/pages/build"})).await.problem(403);
    world.post(&format!("{PATH}/reveal"), &own, &json!({})).await.problem(403);
}

#[tokio::test]
async fn a_test_says_what_a_lease_would_get() {
    let (world, root) = world().await;
    let test = async |more: Value| {
        let mut body = json!({"job": "web/ci/build", "event": "manual", "branch": "main"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        world.post(&format!("{PATH}/test"), &root, &body).await.ok(200)
    };
    let yes = test(json!({})).await;
    assert_eq!(
        (&yes["granted"], &yes["asked"], &yes["policy"]),
        (&json!(true), &json!(true), &json!("SecretPolicy/deploy"))
    );
    let asks_not = test(json!({"job": "web/ci/test"})).await;
    assert_eq!((&asks_not["granted"], &asks_not["asked"]), (&json!(true), &json!(false)));
    for (more, reason) in [
        (json!({"branch": "next"}), "only on the branches main"),
        (json!({"origin": "fork"}), "only to code from base"),
        (json!({"event": "push"}), "only on manual"),
        (json!({"profile": "untrusted"}), "the profile untrusted has no secrets"),
    ] {
        let no = test(more).await;
        assert!(!no["granted"].as_bool().expect("a word"), "{no}");
        assert!(no["reason"].as_str().expect("a reason").contains(reason), "{no}");
    }
    world.post(&format!("{PATH}/test"), &root, &json!({"job": "web/ci/nothing"})).await.problem(404);
}

/// A run whose job a worker has leased: the lease.
async fn leased(world: &World, root: &str, worker: &str) -> Value {
    world.post("/api/v1/runs", root, &json!({"pipeline": "web/ci", "branch": "main"})).await.ok(201);
    let registration = json!({"slots": 1, "provider": "docker", "version": "1"});
    world.post("/worker/v1/register", worker, &registration).await.ok(200);
    let work = world.post("/worker/v1/claim", worker, &json!({"max": 1, "wait_ms": 0})).await.ok(200);
    work["leases"][0]["id"].clone()
}

async fn asked(world: &World, worker: &str, lease: &Value) -> Value {
    world.post("/worker/v1/secrets", worker, &json!({ "lease": lease })).await.ok(200)
}

#[tokio::test]
async fn a_worker_gets_the_secrets_of_its_own_lease_while_it_stands_and_no_others() {
    let (world, root) = world().await;
    set(&world, &root, VALUE).await;
    let (own, other) = (world.token("worker:w1").await, world.token("worker:w2").await);
    let lease = leased(&world, &root, &own).await;
    assert_eq!(
        asked(&world, &own, &lease).await,
        json!({"given": {"job": {"deploy/key": VALUE}, "sources": {}}})
    );
    let log = audit(&world).await;
    for words in
        ["secrets.deliver", "worker:w1", "SecretPolicy/deploy", "\"version\":1", "\"policy_revision\":1"]
    {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(!log.contains("S3CRET"), "{log}");
    // Another worker that has heard of the lease, a token that is not the lease's, another job, another attempt.
    let stale = async |worker: &str, lease: &Value| {
        world.post("/worker/v1/secrets", worker, &json!({ "lease": lease })).await.problem(409)
    };
    let registration = json!({"slots": 1, "provider": "docker", "version": "1"});
    world.post("/worker/v1/register", &other, &registration).await.ok(200);
    assert_eq!(stale(&other, &lease).await, "stale_lease");
    for (field, value) in [("token", json!("another")), ("node", json!("test")), ("attempt", json!(2))] {
        let mut wrong = lease.clone();
        wrong[field] = value;
        assert_eq!(stale(&own, &wrong).await, "stale_lease", "{field}");
    }
    // What somebody changes meanwhile counts.
    world.apply(&configuration("{}")).await;
    let denied = asked(&world, &own, &lease).await;
    assert!(denied["denied"].as_str().expect("a denial").contains("no policy grants it"), "{denied}");
    assert!(audit(&world).await.contains("\"outcome\":\"denied\""));
    world.apply(&configuration(POLICY)).await;
    assert!(asked(&world, &own, &lease).await["given"]["job"]["deploy/key"].is_string());
    // An end is an end.
    let result = json!({"failure": null, "exit_code": 0, "message": null, "outputs": {}, "started": true, "permanent": false});
    let report = json!({"lease": lease, "report": {"finished": result}});
    world.post("/worker/v1/report", &own, &report).await.ok(204);
    assert_eq!(stale(&own, &lease).await, "stale_lease");
}

#[tokio::test]
async fn an_old_value_does_not_come_back_under_a_new_secret_of_the_same_name() {
    let (world, root) = world().await;
    set(&world, &root, VALUE).await;
    let worker = world.token("worker:w1").await;
    let lease = leased(&world, &root, &worker).await;
    let secret = "apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: deploy/key, project: web}\nspec: {}\n---\n";
    let without = configuration(POLICY).replace(secret, "").replace("secrets: {KEY: deploy/key}, ", "");
    world.apply(&without).await;
    world.apply(&configuration(POLICY)).await;
    let denied = asked(&world, &worker, &lease).await;
    assert!(denied["denied"].as_str().expect("a denial").contains("has no value"), "{denied}");
    let listed = world.get("/api/v1/secrets", &root).await.ok(200);
    assert_eq!(listed["items"][0]["values"][0]["version"], Value::Null);
    // A rename is no new secret.
    set(&world, &root, "the new one").await;
    let renamed = configuration(POLICY)
        .replace(
            "metadata: {name: deploy/key, project: web}",
            "metadata: {name: deploy/other, project: web, renamed_from: deploy/key}",
        )
        .replace("{KEY: deploy/key}", "{KEY: deploy/other}");
    world.apply(&renamed).await;
    let listed = world.get("/api/v1/secrets", &root).await.ok(200);
    assert_eq!(
        (&listed["items"][0]["name"], &listed["items"][0]["values"][0]["version"]),
        (&json!("deploy/other"), &json!(1))
    );
    let revealed = world.post("/api/v1/secrets/web%2Fdeploy%2Fother/reveal", &root, &json!({})).await.ok(200);
    assert_eq!(revealed["value"], "the new one");
}
