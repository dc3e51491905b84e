//! Text from elsewhere, made safe to print, and lengths of time for people.

/// A text without anything that a terminal would obey: control characters, escape sequences, and marks that change
/// the direction of writing become visible.
pub fn safe(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// Adds a line of a log to a text: colours stay where they are wanted, everything else that a terminal would obey goes or
/// becomes visible.
pub fn push_line(line: &[u8], colours: bool, text: &mut String) {
    // Nearly every line is plain, and there are many.
    if line.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\t')
        && let Ok(line) = std::str::from_utf8(line)
    {
        text.push_str(line);
        return;
    }
    let safe = safe_line(&String::from_utf8_lossy(line), colours);
    text.push_str(&safe);
    // The job's colours must not leak into what comes after.
    if safe.contains('\u{1b}') {
        text.push_str("\u{1b}[0m");
    }
}

fn safe_line(line: &str, colours: bool) -> String {
    let mut safe = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' => safe.push(c),
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                let mut sequence = String::new();
                let last = loop {
                    match chars.next() {
                        Some(c) if ('\u{40}'..='\u{7e}').contains(&c) => break Some(c),
                        Some(c) if (' '..'@').contains(&c) && sequence.len() < 32 => sequence.push(c),
                        _ => break None,
                    }
                };
                if colours
                    && last == Some('m')
                    && sequence.chars().all(|c| c.is_ascii_digit() || c == ';' || c == ':')
                {
                    safe.push_str(&format!("\u{1b}[{sequence}m"));
                }
            }
            // Operating system commands and the like: dropped up to their end.
            '\u{1b}' if matches!(chars.peek(), Some(']' | 'P' | 'X' | '^' | '_')) => {
                chars.next();
                while let Some(c) = chars.next() {
                    if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            '\u{1b}' => drop(chars.next()),
            '\r' => {}
            c if is_unsafe(c) => safe.push_str(&c.escape_unicode().to_string()),
            c => safe.push(c),
        }
    }
    safe
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Milliseconds as people read them: `0.3s`, `12s`, `3m05s`.
pub fn duration(millis: i64) -> String {
    let millis = millis.max(0);
    let seconds = millis / 1_000;
    match seconds {
        0..10 => format!("{seconds}.{}s", millis % 1_000 / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_becomes_visible() {
        assert_eq!(safe("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}");
    }

    #[test]
    fn colours_stay_and_everything_else_goes() {
        assert_eq!(safe_line("\u{1b}[1;31mred\u{1b}[0m\r", true), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(safe_line("\u{1b}[1;31mred\u{1b}[0m\r", false), "red");
        for sequence in [
            "\u{1b}[2J",
            "\u{1b}[1A",
            "\u{1b}]0;title\u{7}",
            "\u{1b}]8;;x\u{1b}\\",
            "\u{1b}c",
            "\u{1b}[?25l",
            "\u{1b}[",
        ] {
            assert_eq!(safe_line(&format!("a{sequence}"), true), "a", "{sequence:?}");
        }
        assert_eq!(safe_line("bell\u{7} back\u{8}", true), "bell\\u{7} back\\u{8}");
    }

    #[test]
    fn a_line_of_any_bytes_is_added_and_its_colours_end_with_it() {
        let pushed = |line: &[u8], colours| {
            let mut text = String::from("> ");
            push_line(line, colours, &mut text);
            text
        };
        assert_eq!(pushed(b"plain\ttext", true), "> plain\ttext");
        assert_eq!(pushed(b"\x1b[31mred", true), "> \u{1b}[31mred\u{1b}[0m");
        assert_eq!(pushed(b"\x1b[31mred", false), "> red");
        assert_eq!(pushed(b"\xff\xc3\xa9\x07", true), "> \u{fffd}é\\u{7}");
    }

    #[test]
    fn lengths_of_time_are_short() {
        assert_eq!(
            [0, 340, 9_990, 59_000, 185_000, 7_500_000].map(duration),
            ["0.0s", "0.3s", "9.9s", "59s", "3m05s", "2h05m"]
        );
    }
}
