//! What a running job may ask of whoever runs its workflow, and the answers.
//!
//! A question leaves the runner as a frame; the answer comes back as one line on the runner's standard input. Who
//! answers is the run's own loop on a laptop and the server elsewhere: the runner cannot tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A question about the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Query {
    /// What is known of a job, by its name in the run.
    Job {
        /// The name; with its index where it was expanded: `test[0]`.
        name: String,
    },
    /// The run's variables as they are now.
    Vars {},
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Query::Job`].
    Job(JobState),
    /// To [`Query::Vars`].
    Vars {
        /// The variables.
        vars: BTreeMap<String, Value>,
    },
    /// There is nobody who knows.
    Unavailable {
        /// Why, for a person.
        reason: String,
    },
    /// An answer of a newer version; read, never written.
    #[serde(other)]
    Unknown,
}

/// What is known of a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobState {
    /// Whether this run has a job of that name.
    pub found: bool,
    /// Whether it is queued or running, here or in another run.
    pub running: bool,
    /// Where it is on its way: `waiting`, `ready`, `queued`, `running`, `succeeded`, `failed`, `skipped`, `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How its command ended.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Why it is in that state, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it handed on.
    #[serde(default)]
    pub outputs: BTreeMap<String, Value>,
    /// Other runs in which a job of that name is queued or running.
    #[serde(default)]
    pub elsewhere: Vec<Elsewhere>,
}

/// A job of the same name in another run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The run.
    pub run: String,
    /// Where the job is on its way.
    pub state: String,
}

/// A line that a runner reads after its spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// The answer to a question.
    Answer {
        /// The number of the question.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// A message of a newer version; read, never written.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_have_a_stable_shape() {
        let state = JobState { found: true, state: Some("running".into()), ..JobState::default() };
        let message = Message::Answer { id: 3, answer: Answer::Job(state) };
        let expected = json!({"type": "answer", "id": 3, "answer": {"about": "job", "found": true, "running": false,
            "state": "running", "exit_code": null, "outputs": {}, "elsewhere": []}});
        assert_eq!(serde_json::to_value(&message).unwrap(), expected);
        let newer: Message = serde_json::from_value(json!({"type": "later", "x": 1})).unwrap();
        assert_eq!(newer, Message::Unknown);
    }
}
