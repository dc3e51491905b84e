//! What a job asks with the token of its attempt.

use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::queue::{Claim, Claimant};
use reactorcide_engine::scheduler::{AttemptResult, Event};
use serde_json::json;

use super::world::World;
use crate::conductor::now;

async fn started(world: &World) -> (String, LeaseId) {
    let root = world.token("user:root").await;
    let run = world.post("/api/v1/runs", &root, &json!({"pipeline": "web/ci"})).await.ok(201);
    let run = run["id"].as_str().expect("an id").to_owned();
    let claimant = Claimant { worker: "w1".to_owned(), ..Claimant::default() };
    let claim =
        Claim { claimant, max: 1, now: now(), expires_at: now() + 600_000, token: "lease".to_owned() };
    let claimed = world.api.conductor.queue.claim(&claim).await.expect("leases");
    (run, claimed[0].lease.clone())
}

#[tokio::test]
async fn a_job_sees_its_run_and_asks_for_more() {
    let world = World::new().await;
    let (run, _) = started(&world).await;
    let job = world.token(&format!("job:1/{run}/build")).await;
    let own = world.get("/api/v1/job", &job).await.ok(200);
    assert_eq!((&own["run"]["id"], &own["job"], &own["attempt"]), (&json!(run), &json!("build"), &json!(1)));
    let vars = json!({"vars": {"channel": "beta"}});
    world.post("/api/v1/job/triggers", &job, &vars).await.ok(204);
    assert_eq!(world.get("/api/v1/job/vars", &job).await.ok(200), json!({"channel": "beta"}));
    let more = json!({"operation_id": "one", "jobs": [{"job_name": "extra", "image": "busybox:1", "command": "true"}]});
    world.post("/api/v1/job/triggers", &job, &more).await.ok(204);
    world.post("/api/v1/job/triggers", &job, &more).await.ok(204);
    let extra = world.get("/api/v1/job/jobs/extra", &job).await.ok(200);
    assert_eq!((&extra["found"], &extra["running"]), (&json!(true), &json!(true)));
    assert_eq!(world.get("/api/v1/job/jobs/none", &job).await.ok(200)["found"], false);
    assert_eq!(world.post("/api/v1/job/triggers", &job, &json!({})).await.problem(422), "unprocessable");
    let refused = json!({"operation_id": "two", "jobs": [{"job_name": "x", "image": "busybox:1", "command": "true", "env": {"LD_PRELOAD": "x"}}]});
    assert_eq!(world.post("/api/v1/job/triggers", &job, &refused).await.problem(422), "trigger_refused");
}

#[tokio::test]
async fn a_jobs_token_ends_with_its_attempt() {
    let world = World::new().await;
    let (run, lease) = started(&world).await;
    let job = world.token(&format!("job:1/{run}/build")).await;
    world.get("/api/v1/job", &job).await.ok(200);
    world.get(&format!("/api/v1/runs/{run}"), &job).await.problem(403);
    let result = AttemptResult {
        failure: None,
        exit_code: Some(0),
        message: None,
        outputs: Default::default(),
        started: true,
        permanent: false,
        usage: None,
    };
    let event = Event::AttemptFinished { node: "build".to_owned(), attempt: 1, result };
    world.api.conductor.report(&lease, event).await.expect("it is heard");
    assert_eq!(world.get("/api/v1/job", &job).await.problem(401), "unauthenticated");
    assert_eq!(world.get("/api/v1/me", &job).await.problem(401), "unauthenticated");
}
