//! Dates and times as people read them, in UTC.

/// The day of a time, `YYYY-MM-DD`, in UTC.
pub fn date(millis: u64) -> String {
    // The civil calendar from days, by Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html>.
    let days = millis / 86_400_000 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time, `YYYY-MM-DDTHH:MM:SSZ`.
pub fn timestamp(millis: u64) -> String {
    let seconds = millis / 1_000 % 86_400;
    format!("{}T{:02}:{:02}:{:02}Z", date(millis), seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Whether a text is a day as [`date`] writes it.
pub fn is_date(text: &str) -> bool {
    let numbers: Vec<_> = text.split('-').map(str::parse::<u32>).collect();
    let days = |year: u32, month: u32| match month {
        2 if year.is_multiple_of(4) && !year.is_multiple_of(100)
            || year.is_multiple_of(400) && month == 2 =>
        {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    matches!(numbers[..], [Ok(year), Ok(month @ 1..=12), Ok(day @ 1..)] if day <= days(year, month))
        && text.len() == 10
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_right_at_the_edges() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_000, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(millis), expected);
        }
        assert!(is_date("2026-11-20"));
        assert!(["2026-13-01", "2026-1-1", "today", "+026-11-20"].iter().all(|text| !is_date(text)));
    }
}
