//! Objects behind another system's API: made, changed behind our back, healed, adopted, and what a kill in the middle
//! leaves. The other system is `tests/elsewhere/target.py`, in a process of its own.

mod killed;
mod session;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// What the other system wants to hear.
pub const TOKEN: &str = "canary-5f1d7c2e9b";

/// The other system.
pub struct Target {
    child: Child,
    port: u16,
}

impl Target {
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/elsewhere/target.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there: ./dev setup");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its port");
        Self { child, port: line.trim().parse().expect("a port") }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--request", method, "--data", &body.to_string()])
            .arg(format!("{}{path}", self.url()))
            .output()
            .expect("curl is there: ./dev setup");
        assert!(output.status.success(), "{method} {path}: {output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What was done since this was last asked, and the objects that there are, by path.
    pub fn log(&self) -> (Vec<String>, Value) {
        let mut answer = self.request("GET", "/_log", &Value::Null);
        let log = serde_json::from_value(answer["log"].take()).expect("texts");
        (log, answer["objects"].take())
    }

    /// The only object there is.
    pub fn only(&self) -> (String, Value) {
        let (_, objects) = self.log();
        let objects = objects.as_object().expect("objects");
        assert_eq!(objects.len(), 1, "{objects:?}");
        objects.iter().next().map(|(path, body)| (path.clone(), body.clone())).expect("one")
    }

    /// Makes or changes an object behind our back; deletes it where nothing is given.
    pub fn tamper(&self, path: &str, body: Option<Value>) {
        let method = if body.is_some() { "PUT" } else { "DELETE" };
        self.request(method, &format!("/_behind{path}"), &body.unwrap_or_default());
    }

    /// Makes a request to come misbehave; none where nothing is given.
    pub fn rule(&self, rule: Value) {
        self.request("PUT", "/_rule", &rule);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Documents: the secret, and these targets by name with their body and further lines.
pub fn targets(url: &str, targets: &[(&str, Value, &str)]) -> String {
    let mut text = "apiVersion: reactorcide/v1\nkind: Secret\nmetadata: {name: hooks/token}\n\
                    spec: {source: env, location: HOOKS_TOKEN}\n"
        .to_owned();
    for (name, body, more) in targets {
        let spec = format!("spec: {{url: {url}, token: hooks/token, body: {body}{more}}}");
        let accept = "accept: [{finding: RX107, reason: it is ours, until: '2099-01-01'}]";
        let _ = write!(
            text,
            "---\napiVersion: reactorcide/v1\nkind: WebhookTarget\nmetadata: {{name: {name}, {accept}}}\n{spec}\n"
        );
    }
    text
}

/// A body with one field.
pub fn value(number: u32) -> Value {
    json!({"value": number})
}
