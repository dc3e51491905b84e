//! Users, teams, service accounts, tokens, who asks, and the audit log.

use std::collections::BTreeSet;

use axum::http::Method;
use reactorcide_engine::identity::{Capability, Scope};
use serde_json::json;

use super::world::World;

#[tokio::test]
async fn a_user_comes_changes_and_goes() {
    let world = World::new().await;
    let admin = world.token("user:admin").await;
    let created =
        world.post("/api/v1/users", &admin, &json!({"username": "ada", "email": "ada@example.com"})).await;
    assert_eq!(created.headers["location"], "/api/v1/users/ada");
    let id = created.ok(201)["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        world.post("/api/v1/users", &admin, &json!({"username": "ada"})).await.problem(409),
        "conflict"
    );
    let mail = json!({"username": "eve", "email": "ADA@example.com"});
    assert_eq!(world.post("/api/v1/users", &admin, &mail).await.problem(409), "conflict");
    for wrong in [
        json!({"username": "Ada"}),
        json!({"username": "eve", "email": "no address"}),
        json!({"username": "eve", "role": "admin"}),
        json!({}),
    ] {
        assert!(world.post("/api/v1/users", &admin, &wrong).await.status.is_client_error(), "{wrong}");
    }
    let patch = json!({"username": "countess", "email": null});
    let changed = world.ask(Method::PATCH, "/api/v1/users/ada", &admin, Some(&patch)).await.ok(200);
    assert_eq!((changed["id"].as_str(), changed["email"].is_null()), (Some(id.as_str()), true));
    world.get("/api/v1/users/ada", &admin).await.problem(404);

    let token =
        world.post("/api/v1/tokens", &admin, &json!({"name": "laptop", "owner": "user:countess"})).await;
    let secret = token.ok(201)["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(world.get("/api/v1/me", &secret).await.ok(200)["name"], "user:countess");
    world.post("/api/v1/users/countess/disable", &admin, &json!({})).await.ok(204);
    assert_eq!(world.get("/api/v1/me", &secret).await.problem(401), "unauthenticated");
    world.post("/api/v1/users/countess/enable", &admin, &json!({})).await.ok(204);
    world.get("/api/v1/me", &secret).await.ok(200);
    world.ask(Method::DELETE, "/api/v1/users/countess", &admin, None).await.ok(204);
    world.get("/api/v1/me", &secret).await.problem(401);
    world.ask(Method::DELETE, "/api/v1/users/countess", &admin, None).await.problem(404);
}

#[tokio::test]
async fn only_a_superuser_makes_or_changes_one() {
    let world = World::new().await;
    let (admin, root) = (world.token("user:admin").await, world.token("user:root").await);
    let limited = Scope { capabilities: Some(BTreeSet::from([Capability::UsersAdmin])), project: None };
    let (narrow, _) = world.token_with("user:root", limited, None).await;
    let superuser = json!({"username": "eve", "superuser": true});
    let raise = json!({"superuser": true});
    for token in [&admin, &narrow] {
        world.post("/api/v1/users", token, &superuser).await.problem(403);
        world.ask(Method::PATCH, "/api/v1/users/writer", token, Some(&raise)).await.problem(403);
        world.ask(Method::DELETE, "/api/v1/users/root", token, None).await.problem(403);
        world.post("/api/v1/users/root/disable", token, &json!({})).await.problem(403);
        world.post("/api/v1/tokens", token, &json!({"name": "x", "owner": "user:root"})).await.problem(403);
    }
    world.post("/api/v1/users", &root, &superuser).await.ok(201);
    world.ask(Method::PATCH, "/api/v1/users/writer", &root, Some(&raise)).await.ok(200);
    let (_, id) = world.token_with("user:root", Scope::default(), None).await;
    world.ask(Method::DELETE, &format!("/api/v1/tokens/{id}"), &admin, None).await.problem(403);
}

#[tokio::test]
async fn a_team_gives_its_members_what_it_has() {
    let world = World::new().await;
    let (admin, member) = (world.token("user:admin").await, world.token("user:reader").await);
    world.get("/api/v1/audit/head", &member).await.problem(403);
    let put = |user: &str| format!("/api/v1/teams/owners/members/{user}");
    world.ask(Method::PUT, &put("reader"), &admin, None).await.ok(204);
    world.ask(Method::PUT, &put("reader"), &admin, None).await.ok(204);
    world.ask(Method::PUT, &put("nobody"), &admin, None).await.problem(404);
    world.get("/api/v1/audit/head", &member).await.ok(200);
    let shown = world.get("/api/v1/teams/owners", &admin).await.ok(200);
    assert_eq!((&shown["members"], &shown["size"]), (&json!(["member", "reader"]), &json!(2)));
    world.post("/api/v1/teams/owners/disable", &admin, &json!({})).await.ok(204);
    world.get("/api/v1/audit/head", &member).await.problem(403);
    world.post("/api/v1/teams/owners/enable", &admin, &json!({})).await.ok(204);
    world.ask(Method::DELETE, &put("reader"), &admin, None).await.ok(204);
    world.get("/api/v1/audit/head", &member).await.problem(403);
    let members = json!({"name": "keepers", "members": ["reader", "writer"]});
    let changed = world.ask(Method::PATCH, "/api/v1/teams/owners", &admin, Some(&members)).await.ok(200);
    assert_eq!(changed["members"], json!(["reader", "writer"]));
    let none = json!({"name": "x", "members": ["nobody"]});
    assert_eq!(world.post("/api/v1/teams", &admin, &none).await.problem(422), "unprocessable");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new().await;
    let admin = world.token("user:admin").await;
    let mut names = Vec::new();
    let mut path = "/api/v1/users?limit=4".to_owned();
    loop {
        let page = world.get(&path, &admin).await.ok(200);
        let items = page["items"].as_array().expect("items").clone();
        assert!(items.len() <= 4);
        names.extend(items.iter().map(|one| one["username"].as_str().expect("a name").to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/users?limit=4&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names.len(), 9);
    assert!(names.is_sorted());
    world.get("/api/v1/users?limit=0", &admin).await.problem(400);
    world.get("/api/v1/users?cursor=x", &admin).await.problem(400);
    world.get("/api/v1/users?who=x", &admin).await.problem(400);
}

#[tokio::test]
async fn a_token_gives_no_more_than_the_one_that_makes_it() {
    let world = World::new().await;
    let scope = Scope {
        capabilities: Some(BTreeSet::from([Capability::RunsRead, Capability::TokensSelf])),
        project: None,
    };
    let soon = crate::conductor::now() + 3_600_000;
    let (narrow, _) = world.token_with("user:writer", scope, Some(soon)).await;
    let made = world.post("/api/v1/tokens", &narrow, &json!({"name": "child"})).await.ok(201);
    assert_eq!(made["capabilities"], json!(["runs.read", "tokens.self"]));
    assert_eq!(made["expires_at"], json!(soon));
    for wider in [
        json!({"name": "x", "capabilities": ["runs.start"]}),
        json!({"name": "x", "expires_at": soon + 1}),
        json!({"name": "x", "owner": "user:reader"}),
        json!({"name": "x", "owner": "worker:w1"}),
    ] {
        world.post("/api/v1/tokens", &narrow, &wider).await.problem(403);
    }
    for wrong in [
        json!({"name": "x", "expires_at": 1}),
        json!({"name": "", "capabilities": ["runs.read"]}),
        json!({"name": "x", "capabilities": []}),
        json!({"name": "x", "owner": "nobody"}),
    ] {
        assert_eq!(
            world.post("/api/v1/tokens", &narrow, &wrong).await.problem(422),
            "unprocessable",
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn tokens_of_others_and_of_workers() {
    let world = World::new().await;
    let admin = world.token("user:admin").await;
    let worker =
        world.post("/api/v1/tokens", &admin, &json!({"name": "w", "owner": "worker:w1"})).await.ok(201);
    let secret = worker["secret"].as_str().expect("a secret");
    assert_eq!(world.get("/api/v1/me", secret).await.ok(200)["capabilities"], json!(["jobs.lease"]));
    let limited = json!({"name": "w", "owner": "worker:w1", "project": "web"});
    world.post("/api/v1/tokens", &admin, &limited).await.problem(422);
    world.post("/api/v1/tokens", &admin, &json!({"name": "w", "owner": "worker:W 1"})).await.problem(422);
    world.post("/api/v1/tokens", &admin, &json!({"name": "w", "owner": "user:nobody"})).await.problem(404);

    let bot =
        world.post("/api/v1/tokens", &admin, &json!({"name": "b", "owner": "service:web-bot"})).await.ok(201);
    let (id, bot) = (bot["id"].as_str().expect("an id"), bot["secret"].as_str().expect("a secret"));
    assert_eq!(world.get(&format!("/api/v1/tokens/{id}"), bot).await.ok(200)["owner"], "service:web-bot");
    let other = world.token("user:writer").await;
    world.get(&format!("/api/v1/tokens/{id}"), &other).await.problem(403);
    world.ask(Method::DELETE, &format!("/api/v1/tokens/{id}"), &other, None).await.problem(403);
    let own = world.get("/api/v1/tokens", bot).await.ok(200);
    assert_eq!(own["items"].as_array().map(Vec::len), Some(1));
    world.get("/api/v1/tokens?owner=all", &other).await.problem(403);
    assert!(
        world.get("/api/v1/tokens?owner=all", &admin).await.ok(200)["items"]
            .as_array()
            .is_some_and(|all| all.len() > 3)
    );
    world.ask(Method::DELETE, &format!("/api/v1/tokens/{id}"), &admin, None).await.ok(204);
    world.get("/api/v1/me", bot).await.problem(401);
    assert_eq!(
        world.get("/api/v1/tokens?owner=service:web-bot&live=true", &admin).await.ok(200)["items"],
        json!([])
    );
}

#[tokio::test]
async fn a_repeated_request_makes_no_second_token_and_shows_no_secret() {
    let world = World::new().await;
    let (writer, reader) = (world.token("user:writer").await, world.token("user:reader").await);
    let body = json!({"name": "ci"});
    let key = [("idempotency-key", "k1")];
    let make = |token: String, body: serde_json::Value| {
        let world = &world;
        async move { world.ask_with(Method::POST, "/api/v1/tokens", &token, Some(&body), &key).await }
    };
    let first = make(writer.clone(), body.clone()).await.ok(201);
    let again = make(writer.clone(), body.clone()).await.ok(201);
    assert_eq!(first["id"], again["id"]);
    assert!(first["secret"].is_string() && again.get("secret").is_none());
    let other = make(writer.clone(), json!({"name": "other"})).await;
    assert_eq!(other.problem(422), "idempotency_key_reused");
    // The key is the caller's alone.
    assert_ne!(make(reader, body).await.ok(201)["id"], first["id"]);
}

#[tokio::test]
async fn what_was_done_and_what_was_denied_is_in_the_log() {
    let world = World::new().await;
    let (admin, writer) = (world.token("user:admin").await, world.token("user:writer").await);
    let made =
        world.post("/api/v1/users", &admin, &json!({"username": "ada", "email": "ada@example.com"})).await;
    let request = made.headers["x-request-id"].to_str().expect("an id").to_owned();
    world.post("/api/v1/users", &writer, &json!({"username": "eve"})).await.problem(403);
    // Nobody's request is written down that only reads.
    world.get("/api/v1/audit", &writer).await.problem(403);
    let page = world.get("/api/v1/audit?limit=10", &admin).await.ok(200);
    let rows = page["items"].as_array().expect("items");
    assert_eq!(rows.len(), 2);
    let (denied, done) = (&rows[0], &rows[1]);
    assert_eq!(
        (&done["actor"], &done["action"], &done["target"]),
        (&json!("user:admin"), &json!("users.admin"), &json!("user:ada"))
    );
    assert_eq!((&done["outcome"], &done["request"]), (&json!("done"), &json!(request)));
    assert_eq!((&denied["actor"], &denied["outcome"]), (&json!("user:writer"), &json!("denied")));
    assert_eq!(denied["target"], "/api/v1/users");
    let token = world.post("/api/v1/tokens", &admin, &json!({"name": "x"})).await.ok(201);
    let secret = token["secret"].as_str().expect("a secret");
    let export = world.get("/api/v1/audit/export", &admin).await;
    let text = String::from_utf8(export.bytes.clone()).expect("text");
    assert_eq!(text.lines().count(), 3);
    assert!(!text.contains(secret) && !text.contains("ada@example.com"));

    let head = world.get("/api/v1/audit/head", &admin).await.ok(200);
    let kept = head["head"].as_str().expect("a head");
    let verified = world.get(&format!("/api/v1/audit/verify?kept={kept}"), &admin).await.ok(200);
    assert_eq!(
        (&verified["intact"], &verified["complete"], &verified["head"]),
        (&json!(true), &json!(true), &json!(kept))
    );
    let cut = format!("/api/v1/audit/verify?kept=9:{}", head["hash"].as_str().expect("a hash"));
    assert_eq!(world.get(&cut, &admin).await.ok(200)["broken_at"], 4);
    let wrong = format!("/api/v1/audit/verify?after=3:{}", "0".repeat(64));
    world.post("/api/v1/users", &admin, &json!({"username": "bob"})).await.ok(201);
    assert_eq!(world.get(&wrong, &admin).await.ok(200)["intact"], false);
    world.get("/api/v1/audit/verify?kept=x", &admin).await.problem(400);
}

#[tokio::test]
async fn a_body_is_an_object_and_says_that_it_is_json() {
    let world = World::new().await;
    let admin = world.token("user:admin").await;
    for (body, status) in
        [("[\"ada\"]", 422), ("{", 400), ("null", 422), ("{\"username\": 1}", 422), ("", 400)]
    {
        let request = |media_type: &'static str| {
            axum::http::Request::post("/api/v1/users")
                .header("authorization", format!("Bearer {admin}"))
                .header("content-type", media_type)
                .body(axum::body::Body::from(body))
                .expect("a request")
        };
        world.send(request("application/json; charset=utf-8")).await.problem(status);
        assert_eq!(world.send(request("text/plain")).await.problem(415), "unsupported_media_type");
    }
}
