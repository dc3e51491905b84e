//! Identity tokens: a relying party finds the keys and checks; and who tries to get more than is theirs gets nothing.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::queue::{Claim, Claimant};
use reactorcide_engine::scheduler::{AttemptResult, Event};
use serde_json::{Value, json};

use super::world::World;
use crate::conductor::now;

const PIPELINE: &str = r"
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {name: ship, project: web}
spec:
  triggers: [{event: manual}, {event: push}]
  jobs:
    deploy:
      image: 'busybox:1'
      command: 'true'
      id_tokens: {AWS_TOKEN: {audience: sts.amazonaws.com}, VAULT_TOKEN: {audience: vault, as: file}}
    other: {image: 'busybox:1', command: 'true', id_tokens: {TOKEN: {audience: elsewhere}}}
";

/// A run with both jobs leased.
async fn started(world: &World) -> (String, Vec<LeaseId>) {
    world.apply(&format!("{}\n---{PIPELINE}", super::world::CONFIGURATION)).await;
    let root = world.token("user:root").await;
    let run =
        world.post("/api/v1/runs", &root, &json!({"pipeline": "web/ship", "branch": "main"})).await.ok(201);
    let run = run["id"].as_str().expect("an id").to_owned();
    let claimant = Claimant { worker: "w1".to_owned(), ..Claimant::default() };
    let claim =
        Claim { claimant, max: 2, now: now(), expires_at: now() + 300_000, token: "lease".to_owned() };
    let claimed = world.api.conductor.queue.claim(&claim).await.expect("leases");
    let mut leases: Vec<LeaseId> = claimed.into_iter().map(|claimed| claimed.lease).collect();
    leases.sort();
    assert_eq!(leases.len(), 2);
    (run, leases)
}

/// What a token says, to who believes nothing but what is told at the issuer's address.
async fn checked(world: &World, token: &str) -> Value {
    let decoded = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64");
    let read = |text: &str| serde_json::from_slice::<Value>(&decoded(text)).expect("JSON");
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims) = (read(parts[0]), read(parts[1]));
    let discovery = world.get("/.well-known/openid-configuration", "").await.ok(200);
    assert_eq!(discovery["issuer"], claims["iss"]);
    let place = discovery["jwks_uri"].as_str().expect("a URL");
    let path = place.strip_prefix(claims["iss"].as_str().expect("a URL")).expect("it is the issuer's");
    let keys = world.get(path, "").await.ok(200);
    let key = keys["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .find(|key| key["kid"] == header["kid"])
        .expect("the key");
    assert_eq!((&header["alg"], &key["alg"], &key["kty"]), (&json!("RS256"), &json!("RS256"), &json!("RSA")));
    assert!(key.get("d").is_none() && key.get("p").is_none(), "nothing private is told: {key}");
    let member = |name: &str| decoded(key[name].as_str().expect("a number"));
    let public = RsaPublicKeyComponents { n: member("n"), e: member("e") };
    let signed = format!("{}.{}", parts[0], parts[1]);
    public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decoded(parts[2])).expect("it is signed");
    claims
}

#[tokio::test]
async fn a_relying_party_checks_what_a_job_says_of_itself() {
    let world = World::new().await;
    let (run, _) = started(&world).await;
    let job = world.token(&format!("job:1/{run}/deploy")).await;
    let fresh = world.get("/api/v1/job/id-token?audience=sts.amazonaws.com", &job).await.ok(200);
    let claims = checked(&world, fresh["token"].as_str().expect("a token")).await;
    for (name, value) in [
        ("aud", json!("sts.amazonaws.com")),
        ("sub", json!("project:web:pipeline:ship:job:deploy:ref:refs/heads/main")),
        ("run_id", json!(run)),
        ("origin", json!("base")),
        ("profile", json!("trusted")),
        ("event", json!("manual")),
        ("ref", json!("refs/heads/main")),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    let (until, seconds) = (claims["exp"].as_i64().expect("a time"), now() / 1000);
    assert!(seconds < until && until <= seconds + 300, "never after the lease");
    assert!(claims["nbf"].as_i64().expect("a time") <= seconds);
    assert_eq!(fresh["expires_at"], json!(until * 1000));
    let again = world.get("/api/v1/job/id-token?audience=sts.amazonaws.com", &job).await.ok(200);
    let again = checked(&world, again["token"].as_str().expect("a token")).await;
    assert_ne!(again["jti"], claims["jti"]);
    let entries = world.api.audit.read(0, 100).await.expect("the log");
    let lines: Vec<_> = entries.iter().filter(|entry| entry.draft.action == "id_token.issue").collect();
    assert_eq!(lines.len(), 2);
    let shown = format!("{entries:?}");
    assert!(!shown.contains(fresh["token"].as_str().expect("a token")), "no token is in the log");
}

#[tokio::test]
async fn what_is_not_the_jobs_own_is_refused_and_written_down() {
    let world = World::new().await;
    let (run, leases) = started(&world).await;
    let job = world.token(&format!("job:1/{run}/deploy")).await;
    let ask = |audience: &str| format!("/api/v1/job/id-token?audience={audience}");
    for audience in ["elsewhere", "sts.amazonaws.com.evil.example", "STS.amazonaws.com"] {
        assert_eq!(world.get(&ask(audience), &job).await.problem(403), "forbidden", "{audience}");
    }
    world.get(&ask(""), &job).await.problem(422);
    world.get("/api/v1/job/id-token", &job).await.problem(400);
    let other = world.token(&format!("job:1/{run}/other")).await;
    world.get(&ask("sts.amazonaws.com"), &other).await.problem(403);
    let admin = world.token("user:root").await;
    world.get(&ask("sts.amazonaws.com"), &admin).await.problem(403);
    let entries = world.api.audit.read(0, 100).await.expect("the log");
    let denied: Vec<_> = entries.iter().filter(|entry| entry.draft.action == "id_token.issue").collect();
    assert_eq!(denied.len(), 4);

    // The token of an attempt that is over, and its lease.
    let lease = leases.iter().find(|lease| lease.node == "deploy").expect("a lease").clone();
    let result = AttemptResult {
        failure: None,
        exit_code: Some(0),
        message: None,
        outputs: Default::default(),
        started: true,
        permanent: false,
        usage: None,
    };
    let event = Event::AttemptFinished { node: "deploy".to_owned(), attempt: 1, result };
    world.api.conductor.report(&lease, event).await.expect("it is heard");
    assert_eq!(world.get(&ask("sts.amazonaws.com"), &job).await.problem(401), "unauthenticated");
    let worker = world.token("worker:w1").await;
    let taken = |lease: &LeaseId| json!({"lease": lease, "audience": "sts.amazonaws.com"});
    assert_eq!(world.post("/worker/v1/id-token", &worker, &taken(&lease)).await.problem(409), "stale_lease");
    // A worker with a lease that says it is on another job, or has a token that it made up.
    let own = leases.iter().find(|lease| lease.node == "other").expect("a lease").clone();
    for lying in [
        LeaseId { node: "deploy".to_owned(), ..own.clone() },
        LeaseId { attempt: 2, ..own.clone() },
        LeaseId { token: "made up".to_owned(), ..own.clone() },
    ] {
        assert_eq!(
            world.post("/worker/v1/id-token", &worker, &taken(&lying)).await.problem(409),
            "stale_lease"
        );
    }
    world.post("/worker/v1/id-token", &worker, &taken(&own)).await.problem(403);
    let theirs = json!({"lease": own, "audience": "elsewhere"});
    let proof = world.post("/worker/v1/id-token", &worker, &theirs).await.ok(200);
    assert_eq!(checked(&world, proof["token"].as_str().expect("a token")).await["job"], "other");
}
