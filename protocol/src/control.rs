//! What programs in a job say to the runner over its socket.
//!
//! A message is four bytes, big-endian, that say how long it is, and one JSON object. A connection whose first byte
//! is `{` speaks lines instead: one object a line, one answer a line; no length begins with that byte, since it would
//! be two thousand times too long.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::spec::Sensitive;
use crate::strict;
use crate::trigger::TriggerRequest;

/// The version of this protocol, which `hello` tells.
pub const VERSION: u32 = 1;

/// The longest message in either direction, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The variable that tells steps where the socket is.
pub const SOCKET_VARIABLE: &str = "REACTORCIDE_SOCKET";

/// The variable with the token by which a job reaches the server, where it has one.
pub const TOKEN_VARIABLE: &str = "REACTORCIDE_API_TOKEN";

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Who are you?
    Hello,
    /// Mask these values from now on.
    Register(Vec<Sensitive>),
    /// More jobs in this run, or new values of its variables.
    Trigger(Box<TriggerRequest>),
    /// Values that the job hands on.
    Output {
        /// The step that sets them; none for the job as a whole.
        step: Option<String>,
        /// The values.
        values: BTreeMap<String, Value>,
    },
    /// The run's variables as they are now.
    Vars,
    /// New values of the run's variables.
    SetVars(BTreeMap<String, Value>),
    /// What is known of a job.
    Job(String),
    /// What conditions may refer to.
    Context,
    /// What would run next.
    Next(Next),
}

/// A job that would run next, for people; it starts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// Its name.
    pub job: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
}

/// Why a request was refused, in a word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// It is not a request.
    BadRequest,
    /// There is no such action.
    UnknownAction,
    /// It is longer than it may be.
    TooLarge,
    /// It asks for more jobs than this one may trigger.
    TooMany,
    /// Too many requests in too short a time.
    Rate,
    /// It contains a secret value, which may not leave the job.
    Secret,
    /// It names a step or variable that cannot be.
    Name,
    /// The same was asked before, and was something else.
    Conflict,
    /// Nobody is there who could answer.
    Unavailable,
    /// Too many connections.
    Busy,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// As it is answered.
    pub fn to_value(&self) -> Value {
        serde_json::json!({"ok": false, "code": self.code, "error": self.message})
    }
}

/// Reads a request. A message of an error names no value, since a value may be a secret.
pub fn parse(bytes: &[u8]) -> Result<Request, Refusal> {
    let bad = |message: String| Refusal::new(Code::BadRequest, message);
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(Refusal::new(Code::TooLarge, format!("a request has at most {MAX_MESSAGE_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| bad("a request is UTF-8".to_owned()))?;
    let value = strict::parse(text).map_err(|error| {
        bad(format!(
            "a request is one JSON object: {:?} error at column {}",
            error.classify(),
            error.column()
        ))
    })?;
    let Value::Object(mut fields) = value else { return Err(bad("a request is a JSON object".to_owned())) };
    let action = match fields.remove("action") {
        Some(Value::String(action)) => action,
        _ => return Err(bad("a request has a field \"action\", a text".to_owned())),
    };
    match action.as_str() {
        "hello" => Ok(Request::Hello),
        "register" => Ok(Request::Register(secrets(&mut fields)?)),
        "trigger" | "trigger_job" | "trigger_jobs" => {
            fields.entry("type").or_insert_with(|| "trigger_job".into());
            let request = read::<TriggerRequest>(Value::Object(fields), "trigger")?;
            request.check().map_err(bad)?;
            Ok(Request::Trigger(Box::new(request)))
        }
        "output" => {
            #[derive(Deserialize)]
            struct Output {
                step: Option<String>,
                values: BTreeMap<String, Value>,
            }
            let Output { step, values } = read(Value::Object(fields), "output")?;
            Ok(Request::Output { step, values })
        }
        "vars" => Ok(Request::Vars),
        "set_vars" => match fields.remove("values") {
            Some(values @ Value::Object(_)) => Ok(Request::SetVars(read(values, "set_vars")?)),
            _ => Err(bad("set_vars has a field \"values\", an object".to_owned())),
        },
        "job" => match fields.remove("name") {
            Some(Value::String(name)) if !name.is_empty() => Ok(Request::Job(name)),
            _ => Err(bad("job has a field \"name\", a text".to_owned())),
        },
        "context" => Ok(Request::Context),
        "next" => Ok(Request::Next(read(Value::Object(fields), "next")?)),
        _ => Err(Refusal::new(
            Code::UnknownAction,
            "there is no such action: hello, register, trigger, output, vars, set_vars, job, context, next",
        )),
    }
}

fn secrets(fields: &mut Map<String, Value>) -> Result<Vec<Sensitive>, Refusal> {
    let bad = || Refusal::new(Code::BadRequest, "register has a field \"secrets\", a list of texts");
    let Some(Value::Array(items)) = fields.remove("secrets") else { return Err(bad()) };
    items
        .into_iter()
        .map(|item| match item {
            Value::String(text) => Ok(Sensitive::new(text)),
            _ => Err(bad()),
        })
        .collect()
}

fn read<T: serde::de::DeserializeOwned>(value: Value, action: &str) -> Result<T, Refusal> {
    serde_json::from_value(value).map_err(|error| {
        let message = error.to_string();
        // What serde quotes is the text before the first back quote's pair; values may be secret, so only the
        // names of fields are repeated.
        let said = if message.starts_with("missing field") {
            message
        } else {
            "a field has the wrong type".to_owned()
        };
        Refusal::new(Code::BadRequest, format!("{action}: {said}"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_action_is_read() {
        let read = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(read(r#"{"action":"hello","later":1}"#), Request::Hello);
        assert_eq!(
            read(r#"{"action":"register","secrets":["a"]}"#),
            Request::Register(vec![Sensitive::new("a")])
        );
        assert!(matches!(read(r#"{"action":"trigger","jobs":[{"job_name":"a"}]}"#), Request::Trigger(_)));
        assert!(matches!(
            read(r#"{"action":"trigger_job","workflows":[{"jobs":[{"name":"a"}]}]}"#),
            Request::Trigger(_)
        ));
        assert!(matches!(
            read(r#"{"action":"output","values":{"a":1}}"#),
            Request::Output { step: None, .. }
        ));
        assert_eq!(read(r#"{"action":"vars"}"#), Request::Vars);
        assert!(matches!(read(r#"{"action":"set_vars","values":{"a":[1]}}"#), Request::SetVars(_)));
        assert_eq!(read(r#"{"action":"job","name":"deploy"}"#), Request::Job("deploy".into()));
        assert_eq!(read(r#"{"action":"context"}"#), Request::Context);
        assert!(matches!(read(r#"{"action":"next","job":"a"}"#), Request::Next(_)));
    }

    #[test]
    fn refusals_have_codes_and_repeat_no_values() {
        let code = |text: &str| parse(text.as_bytes()).unwrap_err().code;
        assert_eq!(code("{"), Code::BadRequest);
        assert_eq!(code("[]"), Code::BadRequest);
        assert_eq!(code(r#"{"action":"fly"}"#), Code::UnknownAction);
        assert_eq!(code(r#"{"action":"job"}"#), Code::BadRequest);
        assert_eq!(code(r#"{"action":"hello","action":"hello"}"#), Code::BadRequest);
        assert_eq!(code(&format!("{}1{}", "[".repeat(50), "]".repeat(50))), Code::BadRequest);
        assert_eq!(parse(&vec![b' '; MAX_MESSAGE_BYTES + 1]).unwrap_err().code, Code::TooLarge);
        for text in [
            r#"{"action":"register","secrets":"S3CRET"}"#,
            r#"{"action":"output","values":"S3CRET"}"#,
            r#"{"action":"S3CRET"}"#,
        ] {
            assert!(!parse(text.as_bytes()).unwrap_err().message.contains("S3CRET"));
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_shape_makes_it_panic(action in "hello|register|trigger|output|vars|set_vars|job|context|next", field in "secrets|jobs|values|name|job|workflows|vars", value in "1|\"x\"|\\[\\]|\\{\\}|null|\\[1\\]|\\[\\{\\}\\]|\\{\"a\":1\\}") {
            let _ = parse(format!(r#"{{"action":"{action}","{field}":{value}}}"#).as_bytes());
        }
    }
}
