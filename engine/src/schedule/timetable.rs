//! The times that a schedule means: cron fields in a time zone, between two days, moved by its jitter.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use sha2::{Digest, Sha256};

use crate::config::ScheduleSpec;
use crate::scheduler::Millis;
use crate::suggest::nearest;

/// When a schedule is due.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
    /// Nothing is due before this.
    from: Option<Millis>,
    /// Nothing is due from here on.
    until: Option<Millis>,
    /// How much later than due it starts.
    offset: Millis,
}

/// Why a schedule has no times. All of it is refused when it is planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimetableError {
    /// Not cron fields.
    #[error("{text:?} is not a schedule: {reason}")]
    Cron {
        /// What is there.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a time zone.
    #[error("there is no time zone {text:?}")]
    Zone {
        /// What is there.
        text: String,
        /// One that may be meant.
        near: Option<String>,
    },
    /// Not a day.
    #[error("there is no day {text:?}")]
    Day {
        /// What is there.
        text: String,
    },
}

impl Timetable {
    /// The timetable of a schedule. `uid` tells its jitter from that of others.
    pub fn new(spec: &ScheduleSpec, uid: &str) -> Result<Self, TimetableError> {
        let (cron, zone) = (check_cron(&spec.cron)?, check_zone(&spec.timezone)?);
        let day = |text: &Option<String>| text.as_deref().map(check_day).transpose();
        let from = day(&spec.not_before)?.and_then(|day| beginning(zone, day));
        let until =
            day(&spec.not_after)?.and_then(|day| beginning(zone, day.checked_add_days(Days::new(1))?));
        let jitter = spec.jitter.map_or(0, |jitter| jitter.as_millis());
        Ok(Self { cron, zone, from, until, offset: offset(uid, jitter) })
    }

    /// The first due time after a time.
    pub fn after(&self, at: Millis) -> Option<Millis> {
        // The search is strict about the moment that it begins at, and knows no less than seconds.
        let at = at.max(self.from.unwrap_or(Millis::MIN).saturating_sub(1)).div_euclid(1000) * 1000;
        let begin = DateTime::<Utc>::from_timestamp_millis(at)?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&begin, false).ok()?.timestamp_millis();
        (next > at && self.until.is_none_or(|until| next < until)).then_some(next)
    }

    /// When what is due is started.
    pub fn starts_at(&self, due: Millis) -> Millis {
        due.saturating_add(self.offset)
    }

    /// How much later than due it starts.
    pub fn offset(&self) -> Millis {
        self.offset
    }

    /// The next due times after a time.
    pub fn upcoming(&self, after: Millis, count: usize) -> Vec<Millis> {
        std::iter::successors(self.after(after), |last| self.after(*last)).take(count).collect()
    }

    /// Whether nothing will ever be due again after a time since its last day is over.
    pub fn is_over(&self, at: Millis) -> bool {
        self.until.is_some_and(|until| until <= at)
    }
}

/// Cron fields, if they are that.
pub fn check_cron(text: &str) -> Result<Cron, TimetableError> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let failed = |reason: String| TimetableError::Cron { text: text.to_owned(), reason };
    parser.parse(text).map_err(|error| failed(error.to_string()))
}

/// A time zone, if there is one of that name.
pub fn check_zone(text: &str) -> Result<Tz, TimetableError> {
    text.parse().map_err(|_| {
        let zones = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        TimetableError::Zone { text: text.to_owned(), near: nearest(text, zones).map(ToString::to_string) }
    })
}

/// A day, if the calendar has it.
pub(crate) fn check_day(text: &str) -> Result<NaiveDate, TimetableError> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| crate::dates::is_date(text));
    day.ok_or_else(|| TimetableError::Day { text: text.to_owned() })
}

/// The first moment of a day: where clocks are set forward at midnight it has none of that name.
fn beginning(zone: Tz, day: NaiveDate) -> Option<Millis> {
    let midnight = day.and_time(NaiveTime::MIN);
    let quarters = (0..=4 * 25).map(|quarter| midnight + TimeDelta::minutes(15 * quarter));
    let mut existing = quarters.filter_map(|local| zone.from_local_datetime(&local).earliest());
    existing.next().map(|first| first.timestamp_millis())
}

/// By how much a schedule is late on purpose: less than its jitter, the same every time, to the second.
fn offset(uid: &str, jitter: u64) -> Millis {
    let digest = Sha256::digest(uid.as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Millis::try_from(number % jitter.div_ceil(1000).max(1) * 1000).unwrap_or_default()
}
