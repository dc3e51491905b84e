//! How much code may be.

use std::time::Duration;

/// How much code may be, and how long getting it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a checkout, an archive, or what is fetched for one.
    pub bytes: u64,
    /// The most files, directories and links.
    pub entries: u64,
    /// How long one source may take.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 8 << 30, entries: 1_000_000, deadline: Duration::from_secs(1800) }
    }
}

impl Limits {
    pub(super) fn bytes_in_words(&self) -> String {
        size(self.bytes)
    }

    pub(super) fn entries_in_words(&self) -> String {
        format!("{} files", self.entries)
    }
}

/// A number of bytes in words.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{bytes} bytes"),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
