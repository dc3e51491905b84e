//! How many containers wait for jobs, of which kinds: a function on values. Who has the containers asks what to start and
//! what to stop now, and tells what came of it.
//!
//! All containers of one image share its `min` and `max`. They lie on shelves, one for each kind: what else cannot be
//! changed once a container was started, such as limits, network and user. A shelf has a level, how many containers it
//! wants to have waiting. The levels add up to at least `min` and at most `max`; a job that leaves too few behind raises
//! its shelf's level by one, and time lowers what nobody uses.

use std::fmt::Debug;

use crate::config::Standby;

/// How long what could not be started is left alone after its first failure, in milliseconds.
const FIRST_BACK_OFF: u64 = 1_000;
/// And at most.
const LONGEST_BACK_OFF: u64 = 5 * 60_000;
/// What waited for so long was fine: its end is no reason to start its successor late.
const WAITED_WELL: u64 = 60_000;
/// How long something waits before it is too many, where nobody says.
const USUAL_IDLE: u64 = 10 * 60_000;

/// What an author wants of the containers of an image. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The fewest.
    pub min: usize,
    /// The most, with those that are starting.
    pub max: usize,
    /// Fewer left behind by a job raise the level.
    pub scale_up: usize,
    /// More that have waited for `idle` are too many.
    pub scale_down: usize,
    /// How long something waits, or is used by nobody, before it is too many.
    pub idle: u64,
}

impl From<&Standby> for Rules {
    fn from(standby: &Standby) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let (min, max) = (count(standby.min), count(standby.max.max(standby.min)));
        let scale_up = standby.scale_up_threshold.map_or(1, count);
        let scale_down = standby.scale_down_threshold.map_or(min, count);
        // Below what is kept ready, what was started would be stopped again.
        let scale_down = scale_down.max(min).max(scale_up);
        let idle = standby.idle.map_or(USUAL_IDLE, |idle| idle.as_millis());
        Self { min, max, scale_up, scale_down, idle }
    }
}

/// Names one container of one [`Sizing`], from before it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<K> {
    /// Containers to start.
    pub start: Vec<(Ticket, K)>,
    /// Containers to stop. They count no more.
    pub stop: Vec<Ticket>,
    /// When to ask again, where nothing happens before.
    pub again_at: Option<u64>,
}

/// The containers of one image.
#[derive(Debug)]
pub struct Sizing<K> {
    rules: Rules,
    shelves: Vec<Shelf<K>>,
    next: u64,
    closed: bool,
}

#[derive(Debug)]
struct Shelf<K> {
    kind: K,
    level: usize,
    /// When a job last wanted one.
    used: Option<u64>,
    opened: u64,
    starting: Vec<Ticket>,
    /// With since when each waits, oldest first.
    waiting: Vec<(Ticket, u64)>,
    failures: u32,
    not_before: u64,
}

impl<K: Clone + PartialEq + Debug> Sizing<K> {
    /// With containers of a kind that is expected before any job came.
    pub fn new(rules: Rules, expected: K, now: u64) -> Self {
        let shelf = Shelf::new(expected, rules.min, None, now);
        Self { rules, shelves: vec![shelf], next: 0, closed: false }
    }

    /// A job wants a container of a kind: the one that has waited for the shortest time, so that what is too many grows
    /// old. It counts no more. Nothing where none waits.
    pub fn take(&mut self, kind: &K, now: u64) -> Option<Ticket> {
        if self.closed {
            return None;
        }
        let free = self.free();
        let Some(index) = self.shelves.iter().position(|shelf| shelf.kind == *kind) else {
            self.open(kind, now);
            return None;
        };
        let shelf = &mut self.shelves[index];
        shelf.used = Some(now);
        let taken = shelf.waiting.pop().map(|(ticket, _)| ticket);
        if shelf.waiting.len() < self.rules.scale_up && free > 0 {
            shelf.level += 1;
        }
        if self.shelves[index].level == 0 {
            self.donate(index, now);
        }
        taken
    }

    /// What was to be started waits now. Where that is false, nobody wants it any more.
    #[must_use]
    pub fn waits(&mut self, ticket: Ticket, now: u64) -> bool {
        let Some(shelf) = self.starting(ticket) else { return false };
        shelf.failures = 0;
        shelf.waiting.push((ticket, now));
        true
    }

    /// What was to be started could not be.
    pub fn failed(&mut self, ticket: Ticket, now: u64) {
        if let Some(shelf) = self.starting(ticket) {
            shelf.back_off(now);
        }
    }

    /// What waited has ended by itself.
    pub fn ended(&mut self, ticket: Ticket, now: u64) {
        for shelf in &mut self.shelves {
            let Some(index) = shelf.waiting.iter().position(|(waiting, _)| *waiting == ticket) else {
                continue;
            };
            let (_, since) = shelf.waiting.remove(index);
            if now.saturating_sub(since) < WAITED_WELL {
                shelf.back_off(now);
            }
        }
    }

    /// Gives up everything that waits or is starting, and starts nothing before `until`.
    pub fn empty(&mut self, until: u64) -> Vec<Ticket> {
        let mut stopped = Vec::new();
        for shelf in &mut self.shelves {
            shelf.starting.clear();
            shelf.not_before = shelf.not_before.max(until);
            stopped.extend(shelf.waiting.drain(..).map(|(ticket, _)| ticket));
        }
        stopped
    }

    /// The same, for good.
    pub fn close(&mut self) -> Vec<Ticket> {
        self.closed = true;
        self.empty(u64::MAX)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.waiting.len()).sum()
    }

    /// How many wait or are starting.
    pub fn count(&self) -> usize {
        self.shelves.iter().map(Shelf::count).sum()
    }

    /// What to do now.
    pub fn step(&mut self, now: u64) -> Step<K> {
        let mut step = Step { start: Vec::new(), stop: Vec::new(), again_at: None };
        if self.closed {
            return step;
        }
        self.forget(now);
        self.lower(now);
        for shelf in &mut self.shelves {
            while shelf.count() > shelf.level && !shelf.waiting.is_empty() {
                step.stop.push(shelf.waiting.remove(0).0);
            }
        }
        let mut room = self.rules.max.saturating_sub(self.count());
        for shelf in &mut self.shelves {
            while shelf.count() < shelf.level && room > 0 && shelf.not_before <= now {
                room -= 1;
                let ticket = Ticket(self.next);
                self.next += 1;
                shelf.starting.push(ticket);
                step.start.push((ticket, shelf.kind.clone()));
            }
        }
        self.shelves.retain(|shelf| shelf.level > 0 || shelf.count() > 0);
        step.again_at = self.again_at(now);
        step
    }

    /// What nobody used for long goes; `min` moves to what was used last.
    fn forget(&mut self, now: u64) {
        let idle = self.rules.idle;
        for shelf in self.shelves.iter_mut().filter(|shelf| shelf.unused_since().saturating_add(idle) <= now)
        {
            shelf.level = 0;
        }
        let missing = self.rules.min.saturating_sub(self.levels());
        let favourite = self.shelves.iter_mut().max_by_key(|shelf| (shelf.used, shelf.opened));
        if let Some(shelf) = favourite.filter(|_| missing > 0) {
            shelf.level += missing;
        }
    }

    /// What has waited for too long is too many beyond `scale_down`.
    fn lower(&mut self, now: u64) {
        let Rules { idle, scale_down, min, .. } = self.rules;
        let is_old = |since: u64| since.saturating_add(idle) <= now;
        let old = |shelf: &Shelf<K>| shelf.waiting.iter().filter(|(_, since)| is_old(*since)).count();
        let mut surplus = self.shelves.iter().map(old).sum::<usize>().saturating_sub(scale_down);
        surplus = surplus.min(self.levels().saturating_sub(min));
        for _ in 0..surplus {
            let oldest = self.shelves.iter_mut().filter(|shelf| shelf.level > 0).max_by_key(|shelf| {
                // What is lowered already has that many fewer to give.
                let given = shelf.count().saturating_sub(shelf.level);
                old(shelf).saturating_sub(given)
            });
            if let Some(shelf) = oldest {
                shelf.level -= 1;
            }
        }
    }

    /// A kind that was not there. Where there is no room for it, it waits until something is used no more.
    fn open(&mut self, kind: &K, now: u64) {
        if self.rules.max == 0 || self.rules.scale_up == 0 && self.rules.min == 0 {
            return;
        }
        let level = usize::from(self.free() > 0);
        self.shelves.push(Shelf::new(kind.clone(), level, Some(now), now));
        let index = self.shelves.len() - 1;
        if level == 0 && !self.donate(index, now) {
            self.shelves.pop();
        }
    }

    /// Gives a shelf a share of what another has more than one of, or does not use.
    fn donate(&mut self, to: usize, now: u64) -> bool {
        let idle = self.rules.idle;
        let is_unused = |shelf: &Shelf<K>| shelf.used.is_none_or(|used| used.saturating_add(idle) <= now);
        let mut donors = self.shelves.iter_mut().enumerate().filter(|(index, _)| *index != to);
        let unused = donors.find(|(_, shelf)| shelf.level > 0 && is_unused(shelf)).map(|(index, _)| index);
        let largest = || {
            let others = self.shelves.iter().enumerate().filter(|(index, _)| *index != to);
            others.max_by_key(|(_, shelf)| shelf.level).filter(|(_, shelf)| shelf.level > 1)
        };
        let Some(donor) = unused.or_else(|| largest().map(|(index, _)| index)) else { return false };
        self.shelves[donor].level -= 1;
        self.shelves[to].level += 1;
        true
    }

    fn levels(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.level).sum()
    }

    fn free(&self) -> usize {
        self.rules.max.saturating_sub(self.levels())
    }

    /// The shelf on which something is starting, from which it is taken away.
    fn starting(&mut self, ticket: Ticket) -> Option<&mut Shelf<K>> {
        self.shelves.iter_mut().find_map(|shelf| {
            let index = shelf.starting.iter().position(|starting| *starting == ticket)?;
            shelf.starting.remove(index);
            Some(shelf)
        })
    }

    fn again_at(&self, now: u64) -> Option<u64> {
        let idle = self.rules.idle;
        let retries =
            self.shelves.iter().filter(|shelf| shelf.count() < shelf.level).map(|shelf| shelf.not_before);
        let too_many = self.waiting() > self.rules.scale_down;
        let old = self.shelves.iter().flat_map(|shelf| &shelf.waiting).filter(|_| too_many);
        let old = old.map(|(_, since)| since.saturating_add(idle));
        let unused = self.shelves.iter().map(|shelf| shelf.unused_since().saturating_add(idle));
        retries.chain(old).chain(unused).filter(|at| *at > now && *at < u64::MAX).min()
    }
}

impl<K> Shelf<K> {
    fn new(kind: K, level: usize, used: Option<u64>, opened: u64) -> Self {
        let (starting, waiting) = (Vec::new(), Vec::new());
        Self { kind, level, used, opened, starting, waiting, failures: 0, not_before: 0 }
    }

    fn count(&self) -> usize {
        self.starting.len() + self.waiting.len()
    }

    fn unused_since(&self) -> u64 {
        self.used.unwrap_or(self.opened)
    }

    fn back_off(&mut self, now: u64) {
        let wait = FIRST_BACK_OFF.saturating_mul(1 << self.failures.min(16)).min(LONGEST_BACK_OFF);
        self.failures += 1;
        self.not_before = self.not_before.max(now.saturating_add(wait));
    }
}

#[cfg(test)]
mod tests;
