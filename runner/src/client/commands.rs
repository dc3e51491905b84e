//! The commands for job code in any language: `reactorcide-runner trigger deploy --env TARGET=staging`.

use std::ffi::OsString;
use std::io::Read;

use lexopt::Arg::{Long, Value as Word};
use lexopt::{Parser, ValueExt};
use reactorcide_protocol::control::MAX_MESSAGE_BYTES;
use serde_json::{Map, Value, json};

use super::connection::ask;
use super::{Found, Trouble, plain};

/// What `--help` says of them.
pub const HELP: &str = "\
Commands for the steps of a job:
  trigger NAME [--env K=V]... [--depends-on JOB]... [--condition C] [--image I] [--command C]
          [--template T] [--parameter K=V]... [--for-each JSON] [--item-var V] [--operation-id ID]
                   Ask for a job in the same run
  trigger --json -|JSON
                   Ask for what a request says, as in triggers.json
  secret register [VALUE]...
                   Mask values in all output from now on; without a VALUE, the lines of standard input
  output set K=V...         Hand values on to later steps and jobs
  vars [get K | set K=V...] The run's variables
  context          The event, vars, needs and inputs, as JSON
  job-result NAME [--format json]
                   How a job ended or where it is: succeeded, failed, running, ...; exit code 1 if it failed
  job-running NAME Exit code 0 if a job of this name is queued or running, here or in another run, else 1
  next NAME [--reason R] [--depends-on JOB]...
                   Say what would run next
  hello            Which runner and job this is, as JSON
";

type Command = fn(&[OsString]) -> Result<Found, Trouble>;

/// The command of a name.
pub fn named(name: &str) -> Option<Command> {
    Some(match name {
        "trigger" => trigger,
        "secret" => secret,
        "output" => output,
        "vars" => vars,
        "context" => context,
        "job-result" => job_result,
        "job-running" => job_running,
        "next" => next,
        "hello" => hello,
        _ => return None,
    })
}

fn trigger(arguments: &[OsString]) -> Result<Found, Trouble> {
    let mut parser = Parser::from_args(arguments);
    let mut job = Map::new();
    let (mut env, mut parameters, mut depends_on) = (Map::new(), Map::new(), Vec::new());
    let (mut operation, mut whole) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Word(name) if !job.contains_key("job_name") => {
                drop(job.insert("job_name".into(), name.string()?.into()))
            }
            Long("env") => assign(&mut env, &parser.value()?.string()?)?,
            Long("parameter") => assign(&mut parameters, &parser.value()?.string()?)?,
            Long("depends-on") => depends_on.push(Value::from(parser.value()?.string()?)),
            Long(name @ ("condition" | "image" | "command" | "template")) => {
                let name = name.to_owned();
                drop(job.insert(name, parser.value()?.string()?.into()));
            }
            Long("item-var") => drop(job.insert("item_var".into(), parser.value()?.string()?.into())),
            Long("for-each") => {
                drop(job.insert("for_each".into(), json_of(&parser.value()?.string()?, "--for-each")?))
            }
            Long("operation-id") => operation = Some(parser.value()?.string()?),
            Long("json") => whole = Some(parser.value()?.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let mut request = match whole {
        Some(text) if job.is_empty() => {
            let text = if text == "-" { standard_input()? } else { text };
            match json_of(&text, "--json")? {
                Value::Object(request) => request,
                _ => return Err(Trouble::Usage("--json takes one JSON object".to_owned())),
            }
        }
        Some(_) => return Err(Trouble::Usage("--json says everything itself".to_owned())),
        None if !job.contains_key("job_name") => {
            return Err(Trouble::Usage("say which job: trigger NAME".to_owned()));
        }
        None => {
            let lists = [
                ("env", Value::Object(env)),
                ("parameters", Value::Object(parameters)),
                ("depends_on", depends_on.into()),
            ];
            job.extend(lists.map(|(key, value)| (key.to_owned(), value)));
            Map::from_iter([("jobs".to_owned(), json!([job]))])
        }
    };
    if let Some(operation) = operation {
        request.insert("operation_id".to_owned(), operation.into());
    }
    request.insert("action".to_owned(), "trigger".into());
    ask(&Value::Object(request)).map(|_| Found::Done)
}

fn secret(arguments: &[OsString]) -> Result<Found, Trouble> {
    let mut words = words(arguments)?.into_iter();
    if words.next().as_deref() != Some("register") {
        return Err(Trouble::Usage("say secret register".to_owned()));
    }
    let mut values: Vec<String> = words.collect();
    // An argument is in the list of processes; standard input is not.
    if values.is_empty() || values == ["-"] {
        values = standard_input()?.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    }
    ask(&json!({"action": "register", "secrets": values})).map(|_| Found::Done)
}

fn output(arguments: &[OsString]) -> Result<Found, Trouble> {
    let words = words(arguments)?;
    let Some((verb, pairs)) = words.split_first() else { return Err(say_set("output")) };
    if verb != "set" || pairs.is_empty() {
        return Err(say_set("output"));
    }
    let step = std::env::var("REACTORCIDE_STEP").ok();
    ask(&json!({"action": "output", "step": step, "values": assignments(pairs)?})).map(|_| Found::Done)
}

fn vars(arguments: &[OsString]) -> Result<Found, Trouble> {
    let words = words(arguments)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Ok(Found::Text(ask(&json!({"action": "vars"}))?["vars"].to_string())),
        ["get", key] => Ok(match ask(&json!({"action": "vars"}))?["vars"].get(*key) {
            Some(value) => Found::Text(plain(value)),
            None => Found::No(None),
        }),
        ["set", pairs @ ..] if !pairs.is_empty() => {
            ask(&json!({"action": "set_vars", "values": assignments(pairs)?})).map(|_| Found::Done)
        }
        _ => Err(Trouble::Usage("say vars, vars get KEY or vars set KEY=VALUE...".to_owned())),
    }
}

fn context(arguments: &[OsString]) -> Result<Found, Trouble> {
    show(arguments, "context")
}

fn hello(arguments: &[OsString]) -> Result<Found, Trouble> {
    show(arguments, "hello")
}

fn show(arguments: &[OsString], action: &str) -> Result<Found, Trouble> {
    if !arguments.is_empty() {
        return Err(Trouble::Usage("it takes no arguments".to_owned()));
    }
    let mut answer = ask(&json!({"action": action}))?;
    answer.as_object_mut().map(|answer| answer.remove("ok"));
    Ok(Found::Text(answer.to_string()))
}

fn job_result(arguments: &[OsString]) -> Result<Found, Trouble> {
    let (name, as_json) = name_and_format(arguments)?;
    let mut answer = ask(&json!({"action": "job", "name": name}))?;
    let failed = matches!(answer["state"].as_str(), Some("failed" | "cancelled"));
    let text = if as_json {
        answer.as_object_mut().map(|answer| answer.remove("ok"));
        answer.to_string()
    } else if answer["found"] == true {
        plain(&answer["state"])
    } else {
        format!("there is no job {name:?} in this run")
    };
    Ok(if failed || answer["found"] != true { Found::No(Some(text)) } else { Found::Text(text) })
}

fn job_running(arguments: &[OsString]) -> Result<Found, Trouble> {
    let (name, as_json) = name_and_format(arguments)?;
    let answer = ask(&json!({"action": "job", "name": name}))?;
    let running = answer["running"] == true;
    let text = as_json.then(|| json!({"running": running, "elsewhere": answer["elsewhere"]}).to_string());
    Ok(match (running, text) {
        (true, Some(text)) => Found::Text(text),
        (true, None) => Found::Done,
        (false, text) => Found::No(text),
    })
}

fn next(arguments: &[OsString]) -> Result<Found, Trouble> {
    let mut parser = Parser::from_args(arguments);
    let (mut job, mut reason, mut depends_on) = (None, None, Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Word(name) if job.is_none() => job = Some(name.string()?),
            Long("reason") => reason = Some(parser.value()?.string()?),
            Long("depends-on") => depends_on.push(parser.value()?.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let job = job.ok_or_else(|| Trouble::Usage("say which job: next NAME".to_owned()))?;
    ask(&json!({"action": "next", "job": job, "reason": reason, "depends_on": depends_on}))
        .map(|_| Found::Done)
}

fn name_and_format(arguments: &[OsString]) -> Result<(String, bool), Trouble> {
    let mut parser = Parser::from_args(arguments);
    let (mut name, mut as_json) = (None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Word(word) if name.is_none() => name = Some(word.string()?),
            Long("format") => as_json = parser.value()?.parse_with(format_of)?,
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok((name.ok_or_else(|| Trouble::Usage("say the name of a job".to_owned()))?, as_json))
}

/// Whether a format is JSON.
pub fn format_of(name: &str) -> Result<bool, String> {
    match name {
        "json" => Ok(true),
        "text" | "human" => Ok(false),
        _ => Err("a format is text or json".to_owned()),
    }
}

fn words(arguments: &[OsString]) -> Result<Vec<String>, Trouble> {
    let word = |argument: &OsString| argument.clone().string().map_err(Trouble::from);
    arguments.iter().map(word).collect()
}

fn assignments(pairs: &[impl AsRef<str>]) -> Result<Map<String, Value>, Trouble> {
    let mut all = Map::new();
    for pair in pairs {
        assign(&mut all, pair.as_ref())?;
    }
    Ok(all)
}

/// The text is not repeated in an error: it may be a secret that was put there by mistake.
fn assign(all: &mut Map<String, Value>, pair: &str) -> Result<(), Trouble> {
    let (key, value) = pair.split_once('=').ok_or_else(|| Trouble::Usage("write KEY=VALUE".to_owned()))?;
    all.insert(key.to_owned(), value.into());
    Ok(())
}

fn say_set(command: &str) -> Trouble {
    Trouble::Usage(format!("say {command} set KEY=VALUE..."))
}

fn json_of(text: &str, what: &str) -> Result<Value, Trouble> {
    serde_json::from_str(text).map_err(|error| {
        Trouble::Usage(format!("{what} is not JSON: line {}, column {}", error.line(), error.column()))
    })
}

fn standard_input() -> Result<String, Trouble> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_MESSAGE_BYTES as u64 + 1).read_to_string(&mut text);
    match read {
        Ok(_) if text.len() <= MAX_MESSAGE_BYTES => Ok(text),
        Ok(_) => Err(Trouble::Usage(format!("standard input has more than {MAX_MESSAGE_BYTES} bytes"))),
        Err(error) => Err(Trouble::Usage(format!("standard input cannot be read: {error}"))),
    }
}
