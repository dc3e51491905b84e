//! The clock.

use std::time::{SystemTime, UNIX_EPOCH};

pub use reactorcide_engine::dates::{date, is_date, timestamp};

/// Milliseconds since 1970 UTC.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
