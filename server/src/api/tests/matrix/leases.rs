//! Every route of `/worker/v1` that takes a lease, asked by whoever does not have it: another worker that has seen it, an
//! attempt that is over, a token that was guessed, another job of the run.

use axum::body::Body;
use axum::http::{Method, Request, header};
use reactorcide_engine::artifacts::{self, Namespace, NewArtifact};
use reactorcide_engine::config::FailureReason;
use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::queue::{Claim, Claimant};
use reactorcide_engine::runs::EntryFilter;
use reactorcide_engine::scheduler::{AttemptResult, Event, Millis};
use serde_json::{Value, json};

use super::super::world::{Answer, CONFIGURATION, World};
use crate::api::operations;
use crate::conductor::now;

/// Long enough that whatever waits to be tried again is due.
const LATER: Millis = 3_600_000;

async fn claimed(world: &World, at: Millis, token: &str) -> LeaseId {
    let claimant = Claimant { worker: "w1".to_owned(), ..Claimant::default() };
    let claim = Claim { claimant, max: 1, now: at, expires_at: at + 600_000, token: token.to_owned() };
    world.api.conductor.queue.claim(&claim).await.expect("leases").remove(0).lease
}

/// The routes that take a lease, by their names. One that is new fails the test until it is asked here.
fn routes() -> Vec<&'static str> {
    let all = operations().into_iter().filter(|one| one.path.starts_with("/worker/v1/"));
    all.map(|one| one.id).filter(|id| !matches!(*id, "workerRegister" | "workerClaim")).collect()
}

async fn ask(world: &World, route: &str, token: &str, lease: &LeaseId, artifact: &str) -> Answer {
    let LeaseId { run, node, attempt, token: fence } = lease;
    let query = format!("run={run}&node={node}&attempt={attempt}&token={fence}");
    let (path, body) = match route {
        "workerRenew" => ("renew", json!({"known": [[lease, "none"]], "wait_ms": 0})),
        "workerReport" => ("report", json!({"lease": lease, "report": "started"})),
        "workerAsk" => ("ask", json!({"lease": lease, "query": {"about": "vars"}})),
        "workerSecrets" => ("secrets", json!({"lease": lease})),
        "workerIdToken" => ("id-token", json!({"lease": lease, "audience": "cloud"})),
        "workerInputs" => ("inputs", json!({"lease": lease})),
        "workerCache" => ("cache", json!({"lease": lease, "key": "deps"})),
        "workerContent" => ("content", json!({"lease": lease, "id": artifact})),
        "workerLog" => return bytes(world, token, &format!("log?{query}&offset=0")).await,
        "workerKeep" => return bytes(world, token, &format!("keep?{query}&kind=artifact&name=out")).await,
        other => panic!("{other} takes a lease, and nobody asks here what it does with another's"),
    };
    world.post(&format!("/worker/v1/{path}"), token, &body).await
}

async fn bytes(world: &World, token: &str, path: &str) -> Answer {
    let request = Request::builder().method(Method::POST).uri(format!("/worker/v1/{path}"));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    world.send(request.body(Body::from("{}\n")).expect("a request")).await
}

/// What somebody could have changed.
async fn seen(world: &World, run: &str) -> Value {
    let filter = EntryFilter { run: Some(run.to_owned()), limit: 10, ..EntryFilter::default() };
    let rows = world.api.conductor.queue.entries(&filter).await.expect("rows");
    let kept = world.api.files.store().list(&artifacts::Filter::default()).await.expect("artifacts");
    let transitions = world.api.conductor.runs.transitions(run, 0, 100).await.expect("transitions").len();
    json!([rows, kept.len(), transitions])
}

#[tokio::test]
async fn no_route_does_anything_for_a_lease_that_is_not_the_callers() {
    let world = World::new().await;
    let root = world.token("user:root").await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let run = world.post("/api/v1/runs", &root, &json!({"pipeline": "web/ci"})).await.ok(201);
        runs.push(run["id"].as_str().expect("an id").to_owned());
    }
    let (own, other) = (world.token("worker:w1").await, world.token("worker:w2").await);
    for worker in [&own, &other] {
        let registration = json!({"slots": 1, "provider": "docker", "version": "1"});
        world.post("/worker/v1/register", worker, &registration).await.ok(200);
    }
    let old = claimed(&world, now(), "first").await;
    let lost = AttemptResult {
        failure: Some(FailureReason::LostWorker),
        exit_code: None,
        message: None,
        outputs: Default::default(),
        started: false,
        permanent: false,
        usage: None,
    };
    let event = Event::AttemptFinished { node: old.node.clone(), attempt: 1, result: lost };
    world.api.conductor.report(&old, event).await.expect("it is heard");
    let (mut lease, mut elsewhere) =
        (claimed(&world, now() + LATER, "second").await, claimed(&world, now() + LATER, "third").await);
    if lease.run != old.run {
        std::mem::swap(&mut lease, &mut elsewhere);
    }
    assert_eq!((&lease.run, lease.attempt), (&old.run, 2), "it is tried again");
    let made = artifacts::conformance::new("made", "out/web");
    let namespace =
        Namespace { project: "web".to_owned(), reference: "HEAD".to_owned(), ..made.namespace.clone() };
    let made = NewArtifact { namespace, run: lease.run.clone(), node: "build".to_owned(), ..made };
    let content = artifacts::conformance::content(b"content", 3);
    world.api.files.store().put(&made, content).await.expect("it is kept");

    let with = |change: &dyn Fn(&mut LeaseId)| {
        let mut lease = lease.clone();
        change(&mut lease);
        lease
    };
    let wrong = [
        ("another worker", &other, lease.clone()),
        ("an attempt that is over", &own, old.clone()),
        ("an attempt that is over, with the token of the new one", &own, with(&|it| it.attempt = 1)),
        ("an attempt to come", &own, with(&|it| it.attempt = 3)),
        ("a guessed token", &own, with(&|it| it.token = "guessed".to_owned())),
        ("no token", &own, with(&|it| it.token.clear())),
        ("another job", &own, with(&|it| it.node = "test".to_owned())),
        ("another run", &own, with(&|it| it.run.clone_from(&elsewhere.run))),
        ("the token of another lease", &own, with(&|it| it.token.clone_from(&elsewhere.token))),
    ];
    let before = seen(&world, &lease.run).await;
    for route in routes() {
        for (who, token, lease) in &wrong {
            let answer = ask(&world, route, token, lease, "made").await;
            if route == "workerRenew" {
                let renewed = answer.ok(200);
                assert_eq!(
                    (&renewed[0]["stands"], &renewed[0]["stop"]),
                    (&json!(false), &json!("at_once")),
                    "{who}"
                );
            } else {
                assert_eq!(answer.status, 409, "{route}, {who}: {}", String::from_utf8_lossy(&answer.bytes));
                assert_eq!(answer.problem(409), "stale_lease", "{route}, {who}");
            }
        }
    }
    assert_eq!(seen(&world, &lease.run).await, before, "something was done for whom it was refused");
    for route in routes() {
        let answer = ask(&world, route, &own, &lease, "made").await;
        assert!(answer.status.is_success(), "{route}: {}", String::from_utf8_lossy(&answer.bytes));
        if route == "workerRenew" {
            assert_eq!(answer.json()[0]["stands"], true);
        }
    }
    assert_ne!(seen(&world, &lease.run).await, before);
}

#[tokio::test]
async fn a_worker_that_lies_about_its_pool_gets_none_of_its_jobs() {
    let world = World::new().await;
    let more = "---\napiVersion: reactorcide/v1\nkind: WorkerPool\nmetadata: {name: deploy}\n\
         spec: {labels: {zone: inner}, profiles: [guarded], workers: ['deploy-*']}\n---\n\
         apiVersion: reactorcide/v1\nkind: ExecutionProfile\nmetadata: {name: guarded}\nspec: {pools: [deploy]}\n---\n\
         apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: guarded, project: web}\n\
         spec: {triggers: [{event: manual}], jobs: {deploy: {profile: guarded, image: 'busybox:1', command: 'true'}}}\n";
    world.apply(&format!("{CONFIGURATION}{more}")).await;
    let root = world.token("user:root").await;
    world.post("/api/v1/runs", &root, &json!({"pipeline": "web/guarded"})).await.ok(201);
    let claims = async |worker: &str, more: Value| {
        let token = world.token(&format!("worker:{worker}")).await;
        let mut registration = json!({"slots": 1, "provider": "docker", "version": "1"});
        registration.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        world.post("/worker/v1/register", &token, &registration).await.ok(200);
        let work = world.post("/worker/v1/claim", &token, &json!({"max": 9, "wait_ms": 0})).await.ok(200);
        work["leases"].as_array().expect("leases").len()
    };
    assert_eq!(claims("outer-1", json!({})).await, 0);
    assert_eq!(claims("outer-1", json!({"labels": {"zone": "inner", "pool": "deploy"}})).await, 0);
    assert_eq!(claims("outer-1", json!({"pool": "deploy", "labels": {"zone": "inner"}})).await, 0);
    assert_eq!(claims("outer-deploy-1", json!({"pool": "deploy"})).await, 0);
    assert_eq!(claims("deploy-1", json!({"pool": "deploy"})).await, 1);
}
