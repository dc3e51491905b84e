//! A length of time: `90s`, `20m`, `1h30m`.

use std::fmt;
use std::str::FromStr;

use super::{ParseValueError, split_unit, text_value};

/// A length of time, in whole milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration {
    millis: u64,
}

/// The units, largest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Duration {
    /// From milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// From seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self { millis: seconds * 1_000 }
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// As the standard library's type.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.millis)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.millis;
        for (unit, length) in UNITS {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

impl FromStr for Duration {
    type Err = ParseValueError;

    /// Units in falling order, each at most once: `1h30m`. A number without a unit is in seconds, as in the
    /// earlier system's `timeout: 600`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error =
            || ParseValueError { text: text.to_owned(), expected: "a duration such as 90s, 20m or 1h30m" };
        if let Ok(seconds) = text.parse::<u64>() {
            return seconds.checked_mul(1_000).map(Self::from_millis).ok_or_else(error);
        }
        let mut rest = text;
        let mut millis = 0_u64;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let (number, tail) = split_unit(rest);
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
            if length >= smallest {
                return Err(error());
            }
            smallest = length;
            let count: u64 = number.parse().map_err(|_| error())?;
            millis = count.checked_mul(length).and_then(|part| millis.checked_add(part)).ok_or_else(error)?;
            rest = tail;
        }
        if text.is_empty() { Err(error()) } else { Ok(Self { millis }) }
    }
}

text_value!(
    Duration,
    "Duration",
    r"^([0-9]+|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
    "A length of time: a number with a unit (ms, s, m, h, d), or several in falling order. A bare number is seconds.",
    ["90s", "20m", "1h30m"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lengths_are_equal_however_they_are_written() {
        let canonical: Duration = "1h30m".parse().expect("valid");
        for text in ["90m", "5400s", "5400", "5400000ms", "1h1800s"] {
            assert_eq!(text.parse::<Duration>().expect(text), canonical);
        }
        assert_eq!(canonical.to_string(), "1h30m");
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        for text in ["", "m", "20x", "20 m", "-5s", "1.5h", "5m1h", "5m5m", "99999999999999999999d"] {
            assert!(text.parse::<Duration>().is_err(), "{text:?}");
        }
    }
}
