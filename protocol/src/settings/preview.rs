//! What a job would do, for people to read before it does it. What is secret is hidden.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Settings, SourceKind, without_password};
use crate::mask::names;

/// The whole preview as JSON.
pub fn preview(settings: &Settings) -> Value {
    let job = settings.job_dir();
    let mut directories = vec![json!({"path": job, "holds": "the workspace"})];
    for (prefix, place, what) in
        [("source", "src", "the code under test"), ("ci_source", "ci", "trusted job code, read-only")]
    {
        if let Ok(Some(source)) = settings.source(prefix)
            && source.kind != SourceKind::None
        {
            let kind = settings.text(&format!("{prefix}_type")).unwrap_or("git");
            let reference = source.reference.as_deref().map(|text| format!(" at {text}")).unwrap_or_default();
            let from = format!("{kind} {}{reference}", without_password(&source.url));
            directories.push(json!({"path": format!("{job}/{place}"), "holds": what, "from": from}));
        }
    }
    directories.push(json!({"path": artifacts(settings), "holds": "artifacts"}));
    json!({
        "format_version": 1,
        "config": settings.shown(),
        "environment": environment(settings),
        "directories": directories,
        "commands": commands(settings),
        "problems": settings.problems(),
    })
}

/// The preview as text.
pub fn text(preview: &Value) -> String {
    let mut out = String::from("Configuration\n");
    let list = |key: &str| preview[key].as_array().cloned().unwrap_or_default();
    for (key, setting) in preview["config"].as_object().into_iter().flatten() {
        if !key.starts_with("job_env.") {
            let origin = origin(&setting["origin"]);
            let _ = writeln!(out, "  {key:<18} {:<40} ({origin})", plain(&setting["value"]));
        }
    }
    out.push_str("\nEnvironment\n");
    for entry in list("environment") {
        let _ = writeln!(
            out,
            "  {}={}  ({})",
            plain(&entry["name"]),
            plain(&entry["value"]),
            origin(&entry["origin"])
        );
    }
    if list("environment").is_empty() {
        out.push_str("  nothing beside the image's own\n");
    }
    out.push_str("\nDirectories\n");
    for entry in list("directories") {
        let from = entry["from"].as_str().map(|from| format!(": {from}")).unwrap_or_default();
        let _ = writeln!(out, "  {:<18} {}{from}", plain(&entry["path"]), plain(&entry["holds"]));
    }
    out.push_str("\nCommands\n");
    for entry in list("commands") {
        let name = entry["step"].as_str().map(|step| format!("step {step}: ")).unwrap_or_default();
        let _ = writeln!(out, "  {name}in {}", plain(&entry["in"]));
        for line in plain(&entry["run"]).lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
    for problem in list("problems") {
        let _ = writeln!(out, "\nerror: {}: {}", plain(&problem["setting"]), plain(&problem["message"]));
    }
    // Nothing here may steer a terminal.
    out.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

/// An origin as it was serialised, in words.
fn origin(value: &Value) -> String {
    serde_json::from_value::<super::Origin>(value.clone())
        .map_or_else(|_| value.to_string(), |origin| origin.to_string())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn artifacts(settings: &Settings) -> String {
    let job = settings.job_dir();
    let own = settings.text("artifacts_dir").and_then(|path| super::inside(job, path).ok());
    own.unwrap_or_else(|| format!("{}/artifacts", job.trim_end_matches('/')))
}

fn environment(settings: &Settings) -> Vec<Value> {
    let shown = |name: &str, value: &Value| match value.as_str() {
        Some(text) if names::says_secret(name) && names::is_worth_masking(text) => Value::from("***"),
        _ => value.clone(),
    };
    let given = settings.environment().iter().map(|(name, setting)| {
        json!({"name": name, "value": shown(name, &setting.value), "origin": setting.origin})
    });
    let secrets = settings.get("secrets").and_then(|setting| {
        let names = setting
            .value
            .as_array()?
            .iter()
            .map(|secret| json!({"name": secret["name"], "value": "***", "origin": setting.origin}));
        Some(names.collect::<Vec<_>>())
    });
    given.chain(secrets.unwrap_or_default()).collect()
}

fn commands(settings: &Settings) -> Vec<Value> {
    let directory = settings.code_dir();
    if let Some(Value::Array(steps)) = settings.get("steps").map(|setting| &setting.value)
        && settings.get("job_command").is_none()
    {
        return steps
            .iter()
            .map(|step| {
                let own = step["working_dir"].as_str().map(|path| format!("{directory}/{path}"));
                json!({"step": step["name"], "in": own.unwrap_or_else(|| directory.clone()), "run": exact(&step["run"])})
            })
            .collect();
    }
    let command = settings.get("job_command").map(|setting| exact(&setting.value));
    command.map(|run| vec![json!({"in": directory, "run": run})]).unwrap_or_default()
}

/// The command as it is started.
fn exact(command: &Value) -> String {
    match command {
        Value::Array(words) => words.iter().map(|word| quoted(&plain(word))).collect::<Vec<_>>().join(" "),
        other => format!("sh -e -c {}", quoted(&plain(other))),
    }
}

/// A word as a shell would take it.
pub fn quoted(word: &str) -> String {
    let is_plain =
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
