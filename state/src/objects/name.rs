//! Names of runs and jobs as parts of an object's name.

use sha2::{Digest, Sha256};

/// How long an escaped name may be. A file's name has at most 255 bytes, and some storages make one of a whole key.
const LONGEST: usize = 80;

/// A name of lower-case letters, digits, `-` and `_` that no other name has. Every other byte becomes `_` and two hex
/// digits, capital letters too, since some file systems take `A` and `a` for the same. Nothing in it is read as a path
/// or an escape by any storage. One that would be too long ends in `__` and a hash of the whole.
pub(crate) fn escape(name: &str) -> String {
    let whole = escape_all(name);
    if whole.len() <= LONGEST {
        return whole;
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect();
    format!("{}__{hash}", &whole[..LONGEST - hash.len() - 2])
}

/// As [`escape`], but of any length, so that [`unescape`] can read it.
pub(crate) fn escape_all(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("_{other:02x}")),
        }
    }
    // A part of a path cannot be empty. No escape ends like this.
    if escaped.is_empty() { "_".to_owned() } else { escaped }
}

/// What [`escape_all`] made this of; `None` where it did not.
pub(crate) fn unescape(escaped: &str) -> Option<String> {
    if escaped == "_" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'_' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_apart_and_inside() {
        assert_eq!(escape("build-2"), "build-2");
        assert_eq!(escape("test[0]"), "test_5b0_5d");
        assert_eq!(escape("Test"), "_54est");
        assert_eq!(escape(".."), "_2e_2e");
        assert_eq!(escape(""), "_");
        let long = ["ä".repeat(40), "ä".repeat(41), "a".repeat(80), "a".repeat(81), "a".repeat(82)];
        let mut escaped: Vec<String> = long.iter().map(|name| escape(name)).collect();
        for name in &escaped {
            assert!(name.len() <= LONGEST, "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        }
        escaped.sort_unstable();
        escaped.dedup();
        assert_eq!(escaped.len(), long.len());
    }

    #[test]
    fn what_was_escaped_is_read_back() {
        for name in ["", "a", "../Run 1", "ä", "_", "__", "\0", "0190-ab"] {
            assert_eq!(unescape(&escape_all(name)).as_deref(), Some(name));
        }
        for none in ["_1", "__", "_zz", "_ff", "a_"] {
            assert_eq!(unescape(none), None, "{none}");
        }
    }
}
