//! A fork's run leaves a cache and a file where the trusted pipeline looks for them, and asks for the job that deploys; a branch
//! has the name of a command. All of it goes through a forge, a server and a worker.

use crate::docker::{Place, eventually};
use crate::server::harness::{BUSYBOX, Serving, Site};
use crate::server::pull_requests::{Forge, WEB_HOOK, set};

const TOKEN: &str = "t0ken-0f-the-deployment-91c7";

/// Shows which cache came, and leaves its own word in the cache and in the file that others take.
fn script(word: &str) -> String {
    format!(
        "echo \"cache: $(cat deps/lib 2>/dev/null || echo none)\"\nmkdir -p deps\necho '{word}' > deps/lib\necho '{word}' > out\n"
    )
}

/// Everybody's code goes through `build`, which keeps a cache of one key and a file; `deploy` takes the file.
fn configuration(port: &str) -> String {
    let head = |kind: &str, metadata: &str| {
        format!("---\napiVersion: reactorcide/v1\nkind: {kind}\nmetadata: {{{metadata}}}\nspec:\n")
    };
    [
        head("Project", "name: web"),
        format!(
            "  source: {{git: 'http://127.0.0.1:{port}/team/web.git', default_branch: main}}\n  webhook: {{secret: web-hook}}\n"
        ),
        head("Secret", "name: web-hook"),
        "  source: vault\n".to_owned(),
        head("Secret", "name: deploy/production"),
        "  source: vault\n".to_owned(),
        head("SecretPolicy", "name: deploy"),
        "  allow:\n    - secrets: ['deploy/*']\n      to: {project: web, pipeline: ci, jobs: [deploy]}\n      when: {events: [push], branches: [main]}\n".to_owned(),
        head("TrustPolicy", "name: outsiders"),
        "  projects: ['*']\n  rules: [{origins: [fork, head], action: run, profile: untrusted}]\n".to_owned(),
        head("Pipeline", "name: ci, project: web"),
        "  triggers: [{event: manual}, {event: push}, {event: pull_request, branches: [main]}]\n".to_owned(),
        "  concurrency: {group: 'ci ${event:branch}'}\n  jobs:\n".to_owned(),
        format!("    build:\n      image: '{BUSYBOX}'\n      command: sh test.sh\n      triggers_allowed: {{count: 4}}\n"),
        "      cache: {key: deps-1, paths: [deps], restore_keys: [deps-, '']}\n      artifacts: {paths: [out]}\n".to_owned(),
        format!("    deploy:\n      image: '{BUSYBOX}'\n      depends_on: [build]\n      secrets: {{TOKEN: deploy/production}}\n"),
        "      command: 'echo \"deploying $(cat /job/artifacts/build/out) with <${TOKEN-nothing}>\"'\n".to_owned(),
    ]
    .concat()
}

struct Scene {
    site: Site,
    server: Serving,
    forge: Forge,
    _worker: crate::server::harness::Process,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn set() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let forge = Forge::start(&directory.path().join("forge"));
        forge.commits("team/web.git", "main", &[("test.sh", &script("trusted"))]);
        forge.commits("mallory/web.git", "main", &[("test.sh", &script("poison"))]);
        let project = "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {name: web}\nspec: {}\n";
        let mut site = Site::with_files(&[(".reactorcide/all.yaml", project)], Place::Sqlite);
        site.project.write(".reactorcide/all.yaml", &configuration(&forge.port));
        let applied = site.project.execute(&["apply", "--auto-approve", "--accept-findings"]);
        assert_eq!(applied.code, Some(0), "{applied:?}");
        let server = site.server(&[]);
        let worker = site.worker(&server, &[]);
        set(&site, &server, "web-hook", WEB_HOOK);
        set(&site, &server, "deploy/production", TOKEN);
        Self { site, server, forge, _worker: worker, _directory: directory }
    }

    /// Waits for the end of a run: the logs of both jobs.
    fn logs(&self, run: &str, status: &str) -> (String, String) {
        let Self { site, server, .. } = self;
        let goes_on = |status: &str| matches!(status, "running" | "waiting");
        eventually("it has ended", || !site.run(server, run)["status"].as_str().is_some_and(goes_on));
        let why = site.say(server, &["runs", "why", run]);
        assert_eq!(site.run(server, run)["status"], status, "{why}");
        let log = |job: &str| site.say(server, &["jobs", "logs", run, job]);
        (log("build"), log("deploy"))
    }

    fn pushed(&self) -> (String, String) {
        self.logs(&self.forge.tells(&self.server, "push", &[]), "succeeded")
    }

    fn proposed(&self, number: &str) -> (String, String) {
        self.logs(&self.forge.tells(&self.server, "pull-request", &[number]), "succeeded")
    }
}

#[test]
fn what_a_fork_keeps_is_never_taken_by_the_trusted_pipeline() {
    let scene = Scene::set();
    // The fork is first, under exactly the key and the path that the trusted pipeline has.
    let (build, deploy) = scene.proposed("12");
    assert!(build.contains("cache: none"), "{build}");
    assert!(deploy.contains("deploying poison with <nothing>"), "{deploy}");
    let (build, deploy) = scene.pushed();
    assert!(build.contains("cache: none") && !build.contains("poison"), "{build}");
    assert!(deploy.contains("deploying trusted with <***>"), "{deploy}");
    let (build, deploy) = scene.pushed();
    assert!(build.contains("cache: trusted"), "{build}");
    assert!(deploy.contains("deploying trusted with <***>"), "{deploy}");
    // A proposal has what it has kept itself.
    assert!(scene.proposed("12").0.contains("cache: poison"));

    // Others have what trusted jobs have kept, and nothing of the first one's. They ask for the job that deploys, with a
    // command of their own, and for one that is given the secret.
    let (site, server) = (&scene.site, &scene.server);
    for (number, job, refused) in [
        ("13", r#""deploy", "command": "echo mine <$TOKEN>""#, "the pipeline declares another job called"),
        (
            "14",
            r#""more", "command": "echo mine <$X>", "env": {"X": "${secret:deploy/production}"}"#,
            "would have secrets, which a triggered job cannot have",
        ),
    ] {
        let request = format!("{{\"type\": \"trigger_job\", \"jobs\": [{{\"job_name\": {job}}}]}}");
        let text = format!("{}printf '%s' '{request}' > /job/triggers.json\n", script("poison"));
        scene.forge.commits("mallory/web.git", "main", &[("test.sh", &text)]);
        let run = scene.forge.tells(server, "pull-request", &[number]);
        let (build, deploy) = scene.logs(&run, "failed");
        assert!(build.contains("cache: trusted") && !deploy.contains("mine"), "{build} {deploy}");
        let why = site.say(server, &["runs", "why", &run]);
        assert!(why.contains(refused), "{why}");
        assert_eq!(site.run(server, &run)["jobs"].as_array().map(Vec::len), Some(2), "no other job joined");
    }
    let audit = site.say(server, &["audit", "list", "--action", "secrets.deliver", "--limit", "100"]);
    assert_eq!(audit.lines().filter(|line| line.contains("  done  ")).count(), 2, "the two pushes: {audit}");
}

/// Sends what stands on standard input as a signed event: the status, and what was answered.
const SEND: &str = r"
import hashlib, hmac, os, sys, time, urllib.error, urllib.request
body, now = sys.stdin.buffer.read(), str(int(time.time()))
signed = hmac.new(os.environ['WEB_HOOK'].encode(), now.encode() + b'.' + body, hashlib.sha256).hexdigest()
headers = {'Content-Type': 'application/json', 'X-Reactorcide-Timestamp': now, 'X-Reactorcide-Signature': 'sha256=' + signed}
try:
    answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, headers))
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
";

fn send(server: &Serving, event: &serde_json::Value) -> (String, String) {
    use std::io::Write;
    let mut python = std::process::Command::new("python3");
    python.args(["-c", SEND, &format!("{}/api/v1/hooks/web", server.url)]).env("WEB_HOOK", WEB_HOOK);
    python.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = python.spawn().expect("python3: ./dev setup");
    child.stdin.take().expect("it is piped").write_all(event.to_string().as_bytes()).expect("it is sent");
    let said = crate::docker::wait(child);
    let (status, answer) = said.stdout.split_once(' ').expect("a status");
    (status.to_owned(), answer.to_owned())
}

#[test]
fn a_branch_that_is_a_command_or_an_escape_is_fetched_run_and_shown_as_a_name() {
    let scene = Scene::set();
    let Scene { site, server, forge, .. } = &scene;
    let branch = "$(touch${IFS}pwned;curl${IFS}evil)`id`|&";
    forge.commits("team/web.git", branch, &[("test.sh", &script("of the branch"))]);
    let event = |branch: &str| {
        serde_json::json!({
            "type": "push", "branch": branch, "sha": forge.tip("team/web.git", branch),
            "repository": format!("http://127.0.0.1:{}/team/web.git", forge.port),
        })
    };
    let (status, answer) = send(server, &event(branch));
    assert_eq!(status, "202", "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let pushed = answer["started"][0]["run"].as_str().expect("a run").to_owned();
    // By its commit. The secret is for main, so that the deployment fails.
    let (build, _) = scene.logs(&pushed, "failed");
    assert!(build.contains("cache: none"), "{build}");
    // By its name alone, which no program is told: it is refused before that.
    let started = site.say(server, &["runs", "start", "web/ci", "--branch", branch]).trim().to_owned();
    eventually("it has ended", || site.run(server, &started)["status"] != "running");
    let why = site.say(server, &["runs", "why", &started]);
    assert!(site.run(server, &started)["status"] == "failed" && why.contains(branch), "{why}");
    assert!(!site.ask(server, &["jobs", "logs", &started, "build"]).stdout.contains("cache: "));
    assert!(site.say(server, &["caches", "list"]).contains("deps-1"));
    for name in ["red\u{1b}[31m\u{1b}]0;title\u{7}", "two\nlines\r::stop", "nul\0"] {
        let mut escaping = event("main");
        escaping["branch"] = name.into();
        let (status, answer) = send(server, &escaping);
        let mut shown = answer.clone();
        if status == "202" {
            let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            for started in answer["started"].as_array().expect("runs") {
                let run = started["run"].as_str().expect("an id");
                for asked in [&["runs", "show", run][..], &["runs", "list"], &["runs", "why", run]] {
                    let said = site.ask(server, asked);
                    shown += &(said.stdout + &said.stderr);
                }
            }
        } else {
            assert!(matches!(status.as_str(), "400" | "422"), "{name:?}: {status} {answer}");
        }
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\r', '\0']), "{shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with("lines")), "{shown:?}");
    }
    let found = super::said("find", &[&site.project.path().display().to_string(), "-name", "pwned*"]);
    assert_eq!(found, "", "it was run");
}
