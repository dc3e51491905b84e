//! The event that a local run pretends, and the values that go with it.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Args, ValueEnum};
use reactorcide_engine::config::{EventType, ParameterType};
use reactorcide_engine::trigger_match::RunEvent;
use reactorcide_engine::workflow::{self, Workflow};
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// Options that describe an event.
#[derive(Debug, Args)]
pub struct EventArgs {
    /// Pretend this event; the pipeline's triggers decide whether it starts
    #[arg(long, value_enum, default_value_t = EventName::Manual, value_name = "TYPE")]
    event: EventName,
    /// The event's branch; for a pull request the one to merge into [default: the checked-out branch]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The event's tag
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// The event's commit
    #[arg(long, value_name = "SHA")]
    sha: Option<String>,
    /// A file that the event changed (may be given several times)
    #[arg(long = "changed-file", value_name = "PATH")]
    changed_files: Vec<String>,
}

/// The types of events by their words.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum EventName {
    Push,
    PullRequest,
    Tag,
    Schedule,
    Manual,
    Api,
    Webhook,
}

impl From<EventName> for EventType {
    fn from(name: EventName) -> Self {
        match name {
            EventName::Push => Self::Push,
            EventName::PullRequest => Self::PullRequest,
            EventName::Tag => Self::Tag,
            EventName::Schedule => Self::Schedule,
            EventName::Manual => Self::Manual,
            EventName::Api => Self::Api,
            EventName::Webhook => Self::Webhook,
        }
    }
}

impl EventArgs {
    /// What the event names of a repository, where no commit is given: the tag, else the branch. The branch of a pull
    /// request is the one to merge into, which is not the code under test.
    pub fn reference(&self) -> Option<String> {
        match (&self.sha, &self.tag, &self.branch) {
            (Some(_), ..) => None,
            (None, Some(tag), _) => Some(format!("refs/tags/{tag}")),
            (None, None, Some(branch)) if !matches!(self.event, EventName::PullRequest) => {
                Some(format!("refs/heads/{branch}"))
            }
            _ => None,
        }
    }

    /// The event.
    pub fn event(&self, source: &Path) -> RunEvent {
        let kind = EventType::from(self.event);
        let branch = self.branch.clone().or_else(|| checked_out(source)).unwrap_or_default();
        RunEvent {
            branch,
            tag: self.tag.clone().unwrap_or_default(),
            sha: self.sha.clone().unwrap_or_default(),
            action: if kind == EventType::PullRequest { "synchronize".to_owned() } else { String::new() },
            changed_files: self.changed_files.clone(),
            origin: "base".to_owned(),
            ..RunEvent::of(kind)
        }
    }
}

/// The branch of a git working tree, read without running git.
fn checked_out(source: &Path) -> Option<String> {
    let source = source.canonicalize().ok()?;
    let head =
        source.ancestors().find_map(|directory| std::fs::read_to_string(directory.join(".git/HEAD")).ok())?;
    head.trim().strip_prefix("ref: refs/heads/").map(str::to_owned)
}

/// `NAME=VALUE` pairs. A value that is JSON is what it says; anything else is text, and so is a number that would be
/// written in another way: `1.10` is a version.
pub fn assignments(pairs: &[String], option: &str) -> Result<BTreeMap<String, Value>, Failure> {
    pairs
        .iter()
        .map(|pair| {
            let (name, value) = split(pair, option)?;
            let parsed = serde_json::from_str::<Value>(value).ok();
            let parsed = parsed.filter(|parsed| {
                !parsed.is_number() || serde_json::to_string(parsed).is_ok_and(|text| text == value)
            });
            Ok((name.to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned()))))
        })
        .collect()
}

/// Splits `NAME=VALUE`.
pub fn split<'a>(pair: &'a str, option: &str) -> Result<(&'a str, &'a str), Failure> {
    pair.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        Failure::new(format!("{option} {pair:?} has no name and value"))
            .hint(format!("write {option} NAME=VALUE"))
            .exit(Exit::Usage)
    })
}

/// The pipeline's inputs: what is given, else their defaults.
pub fn inputs(workflow: &Workflow, pairs: &[String]) -> Result<BTreeMap<String, Value>, Failure> {
    let mut given: BTreeMap<String, Value> = BTreeMap::new();
    for pair in pairs {
        let (name, text) = split(pair, "--input")?;
        let Some(input) = workflow.inputs.get(name) else {
            let names: Vec<&str> = workflow.inputs.keys().map(String::as_str).collect();
            let failure =
                Failure::new(format!("{} has no input {name:?}", workflow.address)).exit(Exit::Usage);
            return Err(if names.is_empty() {
                failure
            } else {
                failure.hint(format!("its inputs are {}", names.join(", ")))
            });
        };
        let value = match input.value_type {
            ParameterType::String => Value::String(text.to_owned()),
            _ => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        given.insert(name.to_owned(), value);
    }
    let mut values = BTreeMap::new();
    for (name, input) in &workflow.inputs {
        let value = given.remove(name).or_else(|| input.default.clone());
        let value = value.ok_or_else(|| {
            Failure::new(format!("the input {name:?} is not set"))
                .hint(format!("set it with --input {name}=VALUE"))
        })?;
        workflow::check_value(input, &value)
            .map_err(|message| Failure::new(format!("the input {name:?} {message}")))?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_what_it_says_and_nothing_is_lost() {
        let pairs = ["a=1.10", "b=1.5", "c=007", "d=true", "e=[1]", "f=text", "g=", "h=1e3", "i=12"];
        let pairs: Vec<String> = pairs.map(str::to_owned).to_vec();
        let expected = json!({
            "a": "1.10", "b": 1.5, "c": "007", "d": true, "e": [1], "f": "text", "g": "", "h": "1e3", "i": 12,
        });
        assert_eq!(json!(assignments(&pairs, "--var").expect("pairs")), expected);
    }
}
