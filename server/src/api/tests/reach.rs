//! What a plan says of who can reach which secret, against what workers get who lease every job of every event: random
//! policies, profiles and environments are applied, every event that somebody can cause over HTTP is caused, and each
//! job's secrets are asked for with its lease.
//!
//! The two sides share no code but the configuration: a plan works on patterns and knows no run, a lease knows nothing but
//! its run. What the patterns of a plan mean is worked out here once more.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use fastrand::Rng;
use reactorcide_engine::plan::Options;
use reactorcide_engine::read::InputFile;
use reactorcide_engine::store::{Lineage, MemoryStore, Owner, Store};
use serde_json::{Value, json};

use super::world::World;
use crate::api::hooks::sign;
use crate::configure;

const SIGNATURE: &str = "0123456789abcdef0123";
const OWN: &str = "https://git.example.com/team/web.git";
const FORK: &str = "https://git.example.com/mallory/web.git";
const SHA: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Every branch and tag that there is.
const BRANCHES: [&str; 4] = ["main", "next", "release/1", "release/1/fix"];
const TAGS: [&str; 3] = ["v1", "v2-beta", "nightly"];
const PATTERNS: [&str; 8] = ["main", "next", "release/*", "release/**", "**", "*", "!main", "!release/1"];
const TAG_PATTERNS: [&str; 5] = ["v*", "v1", "nightly", "!v1", "**"];
const EVENTS: [&str; 6] = ["push", "pull_request", "tag", "manual", "api", "webhook"];
const ORIGINS: [&str; 4] = ["base", "head", "fork", "unverified"];
const PROFILES: [&str; 4] = ["trusted", "deployer", "checks", "untrusted"];
const SECRETS: [(&str, Option<&str>); 5] = [
    ("deploy/key", Some("web")),
    ("deploy/key", Some("docs")),
    ("deploy/other", None),
    ("deploy/key", None),
    ("signing", None),
];
const JOBS: [&str; 4] = ["a", "b", "c", "d"];

/// Random pieces of a configuration.
struct Dice(Rng);

impl Dice {
    fn one<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.0.usize(..items.len())]
    }

    /// Some of them, in any order; often none.
    fn some(&mut self, items: &[&str]) -> Vec<String> {
        let count = [0, 0, 1, 1, 2, 3][self.0.usize(..6)];
        (0..count).map(|_| self.one(items).to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn chance(&mut self, of: usize) -> bool {
        self.0.usize(..of) == 0
    }

    /// A field for each list that is not empty.
    fn fields(&mut self, fields: &[(&str, &[&str])]) -> Value {
        let mut found = json!({});
        for (name, items) in fields {
            let some = self.some(items);
            if !some.is_empty() {
                found[*name] = json!(some);
            }
        }
        found
    }

    fn grants(&mut self, most: usize) -> Vec<Value> {
        (0..self.0.usize(..=most)).map(|_| self.grant()).collect()
    }

    fn grant(&mut self) -> Value {
        let mut to = json!({"project": self.one(&["web", "web", "web", "docs"])});
        if self.chance(3) {
            to["pipeline"] = json!("ci");
            let jobs = self.some(&JOBS);
            if !jobs.is_empty() {
                to["jobs"] = json!(jobs);
            }
        }
        let secrets = [self.one(&["deploy/*", "**", "*", "deploy/key", "signing", "**"])];
        let mut grant = json!({"secrets": secrets, "to": to});
        if !self.chance(4) {
            grant["when"] = self.fields(&[
                ("events", &EVENTS),
                ("branches", &PATTERNS),
                ("origins", &ORIGINS),
                ("profiles", &PROFILES[..3]),
            ]);
            if self.chance(4) {
                grant["when"]["tags"] = json!([self.one(&TAG_PATTERNS)]);
            }
            if self.chance(6) {
                grant["when"]["environments"] = json!(["production"]);
            }
        }
        grant
    }

    fn rules(&mut self) -> Vec<Value> {
        let rule = |dice: &mut Self| {
            let mut rule = dice.fields(&[("events", &EVENTS), ("origins", &ORIGINS)]);
            rule["action"] = json!(dice.one(&["run", "run", "require_approval", "refuse"]));
            if !dice.chance(3) {
                rule["profile"] = json!(dice.one(&PROFILES));
            }
            match dice.0.u8(..4) {
                0 => rule["actors"] = json!({"first_time": dice.chance(2)}),
                1 => rule["actors"] = json!({"users": ["mallory"]}),
                2 => rule["paths"] = json!(["docs/**"]),
                _ => {}
            }
            rule
        };
        (0..self.0.usize(1..4)).map(|_| rule(self)).collect()
    }

    fn job(&mut self) -> Value {
        let mut job = json!({"image": "busybox:1", "command": "true"});
        if !self.chance(3) {
            job["secrets"] = json!({"KEY": self.one(&["deploy/key", "deploy/other", "signing"])});
        }
        if self.chance(3) {
            let name = self.one(&["deploy/key", "signing"]);
            job["environment"] = json!({"TEXT": format!("x${{secret:{name}:value}}")});
        }
        if self.chance(2) {
            job["profile"] = json!(self.one(&PROFILES[..3]));
        }
        if self.chance(4) {
            job["deploys_to"] = json!("production");
        }
        job
    }

    fn configuration(&mut self) -> Vec<Value> {
        let mut found = vec![
            resource(
                "Project",
                "web",
                None,
                json!({"webhook": {"secret": "hook"},
                "source": {"git": OWN, "default_branch": "main"}}),
            ),
            resource("Project", "docs", None, json!({})),
            resource("RoleBinding", "admins", None, json!({"role": "admin", "subjects": ["user:admin"]})),
            resource("ExecutionProfile", "deployer", None, json!({"secrets": "granted"})),
            resource("ExecutionProfile", "checks", None, json!({"secrets": "granted", "max_timeout": "1h"})),
        ];
        found.extend(SECRETS.map(|(name, project)| resource("Secret", name, project, json!({}))));
        let mut environment = json!({});
        if self.chance(2) {
            environment["protection"] = self.fields(&[("branches", &PATTERNS), ("tags", &TAG_PATTERNS)]);
        }
        found.push(resource("Environment", "production", None, environment));
        for (name, project) in [("ci", "web"), ("other", "web"), ("ci", "docs")] {
            let mut triggers = vec![json!({"event": "api"}), json!({"event": "webhook"})];
            for event in ["push", "pull_request"] {
                let mut trigger = self.fields(&[("branches", &PATTERNS)]);
                trigger["event"] = json!(event);
                triggers.push(trigger);
            }
            let mut tag = self.fields(&[("tags", &TAG_PATTERNS)]);
            tag["event"] = json!("tag");
            triggers.push(tag);
            let jobs: BTreeMap<&str, Value> = JOBS.iter().map(|name| (*name, self.job())).collect();
            found.push(resource(
                "Pipeline",
                name,
                Some(project),
                json!({"triggers": triggers, "jobs": jobs}),
            ));
        }
        for name in ["one", "two"] {
            let (allow, deny) = (self.grants(3), self.grants(1));
            found.push(resource("SecretPolicy", name, None, json!({"allow": allow, "deny": deny})));
        }
        if !self.chance(4) {
            let projects = [self.one(&["*", "web"])];
            let spec = json!({"projects": projects, "rules": self.rules()});
            found.push(resource("TrustPolicy", "people", None, spec));
        }
        found
    }
}

fn resource(kind: &str, name: &str, project: Option<&str>, spec: Value) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(project) = project {
        metadata["project"] = json!(project);
    }
    json!({"apiVersion": "reactorcide/v1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// What an applied configuration looks like from outside.
struct Case {
    world: World,
    root: String,
    worker: String,
    /// The jobs of each pipeline, by its address, with the profile and the secrets that each names, by their addresses.
    jobs: BTreeMap<String, BTreeMap<String, (String, BTreeSet<String>)>>,
    /// The rows of the plan that made it.
    planned: Vec<Value>,
}

impl Case {
    async fn new(dice: &mut Dice, hook: &str) -> Self {
        let mut resources = dice.configuration();
        let hook = json!({"source": "file", "location": hook});
        resources.push(resource("Secret", "hook", None, hook));
        let text: Vec<String> = resources.iter().map(ToString::to_string).collect();
        let text = text.join("\n---\n");
        let files = vec![InputFile { path: "all.yaml".to_owned(), bytes: text.clone().into_bytes() }];
        let nothing = MemoryStore::new(Lineage("nothing".to_owned())).snapshot().await.expect("nothing");
        let options = Options { as_of: "2026-01-01".to_owned(), ..Options::default() };
        let plan = match configure::plan(files, &Owner::Workspace, &nothing, &options) {
            Ok(plan) => plan,
            Err(configure::ConfigureError::Invalid(reading)) => panic!("{:?}\n{text}", reading.diagnostics),
            Err(error) => panic!("{error}\n{text}"),
        };
        let plan = serde_json::to_value(&plan).expect("JSON");
        let planned = plan["reach"]["added"].as_array().cloned().unwrap_or_default();
        let world = World::new().await;
        world.apply(&text).await;
        let root = world.token("user:root").await;
        for (name, project) in SECRETS {
            let path = project.map_or_else(|| name.to_owned(), |project| format!("{project}/{name}"));
            let path = path.replace('/', "%2F");
            let value = json!({"value": value_of(&address_of(name, project))});
            let versions = format!("/api/v1/secrets/{path}/versions");
            if name == "deploy/key" && project.is_none() {
                // Named by its address: a project has one of this name too.
                world.post("/api/v1/secrets/Secret%2F-%2Fdeploy%2Fkey/versions", &root, &value).await.ok(201);
            } else {
                world.post(&versions, &root, &value).await.ok(201);
            }
        }
        let jobs = resources.iter().filter(|one| one["kind"] == "Pipeline").map(jobs_of).collect();
        let worker = world.token("worker:w1").await;
        Self { world, root, worker, jobs, planned }
    }

    /// Causes every event there is. The runs that came of it.
    async fn cause_all(&self) -> BTreeSet<String> {
        let mut runs = BTreeSet::new();
        for pipeline in ["web/ci", "web/other", "docs/ci"] {
            for branch in BRANCHES {
                for sha in [None, Some(SHA)] {
                    let mut body = json!({"pipeline": pipeline, "branch": branch});
                    if let Some(sha) = sha {
                        body["sha"] = json!(sha);
                    }
                    let answer = self.world.post("/api/v1/runs", &self.root, &body).await;
                    if answer.status.as_u16() == 201 {
                        runs.insert(answer.json()["id"].as_str().expect("an id").to_owned());
                    } else {
                        assert_eq!(answer.status.as_u16(), 422, "{}", String::from_utf8_lossy(&answer.bytes));
                    }
                }
            }
        }
        for project in ["web", "docs"] {
            for branch in BRANCHES {
                let event = json!({"project": project, "type": "api", "branch": branch});
                let mut claimed = event.clone();
                claimed["sha"] = json!(SHA);
                for body in [event, claimed] {
                    runs.extend(started(&self.world.post("/api/v1/events", &self.root, &body).await.ok(202)));
                }
            }
        }
        for branch in BRANCHES {
            runs.extend(self.signed(json!({"type": "webhook", "branch": branch})).await);
            let push = json!({"type": "push", "branch": branch, "sha": SHA, "repository": OWN});
            runs.extend(self.signed(push).await);
            for (number, head) in [OWN, FORK].iter().enumerate() {
                let people = [("mallory", true), ("mallory", false), ("ada", true), ("ada", false)];
                for (user, first_time) in people {
                    for file in ["src/a.rs", "docs/a.md"] {
                        let author = json!({"user": user, "first_time": first_time});
                        let base = json!({"repository": OWN, "sha": "b".repeat(40)});
                        let head = json!({"repository": head, "sha": SHA});
                        let pull_request =
                            json!({"number": number + 1, "author": author, "base": base, "head": head});
                        let proposed = json!({"type": "pull_request", "branch": branch,
                            "changed_files": [file], "pull_request": pull_request});
                        runs.extend(self.signed(proposed).await);
                    }
                }
            }
        }
        for tag in TAGS {
            let tag = json!({"type": "tag", "tag": tag, "sha": SHA, "repository": OWN});
            runs.extend(self.signed(tag).await);
        }
        runs
    }

    async fn signed(&self, body: Value) -> Vec<String> {
        let time = crate::conductor::now() / 1000;
        let (time, signature) = (time.to_string(), sign(SIGNATURE, time, &body.to_string()));
        let headers = [("x-reactorcide-timestamp", &*time), ("x-reactorcide-signature", &*signature)];
        let answer = self.world.ask_with(Method::POST, "/api/v1/hooks/web", "", Some(&body), &headers).await;
        started(&answer.ok(202))
    }

    /// Somebody who is neither author nor starter lets everything begin that waits.
    async fn approve_all(&self, runs: &BTreeSet<String>) {
        let admin = self.world.token("user:admin").await;
        for run in runs {
            if self.run(run).await["status"] == "waiting" {
                self.world.post(&format!("/api/v1/runs/{run}/approve"), &admin, &json!({})).await.ok(200);
            }
        }
    }

    async fn run(&self, id: &str) -> Value {
        self.world.get(&format!("/api/v1/runs/{id}"), &self.root).await.ok(200)
    }

    /// Leases whatever can be leased. What each job of each run got: the addresses of the secrets.
    async fn lease_all(&self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let registration = json!({"slots": 100, "provider": "docker", "version": "1"});
        self.world.post("/worker/v1/register", &self.worker, &registration).await.ok(200);
        let mut got = BTreeMap::new();
        loop {
            let claim = json!({"max": 100, "wait_ms": 0});
            let work = self.world.post("/worker/v1/claim", &self.worker, &claim).await.ok(200);
            let leases = work["leases"].as_array().expect("leases");
            if leases.is_empty() {
                return got;
            }
            for lease in leases {
                let id = &lease["id"];
                let asked = json!({ "lease": id });
                let answer = self.world.post("/worker/v1/secrets", &self.worker, &asked).await.ok(200);
                let values = answer["given"]["job"].as_object().cloned().unwrap_or_default();
                let known = SECRETS.map(|(name, project)| address_of(name, project));
                let addresses = values.values().map(|value| {
                    let known = known.iter().find(|address| value == &json!(value_of(address)));
                    known.unwrap_or_else(|| panic!("{value} is nobody's")).clone()
                });
                let text = |field: &str| id[field].as_str().expect("text").to_owned();
                got.insert((text("run"), text("node")), addresses.collect());
                let result = json!({"failure": null, "exit_code": 0, "message": null, "outputs": {},
                    "started": true, "permanent": false});
                let report = json!({"lease": id, "report": {"finished": result}});
                self.world.post("/worker/v1/report", &self.worker, &report).await.ok(204);
            }
        }
    }

    /// The secrets of a job that the plan said it could reach in such a run.
    fn expected(&self, run: &Value, job: &str) -> BTreeSet<String> {
        let trigger = &run["trigger"];
        let pipeline = run["pipeline"].as_str().expect("an address");
        let (own, asked) = &self.jobs[pipeline][job];
        let profile = trigger["ceiling"].as_str().unwrap_or(own);
        let name = if trigger["type"] == "tag" { &trigger["tag"] } else { &trigger["branch"] };
        let name = name.as_str().expect("a name");
        let reached: BTreeSet<String> = self
            .planned
            .iter()
            .filter(|row| {
                row["pipeline"] == pipeline
                    && row["job"] == job
                    && row["event"] == trigger["type"]
                    && row["origin"] == trigger["source_origin"]
                    && row["profile"] == profile
                    && row["branch"].as_str().expect("patterns").split(" ∩ ").all(|one| is_match(one, name))
                    && !row["except"].as_array().into_iter().flatten().any(|list| is_selected(list, name))
            })
            .map(|row| row["secret"].as_str().expect("an address").to_owned())
            .collect();
        // Of what a job needs it gets all or nothing.
        if reached == *asked { reached } else { BTreeSet::new() }
    }
}

fn started(delivered: &Value) -> Vec<String> {
    let runs = delivered["started"].as_array().expect("runs").iter();
    runs.map(|one| one["run"].as_str().expect("a run").to_owned()).collect()
}

fn address_of(name: &str, project: Option<&str>) -> String {
    format!("Secret/{}/{name}", project.unwrap_or("-"))
}

fn value_of(address: &str) -> String {
    format!("the value of {address}")
}

/// The address of a pipeline, and of each of its jobs the profile and the secrets that it names.
fn jobs_of(pipeline: &Value) -> (String, BTreeMap<String, (String, BTreeSet<String>)>) {
    let project = pipeline["metadata"]["project"].as_str().expect("a project");
    let secret = |name: &str| {
        let own = SECRETS.contains(&(name, Some(project)));
        address_of(name, own.then_some(project))
    };
    let jobs = pipeline["spec"]["jobs"].as_object().expect("jobs").iter().map(|(name, job)| {
        let text = job["environment"]["TEXT"].as_str().and_then(|text| text.strip_prefix("x${secret:"));
        let names = [job["secrets"]["KEY"].as_str(), text.and_then(|text| text.strip_suffix(":value}"))];
        let profile = job["profile"].as_str().unwrap_or("trusted").to_owned();
        (name.clone(), (profile, names.into_iter().flatten().map(secret).collect()))
    });
    let name = pipeline["metadata"]["name"].as_str().expect("a name");
    (format!("Pipeline/{project}/{name}"), jobs.collect())
}

/// The few kinds of patterns that are used here, as their description says them.
fn is_match(pattern: &str, name: &str) -> bool {
    match pattern {
        "**" => true,
        "*" => !name.contains('/'),
        "v*" => name.starts_with('v'),
        "release/**" => name.starts_with("release/"),
        "release/*" => name.strip_prefix("release/").is_some_and(|rest| !rest.contains('/')),
        literal => literal == name,
    }
}

/// The last pattern that matches decides; a list of exclusions alone begins with everything.
fn is_selected(list: &Value, name: &str) -> bool {
    let patterns: Vec<&str> =
        list.as_array().expect("patterns").iter().map(|one| one.as_str().expect("text")).collect();
    let begins = patterns.iter().all(|one| one.starts_with('!'));
    let matching = patterns.iter().rfind(|one| is_match(one.trim_start_matches('!'), name));
    matching.map_or(begins, |one| !one.starts_with('!'))
}

#[tokio::test]
async fn what_a_plan_says_can_be_reached_is_what_leases_get() {
    let directory = tempfile::tempdir().expect("a directory");
    let hook = directory.path().join("hook");
    std::fs::write(&hook, SIGNATURE).expect("a file");
    let (mut decisions, mut granted, mut seed) = (0, 0, 0);
    while decisions < 10_000 {
        seed += 1;
        let mut dice = Dice(Rng::with_seed(seed));
        let case = Case::new(&mut dice, &hook.to_string_lossy()).await;
        let runs = case.cause_all().await;
        case.approve_all(&runs).await;
        let got = case.lease_all().await;
        for id in &runs {
            let run = case.run(id).await;
            for job in JOBS {
                let received = got.get(&(id.clone(), job.to_owned())).cloned().unwrap_or_default();
                let expected = case.expected(&run, job);
                assert_eq!(
                    received, expected,
                    "seed {seed}, job {job} of {}, {}\n{:#?}",
                    run["pipeline"], run["trigger"], case.planned
                );
                decisions += case.jobs[run["pipeline"].as_str().expect("an address")][job].1.len();
                granted += received.len();
            }
        }
    }
    // Neither side may be nearly nothing, or equality says little.
    assert!(granted * 20 > decisions && granted * 2 < decisions, "{granted} of {decisions} were granted");
}
