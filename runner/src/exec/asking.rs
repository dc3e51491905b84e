//! Evaluating the `when` of a step, in a child process.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command as Process, Stdio};
use std::sync::mpsc::Sender;

use serde_json::Value;

use super::Event;
use crate::when::{Answer, Question};

/// The answer for one step.
pub struct Answered {
    pub step: usize,
    pub result: Result<bool, String>,
}

/// Asks; the answer comes as an event. Must be called from the thread that reaps.
pub fn ask(step: usize, expression: &str, context: Value, events: &Sender<Event>) -> Result<(), String> {
    let question = Question { expression: expression.to_owned(), context };
    let question =
        serde_json::to_vec(&question).map_err(|error| format!("the condition cannot be asked: {error}"))?;
    let failed = |error: std::io::Error| format!("the condition cannot be evaluated: {error}");
    let mut child = Process::new("/proc/self/exe")
        .arg("when")
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("the condition cannot be evaluated: no pipe".to_owned());
    };
    let (input, output, events) = (OwnedFd::from(input), OwnedFd::from(output), events.clone());
    let thread = std::thread::Builder::new().name("condition".to_owned()).spawn(move || {
        let result = exchange(input.into(), output.into(), &question);
        let _ = events.send(Event::Answer(Answered { step, result }));
    });
    thread.map(drop).map_err(failed)
}

fn exchange(mut input: File, mut output: File, question: &[u8]) -> Result<bool, String> {
    // A child that ended early is noticed when there is no answer.
    let _ = input.write_all(question);
    drop(input);
    let mut answer = Vec::new();
    let _ = output.read_to_end(&mut answer);
    match serde_json::from_slice(&answer) {
        Ok(Answer::Value(value)) => Ok(value),
        Ok(Answer::Error(message)) => Err(message),
        Err(_) => Err("the process that evaluates it ended without an answer".to_owned()),
    }
}
