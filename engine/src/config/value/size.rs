//! A number of bytes: `512Mi`, `2Gi`, `1.5G`.

use std::fmt;
use std::str::FromStr;

use super::{ParseValueError, split_unit, text_value};

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    bytes: u64,
}

/// Binary units, largest first: what a size is printed in.
const BINARY: [(&str, u64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
/// Decimal units, read as in Kubernetes.
const DECIMAL: [(&str, u64); 4] =
    [("T", 1_000_000_000_000), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

impl Size {
    /// From bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// In bytes.
    pub const fn as_bytes(self) -> u64 {
        self.bytes
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, length) in BINARY {
            if self.bytes >= length && self.bytes.is_multiple_of(length) {
                return write!(f, "{}{unit}", self.bytes / length);
            }
        }
        write!(f, "{}", self.bytes)
    }
}

impl FromStr for Size {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error =
            || ParseValueError { text: text.to_owned(), expected: "a size such as 512Mi, 2Gi or 1.5G" };
        let (number, unit) = split_unit(text);
        let length = match unit {
            "" => 1,
            unit => {
                let units = BINARY.into_iter().chain(DECIMAL);
                units.into_iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1
            }
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 6 || number.ends_with('.') {
            return Err(error());
        }
        let whole: u64 = whole.parse().map_err(|_| error())?;
        let mut bytes = whole.checked_mul(length).ok_or_else(error)?;
        if !fraction.is_empty() {
            let digits: u64 = fraction.parse().map_err(|_| error())?;
            let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| error())?);
            let part = u128::from(digits) * u128::from(length) / scale;
            bytes = u64::try_from(part).ok().and_then(|part| bytes.checked_add(part)).ok_or_else(error)?;
        }
        Ok(Self { bytes })
    }
}

text_value!(
    Size,
    "Size",
    r"^[0-9]+(\.[0-9]{1,6})?(Ki|Mi|Gi|Ti|k|M|G|T)?$",
    "A number of bytes, with a unit as in Kubernetes: Ki, Mi, Gi, Ti (powers of 1024), k, M, G, T (powers of 1000).",
    ["512Mi", "2Gi"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_are_equal_however_they_are_written() {
        let canonical: Size = "2Gi".parse().expect("valid");
        for text in ["2048Mi", "2097152Ki", "2147483648", "2.0Gi"] {
            assert_eq!(text.parse::<Size>().expect(text), canonical);
        }
        assert_eq!(canonical.to_string(), "2Gi");
        assert_eq!("1.5G".parse::<Size>().expect("valid").as_bytes(), 1_500_000_000);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "Gi", "2GB", "2 Gi", "-1", ".5Gi", "1.Gi", "1..5Gi", "99999999Ti"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }
}
