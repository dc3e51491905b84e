//! A server with everything in memory, something applied, people who have roles, and tokens to ask with.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use reactorcide_engine::artifacts::MemoryArtifacts;
use reactorcide_engine::audit::MemoryAudit;
use reactorcide_engine::coordinator::LeaseId;
use reactorcide_engine::id_token::MemorySigningKeys;
use reactorcide_engine::identity::{
    Account, JobToken, MemoryIdentities, NewToken, Principal, Scope, ServiceAccount, ServiceAccountId, Team,
    TeamId, Token, TokenId, TokenText, User, UserId, WorkerId,
};
use reactorcide_engine::logs::MemoryLogs;
use reactorcide_engine::outside::FakeOutside;
use reactorcide_engine::plan::Options;
use reactorcide_engine::read::InputFile;
use reactorcide_engine::removals::MemoryRemovals;
use reactorcide_engine::runs::MemoryRuns;
use reactorcide_engine::schedule::MemoryPositions;
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::{Author, Lineage, MemoryStore, Owner, Store};
use reactorcide_engine::vault::{MasterKey, MemoryVault};
use reactorcide_engine::workers::MemoryWorkers;
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::api::{Api, router};
use crate::applied::Applied;
use crate::conductor::{Conductor, now};
use crate::configure;
use crate::coordinator::Terms;
use crate::errands::Errands;
use crate::files::{Files, NoProjects};
use crate::issuer::Issuer;
use crate::vault::{Deliverer, Vault};

/// Two projects, and somebody for each role on each and on the workspace.
pub const CONFIGURATION: &str = r"
apiVersion: reactorcide/v1
kind: Project
metadata: {name: web}
spec: {config: {path: .reactorcide}}
---
apiVersion: reactorcide/v1
kind: Project
metadata: {name: docs}
spec: {}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {name: ci, project: web}
spec:
  triggers: [{event: manual}, {event: api}, {event: webhook}, {event: push}]
  jobs:
    build: {image: 'busybox:1', command: 'true', triggers_allowed: {count: 5}, id_tokens: {TOKEN: {audience: cloud}}}
    test: {image: 'busybox:1', command: 'true', depends_on: [build]}
---
apiVersion: reactorcide/v1
kind: Pipeline
metadata: {name: pages, project: docs}
spec:
  triggers: [{event: manual}]
  jobs:
    build: {image: 'busybox:1', command: 'true', id_tokens: {TOKEN: {audience: cloud}}}
---
apiVersion: reactorcide/v1
kind: Schedule
metadata: {name: nightly, project: web}
spec: {pipeline: ci, cron: '0 3 * * *', timezone: Europe/Vienna}
---
apiVersion: reactorcide/v1
kind: Secret
metadata: {name: deploy/key, project: web}
spec: {}
---
apiVersion: reactorcide/v1
kind: RoleBinding
metadata: {name: workspace-read}
spec: {role: read, subjects: ['user:reader']}
---
apiVersion: reactorcide/v1
kind: RoleBinding
metadata: {name: workspace-write}
spec: {role: write, subjects: ['user:writer']}
---
apiVersion: reactorcide/v1
kind: RoleBinding
metadata: {name: workspace-admin}
spec: {role: admin, subjects: ['user:admin', 'team:owners', 'service:deployer']}
---
apiVersion: reactorcide/v1
kind: RoleBinding
metadata: {name: web-read}
spec: {role: read, project: web, subjects: ['user:web-reader']}
---
apiVersion: reactorcide/v1
kind: RoleBinding
metadata: {name: web-write}
spec: {role: write, project: web, subjects: ['user:web-writer', 'service:web-bot']}
---
apiVersion: reactorcide/v1
kind: RoleBinding
metadata: {name: web-admin}
spec: {role: admin, project: web, subjects: ['user:web-admin']}
---
apiVersion: reactorcide/v1
kind: RoleBinding
metadata: {name: docs-admin}
spec: {role: admin, project: docs, subjects: ['user:docs-admin']}
";

/// The master keys: the first wraps, the other one is not needed.
const MASTER: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SPARE: &str = "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100";
/// The id of the other one.
pub const SPARE_MASTER: &str = "mk-58f3c309dd54d2ed";

/// The server.
pub struct World {
    pub api: Api,
    pub store: Arc<MemoryStore>,
    router: Router,
    _close: watch::Sender<bool>,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The body, which is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    /// The body where the status is the expected one.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// The code of a problem with this status.
    pub fn problem(&self, status: u16) -> String {
        let body = self.ok(status);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let kind = body["type"].as_str().expect("a type");
        kind.strip_prefix("urn:reactorcide:problem:").expect("a code of ours").to_owned()
    }
}

impl World {
    /// With the configuration applied, and a user for each name in it.
    pub async fn new() -> Self {
        let store = Arc::new(MemoryStore::new(Lineage("lineage".to_owned())));
        let runs = Arc::new(MemoryRuns::default());
        let (close, closing) = watch::channel(false);
        let applied = Arc::new(Applied::new(store.clone(), runs.clone()));
        let audit = Arc::new(MemoryAudit::default());
        let masters = [MASTER, SPARE].map(|text| MasterKey::parse(text.as_bytes()).expect("a key"));
        let vault = Vault::new(Arc::new(MemoryVault::default()), masters.to_vec());
        let keys = Arc::new(MemorySigningKeys::default());
        let url = Some("https://ci.example.com".to_owned());
        let api = Api {
            issuer: Issuer::new(url, keys, applied.clone(), audit.clone()),
            conductor: Conductor::new(runs.clone(), runs.clone()),
            applied: applied.clone(),
            identities: Arc::new(MemoryIdentities::default()),
            audit: audit.clone(),
            removals: Arc::new(MemoryRemovals::default()),
            positions: Arc::new(MemoryPositions::default()),
            workers: Arc::new(MemoryWorkers::default()),
            logs: Arc::new(MemoryLogs::default()),
            errands: Errands::new(store.clone(), Arc::new(FakeOutside::default())),
            files: Files::new(Arc::new(MemoryArtifacts::default()), Arc::new(NoProjects)),
            secrets: Deliverer::new(vault, applied, audit),
            terms: Terms::default(),
            closing,
        };
        let world = Self { router: router(api.clone()), api, store, _close: close };
        world.apply(CONFIGURATION).await;
        for name in
            ["reader", "writer", "admin", "web-reader", "web-writer", "web-admin", "docs-admin", "member"]
        {
            world.user(name, false).await;
        }
        world.user("root", true).await;
        let member = UserId("member".to_owned());
        world.add(Account::Team(team("owners", [member]))).await;
        for name in ["deployer", "web-bot"] {
            world.add(Account::Service(service(name))).await;
        }
        world
    }

    /// Applies a configuration as if it were all there is.
    pub async fn apply(&self, text: &str) {
        let files = vec![InputFile { path: "all.yaml".to_owned(), bytes: text.as_bytes().to_vec() }];
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        let options = Options { as_of: "2026-01-01".to_owned(), allow_destroy: true, ..Options::default() };
        let plan = configure::plan(files, &Owner::Workspace, &snapshot, &options).expect("a plan");
        let author = Author { actor: "user:root".to_owned(), message: None, commit: None };
        configure::apply(&*self.store, &plan, configure::Maker::Us, author).await.expect("it is applied");
    }

    /// Adds an account.
    pub async fn add(&self, account: Account) {
        self.api.identities.create(&account).await.expect("an account");
    }

    /// Adds a user, whose id is their name.
    pub async fn user(&self, name: &str, superuser: bool) {
        let user = User {
            id: UserId(name.to_owned()),
            username: name.to_owned(),
            email: None,
            superuser,
            version: 1,
            created_at: 1,
            disabled_at: None,
        };
        self.add(Account::User(user)).await;
    }

    /// A token of somebody; `KIND:NAME`, or `job:ATTEMPT/RUN/NODE`.
    pub async fn token(&self, owner: &str) -> String {
        self.token_with(owner, Scope::default(), None).await.0
    }

    /// The same, limited.
    pub async fn token_with(
        &self,
        owner: &str,
        scope: Scope,
        expires_at: Option<Millis>,
    ) -> (String, TokenId) {
        let (kind, name) = owner.split_once(':').expect("KIND:NAME");
        let principal = match kind {
            "user" => Principal::User(UserId(name.to_owned())),
            "team" => Principal::Team(TeamId(name.to_owned())),
            "service" => Principal::Service(ServiceAccountId(name.to_owned())),
            "worker" => Principal::Worker(WorkerId(name.to_owned())),
            _ => {
                let mut parts = name.splitn(3, '/');
                let attempt = parts.next().and_then(|part| part.parse().ok()).expect("an attempt");
                let mut part = || parts.next().expect("ATTEMPT/RUN/NODE").to_owned();
                let (run, node) = (part(), part());
                let id = TokenId(run.clone());
                // As the worker makes it that has the lease.
                let lease = LeaseId { run, node, attempt, token: "lease".to_owned() };
                return (JobToken::issue(&lease).expose().to_owned(), id);
            }
        };
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("randomness");
        let text = TokenText::new(uuid::Uuid::now_v7(), secret);
        let token = Token {
            id: text.id().clone(),
            principal,
            name: "test".to_owned(),
            scope,
            created_at: now(),
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        let new = NewToken { token, hash: text.hash() };
        self.api.identities.create_tokens(&[new]).await.expect("a token");
        (text.reveal().expose().to_owned(), text.id().clone())
    }

    /// Asks, with a token where there is one.
    pub async fn ask(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Answer {
        self.ask_with(method, path, token, body, &[]).await
    }

    /// The same with more headers.
    pub async fn ask_with(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).expect("a request")).await
    }

    /// Sends a request. What has no end is read for as long as its first piece takes.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let is_endless =
            parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let bytes =
            if is_endless { Vec::new() } else { to_bytes(body, usize::MAX).await.expect("a body").to_vec() };
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask(Method::GET, path, token, None).await
    }

    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, token, Some(body)).await
    }
}

pub fn team(name: &str, members: impl IntoIterator<Item = UserId>) -> Team {
    Team {
        id: TeamId(name.to_owned()),
        name: name.to_owned(),
        members: members.into_iter().collect(),
        version: 1,
        created_at: 1,
        disabled_at: None,
    }
}

pub fn service(name: &str) -> ServiceAccount {
    ServiceAccount {
        id: ServiceAccountId(name.to_owned()),
        name: name.to_owned(),
        version: 1,
        created_at: 1,
        disabled_at: None,
    }
}
