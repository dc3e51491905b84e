//! What would run next: said at the end where nobody orchestrates.

use std::fmt::Write as _;

use reactorcide_protocol::control::Next;
use reactorcide_protocol::settings::preview::quoted;
use reactorcide_protocol::trigger::{TriggerRequest, TriggeredJob};

/// Jobs that were asked for or announced.
#[derive(Default)]
pub struct Following {
    jobs: Vec<TriggeredJob>,
    said: Vec<Next>,
    vars: Vec<String>,
}

impl Following {
    pub fn asked(&mut self, request: TriggerRequest) {
        self.jobs.extend(request.jobs);
        self.vars.extend(request.vars.iter().map(|(key, value)| format!("{key}={}", plain(value))));
    }

    pub fn said(&mut self, next: Next) {
        self.said.push(next);
    }

    /// The list, and the exact commands. Empty where nothing follows. `done` is the job that has run.
    pub fn text(&self, done: &str) -> String {
        let mut out = String::new();
        if self.jobs.is_empty() && self.said.is_empty() {
            return out;
        }
        out.push_str("\n📋 Next jobs to run:\n");
        for job in &self.jobs {
            let _ = writeln!(out, "  → {}{}", job.job_name, waiting(&job.depends_on, done, None));
        }
        for next in &self.said {
            let _ =
                writeln!(out, "  → {}{}", next.job, waiting(&next.depends_on, done, next.reason.as_deref()));
        }
        out.push_str("\nRun the next job:\n");
        for job in &self.jobs {
            let _ = writeln!(out, "  $ {}", self.command(job));
        }
        for next in &self.said {
            let _ = writeln!(out, "  $ reactorcide run PIPELINE --job {}", quoted(&next.job));
        }
        out
    }

    fn command(&self, job: &TriggeredJob) -> String {
        let mut words = vec!["reactorcide".to_owned(), "run".to_owned()];
        if let Some(command) = &job.command {
            let image = job.image.as_deref().unwrap_or("IMAGE");
            words.extend(["--image".to_owned(), quoted(image), "--job-command".to_owned(), quoted(command)]);
            words.extend(
                job.env
                    .iter()
                    .flat_map(|(name, value)| ["--job-env".to_owned(), quoted(&format!("{name}={value}"))]),
            );
        } else {
            words.extend(["PIPELINE".to_owned(), "--job".to_owned(), quoted(&job.job_name)]);
            words.extend(self.vars.iter().flat_map(|pair| ["--var".to_owned(), quoted(pair)]));
        }
        words.join(" ")
    }
}

fn waiting(depends_on: &[String], done: &str, reason: Option<&str>) -> String {
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    if depends_on.is_empty() {
        return reason;
    }
    let complete = if depends_on.iter().all(|name| name == done) { " - all complete" } else { "" };
    format!(" (waiting on: {}{complete}){reason}", depends_on.join(", "))
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
