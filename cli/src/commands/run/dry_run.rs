//! `run --dry-run`: what would run, in order, without running it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use reactorcide_engine::config::{CommandLine, ForEach, Job};
use reactorcide_engine::placeholder::find;
use reactorcide_engine::protocol::condition::Expression;
use reactorcide_engine::workflow::{Declaration, expand_items, expand_matrix};
use serde_json::{Value, json};

use super::local::Plan;
use crate::exit::{Exit, Failure};
use crate::output::safe;

/// Prints the jobs, those first that wait for nothing.
pub fn show(plan: &Plan, as_json: bool) -> Result<Exit, Failure> {
    let entries: Vec<Value> =
        order(plan).into_iter().map(|(name, declaration)| entry(plan, name, declaration)).collect();
    let mut out = crate::stdout::stdout();
    let written = if as_json {
        writeln!(
            out,
            "{:#}",
            json!({"format_version": 1, "pipeline": plan.workflow.address, "jobs": entries})
        )
    } else {
        entries
            .iter()
            .try_for_each(|entry| print(&mut out, entry))
            .and_then(|()| writeln!(out, "\n{} jobs; nothing was run.", entries.len()))
    };
    written.map_err(|error| Failure::new(format!("cannot print: {error}")))?;
    Ok(Exit::Success)
}

/// The jobs, dependencies first, by name where nothing orders.
fn order(plan: &Plan) -> Vec<(&String, &Declaration)> {
    let mut left: BTreeMap<&String, &Declaration> = plan.selected().collect();
    let mut done: BTreeSet<&String> = BTreeSet::new();
    let mut order = Vec::new();
    while !left.is_empty() {
        let names: BTreeSet<&String> = left.keys().copied().collect();
        let is_ready =
            |declaration: &Declaration| declaration.job.depends_on.iter().all(|name| !names.contains(name));
        let ready: Vec<&String> =
            left.iter().filter(|(_, declaration)| is_ready(declaration)).map(|(name, _)| *name).collect();
        if ready.is_empty() {
            break;
        }
        for name in ready {
            done.insert(name);
            order.extend(left.remove(name).map(|declaration| (name, declaration)));
        }
    }
    order
}

fn entry(plan: &Plan, name: &str, declaration: &Declaration) -> Value {
    let job = &declaration.job;
    json!({
        "name": name,
        "parts": parts(job, name),
        "image": job.image,
        "depends_on": job.depends_on,
        "when": job.when,
        "runs": runs(plan, job),
        "profile": declaration.profile.name,
        "timeout": job.timeout,
        "environment": environment(job),
        "secrets": job.secrets.keys().collect::<Vec<_>>(),
        "steps": steps(job),
    })
}

/// The names that an expanded job would have; nothing where that is only known when it is ready.
fn parts(job: &Job, name: &str) -> Value {
    let count = match (&job.matrix, &job.for_each) {
        (Some(matrix), _) => expand_matrix(matrix).map(|parts| parts.len()),
        (None, Some(ForEach::Items(items))) => expand_items(items, None).map(|parts| parts.len()),
        (None, Some(ForEach::Expression(_))) => return json!("decided when it is ready"),
        (None, None) => return Value::Null,
    };
    count.map_or_else(|message| json!(message), |count| (0..count).map(|n| format!("{name}[{n}]")).collect())
}

/// Whether its condition holds, as far as it can be told before anything ran.
fn runs(plan: &Plan, job: &Job) -> &'static str {
    let Some(when) = &job.when else { return "yes" };
    let context = json!({"event": plan.event, "vars": plan.vars(), "inputs": plan.inputs, "env": job.environment, "needs": {}});
    match Expression::parse(when).and_then(|expression| expression.evaluate(&context)) {
        Ok(true) => "yes",
        Ok(false) => "no: when is false",
        Err(_) => "decided when it is ready",
    }
}

fn environment(job: &Job) -> BTreeMap<&String, String> {
    let shown = |value: &String| {
        let has_secret = find(value).iter().any(|placeholder| placeholder.namespace == "secret");
        if has_secret { "(sensitive)".to_owned() } else { value.clone() }
    };
    job.environment.iter().map(|(name, value)| (name, shown(value))).collect()
}

fn steps(job: &Job) -> Vec<Value> {
    match &job.command {
        Some(command) => vec![json!({"run": command_text(command)})],
        None => {
            job.steps.iter().map(|step| json!({"name": step.name, "run": command_text(&step.run)})).collect()
        }
    }
}

fn command_text(command: &CommandLine) -> String {
    match command {
        CommandLine::Script(text) => text.trim_end().to_owned(),
        CommandLine::Exec(words) => format!("{words:?}"),
    }
}

fn print(out: &mut impl Write, entry: &Value) -> std::io::Result<()> {
    let text = |key: &str| safe(entry[key].as_str().unwrap_or_default());
    writeln!(out, "\n{}", text("name"))?;
    let list = |key: &str| {
        let items = entry[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        items.map(safe).collect::<Vec<_>>().join(", ")
    };
    let mut line = |name: &str, value: String| {
        if value.is_empty() { Ok(()) } else { writeln!(out, "  {name:<12} {value}") }
    };
    line("image", text("image"))?;
    line("waits for", list("depends_on"))?;
    line("when", text("when"))?;
    line("runs", text("runs"))?;
    line("parts", if entry["parts"].is_string() { text("parts") } else { list("parts") })?;
    line("profile", text("profile"))?;
    line("timeout", text("timeout"))?;
    line("secrets", list("secrets"))?;
    for (name, value) in entry["environment"].as_object().into_iter().flatten() {
        line("environment", format!("{name}={}", safe(value.as_str().unwrap_or_default())))?;
    }
    for step in entry["steps"].as_array().into_iter().flatten() {
        let name = step["name"].as_str().map_or("command".to_owned(), |name| format!("step {}", safe(name)));
        let mut run = step["run"].as_str().unwrap_or_default().lines();
        writeln!(out, "  {name:<12} {}", safe(run.next().unwrap_or_default()))?;
        for more in run {
            writeln!(out, "  {:<12} {}", "", safe(more))?;
        }
    }
    Ok(())
}
