//! What `Range` asks for: one range of bytes. More than one, or what is no range, counts as none, as RFC 9110 allows.

use std::ops::Range;

/// Nothing of what is asked for is there.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfRange;

/// The bytes that are asked for, of so many; none where all of them are.
pub fn parse(header: Option<&str>, size: u64) -> Result<Option<Range<u64>>, OutOfRange> {
    let Some((first, last)) = header.and_then(one) else { return Ok(None) };
    let range = match (first, last) {
        (Some(first), Some(last)) if last < first => return Ok(None),
        (Some(first), last) => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
        (None, Some(count)) => size.saturating_sub(count)..size,
        (None, None) => return Ok(None),
    };
    if range.is_empty() { Err(OutOfRange) } else { Ok(Some(range)) }
}

fn one(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    };
    Some((number(first)?, number(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_is_there() {
        let of = |header| parse(Some(header), 10);
        assert_eq!(of("bytes=0-3"), Ok(Some(0..4)));
        assert_eq!(of("bytes=4-"), Ok(Some(4..10)));
        assert_eq!(of("bytes=-3"), Ok(Some(7..10)));
        assert_eq!(of("bytes=-99"), Ok(Some(0..10)));
        assert_eq!(of("bytes=8-99"), Ok(Some(8..10)));
        for nothing in ["bytes=10-", "bytes=-0", "bytes=99-100"] {
            assert_eq!(of(nothing), Err(OutOfRange), "{nothing}");
        }
        for none in
            ["", "bytes=", "bytes=-", "bytes=3-2", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "bytes=+1-2"]
        {
            assert_eq!(of(none), Ok(None), "{none}");
        }
        assert_eq!(parse(None, 0), Ok(None));
        assert_eq!(parse(Some("bytes=0-"), 0), Err(OutOfRange));
    }
}
