//! The runner around this one, where a job runs a job: what the inner asks for goes to the outer.

use reactorcide_protocol::control::{Next, SOCKET_VARIABLE};
use reactorcide_protocol::query::{Answer, Query};
use reactorcide_protocol::spec::JobSpec;
use reactorcide_protocol::trigger::TriggerRequest;
use serde_json::{Value, json};

use crate::client::{Trouble, ask};

/// A handle to the runner around.
#[derive(Clone, Copy)]
pub struct Around(());

impl Around {
    /// The runner around, if there is one.
    pub fn find() -> Option<Self> {
        std::env::var_os(SOCKET_VARIABLE).map(|_| Self(()))
    }

    /// What the inner job must not show the outer does not show either.
    pub fn hide(self, spec: &JobSpec) {
        let values = spec.secrets.iter().map(|secret| secret.value.expose());
        let values: Vec<&str> = values.chain(spec.mask.iter().map(|value| value.expose())).collect();
        if !values.is_empty() {
            told(ask(&json!({"action": "register", "secrets": values})));
        }
    }

    pub fn trigger(self, request: &TriggerRequest) {
        let mut request = json!(request);
        request["action"] = "trigger".into();
        told(ask(&request));
    }

    pub fn output(self, values: &Value) {
        let step = std::env::var("REACTORCIDE_STEP").ok();
        told(ask(&json!({"action": "output", "step": step, "values": values})));
    }

    pub fn next(self, next: &Next) {
        let mut request = json!(next);
        request["action"] = "next".into();
        told(ask(&request));
    }

    /// Asks on.
    pub fn answer(self, query: &Query) -> Answer {
        let (request, about) = match query {
            Query::Job { name } => (json!({"action": "job", "name": name}), "job"),
            Query::Vars {} => (json!({"action": "vars"}), "vars"),
        };
        match ask(&request) {
            Ok(mut answer) => {
                answer["about"] = about.into();
                let unknown =
                    || Answer::Unavailable { reason: "the answer is of a newer version".to_owned() };
                serde_json::from_value(answer).unwrap_or_else(|_| unknown())
            }
            Err(
                Trouble::Refused { message, .. } | Trouble::Unreachable(message) | Trouble::Usage(message),
            ) => Answer::Unavailable { reason: message },
        }
    }
}

/// A refusal is told; it changes nothing of what the inner job has done.
fn told(answer: Result<Value, Trouble>) {
    if let Err(Trouble::Refused { message, .. } | Trouble::Unreachable(message) | Trouble::Usage(message)) =
        answer
    {
        eprintln!("error: the runner around this one: {message}");
    }
}
