//! Why an entry waits, in a sentence.

use super::{Claimant, EntryStatus, Row};
use crate::coordinator::Urgency;
use crate::scheduler::Millis;

/// A concurrency group, as whoever waits for it sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// How many places it has.
    pub limit: u32,
    /// Who has them: runs and nodes.
    pub holders: Vec<String>,
}

/// What an entry waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// A worker has it.
    Runs(String),
    /// A place in its group.
    Group(String),
    /// A time.
    Until(Millis),
    /// A worker that is what it needs: there is none. Why each of those there are is not.
    Worker(Vec<String>),
    /// Its turn.
    Turn,
}

/// What an entry waits for now, given who is there.
pub fn explain(row: &Row, group: Option<&Group>, workers: &[Claimant], now: Millis) -> Waiting {
    match row.status {
        EntryStatus::Leased => {
            let worker = row.worker.clone().unwrap_or_default();
            Waiting::Runs(match row.stop {
                Urgency::None => format!("{worker} has it"),
                _ => format!("{worker} has it, and was asked to stop it"),
            })
        }
        EntryStatus::Blocked => {
            let name = row.entry.slot.as_ref().map_or("", |slot| &slot.group);
            Waiting::Group(match group {
                Some(group) if !group.holders.is_empty() => {
                    format!(
                        "all {} places of the group {name:?} are taken: {}",
                        group.limit,
                        group.holders.join(", ")
                    )
                }
                _ => format!("others of the group {name:?} are before it"),
            })
        }
        EntryStatus::Ready if row.entry.due_at > now => Waiting::Until(row.entry.due_at),
        EntryStatus::Ready => {
            let mut reasons: Vec<String> = Vec::new();
            for worker in workers {
                match row.entry.needs.met_by(worker, &row.entry.project) {
                    Ok(()) => return Waiting::Turn,
                    Err(reason) => reasons.push(reason),
                }
            }
            reasons.sort();
            reasons.dedup();
            Waiting::Worker(reasons)
        }
    }
}
