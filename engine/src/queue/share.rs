//! Whose turn it is: weighted fair queueing between projects, by virtual time.
//!
//! Each project has a time of its own, which an attempt moves on by `COST / weight`. The project that is behind goes
//! first. Whoever asked for nothing meanwhile does not save up: nobody is further behind the foremost than `LAG`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What one attempt costs a project of weight 1.
const COST: i64 = 1_000_000;
/// How far behind the foremost a project may be: two attempts.
const LAG: i64 = 2 * COST;

/// A project with something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The project.
    pub project: String,
    /// How much more than others it gets; at least 1.
    pub weight: u32,
    /// Its time.
    pub time: i64,
}

/// Decides whose attempts are taken, one after the other, where all have enough: places in `shares`. Moves their times on.
/// Ties go by name, so that the same queue is always served in the same way.
pub fn allot(shares: &mut [Share], max: usize) -> Vec<usize> {
    let foremost = shares.iter().map(|share| share.time).max().unwrap_or_default();
    for share in shares.iter_mut() {
        share.time = share.time.max(foremost.saturating_sub(LAG));
    }
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|a, b| shares[*a].project.cmp(&shares[*b].project));
    let mut heap: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::with_capacity(shares.len());
    heap.extend(order.iter().enumerate().map(|(place, index)| Reverse((shares[*index].time, place))));
    let mut turns = Vec::with_capacity(if shares.is_empty() { 0 } else { max });
    for _ in 0..max {
        let Some(Reverse((time, place))) = heap.pop() else { break };
        let share = &mut shares[order[place]];
        share.time = time.saturating_add(share.cost());
        turns.push(order[place]);
        heap.push(Reverse((share.time, place)));
    }
    turns
}

impl Share {
    fn cost(&self) -> i64 {
        COST / i64::from(self.weight.max(1))
    }

    /// Gives back the turns that there was nothing for.
    pub fn give_back(&mut self, turns: usize) {
        let turns = i64::try_from(turns).unwrap_or(i64::MAX);
        self.time = self.time.saturating_sub(self.cost().saturating_mul(turns));
    }
}
