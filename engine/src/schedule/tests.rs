//! Clocks that skip, repeat, go back and run ahead; days that do not exist; starts that were missed.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::conformance;
use super::*;
use crate::config::{Overlap, ScheduleSpec};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

fn spec(cron: &str, more: Value) -> ScheduleSpec {
    let mut value = json!({"pipeline": "ci", "cron": cron});
    for (key, field) in more.as_object().expect("fields") {
        value[key] = field.clone();
    }
    serde_json::from_value(value).expect("a schedule")
}

fn table(spec: &ScheduleSpec) -> Timetable {
    Timetable::new(spec, "uid").expect("a timetable")
}

fn at(text: &str) -> Millis {
    chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis()
}

fn times(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let table = table(&spec(cron, json!({"timezone": zone})));
    let text = |at: &Millis| crate::dates::timestamp(u64::try_from(*at).expect("after 1970"));
    table.upcoming(at(from) - 1, count).iter().map(text).collect()
}

#[test]
fn a_time_that_a_clock_skips_is_made_up_for_and_one_that_comes_twice_starts_once() {
    // On 2026-03-29 Vienna has no 02:30, on 2026-10-25 it has two.
    assert_eq!(
        times("30 2 * * *", "Europe/Vienna", "2026-03-28T00:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        times("30 2 * * *", "Europe/Vienna", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // Whoever asks for every hour gets every hour.
    assert_eq!(
        times("0 * * * *", "Europe/Vienna", "2026-10-24T23:30:00Z", 4),
        ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z"]
    );
    assert_eq!(
        times("0 * * * *", "Europe/Vienna", "2026-03-29T00:00:00Z", 2),
        ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"]
    );
    // Half an hour, at another end of the world.
    assert_eq!(
        times("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2),
        ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]
    );
}

#[test]
fn days_that_are_seldom_come_and_those_that_never_are_not_waited_for() {
    assert_eq!(
        times("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
        ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]
    );
    assert_eq!(times("0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z", 1), [""; 0]);
    assert_eq!(times("0 0 31 4,6 *", "UTC", "2026-01-01T00:00:00Z", 1), [""; 0]);
    assert_eq!(
        times("@monthly", "UTC", "2026-01-01T00:00:00Z", 2),
        ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]
    );
}

#[test]
fn nothing_is_due_outside_of_its_days() {
    let spec = spec(
        "0 12 * * *",
        json!({"timezone": "America/New_York", "not_before": "2026-06-01", "not_after": "2026-06-02"}),
    );
    let table = table(&spec);
    assert_eq!(table.upcoming(0, 9), [at("2026-06-01T16:00:00Z"), at("2026-06-02T16:00:00Z")]);
    assert!(table.is_over(at("2026-06-03T04:00:00Z")) && !table.is_over(at("2026-06-03T03:59:59Z")));
    let decision = decide(&table, &spec, at("2026-06-02T16:00:00Z"), at("2026-07-01T00:00:00Z"));
    assert_eq!((decision.start, decision.missed, decision.next), (vec![], None, None));
}

#[test]
fn what_was_missed_is_caught_up_as_it_says() {
    let begin = at("2026-01-01T00:00:00Z");
    let now = begin + 6 * HOUR + 10 * MINUTE;
    let decided = |more: Value| {
        let spec = spec("@hourly", more);
        decide(&table(&spec), &spec, begin, now)
    };
    let hours = |decision: &Decision| -> Vec<Millis> {
        decision.start.iter().map(|due| (due - begin) / HOUR).collect()
    };
    let missed = |decision: &Decision| decision.missed.as_ref().map(|missed| (missed.count, missed.reason));

    let latest = decided(json!({}));
    assert_eq!((hours(&latest), missed(&latest)), (vec![6], Some((1, MissedReason::NotTheLatest))));
    assert!(latest.missed.as_ref().is_some_and(|missed| missed.more), "four more, before what was looked at");
    assert_eq!((latest.settled, latest.next), (begin + 6 * HOUR, Some(begin + 7 * HOUR)));

    let none = decided(json!({"catch_up": "skip"}));
    assert_eq!(hours(&none), [0; 0]);
    assert_eq!(none.missed.as_ref().map(|missed| missed.reason), Some(MissedReason::TooLate));
    assert_eq!(none.settled, begin + 6 * HOUR);

    let all = decided(json!({"catch_up": "all"}));
    assert_eq!((hours(&all), missed(&all)), (vec![1, 2, 3, 4, 5, 6], None));
    let some = decided(json!({"catch_up": "all", "catch_up_limit": 2}));
    assert_eq!(
        (hours(&some), some.missed.map(|missed| missed.reason)),
        (vec![5, 6], Some(MissedReason::TooMany))
    );
    let in_time = decided(json!({"catch_up": "all", "start_deadline": "2h30m"}));
    assert_eq!((hours(&in_time), missed(&in_time)), (vec![4, 5, 6], Some((3, MissedReason::TooLate))));
    let too_late = decided(json!({"start_deadline": "5m"}));
    assert_eq!(hours(&too_late), [0; 0]);
}

#[test]
fn who_is_a_moment_late_is_not_late() {
    let begin = at("2026-01-01T00:00:00Z");
    let spec = spec("@hourly", json!({"catch_up": "skip"}));
    let at_time = |late| decide(&table(&spec), &spec, begin, begin + HOUR + late).start;
    assert_eq!((at_time(-1), at_time(0)), (vec![], vec![begin + HOUR]));
    assert_eq!((at_time(MINUTE), at_time(MINUTE + 1)), (vec![begin + HOUR], vec![]));
}

#[test]
fn a_jitter_delays_every_start_by_the_same() {
    let spec = spec("@hourly", json!({"jitter": "10m"}));
    let offsets: Vec<Millis> =
        (0..50).map(|uid| Timetable::new(&spec, &uid.to_string()).expect("a timetable").offset()).collect();
    assert!(offsets.iter().all(|offset| (0..10 * MINUTE).contains(offset) && offset % 1000 == 0));
    assert!(offsets.iter().collect::<std::collections::BTreeSet<_>>().len() > 30, "{offsets:?}");
    let (table, begin) = (table(&spec), at("2026-01-01T00:00:00Z"));
    let early = decide(&table, &spec, begin, begin + HOUR + table.offset() - 1);
    assert_eq!((early.start, early.next), (vec![], Some(begin + HOUR + table.offset())));
    assert_eq!(decide(&table, &spec, begin, begin + HOUR + table.offset()).start, [begin + HOUR]);
}

#[test]
fn a_clock_that_was_a_year_ahead_does_not_silence_a_schedule_for_a_year() {
    let spec = spec("*/5 * * * *", json!({}));
    let (table, now) = (table(&spec), at("2026-01-01T00:02:00Z"));
    let ahead = decide(&table, &spec, now, now + 365 * DAY);
    assert_eq!(ahead.start.len(), 1);
    // A year back: the next start is the one that this clock says.
    let back = decide(&table, &spec, ahead.settled, now + MINUTE);
    assert_eq!((back.start, back.next), (vec![], Some(at("2026-01-01T00:05:00Z"))));
    // Two servers whose clocks differ by a little do not undo what the other one settled.
    let other = decide(&table, &spec, at("2026-01-01T00:05:00Z"), at("2026-01-01T00:04:58Z"));
    assert_eq!((other.start, other.settled), (vec![], at("2026-01-01T00:05:00Z")));
}

#[test]
fn a_run_that_goes_on_is_left_alone_awaited_or_cancelled() {
    let running = || vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(on_overlap(Overlap::Allow, running()), Verdict::Start { cancel: vec![] });
    assert_eq!(on_overlap(Overlap::Skip, running()), Verdict::Skip { running: "a".into() });
    assert_eq!(on_overlap(Overlap::Skip, vec![]), Verdict::Start { cancel: vec![] });
    assert_eq!(on_overlap(Overlap::CancelRunning, running()), Verdict::Start { cancel: running() });
}

#[tokio::test]
async fn positions_move_on_one_at_a_time() {
    conformance::positions_move_on_one_at_a_time(&MemoryPositions::default()).await;
}

const CRONS: [&str; 7] =
    ["*/7 * * * *", "0 * * * *", "30 2 * * *", "15 1,2,3 * * *", "0 0 * * 1-5", "59 23 L * *", "0 12 29 2 *"];
const ZONES: [&str; 5] =
    ["UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "America/Santiago"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whenever and however often servers look, each due time is started once, in order.
    #[test]
    fn however_often_it_is_looked_at_every_due_time_starts_once(
        cron in 0..CRONS.len(), zone in 0..ZONES.len(), day in 0_i64..730,
        steps in prop::collection::vec(0_i64..90 * 60, 1..40),
    ) {
        let spec = spec(CRONS[cron], json!({"timezone": ZONES[zone], "catch_up": "all", "catch_up_limit": 100}));
        let table = table(&spec);
        let begin = at("2026-01-01T00:00:00Z") + day * DAY;
        let (mut settled, mut now, mut started) = (begin, begin, Vec::new());
        for step in steps {
            now += step * 1000;
            let decision = decide(&table, &spec, settled, now);
            prop_assert!(decision.start.iter().all(|due| *due <= now));
            prop_assert!(decision.next.is_none_or(|next| next > now));
            prop_assert_eq!(decision.missed, None);
            started.extend(decision.start);
            settled = decision.settled;
        }
        let expected: Vec<Millis> =
            std::iter::successors(table.after(begin), |last| table.after(*last)).take_while(|due| *due <= now).collect();
        prop_assert_eq!(started, expected);
    }

    /// Whatever the policy: what starts and what is missed are together what was due, unless more was not counted.
    #[test]
    fn nothing_that_was_due_is_forgotten(
        cron in 0..CRONS.len(), zone in 0..ZONES.len(), away in 0_i64..40 * 24, policy in 0..3_usize, limit in 1..100_u32,
        deadline in prop::option::of(1_u32..2000),
    ) {
        let policy = ["skip", "latest", "all"][policy];
        let mut more = json!({"timezone": ZONES[zone], "catch_up": policy, "catch_up_limit": limit});
        if let Some(minutes) = deadline {
            more["start_deadline"] = json!(format!("{minutes}m"));
        }
        let spec = spec(CRONS[cron], more);
        let (table, begin) = (table(&spec), at("2026-03-01T00:00:00Z"));
        let now = begin + away * HOUR + 17_000;
        let decision = decide(&table, &spec, begin, now);
        let due: Vec<Millis> =
            std::iter::successors(table.after(begin), |last| table.after(*last)).take_while(|due| *due <= now).collect();
        let most = if policy == "all" { limit as usize } else { 1 };
        prop_assert!(decision.start.len() <= most);
        prop_assert!(due.ends_with(&decision.start) || decision.start.is_empty());
        prop_assert_eq!(decision.settled, due.last().copied().unwrap_or(begin));
        let counted = decision.start.len() as u64 + decision.missed.as_ref().map_or(0, |missed| missed.count);
        let uncounted = decision.missed.as_ref().is_some_and(|missed| missed.more);
        let all = due.len() as u64;
        prop_assert_eq!(counted.cmp(&all).is_lt(), uncounted, "{} of {}", counted, all);
        prop_assert!(counted <= all);
    }

    /// Fields that name every hour mean what the clock shows, and nothing else.
    #[test]
    fn wildcards_follow_the_clock(zone in 0..ZONES.len(), day in 0_i64..730, minute in 0_u32..60) {
        use chrono::Timelike as _;
        let zone_name = ZONES[zone];
        let spec = spec(&format!("{minute} * * * *"), json!({"timezone": zone_name}));
        let zone: chrono_tz::Tz = zone_name.parse().expect("a zone");
        let begin = at("2026-01-01T00:00:00Z") + day * DAY;
        let shown = |at: &Millis| {
            chrono::DateTime::from_timestamp_millis(*at).expect("a time").with_timezone(&zone).minute() == minute
        };
        let expected: Vec<Millis> = (1..=24 * 60).map(|n| begin + n * MINUTE).filter(shown).collect();
        let table = table(&spec);
        let due = std::iter::successors(table.after(begin), |last| table.after(*last));
        prop_assert_eq!(due.take_while(|due| *due <= begin + DAY).collect::<Vec<_>>(), expected);
    }
}
