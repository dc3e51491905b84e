//! What people and programs see of a run while it goes on.

mod human;
mod json;
mod lines;
mod text;
mod used;

use reactorcide_server::{Happening, RunEnd};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, MissedTickBehavior};

pub use text::{duration, push_line, safe};
pub use used::used;

use human::Human;

/// How often a terminal's status line and unfinished lines are looked at.
const TICK: Duration = Duration::from_millis(200);

/// For whom to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// People: prefixed lines, and a table in the end.
    Human,
    /// Programs: one JSON object a line.
    Json,
}

/// Prints what happens.
pub struct Printer {
    run: String,
    human: Option<Human>,
}

impl Printer {
    /// For a run, whose jobs' names give the width of the prefix.
    pub fn new<'a>(style: Style, run: &str, jobs: impl Iterator<Item = &'a str>) -> Self {
        Self { run: run.to_owned(), human: (style == Style::Human).then(|| Human::new(jobs)) }
    }

    /// Prints until there is no more.
    pub async fn print(mut self, mut happenings: mpsc::Receiver<Happening>) -> Self {
        let mut tick = tokio::time::interval_at(Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                happening = happenings.recv() => match (happening, &mut self.human) {
                    (None, _) => return self,
                    (Some(happening), Some(human)) => human.happens(happening),
                    (Some(happening), None) => json::happens(&self.run, happening),
                },
                _ = tick.tick() => if let Some(human) = &mut self.human {
                    human.tick();
                },
            }
        }
    }

    /// Prints how it ended.
    pub fn end(self, end: &RunEnd) {
        match self.human {
            Some(human) => human.end(end),
            None => json::end(&self.run, end),
        }
    }
}
