//! A run as JSON, one object a line; docs/run-events.md describes them.

use std::io::Write;

use reactorcide_engine::protocol::frame::{Body, Frame};
use reactorcide_server::{Happening, RunEnd};
use serde_json::{Value, json};

/// The version of these objects.
const VERSION: u32 = 1;

/// Prints what happens.
pub fn happens(run: &str, happening: Happening) {
    match happening {
        Happening::Transition(transition) => write(&json!({
            "v": VERSION, "type": "transition", "run": run, "at": transition.at, "job": transition.node,
            "attempt": transition.attempt, "to": transition.to, "reason": transition.reason,
        })),
        Happening::Progress(job, text) => {
            write(&json!({"v": VERSION, "type": "progress", "run": run, "job": job, "text": text}));
        }
        Happening::Frames(job, attempt, frames) => {
            for frame in frames {
                write(&of_frame(run, &job, attempt, frame));
            }
        }
    }
}

fn of_frame(run: &str, job: &str, attempt: u32, frame: Frame) -> Value {
    let mut value = match frame.body {
        Body::Log { step, stream, data } => {
            json!({"type": "log", "step": step, "stream": stream, "text": String::from_utf8_lossy(&data.bytes())})
        }
        body => serde_json::to_value(body).unwrap_or_default(),
    };
    if let Some(object) = value.as_object_mut() {
        for (key, field) in
            [("v", json!(VERSION)), ("run", json!(run)), ("job", json!(job)), ("attempt", json!(attempt))]
        {
            object.insert(key.to_owned(), field);
        }
    }
    value
}

/// Prints how it ended.
pub fn end(run: &str, end: &RunEnd) {
    write(&json!({"v": VERSION, "type": "run_finished", "run": run, "status": end.status, "jobs": end.rows}));
}

fn write(value: &Value) {
    // Whoever reads may be gone; the run goes on.
    let _ = writeln!(crate::stdout::raw(), "{value}");
}
