//! Conditions of steps are evaluated in a child process, so that nothing in them can hurt process 1.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use reactorcide_protocol::condition::Expression;
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit;

/// What the child is asked, on its standard input.
#[derive(Serialize, Deserialize)]
pub struct Question {
    /// The expression.
    pub expression: String,
    /// What it may refer to.
    pub context: Value,
}

/// What it answers on its standard output.
#[derive(Serialize, Deserialize)]
pub enum Answer {
    /// The result.
    Value(bool),
    /// Why there is none.
    Error(String),
}

/// The child.
pub fn child() -> ExitCode {
    // The kernel ends it if, against all care, it does not end by itself.
    let limit = |maximum| Rlimit { current: Some(maximum), maximum: Some(maximum) };
    let _ = rustix::process::setrlimit(Resource::Cpu, limit(5));
    let _ = rustix::process::setrlimit(Resource::As, limit(1 << 30));
    let mut question = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut question);
    let Ok(question) = read.and_then(|_| Ok(serde_json::from_slice::<Question>(&question)?)) else {
        return exit::USAGE.into();
    };
    let result =
        Expression::parse(&question.expression).and_then(|expression| expression.evaluate(&question.context));
    let answer = match result {
        Ok(value) => Answer::Value(value),
        Err(error) => Answer::Error(match error.offset() {
            Some(offset) => {
                let column = question.expression.get(..offset).map_or(0, |before| before.chars().count());
                format!("{error} (at character {})", column + 1)
            }
            None => error.to_string(),
        }),
    };
    let written = serde_json::to_vec(&answer).map_err(io::Error::from);
    match written.and_then(|answer| io::stdout().write_all(&answer)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
