//! What must hold however jobs come: examples, and a seeded simulation that prints its seed.

use std::collections::BTreeMap;

use super::*;

const IDLE: u64 = 100_000;

fn rules(min: usize, max: usize) -> Rules {
    Rules { min, max, scale_up: 1, scale_down: min.max(1), idle: IDLE }
}

/// Starts what is to be started, at once.
fn settle(sizing: &mut Sizing<&'static str>, now: u64) -> (Vec<&'static str>, usize) {
    let step = sizing.step(now);
    for (ticket, _) in &step.start {
        assert!(sizing.waits(*ticket, now));
    }
    (step.start.into_iter().map(|(_, kind)| kind).collect(), step.stop.len())
}

#[test]
fn the_fewest_wait_from_the_beginning_and_are_replaced_when_taken() {
    let mut sizing = Sizing::new(rules(2, 2), "a", 0);
    assert_eq!(settle(&mut sizing, 0), (vec!["a", "a"], 0));
    assert!(sizing.take(&"a", 1).is_some() && sizing.take(&"a", 1).is_some());
    assert_eq!(sizing.take(&"a", 1), None);
    assert_eq!(settle(&mut sizing, 2), (vec!["a", "a"], 0));
}

#[test]
fn who_leaves_too_few_raises_the_level_up_to_the_most_and_time_lowers_it() {
    let mut sizing = Sizing::new(rules(1, 3), "a", 0);
    settle(&mut sizing, 0);
    for now in 1..20 {
        sizing.take(&"a", now);
        sizing.take(&"a", now);
        settle(&mut sizing, now);
        assert!(sizing.count() <= 3);
    }
    assert_eq!(sizing.waiting(), 3);
    // Used all the time, but by one at a time: two of them grow old.
    for now in (20..IDLE + 1_000).step_by(100) {
        sizing.take(&"a", now);
        settle(&mut sizing, now);
    }
    assert_eq!(sizing.waiting(), 2, "the one that is taken and the one that is left");
    settle(&mut sizing, 3 * IDLE);
    assert_eq!(sizing.waiting(), 1);
}

#[test]
fn what_is_starting_counts() {
    let mut sizing = Sizing::new(rules(2, 4), "a", 0);
    assert_eq!(sizing.step(0).start.len(), 2);
    assert_eq!(sizing.step(1).start.len(), 0);
}

#[test]
fn the_youngest_is_taken_so_that_the_oldest_can_go() {
    let mut sizing = Sizing::new(rules(2, 2), "a", 0);
    let start = sizing.step(0).start;
    assert!(sizing.waits(start[0].0, 1) && sizing.waits(start[1].0, 2));
    assert_eq!(sizing.take(&"a", 3), Some(start[1].0));
}

#[test]
fn a_kind_that_jobs_want_takes_the_place_of_the_one_that_was_expected() {
    let mut sizing = Sizing::new(rules(1, 1), "expected", 0);
    settle(&mut sizing, 0);
    assert_eq!(sizing.take(&"wanted", 5), None);
    assert_eq!(settle(&mut sizing, 6), (vec!["wanted"], 1));
    assert!(sizing.take(&"wanted", 7).is_some());
}

#[test]
fn more_kinds_than_there_is_room_for_do_not_drive_each_other_out() {
    let mut sizing = Sizing::new(rules(2, 2), "a", 0);
    settle(&mut sizing, 0);
    let (mut starts, mut hits) = (0, 0);
    for now in 1..1000 {
        let kind = ["a", "b", "c"][usize::try_from(now % 3).expect("small")];
        hits += usize::from(sizing.take(&kind, now).is_some());
        starts += settle(&mut sizing, now).0.len();
    }
    assert!(hits > 600, "two of three find one: {hits}");
    assert!(starts <= hits + 2, "{starts} starts for {hits} jobs");
}

#[test]
fn what_cannot_be_started_is_tried_less_and_less_often() {
    let mut sizing = Sizing::new(rules(1, 1), "a", 0);
    let mut tries = 0;
    for now in (0..3_600_000).step_by(500) {
        for (ticket, _) in sizing.step(now).start {
            tries += 1;
            sizing.failed(ticket, now);
        }
    }
    assert!((10..25).contains(&tries), "{tries} tries in an hour");
}

#[test]
fn what_ends_at_once_again_and_again_is_left_alone_too() {
    let mut sizing = Sizing::new(rules(1, 1), "a", 0);
    let mut starts = 0;
    for now in (0..60_000).step_by(100) {
        for (ticket, _) in sizing.step(now).start {
            starts += 1;
            assert!(sizing.waits(ticket, now));
            sizing.ended(ticket, now + 50);
        }
    }
    assert!(starts <= 60, "{starts} starts in a minute");
}

#[test]
fn what_is_emptied_takes_back_nothing_that_was_under_way() {
    let mut sizing = Sizing::new(rules(2, 2), "a", 0);
    let start = sizing.step(0).start;
    assert!(sizing.waits(start[0].0, 1));
    assert_eq!(sizing.empty(50), [start[0].0]);
    assert!(!sizing.waits(start[1].0, 2), "it is nobody's");
    assert_eq!(sizing.step(49).again_at, Some(50));
    assert_eq!(sizing.step(50).start.len(), 2);
    sizing.close();
    let closed = sizing.step(1_000_000);
    assert!(closed.start.is_empty() && sizing.take(&"a", 1_000_000).is_none());
}

#[test]
fn nothing_is_kept_where_nobody_asks() {
    let mut sizing = Sizing::new(rules(0, 2), "a", 0);
    assert_eq!(settle(&mut sizing, 0), (vec![], 0));
    assert_eq!(sizing.take(&"b", 1), None);
    assert_eq!(settle(&mut sizing, 1), (vec!["b"], 0));
    assert_eq!(settle(&mut sizing, IDLE + 2), (vec![], 1));
    assert_eq!(sizing.count(), 0);
}

#[test]
fn thresholds_that_contradict_each_other_do_not_flap() {
    let standby = Standby {
        image: "i".into(),
        min: 1,
        max: 5,
        scale_up_threshold: Some(4),
        scale_down_threshold: Some(1),
        idle: None,
    };
    let rules = Rules::from(&standby);
    assert_eq!((rules.scale_up, rules.scale_down), (4, 4));
}

/// Containers that take time to start, fail and die, under jobs that come and stay away.
struct World {
    random: fastrand::Rng,
    sizing: Sizing<u8>,
    rules: Rules,
    now: u64,
    /// When each is started, and whether that works.
    starting: BTreeMap<Ticket, (u64, bool)>,
    waiting: Vec<Ticket>,
    starts: usize,
    taken: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let min = random.usize(0..4);
        let max = min + random.usize(0..5);
        let scale_up = random.usize(0..4);
        let scale_down = scale_up.max(min) + random.usize(0..3);
        let rules = Rules { min, max, scale_up, scale_down, idle: random.u64(5_000..IDLE) };
        let sizing = Sizing::new(rules.clone(), 0, 0);
        let (starting, waiting) = (BTreeMap::new(), Vec::new());
        Self { random, sizing, rules, now: 0, starting, waiting, starts: 0, taken: 0 }
    }

    fn step(&mut self, works: bool) {
        let due: Vec<_> =
            self.starting.iter().filter(|(_, (at, _))| *at <= self.now).map(|(t, _)| *t).collect();
        for ticket in due {
            if self.starting.remove(&ticket).is_some_and(|(_, works)| works) {
                if self.sizing.waits(ticket, self.now) {
                    self.waiting.push(ticket);
                }
            } else {
                self.sizing.failed(ticket, self.now);
            }
        }
        let step = self.sizing.step(self.now);
        for ticket in &step.stop {
            let index = self.waiting.iter().position(|waiting| waiting == ticket);
            self.waiting.remove(index.expect("only what waits is stopped"));
        }
        for (ticket, _) in step.start {
            self.starts += 1;
            let at = self.now + self.random.u64(100..900);
            assert!(self.starting.insert(ticket, (at, works || self.random.bool())).is_none());
        }
        assert!(self.sizing.count() <= self.rules.max, "{:?}: {:?}", self.rules, self.sizing);
        assert_eq!(self.waiting.len(), self.sizing.waiting());
    }

    fn job(&mut self, kinds: u8) {
        let kind = self.random.u8(0..kinds);
        if let Some(ticket) = self.sizing.take(&kind, self.now) {
            let index = self.waiting.iter().position(|waiting| *waiting == ticket);
            self.waiting.remove(index.expect("only what waits is taken, and only once"));
            self.taken += 1;
        }
    }
}

#[test]
fn simulated_pools_stay_within_their_bounds_settle_and_do_not_flap() {
    for seed in 0..2_000 {
        let told = std::panic::catch_unwind(|| simulate(seed));
        assert!(told.is_ok(), "seed {seed}");
    }
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    let kinds = world.random.u8(1..5);
    // Jobs come in bursts; containers fail and die.
    for _ in 0..200 {
        world.now += world.random.u64(1..2_000);
        for _ in 0..world.random.usize(0..3) {
            world.job(kinds);
        }
        if world.random.u8(0..20) == 0 && !world.waiting.is_empty() {
            let ticket = world.waiting.remove(0);
            world.sizing.ended(ticket, world.now);
        }
        if world.random.u8(0..50) == 0 {
            let until = world.now + world.random.u64(0..3_000);
            world.sizing.empty(until);
            world.waiting.clear();
        }
        world.step(false);
    }
    // Everything works again: the fewest are there soon, and stay.
    let patience = world.now + LONGEST_BACK_OFF + 10_000;
    while world.now < patience {
        world.now += 500;
        world.step(true);
    }
    assert!(world.waiting.len() >= world.rules.min, "{:?}", world.sizing);
    // Nobody comes: whatever is too many goes, `min` may move once, and then nothing happens any more.
    let starts = world.starts;
    for _ in 0..20 {
        world.now += world.rules.idle;
        for _ in 0..4 {
            world.now += 1_000;
            world.step(true);
        }
    }
    assert!(world.starts - starts <= world.rules.min, "{:?}", world.sizing);
    assert_eq!(world.waiting.len(), world.rules.min);
    // One job at a time: each costs one start, beside those that raise the level.
    let (starts, taken) = (world.starts, world.taken);
    for _ in 0..30 {
        world.now += 2_000;
        world.job(1);
        world.step(true);
    }
    assert!(world.starts - starts <= world.taken - taken + 2 * world.rules.max, "{:?}", world.sizing);
}
