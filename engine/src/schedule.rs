//! Schedules: which runs are due by the clock, which are missed and why, and how far each schedule has come.
//!
//! A *due time* is one that the cron fields mean, to the second. What a server starts for it comes later by the jitter. A
//! schedule is *settled* up to a due time when nothing is left to be decided on it and all before it.

pub mod conformance;
mod decide;
mod positions;
mod timetable;

pub use decide::{Decision, Missed, MissedReason, Verdict, decide, on_overlap};
pub use positions::{MemoryPositions, Position, PositionStore, Skipped};
pub(crate) use timetable::check_day;
pub use timetable::{Timetable, TimetableError, check_cron, check_zone};

use crate::scheduler::Millis;

/// What makes a start one, however many servers see that it is due, and however often: it goes with the run as its
/// delivery.
pub fn delivery(uid: &str, due: Millis) -> String {
    format!("schedule {uid} {due}")
}

/// Who a schedule's runs are started by, for people.
pub fn actor(project: Option<&str>, name: &str) -> String {
    match project {
        Some(project) => format!("schedule:{project}/{name}"),
        None => format!("schedule:{name}"),
    }
}

#[cfg(test)]
mod tests;
