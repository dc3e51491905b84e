//! Who may do what: every route against everybody. What is expected comes from the table of docs/access.md, and from nothing
//! of the code that decides.

mod leases;

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{Method, Request, header};
use reactorcide_engine::artifacts::{self, ArtifactKind, Namespace, NewArtifact};
use reactorcide_engine::identity::{Account, Capability, Scope, UserId};
use reactorcide_engine::queue::{Claim, Claimant};
use reactorcide_engine::workers::{Worker, WorkerStatus};
use serde_json::{Value, json};

use super::world::{CONFIGURATION, SPARE_MASTER, World, service};
use crate::api::operations;
use crate::api::route::{Access, Content, Operation};
use crate::conductor::now;

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Web,
    Workspace,
}

/// A request for an operation.
struct Ask {
    path: String,
    body: Option<Value>,
    place: Place,
}

/// Somebody who asks.
struct Asker {
    name: &'static str,
    token: String,
    id: String,
    may: May,
}

/// What somebody is, for what is expected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    /// Nobody knows them.
    Unknown,
    /// They have a role: 1 is read, 3 is admin; on web, on another project, or on the workspace.
    Role(u8, Option<&'static str>),
    /// They may everything that people may.
    Everything,
    /// They are who has `admin` on the workspace, with a token for one capability.
    Only(&'static str),
    /// The same with a token for the project web.
    OnlyWeb,
    /// A worker.
    Worker,
    /// A job whose attempt goes on.
    Job,
}

/// The table of docs/access.md: the least role by capability.
fn table() -> BTreeMap<String, String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/access.md");
    let text = std::fs::read_to_string(path).expect("docs/access.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())
    };
    rows.map(row).collect()
}

fn is_allowed(table: &BTreeMap<String, String>, capability: &str, place: Place, may: May) -> bool {
    let held = table[capability].as_str();
    let role = |name: &str| match name {
        "read" => 1,
        "write" => 2,
        "admin" => 3,
        other => panic!("{other:?} is no role"),
    };
    match (held, may) {
        (_, May::Unknown) => false,
        ("workers", may) => may == May::Worker,
        ("the job itself", may) => may == May::Job,
        (_, May::Worker | May::Job) => false,
        (_, May::Everything) => true,
        (_, May::Only(only)) => only == capability,
        ("everybody", May::OnlyWeb) => false,
        ("everybody", May::Role(..)) => true,
        (held, May::OnlyWeb) => !held.ends_with(" on the workspace") && place == Place::Web,
        (held, May::Role(has, project)) => {
            let (least, of_workspace) = match held.strip_suffix(" on the workspace") {
                Some(least) => (role(least), true),
                None => (role(held), place == Place::Workspace),
            };
            let here = project.is_none() || project == Some("web") && !of_workspace;
            here && has >= least
        }
    }
}

/// A world in which every route finds something to do.
struct Fixture {
    world: World,
    run: String,
    ended: String,
    change: String,
    askers: Vec<Asker>,
}

async fn fixture() -> Fixture {
    let world = World::new().await;
    let root = world.token("user:root").await;
    let run = start(&world, &root, "web/ci").await;
    let docs = start(&world, &root, "docs/pages").await;
    let ended = start(&world, &root, "web/ci").await;
    // Its jobs are taken by nobody.
    let force = json!({"force": true});
    world.post(&format!("/api/v1/runs/{ended}/cancel"), &root, &force).await.ok(204);
    for name in ["w1", "idle"] {
        let worker = Worker {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            pool: None,
            slots: 2,
            provider: "docker".to_owned(),
            version: "1".to_owned(),
            status: WorkerStatus::Active,
            registered_at: 1,
            seen_at: now(),
            health: None,
        };
        world.api.workers.register(&worker).await.expect("a worker");
    }
    let claimant = Claimant { worker: "w1".to_owned(), ..Claimant::default() };
    let claim =
        Claim { claimant, max: 10, now: now(), expires_at: now() + 600_000, token: "lease".to_owned() };
    assert_eq!(world.api.conductor.queue.claim(&claim).await.expect("leases").len(), 2);
    world.add(Account::Service(service("spare"))).await;
    let value = json!({"value": "F1RST-VALUE"});
    world.post("/api/v1/secrets/web%2Fdeploy%2Fkey/versions", &root, &value).await.ok(201);
    let changes = world.api.applied.store().history(None, 1).await.expect("a history");
    let change = changes[0].id.0.clone();
    for (project, run) in [("web", &run), ("docs", &docs)] {
        let made = artifacts::conformance::new(&format!("of-{run}"), "out/web");
        let namespace =
            Namespace { project: project.to_owned(), reference: "HEAD".to_owned(), ..made.namespace.clone() };
        let made = NewArtifact { namespace, run: run.clone(), node: "build".to_owned(), ..made };
        let content = || artifacts::conformance::content(b"content", 3);
        world.api.files.store().put(&made, content()).await.expect("it is kept");
        let id = format!("cache-of-{project}");
        let cache = NewArtifact { id, kind: ArtifactKind::Cache, name: "deps".to_owned(), ..made };
        world.api.files.store().put(&cache, content()).await.expect("it is kept");
    }
    let askers = askers(&world, &run, &docs, &ended).await;
    Fixture { world, run, ended, change, askers }
}

async fn start(world: &World, token: &str, pipeline: &str) -> String {
    let run = world.post("/api/v1/runs", token, &json!({"pipeline": pipeline})).await.ok(201);
    run["id"].as_str().expect("an id").to_owned()
}

async fn askers(world: &World, run: &str, docs: &str, ended: &str) -> Vec<Asker> {
    let all = Scope::default;
    let only =
        |capability: Capability| Scope { capabilities: Some(BTreeSet::from([capability])), project: None };
    let web = || Scope { capabilities: None, project: Some("web".to_owned()) };
    let owners: Vec<(&'static str, String, Scope, May)> = vec![
        ("a superuser", "user:root".into(), all(), May::Everything),
        ("read on the workspace", "user:reader".into(), all(), May::Role(1, None)),
        ("write on the workspace", "user:writer".into(), all(), May::Role(2, None)),
        ("admin on the workspace", "user:admin".into(), all(), May::Role(3, None)),
        ("read on the project", "user:web-reader".into(), all(), May::Role(1, Some("web"))),
        ("write on the project", "user:web-writer".into(), all(), May::Role(2, Some("web"))),
        ("admin on the project", "user:web-admin".into(), all(), May::Role(3, Some("web"))),
        ("admin on another project", "user:docs-admin".into(), all(), May::Role(3, Some("docs"))),
        ("a member of a team", "user:member".into(), all(), May::Role(3, None)),
        ("a team", "team:owners".into(), all(), May::Role(3, None)),
        ("a service account", "service:deployer".into(), all(), May::Role(3, None)),
        ("a service account of the project", "service:web-bot".into(), all(), May::Role(2, Some("web"))),
        (
            "a token without the capability",
            "user:admin".into(),
            only(Capability::QueueRead),
            May::Only("queue.read"),
        ),
        (
            "a superuser's token for one thing",
            "user:root".into(),
            only(Capability::RunsRead),
            May::Only("runs.read"),
        ),
        ("a token for the project", "user:admin".into(), web(), May::OnlyWeb),
        ("a worker", "worker:w1".into(), all(), May::Worker),
        ("a job of the run", format!("job:1/{run}/build"), all(), May::Job),
        ("a job of another run", format!("job:1/{docs}/build"), all(), May::Job),
        ("a job whose attempt is over", format!("job:1/{ended}/build"), all(), May::Unknown),
        ("a job whose attempt was never", format!("job:2/{run}/build"), all(), May::Unknown),
    ];
    let mut askers = vec![
        Asker { name: "nobody", token: String::new(), id: "none".to_owned(), may: May::Unknown },
        Asker {
            name: "nonsense",
            token: "rct_nonsense".to_owned(),
            id: "none".to_owned(),
            may: May::Unknown,
        },
    ];
    for (name, owner, scope, may) in owners {
        let (token, id) = world.token_with(&owner, scope, None).await;
        askers.push(Asker { name, token, id: id.0, may });
    }
    let mut unknown =
        |name, token: String, id: String| askers.push(Asker { name, token, id, may: May::Unknown });
    let (text, id) = world.token_with("user:root", all(), Some(now() - 1)).await;
    unknown("an expired token", text, id.0);
    let (text, id) = world.token_with("user:root", all(), None).await;
    world.api.identities.revoke(&id, now()).await.expect("it is revoked");
    unknown("a revoked token", text, id.0);
    let (text, id) = world.token_with("user:root", all(), None).await;
    let last = if text.ends_with('A') { "E" } else { "A" };
    unknown("the right id with a wrong secret", format!("{}{last}", &text[..text.len() - 1]), id.0);
    world.user("disabled", true).await;
    let (text, id) = world.token_with("user:disabled", all(), None).await;
    let disabled = reactorcide_engine::identity::Principal::User(UserId("disabled".to_owned()));
    let account = world.api.identities.account(&disabled).await.expect("an account");
    let Some(Account::User(mut user)) = account else { panic!("no user") };
    user.disabled_at = Some(1);
    world.api.identities.change(&Account::User(user)).await.expect("they are disabled");
    unknown("a disabled user", text, id.0);
    askers
}

/// The request for an operation. A route without one fails the test.
async fn ask(operation: &Operation, fixture: &Fixture, own_token: &str) -> Ask {
    let Fixture { world, run, ended, change, .. } = fixture;
    let (web, workspace) = (Place::Web, Place::Workspace);
    let plain = |path: &str, place| Ask { path: path.to_owned(), body: None, place };
    let with = |path: &str, body: Value, place| Ask { path: path.to_owned(), body: Some(body), place };
    let lease = json!({"run": run, "node": "build", "attempt": 1, "token": "lease"});
    match operation.id {
        "getDiscovery" | "getKeys" | "getOpenApi" | "getHealth" | "getReadiness" | "getVersion"
        | "getMetrics" => plain(operation.path, workspace),
        "listRuns" => plain("/api/v1/runs?project=web", web),
        "startRun" => with("/api/v1/runs", json!({"pipeline": "web/ci"}), web),
        "getRun" => plain(&format!("/api/v1/runs/{run}"), web),
        "listTransitions" => plain(&format!("/api/v1/runs/{run}/transitions"), web),
        "followRun" => plain(&format!("/api/v1/runs/{run}/events"), web),
        "cancelRun" => plain(&format!("/api/v1/runs/{run}/cancel"), web),
        "approveRun" => plain(&format!("/api/v1/runs/{run}/approve"), web),
        "approvePullRequest" => {
            let body = json!({"head": "a".repeat(40)});
            with("/api/v1/projects/web/pull-requests/1/approve", body, web)
        }
        "retryRun" => plain(&format!("/api/v1/runs/{ended}/retry"), web),
        "getJob" => plain(&format!("/api/v1/runs/{run}/jobs/build"), web),
        "getLog" => plain(&format!("/api/v1/runs/{run}/jobs/build/log"), web),
        "listArtifacts" => plain(&format!("/api/v1/runs/{run}/artifacts"), web),
        "listJobArtifacts" => plain(&format!("/api/v1/runs/{run}/jobs/build/artifacts"), web),
        "getArtifact" | "removeArtifact" => plain(&format!("/api/v1/runs/{run}/artifacts/of-{run}"), web),
        "listCaches" => plain("/api/v1/caches?project=web", web),
        "removeCache" => plain("/api/v1/caches/cache-of-web", web),
        "cancelJob" => plain(&format!("/api/v1/runs/{run}/jobs/build/cancel"), web),
        "listQueue" => plain("/api/v1/queue?project=web", web),
        "listSchedules" => plain("/api/v1/schedules?project=web", web),
        "getSchedule" => plain("/api/v1/schedules/web/nightly", web),
        "listSecrets" => plain("/api/v1/secrets?project=web", web),
        "listSecretVersions" => plain("/api/v1/secrets/web%2Fdeploy%2Fkey/versions", web),
        "setSecret" => with("/api/v1/secrets/web%2Fdeploy%2Fkey/versions", json!({"value": "S3CRET"}), web),
        "deleteSecret" => plain("/api/v1/secrets/web%2Fdeploy%2Fkey/versions?key=value", web),
        "testSecret" => with("/api/v1/secrets/web%2Fdeploy%2Fkey/test", json!({"job": "web/ci/build"}), web),
        "revealSecret" => plain("/api/v1/secrets/web%2Fdeploy%2Fkey/reveal", workspace),
        "listSecretKeys" => plain("/api/v1/secret-keys", workspace),
        "rotateSecretKeys" => plain("/api/v1/secret-keys/rotate", workspace),
        "retireSecretKey" => plain(&format!("/api/v1/secret-keys/{SPARE_MASTER}"), workspace),
        "listWorkers" => plain("/api/v1/workers", workspace),
        "getWorker" => plain("/api/v1/workers/w1", workspace),
        "drainWorker" => plain("/api/v1/workers/w1/drain", workspace),
        "enableWorker" => plain("/api/v1/workers/w1/enable", workspace),
        "disableWorker" => plain("/api/v1/workers/w1/disable", workspace),
        "removeWorker" => plain("/api/v1/workers/idle", workspace),
        "getMe" => plain("/api/v1/me", workspace),
        "listUsers" => plain("/api/v1/users", workspace),
        "createUser" => with("/api/v1/users", json!({"username": "new"}), workspace),
        "getUser" | "removeUser" => plain("/api/v1/users/reader", workspace),
        "changeUser" => with("/api/v1/users/reader", json!({"email": "r@example.com"}), workspace),
        "disableUser" => plain("/api/v1/users/reader/disable", workspace),
        "enableUser" => plain("/api/v1/users/reader/enable", workspace),
        "listTeams" => plain("/api/v1/teams", workspace),
        "createTeam" => with("/api/v1/teams", json!({"name": "new", "members": ["reader"]}), workspace),
        "getTeam" | "removeTeam" => plain("/api/v1/teams/owners", workspace),
        "changeTeam" => with("/api/v1/teams/owners", json!({"name": "others"}), workspace),
        "addMember" | "removeMember" => plain("/api/v1/teams/owners/members/reader", workspace),
        "disableTeam" => plain("/api/v1/teams/owners/disable", workspace),
        "enableTeam" => plain("/api/v1/teams/owners/enable", workspace),
        "listServiceAccounts" => plain("/api/v1/service-accounts", workspace),
        "createServiceAccount" => with("/api/v1/service-accounts", json!({"name": "new"}), workspace),
        "getServiceAccount" | "removeServiceAccount" => plain("/api/v1/service-accounts/spare", workspace),
        "changeServiceAccount" => with("/api/v1/service-accounts/spare", json!({"name": "new"}), workspace),
        "disableServiceAccount" => plain("/api/v1/service-accounts/spare/disable", workspace),
        "enableServiceAccount" => plain("/api/v1/service-accounts/spare/enable", workspace),
        "listTokens" => plain("/api/v1/tokens", workspace),
        "createToken" => with("/api/v1/tokens", json!({"name": "x"}), workspace),
        "getToken" | "revokeToken" => plain(&format!("/api/v1/tokens/{own_token}"), workspace),
        "listAudit" => plain("/api/v1/audit", workspace),
        "getAuditHead" => plain("/api/v1/audit/head", workspace),
        "exportAudit" => plain("/api/v1/audit/export", workspace),
        "verifyAudit" => plain("/api/v1/audit/verify", workspace),
        "getOwnRun" => plain("/api/v1/job", web),
        "getSibling" => plain("/api/v1/job/jobs/build", web),
        "getVars" => plain("/api/v1/job/vars", web),
        "listOwnArtifacts" => plain("/api/v1/job/artifacts", web),
        "getOwnArtifact" => plain(&format!("/api/v1/job/artifacts/of-{own_token}"), web),
        "keepArtifact" => plain("/api/v1/job/artifacts?path=report.xml", web),
        "getIdToken" => plain("/api/v1/job/id-token?audience=cloud", web),
        "trigger" => with("/api/v1/job/triggers", json!({"vars": {"a": 1}}), web),
        "listResources" => plain("/api/v1/resources?project=web", web),
        "getResource" => plain("/api/v1/resources/Pipeline/web/ci", web),
        "listProjects" => plain("/api/v1/projects", web),
        "listPipelines" => plain("/api/v1/pipelines?project=web", web),
        "listChanges" => plain("/api/v1/changes?address=Pipeline/web/ci", web),
        "getState" => plain("/api/v1/state", workspace),
        "listRevisions" => plain("/api/v1/revisions/Pipeline/web/ci", web),
        "listCompactions" => plain("/api/v1/compactions", workspace),
        "observe" => plain("/api/v1/observations", workspace),
        "listEffects" => plain("/api/v1/effects", workspace),
        "resumeEffects" => plain("/api/v1/effects/resume", workspace),
        "getChange" => plain(&format!("/api/v1/changes/{change}"), workspace),
        "makePlan" => with("/api/v1/plans", json!({"files": nightly(), "project": "web"}), web),
        "apply" => {
            let body = json!({"files": nightly(), "project": "web"});
            let root = world.token("user:root").await;
            let plan = world.post("/api/v1/plans", &root, &body).await.ok(200);
            let mut body = body;
            body["expected_plan"] = plan["fingerprint"].clone();
            with("/api/v1/applies", body, web)
        }
        "sendEvent" => with("/api/v1/events", json!({"project": "web", "branch": "main"}), web),
        "receiveHook" => with("/api/v1/hooks/web", json!({}), web),
        "startJob" => {
            let body = json!({"project": "web", "job_image": "busybox:1", "job_command": "true"});
            with("/api/v1/jobs", body, web)
        }
        "workerRegister" => {
            let body = json!({"slots": 1, "provider": "docker", "version": "1"});
            with("/worker/v1/register", body, workspace)
        }
        "workerClaim" => with("/worker/v1/claim", json!({"max": 1, "wait_ms": 0}), workspace),
        "workerRenew" => {
            with("/worker/v1/renew", json!({"known": [[lease, "none"]], "wait_ms": 0}), workspace)
        }
        "workerReport" => with("/worker/v1/report", json!({"lease": lease, "report": "started"}), workspace),
        "workerLog" => {
            plain(&format!("/worker/v1/log?run={run}&node=build&attempt=1&token=lease&offset=0"), workspace)
        }
        "workerAsk" => with("/worker/v1/ask", json!({"lease": lease, "query": {"about": "vars"}}), workspace),
        "workerSecrets" => with("/worker/v1/secrets", json!({"lease": lease}), workspace),
        "workerIdToken" => {
            with("/worker/v1/id-token", json!({"lease": lease, "audience": "cloud"}), workspace)
        }
        "workerKeep" => plain(
            &format!("/worker/v1/keep?run={run}&node=build&attempt=1&token=lease&kind=artifact&name=web"),
            workspace,
        ),
        "workerInputs" => with("/worker/v1/inputs", json!({"lease": lease}), workspace),
        "workerCache" => with("/worker/v1/cache", json!({"lease": lease, "key": "k"}), workspace),
        "workerContent" => {
            with("/worker/v1/content", json!({"lease": lease, "id": format!("of-{run}")}), workspace)
        }
        other => panic!("{other} ({} {}) has no row in the matrix", operation.method, operation.path),
    }
}

fn nightly() -> Value {
    json!({"ci.yaml": "apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {name: nightly, project: web}\nspec: {triggers: [{event: manual}], jobs: {a: {image: 'busybox:1', command: 'true'}}}\n"})
}

async fn send(fixture: &Fixture, operation: &Operation, asker: &Asker) -> u16 {
    let ask = ask(operation, fixture, &asker.id).await;
    if matches!(operation.id, "workerLog" | "workerKeep" | "keepArtifact") {
        let mut request = Request::builder().method(Method::POST).uri(ask.path);
        if !asker.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", asker.token));
        }
        let request = request.body(Body::from("{}\n")).expect("a request");
        return fixture.world.send(request).await.status.as_u16();
    }
    let method = operation.method.clone();
    let answer = fixture.world.ask(method, &ask.path, &asker.token, ask.body.as_ref()).await;
    if let Content::Json(_) = operation.answer.1 {
        answer.json();
    }
    answer.status.as_u16()
}

/// What is expected of a cell.
fn expected(table: &BTreeMap<String, String>, operation: &Operation, place: Place, may: May) -> u16 {
    match operation.access {
        // It is signed, which has a test of its own; nobody's token opens it.
        Access::Public if operation.id == "receiveHook" => 401,
        Access::Public => operation.answer.0,
        _ if may == May::Unknown => 401,
        Access::Known => operation.answer.0,
        Access::Capability(capability) if is_allowed(table, capability.as_str(), place, may) => {
            match operation.id {
                // Nothing waits; who may approve what does has tests of its own.
                "approveRun" => 409,
                "approvePullRequest" => 404,
                _ => operation.answer.0,
            }
        }
        Access::Capability(_) => 403,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_lets_in_who_may_and_nobody_else() {
    let table = table();
    assert!(CONFIGURATION.contains("workspace-admin"));
    // Whoever is refused changes nothing, so that they can all ask in one world.
    let shared = fixture().await;
    let mut wrong = Vec::new();
    let mut cells = 0;
    for operation in operations() {
        for (index, asker) in shared.askers.iter().enumerate() {
            let place = ask(&operation, &shared, &asker.id).await.place;
            let expected = expected(&table, &operation, place, asker.may);
            let found = if expected < 400 {
                let fresh = fixture().await;
                send(&fresh, &operation, &fresh.askers[index]).await
            } else {
                send(&shared, &operation, asker).await
            };
            cells += 1;
            if found != expected {
                wrong.push(format!(
                    "{} {} by {}: {found}, not {expected}",
                    operation.method, operation.path, asker.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
    // Nothing that was refused was done.
    let root = shared.world.token("user:root").await;
    let run = shared.world.get(&format!("/api/v1/runs/{}", shared.run), &root).await.ok(200);
    assert_eq!(run["status"], "running");
    shared.world.get("/api/v1/users/reader", &root).await.ok(200);
    shared.world.get("/api/v1/users/new", &root).await.problem(404);
    assert_eq!(
        shared.world.get("/api/v1/changes", &root).await.ok(200)["items"].as_array().map(Vec::len),
        Some(1)
    );
}
