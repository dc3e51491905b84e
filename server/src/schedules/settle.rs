//! From what became of due times to the row that remembers it, whoever else wrote that row meanwhile.

use reactorcide_engine::schedule::{Decision, Position, Skipped};
use reactorcide_engine::scheduler::Millis;

/// What became of the due times of one look.
pub(super) struct Settling {
    /// The version of the position that was decided on.
    version: u64,
    settled: Millis,
    last: Option<(Millis, String)>,
    skipped: Option<Skipped>,
    missed: u64,
}

impl Settling {
    pub fn new(position: &Position, decision: &Decision) -> Self {
        let missed = decision.missed.as_ref();
        let skipped = |missed: &reactorcide_engine::schedule::Missed| {
            let count = match (missed.count, missed.more) {
                (1, false) => String::new(),
                (count, false) => format!(" ({count} of them)"),
                (count, true) => format!(" (more than {count} of them)"),
            };
            Skipped { due: missed.last, reason: format!("{}{count}", missed.reason.as_str()) }
        };
        Self {
            version: position.version,
            settled: decision.settled,
            last: None,
            skipped: missed.map(skipped),
            missed: missed.map_or(0, |missed| missed.count),
        }
    }

    pub fn started(&mut self, due: Millis, run: String) {
        self.last = Some((due, run));
    }

    pub fn left_out(&mut self, due: Millis, reason: String) {
        self.skipped = Some(Skipped { due, reason });
        self.missed += 1;
    }

    /// The position after it; `None` where nothing is to be written.
    pub fn over(&self, position: &Position) -> Option<Position> {
        let mut next = position.next();
        let ours = position.version == self.version;
        if ours {
            next.settled = self.settled;
            next.missed = position.missed.saturating_add(self.missed);
            next.skipped = self.skipped.clone().or(next.skipped);
        } else {
            // Who was faster has counted what was missed.
            next.settled = position.settled.max(self.settled);
        }
        if let Some((due, run)) = &self.last
            && (ours || position.last_due.is_none_or(|last| last < *due))
        {
            (next.last_due, next.last_run) = (Some(*due), Some(run.clone()));
            // Who left it out did not see that it was started.
            if !ours && next.skipped.as_ref().is_some_and(|skipped| skipped.due == *due) {
                next.skipped = None;
                next.missed = next.missed.saturating_sub(1);
            }
        }
        let changed = Position { version: position.version, ..next.clone() } != *position;
        changed.then_some(next)
    }
}
