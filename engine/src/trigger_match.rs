//! Which events start a pipeline, and why the others do not.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{EventType, PipelineSpec, PullRequestAction, Trigger};
use crate::glob::selects;

/// An event, as conditions see it (`event.type`, `event.branch`, …). What an event does not have is empty, never
/// absent, so that a condition can look at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The branch; for a pull request the one that it would be merged into.
    #[serde(default)]
    pub branch: String,
    /// The tag.
    #[serde(default)]
    pub tag: String,
    /// The commit.
    #[serde(default)]
    pub sha: String,
    /// What was done to a pull request.
    #[serde(default)]
    pub action: String,
    /// The files that it changed, where that is known.
    #[serde(default)]
    pub changed_files: Vec<String>,
    /// The number of the pull request; 0 where it is none.
    #[serde(default)]
    pub number: u64,
    /// Whose it is, by their name at the forge: of a pull request who opened it, else who did it.
    #[serde(default)]
    pub author: String,
    /// Who brought its commits, where that is told.
    #[serde(default)]
    pub pushed_by: String,
    /// Where the code comes from: `base`, `head`, `fork` or `unverified`, as the server found out by itself.
    #[serde(default)]
    pub origin: String,
    /// The name of the Schedule that fired.
    #[serde(default)]
    pub schedule: String,
    /// The time that the Schedule was due at, such as `2026-11-20T03:00:00Z`.
    #[serde(default)]
    pub due: String,
}

impl RunEvent {
    /// An event of a type, about nothing.
    pub fn of(kind: EventType) -> Self {
        Self {
            kind,
            branch: String::new(),
            tag: String::new(),
            sha: String::new(),
            action: String::new(),
            changed_files: Vec::new(),
            number: 0,
            author: String::new(),
            pushed_by: String::new(),
            origin: String::new(),
            schedule: String::new(),
            due: String::new(),
        }
    }

    /// As conditions see it.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("an event is JSON")
    }
}

/// Whether an event starts a pipeline; if not, why each of its triggers does not match.
pub fn starts(pipeline: &PipelineSpec, event: &RunEvent) -> Result<(), Vec<String>> {
    // Somebody who starts it by hand needs no trigger's permission.
    // A Schedule names the pipeline that it starts.
    if event.kind == EventType::Manual || !event.schedule.is_empty() {
        return Ok(());
    }
    let mut reasons = Vec::new();
    for trigger in &pipeline.triggers {
        match matches(trigger, event) {
            Ok(()) => return Ok(()),
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        reasons.push("it has no triggers".to_owned());
    }
    reasons.dedup();
    Err(reasons)
}

fn matches(trigger: &Trigger, event: &RunEvent) -> Result<(), String> {
    if trigger.event != event.kind {
        return Err(format!("{} is not {}", event.kind.as_str(), trigger.event.as_str()));
    }
    if !selects(&trigger.branches, &event.branch) {
        return Err(format!("the branch {:?} is not in {}", event.branch, trigger.branches.join(", ")));
    }
    if !trigger.tags.is_empty() && !selects(&trigger.tags, &event.tag) {
        return Err(format!("the tag {:?} is not in {}", event.tag, trigger.tags.join(", ")));
    }
    if let Some(paths) = &trigger.paths {
        let counts = |file: &String| {
            selects(&paths.include, file)
                && !(paths.exclude.iter().any(|glob| selects(std::slice::from_ref(glob), file)))
        };
        if !event.changed_files.iter().any(counts) {
            return Err("none of the changed files counts".to_owned());
        }
    }
    let usual = [PullRequestAction::Opened, PullRequestAction::Reopened, PullRequestAction::Synchronize];
    if event.kind == EventType::PullRequest && !event.action.is_empty() {
        let actions = if trigger.actions.is_empty() { &usual[..] } else { &trigger.actions };
        let word = |action: &PullRequestAction| serde_json::to_value(action).ok();
        if !actions.iter().any(|action| word(action).as_ref().and_then(Value::as_str) == Some(&event.action))
        {
            return Err(format!("the action {:?} does not count", event.action));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipeline(triggers: Value) -> PipelineSpec {
        serde_json::from_value(json!({"triggers": triggers, "jobs": {}})).expect("a pipeline")
    }

    fn event(value: Value) -> RunEvent {
        serde_json::from_value(value).expect("an event")
    }

    #[test]
    fn an_event_starts_what_it_matches() {
        let ci = pipeline(json!([
            {"event": "push", "branches": ["main", "release/**"]},
            {"event": "pull_request", "paths": {"include": ["src/**"], "exclude": ["**/*.md"]}},
            {"event": "tag", "tags": ["v*"]},
        ]));
        for started in [
            json!({"type": "push", "branch": "main"}),
            json!({"type": "push", "branch": "release/1/x"}),
            json!({"type": "pull_request", "changed_files": ["README.md", "src/a.rs"], "action": "opened"}),
            json!({"type": "tag", "tag": "v1"}),
            json!({"type": "manual"}),
        ] {
            assert_eq!(starts(&ci, &event(started.clone())), Ok(()), "{started}");
        }
        for (not, why) in [
            (json!({"type": "push", "branch": "topic"}), "the branch \"topic\" is not in main, release/**"),
            (
                json!({"type": "pull_request", "changed_files": ["src/a.md"]}),
                "none of the changed files counts",
            ),
            (
                json!({"type": "pull_request", "changed_files": ["src/a.rs"], "action": "closed"}),
                "does not count",
            ),
            (json!({"type": "tag", "tag": "x1"}), "the tag"),
            (json!({"type": "schedule"}), "schedule is not push"),
        ] {
            let reasons = starts(&ci, &event(not)).expect_err(why);
            assert!(reasons.iter().any(|reason| reason.contains(why)), "{reasons:?}");
        }
    }

    #[test]
    fn what_was_done_to_a_pull_request_counts_where_it_is_named() {
        let ci = pipeline(json!([{"event": "pull_request", "actions": ["labeled", "ready_for_review"]}]));
        let done = |action: &str| starts(&ci, &event(json!({"type": "pull_request", "action": action})));
        assert_eq!((done("labeled"), done("ready_for_review")), (Ok(()), Ok(())));
        assert_eq!(done("opened"), Err(vec!["the action \"opened\" does not count".to_owned()]));
    }
}
