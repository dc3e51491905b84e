//! The place that a run or a job takes of a concurrency group: whose group it is, and who can be sent away from it.
//!
//! A group belongs to a project. Where somebody's taking a place takes it away from another one, each proposal has a place
//! of its own: whoever proposes code must not be able to end what runs on the project's own.

use serde_json::Value;

use crate::artifacts::origins;
use crate::config::{Concurrency, ConcurrencyMode, Origin};
use crate::queue::Slot;

/// The place that a run takes, or one of its jobs.
pub(crate) fn slot(concurrency: &Concurrency, project: Option<&str>, event: &Value, run: &str) -> Slot {
    let name = named(&concurrency.group, event);
    let of = origins(event, run, None);
    let is_trusted = of.source == Origin::Base && of.ci == Origin::Base;
    let takes_places = concurrency.mode != ConcurrencyMode::Queue;
    let project = project.unwrap_or("-");
    let group = if takes_places && !is_trusted {
        format!("{project} {}: {name}", of.reference)
    } else {
        format!("{project}: {name}")
    };
    Slot { group, limit: concurrency.limit, mode: concurrency.mode }
}

/// The name of a group, the event's data filled in: `${event:branch}`.
fn named(group: &str, event: &Value) -> String {
    let mut filled = String::with_capacity(group.len());
    let mut rest = group;
    while let Some((before, after)) = rest.split_once("${event:") {
        filled.push_str(before);
        let Some((field, behind)) = after.split_once('}') else {
            filled.push_str("${event:");
            rest = after;
            continue;
        };
        match &event[field] {
            Value::String(text) => filled.push_str(text),
            Value::Null => {}
            other => filled.push_str(&other.to_string()),
        }
        rest = behind;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(mode: &str, project: Option<&str>, event: Value) -> String {
        let concurrency = json!({"group": "ci ${event:branch}", "mode": mode});
        slot(&serde_json::from_value(concurrency).expect("a group"), project, &event, "r1").group
    }

    #[test]
    fn a_proposal_takes_no_place_from_another_run() {
        let pushed = || json!({"type": "push", "branch": "main", "source_origin": "base"});
        let proposed =
            || json!({"type": "pull_request", "branch": "main", "number": 12, "source_origin": "fork"});
        for mode in ["cancel_running", "replace_pending"] {
            assert_eq!(group(mode, Some("web"), pushed()), "web: ci main");
            assert_eq!(group(mode, Some("web"), proposed()), "web pull/12: ci main");
            let unknown = json!({"type": "manual", "branch": "main", "sha": "abc"});
            assert_eq!(group(mode, Some("web"), unknown), "web commit/abc: ci main");
        }
        // Whoever only waits takes nobody's place.
        assert_eq!(group("queue", Some("web"), proposed()), "web: ci main");
        assert_eq!(group("queue", Some("docs"), pushed()), "docs: ci main");
        assert_eq!(group("queue", None, pushed()), "-: ci main");
    }

    #[test]
    fn a_group_is_named_by_the_event() {
        let event = json!({"branch": "release/1", "number": 12, "tag": ""});
        for (group, expected) in [
            ("deploy", "deploy"),
            ("ci ${event:branch}", "ci release/1"),
            ("${event:number}${event:tag}${event:nothing}!", "12!"),
            ("${event:branch", "${event:branch"),
            ("${var:branch}", "${var:branch}"),
        ] {
            assert_eq!(named(group, &event), expected);
        }
        // What an event says is no placeholder.
        let event = json!({"branch": "${event:sha}", "sha": "s"});
        assert_eq!(named("${event:branch}", &event), "${event:sha}");
    }
}
