//! What is applied, plans, and applying them.

use reactorcide_engine::identity::{Capability, Scope};
use serde_json::{Value, json};

use super::world::{CONFIGURATION, World};
use crate::files::Projects;

fn files(text: &str) -> Value {
    json!({"files": {"all.yaml": text}})
}

#[tokio::test]
async fn what_is_applied_is_shown_in_pages_and_by_revision() {
    let world = World::new().await;
    let reader = world.token("user:web-reader").await;
    world.get("/api/v1/resources", &reader).await.problem(403);
    let page = world.get("/api/v1/resources?project=web&limit=1", &reader).await.ok(200);
    assert_eq!(page["items"][0]["address"], "Pipeline/web/ci");
    let next = page["next"].as_str().expect("another page");
    let page =
        world.get(&format!("/api/v1/resources?project=web&limit=1&cursor={next}"), &reader).await.ok(200);
    assert_eq!(page["items"][0]["address"], "Project/web");
    let next = page["next"].as_str().expect("the last page");
    let page =
        world.get(&format!("/api/v1/resources?project=web&limit=1&cursor={next}"), &reader).await.ok(200);
    assert_eq!(page["items"][0]["kind"], "Schedule");
    let next = page["next"].as_str().expect("the last page");
    let page =
        world.get(&format!("/api/v1/resources?project=web&limit=1&cursor={next}"), &reader).await.ok(200);
    assert_eq!((&page["items"][0]["kind"], page.get("next")), (&json!("Secret"), None));
    world.apply(&CONFIGURATION.replace("busybox:1", "busybox:2")).await;
    let image = |path: &'static str| {
        let (world, reader) = (&world, &reader);
        async move { world.get(path, reader).await.ok(200)["document"]["spec"]["jobs"]["test"]["image"].clone() }
    };
    assert_eq!(image("/api/v1/resources/Pipeline/web/ci").await, "busybox:2");
    assert_eq!(image("/api/v1/resources/Pipeline%2Fweb%2Fci?revision=1").await, "busybox:1");
    world.get("/api/v1/resources/Pipeline/web/ci?revision=9", &reader).await.problem(404);
    world.get("/api/v1/resources/Pipeline/docs/pages", &reader).await.problem(403);
    let projects = world.get("/api/v1/projects", &reader).await.ok(200);
    assert_eq!(projects["items"].as_array().map(Vec::len), Some(1));
    let pipelines = world.get("/api/v1/pipelines?project=web", &reader).await.ok(200);
    assert_eq!(pipelines["items"][0]["jobs"], json!(["build", "test"]));
    let of = world.get("/api/v1/changes?address=Pipeline/web/ci&limit=1", &reader).await.ok(200);
    assert_eq!(of["items"][0]["serial"], 2);
    let next = of["next"].as_str().expect("another page");
    let of =
        world.get(&format!("/api/v1/changes?address=Pipeline/web/ci&cursor={next}"), &reader).await.ok(200);
    assert_eq!((&of["items"][0]["serial"], of.get("next")), (&json!(1), None));
}

#[tokio::test]
async fn what_was_shown_is_applied_and_nothing_else() {
    let world = World::new().await;
    let admin = world.token("user:admin").await;
    let text = CONFIGURATION.replace("busybox:1", "busybox:2");
    let plan = world.post("/api/v1/plans", &admin, &files(&text)).await.ok(200);
    assert_eq!((&plan["summary"]["update"], &plan["format_version"]), (&json!(2), &json!(1)));
    let apply = |text: &str, plan: &Value| json!({"files": {"all.yaml": text}, "expected_plan": plan["fingerprint"], "message": "newer"});
    let other = CONFIGURATION.replace("busybox:1", "busybox:3");
    assert_eq!(
        world.post("/api/v1/applies", &admin, &apply(&other, &plan)).await.problem(409),
        "plan_changed"
    );
    let done = world.post("/api/v1/applies", &admin, &apply(&text, &plan)).await.ok(200);
    assert_eq!((&done["change"]["serial"], &done["change"]["actor"]), (&json!(2), &json!("user:admin")));
    let again = world.post("/api/v1/applies", &admin, &apply(&text, &plan)).await.ok(200);
    assert_eq!(again["change"], done["change"]);
    let id = done["change"]["id"].as_str().expect("an id");
    let change = world.get(&format!("/api/v1/changes/{id}"), &admin).await.ok(200);
    assert_eq!(change["revisions"][0]["operation"], "update");
    let audit = world.get("/api/v1/audit?action=config.apply", &admin).await.ok(200);
    assert_eq!(audit["items"][0]["detail"]["change"], id);
}

#[tokio::test]
async fn a_plan_that_is_refused_changes_nothing() {
    let world = World::new().await;
    let admin = world.token("user:admin").await;
    let wrong = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {nothing: 1}\n";
    let answer = world.post("/api/v1/plans", &admin, &files(wrong)).await;
    assert_eq!(answer.problem(422), "invalid_configuration");
    let error = &answer.json()["errors"][0];
    assert_eq!(
        (&error["path"], &error["line"], &error["column"]),
        (&json!("all.yaml"), &json!(4), &json!(8))
    );
    // Nothing at all is a plan of deletes, and many deletes need more.
    let plan = world.post("/api/v1/plans", &admin, &json!({"files": {}})).await.ok(200);
    let body = json!({"files": {}, "expected_plan": plan["fingerprint"]});
    assert_eq!(world.post("/api/v1/applies", &admin, &body).await.problem(422), "plan_refused");
    let project = json!({"files": {}, "project": "nothing"});
    assert_eq!(world.post("/api/v1/plans", &admin, &project).await.problem(404), "not_found");
    let day = json!({"files": {}, "as_of": "2026-02-30"});
    assert_eq!(world.post("/api/v1/plans", &admin, &day).await.problem(422), "unprocessable");
}

#[tokio::test]
async fn findings_are_accepted_by_name() {
    let world = World::new().await;
    let admin = world.token("user:admin").await;
    let text = format!("{CONFIGURATION}---\napiVersion: reactorcide/v1\nkind: Secret\nmetadata: {{name: key}}\nspec: {{source: vault}}\n---\napiVersion: reactorcide/v1\nkind: SecretPolicy\nmetadata: {{name: open}}\nspec: {{allow: [{{secrets: [key], to: {{project: web, pipeline: ci}}}}]}}\n")
        .replace("test: {", "test: {secrets: {KEY: key}, ");
    let plan = world.post("/api/v1/plans", &admin, &files(&text)).await.ok(200);
    let codes: std::collections::BTreeSet<&str> = plan["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter(|one| one["severity"] == "high")
        .filter_map(|one| one["code"].as_str())
        .collect();
    assert!(!codes.is_empty(), "{plan}");
    let mut body = json!({"files": {"all.yaml": text}, "expected_plan": plan["fingerprint"]});
    assert_eq!(world.post("/api/v1/applies", &admin, &body).await.problem(422), "findings_open");
    body["accept"] = json!(codes);
    world.post("/api/v1/applies", &admin, &body).await.ok(200);
}

#[tokio::test]
async fn who_may_only_apply_gives_nobody_a_role() {
    let world = World::new().await;
    let scope =
        Scope { capabilities: Some([Capability::ConfigApply, Capability::ConfigPlan].into()), project: None };
    let (token, _) = world.token_with("user:admin", scope, None).await;
    let text = CONFIGURATION.replace("['user:reader']", "['user:reader', 'user:eve']");
    let plan = world.post("/api/v1/plans", &token, &files(&text)).await.ok(200);
    let body = json!({"files": {"all.yaml": text}, "expected_plan": plan["fingerprint"]});
    world.post("/api/v1/applies", &token, &body).await.problem(403);
    let all = world.token("user:admin").await;
    world.post("/api/v1/applies", &all, &body).await.ok(200);
}

#[tokio::test]
async fn a_projects_repository_declares_its_own() {
    let world = World::new().await;
    let admin = world.token("user:web-admin").await;
    let pipeline = "apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: nightly, project: web}\nspec: {triggers: [{event: manual}], jobs: {a: {image: 'busybox:1', command: 'true'}}}\n";
    let body = |text: &str| json!({"files": {"ci.yaml": text}, "project": "web"});
    world.post("/api/v1/plans", &admin, &files(pipeline)).await.problem(403);
    let plan = world.post("/api/v1/plans", &admin, &body(pipeline)).await.ok(200);
    assert_eq!(plan["owner"], "project:web");
    let mut apply = body(pipeline);
    apply["expected_plan"] = plan["fingerprint"].clone();
    world.post("/api/v1/applies", &admin, &apply).await.ok(200);
    let policy = "apiVersion: reactorcide/v1\nkind: RoleBinding\nmetadata: {name: x}\nspec: {role: admin, subjects: ['user:eve']}\n";
    assert_eq!(
        world.post("/api/v1/plans", &admin, &body(policy)).await.problem(422),
        "invalid_configuration"
    );
}

#[tokio::test]
async fn a_plan_that_was_made_elsewhere_is_applied_if_it_holds() {
    let world = World::new().await;
    let admin = world.token("user:admin").await;
    let text = CONFIGURATION.replace("busybox:1", "busybox:2");
    let plan = world.post("/api/v1/plans", &admin, &files(&text)).await.ok(200);
    let mut forged = plan.clone();
    forged["summary"]["update"] = json!(0);
    let applied = world.post("/api/v1/applies", &admin, &json!({"plan": forged})).await;
    assert_eq!(applied.problem(422), "plan_invalid");
    let both = json!({"plan": plan, "files": {}});
    assert_eq!(world.post("/api/v1/applies", &admin, &both).await.problem(422), "unprocessable");
    assert_eq!(world.post("/api/v1/applies", &admin, &json!({})).await.problem(422), "unprocessable");
    let writer = world.token("user:writer").await;
    world.post("/api/v1/applies", &writer, &json!({"plan": plan})).await.problem(403);
    // Something else is applied meanwhile, which does not matter to it.
    let more = format!(
        "{text}---\napiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: more}}\nspec: {{}}\n"
    );
    world.apply(&more.replace("busybox:2", "busybox:1")).await;
    let done = world.post("/api/v1/applies", &admin, &json!({"plan": plan, "message": "why"})).await.ok(200);
    assert_eq!((&done["change"]["serial"], &done["change"]["actor"]), (&json!(3), &json!("user:admin")));
    assert_eq!((&done["effects"], &done["owed"]), (&json!([]), &json!(0)));
    let again = world.post("/api/v1/applies", &admin, &json!({"plan": plan})).await;
    assert_eq!(again.problem(409), "plan_stale");
}

#[tokio::test]
async fn who_may_plan_reads_the_state_whole() {
    let world = World::new().await;
    let (reader, web) = (world.token("user:reader").await, world.token("user:web-reader").await);
    let state = world.get("/api/v1/state", &reader).await.ok(200);
    assert_eq!(state["serial"], 1);
    let read: crate::api::AppliedState = serde_json::from_value(state).expect("a state");
    let snapshot = world.api.applied.store().snapshot().await.expect("a snapshot");
    assert_eq!(reactorcide_engine::store::Snapshot::from(read), snapshot);
    world.get("/api/v1/state", &web).await.problem(403);
    assert_eq!(world.get("/api/v1/state?serial=0", &reader).await.ok(200)["resources"], json!([]));
    world.get("/api/v1/state?serial=1", &reader).await.ok(200);
    world.get("/api/v1/state?serial=9", &reader).await.problem(404);
    let revisions = world.get("/api/v1/revisions/Pipeline/web/ci?limit=1", &web).await.ok(200);
    assert_eq!((&revisions["items"][0]["operation"], revisions.get("next")), (&json!("create"), None));
    world.apply(&CONFIGURATION.replace("busybox:1", "busybox:2")).await;
    let page = world.get("/api/v1/revisions/Pipeline/web/ci?limit=1", &web).await.ok(200);
    let next = page["next"].as_str().expect("another page");
    let page =
        world.get(&format!("/api/v1/revisions/Pipeline/web/ci?limit=1&cursor={next}"), &web).await.ok(200);
    assert_eq!((&page["items"][0]["revision"], page.get("next")), (&json!(2), None));
}

#[tokio::test]
async fn what_an_apply_owes_is_told_until_it_is_done() {
    let world = World::new().await;
    let admin = world.token("user:admin").await;
    let hook = "---\napiVersion: reactorcide/v1\nkind: WebhookTarget\nmetadata: {name: hook}\nspec: {url: 'https://example.com/hooks', body: {a: 1}}\n";
    let text = format!("{CONFIGURATION}{hook}");
    let plan = world.post("/api/v1/plans", &admin, &files(&text)).await.ok(200);
    let done = world.post("/api/v1/applies", &admin, &json!({"plan": plan})).await.ok(200);
    assert_eq!((&done["effects"][0]["status"], &done["owed"]), (&json!("owed"), &json!(1)));
    let owed = world.get("/api/v1/effects", &admin).await.ok(200);
    assert_eq!(owed["items"], done["effects"]);
    let (close, closing) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(world.api.errands.clone().run(
        world.api.applied.store().clone(),
        world.api.applied.serials(),
        closing,
    ));
    let mut looked = 0;
    let row = loop {
        let rows = world.get("/api/v1/effects?serial=2", &admin).await.ok(200)["items"].clone();
        looked += 1;
        if rows[0]["status"] == "done" || looked > 10_000 {
            break rows[0].clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (&row["status"], &row["did"], &row["failures"]),
        (&json!("done"), &json!("create"), &json!(0))
    );
    assert_eq!(world.get("/api/v1/effects", &admin).await.ok(200)["items"], json!([]));
    let seen = world.get("/api/v1/observations", &admin).await.ok(200);
    assert_eq!(seen["items"][0]["sight"], "same");
    close.send(true).expect("it listens");
    running.await.expect("it ends");
}

#[tokio::test]
async fn a_project_takes_nothing_from_the_workspace_by_a_plan_of_its_own_making() {
    let world = World::new().await;
    let admin = world.token("user:web-admin").await;
    let snapshot = world.api.applied.store().snapshot().await.expect("a snapshot");
    let address: reactorcide_engine::address::Address = "Pipeline/web/ci".parse().expect("an address");
    let mut mine = snapshot.heads[&address].resource().expect("a resource");
    if let reactorcide_engine::config::Spec::Pipeline(spec) = &mut mine.spec {
        spec.jobs.values_mut().for_each(|job| job.image = Some("evil".into()));
    }
    let owner = reactorcide_engine::store::Owner::Project("web".into());
    let resources = [(address.clone(), mine.into())].into_iter().collect();
    let desired = reactorcide_engine::plan::Desired { owner, resources };
    let options = reactorcide_engine::plan::Options {
        as_of: "2026-01-01".into(),
        take: [address].into(),
        ..Default::default()
    };
    let plan = reactorcide_engine::plan::between(&desired, &snapshot, &options).expect("a plan");
    assert!(plan.obstacles.is_empty(), "{:?}", plan.obstacles);
    let codes: Vec<&str> = plan.findings.iter().map(|finding| finding.code.as_str()).collect();
    let body = json!({"plan": plan, "accept": codes});
    world.post("/api/v1/applies", &admin, &body).await.problem(403);
}

#[tokio::test]
async fn the_main_branch_of_a_project_is_what_was_applied_last() {
    let world = World::new().await;
    let main = async || world.api.applied.default_branch("web").await;
    assert_eq!(main().await, None);
    for branch in ["main", "trunk"] {
        let source = format!("source: {{git: 'https://example.com/web.git', default_branch: {branch}}}");
        let config = "config: {path: .reactorcide}";
        world.apply(&CONFIGURATION.replace(config, &format!("{config}, {source}"))).await;
        assert_eq!(main().await.as_deref(), Some(branch));
    }
    assert_eq!(world.api.applied.default_branch("unknown").await, None);
}
