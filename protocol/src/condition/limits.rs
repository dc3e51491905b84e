//! What is checked on the text alone, before a parser that recurses may see it.

use super::ConditionError;

/// The longest expression, in bytes.
pub const MAX_BYTES: usize = 1 << 10;
/// How deep brackets may nest.
pub const MAX_NESTING: usize = 32;
/// How many operators, selections and calls an expression may have.
pub const MAX_OPERATORS: usize = 256;
/// How deep the expression may be as a tree. A chain of `&&` or of `||` counts once.
pub const MAX_DEPTH: usize = 64;
/// How deep `all`, `exists`, `map` and the like may nest.
pub const MAX_NESTED_MACROS: usize = 2;

/// Checks length, nesting and the number of operators.
pub(super) fn check(source: &str) -> Result<(), ConditionError> {
    if source.len() > MAX_BYTES {
        return Err(ConditionError::TooLong { length: source.len() });
    }
    let bytes = source.as_bytes();
    let (mut nesting, mut operators, mut at) = (0usize, 0usize, 0usize);
    while at < bytes.len() {
        let next = match bytes[at] {
            b'"' | b'\'' => end_of_string(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'/') => end_of_line(bytes, at),
            _ => at + 1,
        };
        match bytes[at] {
            b'(' | b'[' | b'{' => {
                nesting += 1;
                operators += 1;
            }
            b')' | b']' | b'}' => nesting = nesting.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'.' | b'?' | b'!' | b'<' | b'>' | b'=' | b'&' | b'|' => {
                let second = at > 0 && matches!(bytes[at], b'=' | b'&' | b'|') && is_operator(bytes[at - 1]);
                operators += usize::from(!second);
            }
            b'i' if bytes[at..].starts_with(b"in") => operators += 1,
            _ => {}
        }
        if nesting > MAX_NESTING {
            let message = format!("brackets nest deeper than {MAX_NESTING}");
            return Err(ConditionError::TooComplex { message, offset: at });
        }
        if operators > MAX_OPERATORS {
            let message = format!("more than {MAX_OPERATORS} operators");
            return Err(ConditionError::TooComplex { message, offset: at });
        }
        at = next;
    }
    Ok(())
}

fn is_operator(byte: u8) -> bool {
    matches!(byte, b'=' | b'!' | b'<' | b'>' | b'&' | b'|')
}

/// Where a string that begins at `at` ends, as CEL reads it: raw, triple-quoted, with escapes. An unclosed
/// one ends right after its quote, so that all that follows is counted.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let raw = at > 0 && matches!(bytes[at - 1], b'r' | b'R');
    let length = if bytes[at..].starts_with(&[quote; 3]) { 3 } else { 1 };
    let mut position = at + length;
    while position < bytes.len() {
        if bytes[position] == b'\\' && !raw {
            position += 2;
        } else if bytes[position..].starts_with(&[quote; 3][..length]) {
            return position + length;
        } else if bytes[position] == b'\n' && length == 1 {
            break;
        } else {
            position += 1;
        }
    }
    at + 1
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
}
