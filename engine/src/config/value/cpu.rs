//! A share of processors: `2`, `0.5`, `500m`.

use std::fmt;
use std::str::FromStr;

use super::{ParseValueError, split_unit, text_value};

/// A share of processors, in thousandths of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cpu {
    millis: u32,
}

impl Cpu {
    /// From thousandths of a processor.
    pub const fn from_millis(millis: u32) -> Self {
        Self { millis }
    }

    /// In thousandths of a processor.
    pub const fn as_millis(self) -> u32 {
        self.millis
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis.is_multiple_of(1_000) {
            write!(f, "{}", self.millis / 1_000)
        } else {
            write!(f, "{}m", self.millis)
        }
    }
}

impl FromStr for Cpu {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error =
            || ParseValueError { text: text.to_owned(), expected: "a number of CPUs such as 2, 0.5 or 500m" };
        let (number, unit) = split_unit(text);
        let millis = match unit {
            "m" => number.parse().map_err(|_| error())?,
            "" => {
                let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
                if whole.is_empty() || fraction.is_empty() || fraction.len() > 3 {
                    return Err(error());
                }
                let whole: u32 = whole.parse().map_err(|_| error())?;
                let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| error())?;
                whole.checked_mul(1_000).and_then(|whole| whole.checked_add(thousandths)).ok_or_else(error)?
            }
            _ => return Err(error()),
        };
        if millis == 0 { Err(error()) } else { Ok(Self { millis }) }
    }
}

text_value!(
    Cpu,
    "Cpu",
    r"^([0-9]+m|[0-9]+(\.[0-9]{1,3})?)$",
    "A number of processors: whole, with up to three decimals, or in thousandths with m.",
    ["2", "0.5", "500m"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_are_equal_however_they_are_written() {
        assert_eq!("0.5".parse::<Cpu>(), "500m".parse());
        assert_eq!("2".parse::<Cpu>().expect("valid").to_string(), "2");
        assert_eq!("1.25".parse::<Cpu>().expect("valid").to_string(), "1250m");
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "0", "m", "1.", ".5", "2x", "-1", "0.0001", "99999999999"] {
            assert!(text.parse::<Cpu>().is_err(), "{text:?}");
        }
    }
}
