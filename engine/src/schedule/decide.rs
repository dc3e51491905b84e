//! What a server does at a time about a schedule that is settled up to another: a function of both.

use super::Timetable;
use crate::config::{CatchUp, Overlap, ScheduleSpec};
use crate::scheduler::Millis;

/// A start that is not later than this is not late: a server was started anew, or had much to do.
const GRACE: Millis = 60_000;
/// A schedule that is settled so far ahead of the clock was settled by a clock that was wrong.
const AHEAD: Millis = 15 * 60_000;
/// The first span that is searched for what is due, from now back. It doubles until it is enough.
const SPAN: Millis = 3_600_000;

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// The due times to start, oldest first.
    pub start: Vec<Millis>,
    /// What is left out, which is older than all of them or in between.
    pub missed: Option<Missed>,
    /// Up to where all is settled once that is done.
    pub settled: Millis,
    /// When there is something to start next.
    pub next: Option<Millis>,
}

/// Due times that start nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The last one.
    pub last: Millis,
    /// How many.
    pub count: u64,
    /// There were more before, which nobody counted.
    pub more: bool,
    /// Why the last one.
    pub reason: MissedReason,
}

/// Why a due time starts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedReason {
    /// It is later than its deadline.
    TooLate,
    /// A later one starts for all of them.
    NotTheLatest,
    /// So many are not caught up.
    TooMany,
}

impl MissedReason {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLate => "no server was there to start it in time",
            Self::NotTheLatest => "a later start stands for all that were missed",
            Self::TooMany => "more were missed than catch_up_limit",
        }
    }
}

/// What is to be done now about a schedule that is settled up to a time.
pub fn decide(timetable: &Timetable, spec: &ScheduleSpec, settled: Millis, now: Millis) -> Decision {
    // Whatever was started already is known by its delivery, so that to look at a time again starts nothing twice.
    let settled = if settled > now.saturating_add(AHEAD) { now } else { settled };
    let due = |settled: Millis| timetable.after(settled).map(|due| timetable.starts_at(due));
    let until = now.saturating_sub(timetable.offset());
    let limit = match spec.catch_up {
        CatchUp::Skip | CatchUp::Latest => 1,
        CatchUp::All => spec.catch_up_limit.max(1) as usize,
    };
    let (found, more) = newest(timetable, settled, until, limit);
    let Some(last) = found.last().copied() else {
        return Decision { settled, next: due(settled), ..Decision::default() };
    };
    let late = |due: Millis| now.saturating_sub(timetable.starts_at(due));
    let patience =
        spec.start_deadline.map(|deadline| Millis::try_from(deadline.as_millis()).unwrap_or(Millis::MAX));
    let patience = patience.or((spec.catch_up == CatchUp::Skip).then_some(GRACE)).unwrap_or(Millis::MAX);
    let (too_late, in_time): (Vec<Millis>, Vec<Millis>) =
        found.iter().partition(|due| late(**due) > patience);
    let (left_out, start) = in_time.split_at(in_time.len().saturating_sub(limit));
    let reason = match spec.catch_up {
        CatchUp::All => MissedReason::TooMany,
        CatchUp::Skip | CatchUp::Latest => MissedReason::NotTheLatest,
    };
    let missed = match (left_out.last(), too_late.last()) {
        (Some(last), _) => Some((*last, reason)),
        (None, Some(last)) => Some((*last, MissedReason::TooLate)),
        (None, None) => None,
    };
    let count = (left_out.len() + too_late.len()) as u64;
    let missed = missed.map(|(last, reason)| Missed { last, count, more, reason });
    Decision { start: start.to_vec(), missed, settled: last, next: due(last) }
}

/// The newest due times after one time up to another, oldest first: more than `enough`, or all that there are. And whether
/// there are more before them.
fn newest(timetable: &Timetable, after: Millis, until: Millis, enough: usize) -> (Vec<Millis>, bool) {
    let mut span = SPAN;
    loop {
        let from = after.max(until.saturating_sub(span));
        let due = std::iter::successors(timetable.after(from), |last| timetable.after(*last));
        let found: Vec<Millis> = due.take_while(|due| *due <= until).collect();
        if from == after {
            return (found, false);
        }
        if found.len() > enough {
            return (found, timetable.after(after).is_some_and(|first| first <= from));
        }
        span = span.saturating_mul(2);
    }
}

/// What happens at a start while runs of the same schedule go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It starts, and these are cancelled.
    Start {
        /// Runs.
        cancel: Vec<String>,
    },
    /// It is left out because of this run.
    Skip {
        /// The run.
        running: String,
    },
}

/// Decides it.
pub fn on_overlap(overlap: Overlap, running: Vec<String>) -> Verdict {
    match (overlap, running.first()) {
        (Overlap::Skip, Some(first)) => Verdict::Skip { running: first.clone() },
        (Overlap::CancelRunning, _) => Verdict::Start { cancel: running },
        (Overlap::Allow | Overlap::Skip, _) => Verdict::Start { cancel: Vec::new() },
    }
}
