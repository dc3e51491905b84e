//! What jobs used, for people.

use reactorcide_engine::protocol::usage::Usage;

use super::duration;

/// What an attempt used, in a few words.
pub fn used(usage: &Usage) -> String {
    let mut text = format!("cpu {}, memory {}", duration(millis(usage.cpu_ms)), size(usage.memory_peak));
    for (what, bytes) in [("read", usage.read), ("written", usage.written)] {
        if bytes > 0 {
            text.push_str(&format!(", {what} {}", size(bytes)));
        }
    }
    text
}

fn millis(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Bytes, for people.
fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    let tenths = bytes.saturating_mul(10) / unit;
    if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", bytes / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_takes_few_words() {
        let usage = Usage { cpu_ms: 1_500, memory_peak: 20 << 20, written: 1536, ..Usage::default() };
        assert_eq!(used(&usage), "cpu 1.5s, memory 20 MiB, written 1.5 KiB");
        assert_eq!(used(&Usage::default()), "cpu 0.0s, memory 0 B");
    }
}
