//! How a worker's machine is, and whether it may take jobs as it is.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::Size;

/// How a machine is. What could not be measured is absent, and stands in nobody's way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// How many processes wanted a processor in the last minute, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// How many processors there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processors: Option<u32>,
    /// Memory in all, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total: Option<u64>,
    /// Memory that programs could still have, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available: Option<u64>,
    /// The size of the file system that holds workspaces, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_total: Option<u64>,
    /// How much of it is free for the worker, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<u64>,
    /// Why it takes no jobs as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuses: Option<String>,
}

/// The least free disk with which a worker takes jobs: `2Gi`, or a share of the file system such as `5%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// Bytes.
    Bytes(u64),
    /// A share of the file system, in percent.
    Percent(u8),
}

impl Default for Floor {
    fn default() -> Self {
        Self::Bytes(1 << 30)
    }
}

impl Floor {
    /// In bytes, of a file system of a size.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total / 100 * u64::from(percent),
        }
    }
}

impl Health {
    /// The same, with why it takes no jobs below a floor.
    pub fn with_floor(self, floor: Floor) -> Self {
        let (free, total) = (self.disk_free, self.disk_total);
        let is_full = |(free, total): &(u64, u64)| *free < floor.of(*total);
        let refuses = free
            .zip(total)
            .filter(is_full)
            .map(|(free, _)| format!("its disk has {} free, and takes jobs from {floor} on", human(free)));
        Self { refuses, ..self }
    }
}

/// A number of bytes for people.
pub fn human(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, length)| bytes >= *length) {
        // Tenths, rounded down: what is just below a floor does not look as if it were not.
        Some((unit, length)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(length);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{}", Size::from_bytes(*bytes)),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Floor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || format!("{text:?} is neither a size such as 2Gi nor a share such as 5%");
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 0..=99) => Ok(Self::Percent(percent)),
                _ => Err(error()),
            },
            None if text == "0" => Ok(Self::Bytes(0)),
            None => text.parse::<Size>().map(|size| Self::Bytes(size.as_bytes())).map_err(|_| error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_its_floor_a_worker_takes_nothing_and_says_so() {
        let health =
            |free| Health { disk_free: Some(free), disk_total: Some(100 << 30), ..Health::default() };
        let refuses = |free, floor: &str| health(free).with_floor(floor.parse().expect("a floor")).refuses;
        assert_eq!(refuses(2 << 30, "2Gi"), None);
        assert_eq!(
            refuses((2 << 30) - 1, "2Gi").as_deref(),
            Some("its disk has 1.9 GiB free, and takes jobs from 2Gi on")
        );
        assert_eq!(refuses(5 << 30, "5%"), None);
        assert_eq!(
            refuses(4 << 30, "5%").as_deref(),
            Some("its disk has 4.0 GiB free, and takes jobs from 5% on")
        );
        assert_eq!((refuses(0, "0"), refuses(0, "0%")), (None, None), "no floor");
        // What is not known stands in nobody's way.
        assert_eq!(Health::default().with_floor(Floor::default()).refuses, None);
    }

    #[test]
    fn a_floor_is_a_size_or_a_share() {
        for (text, floor) in
            [("1Gi", Floor::Bytes(1 << 30)), ("10%", Floor::Percent(10)), ("0", Floor::Bytes(0))]
        {
            assert_eq!(text.parse(), Ok(floor));
            assert_eq!(floor.to_string().parse(), Ok(floor));
        }
        for text in ["", "%", "100%", "-1%", "1 %", "much", "5.5%"] {
            assert!(text.parse::<Floor>().is_err(), "{text:?}");
        }
    }
}
