//! How much of artifacts and caches there may be.

/// The most files that one attempt of a job may keep.
pub const MAX_FILES: usize = 10_000;

/// The same for files that a job hands over by itself, with its token.
pub const MAX_FILES_BY_TOKEN: usize = 1_000;

/// The most bytes of all files together that one attempt of a job may keep, and so of one file.
pub const MAX_BYTES: u64 = 10 << 30;

/// The most bytes of one cache, packed or unpacked.
pub const MAX_CACHE_BYTES: u64 = 10 << 30;

/// The most files, directories and links of one cache.
pub const MAX_ARCHIVED_FILES: usize = 1_000_000;

/// A number of bytes for people.
pub fn words_of_bytes(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => {
            let tenths = bytes / (size / 10).max(1);
            if tenths.is_multiple_of(10) {
                format!("{} {unit}", tenths / 10)
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            }
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_in_the_largest_unit() {
        assert_eq!(words_of_bytes(MAX_BYTES), "10 GiB");
        assert_eq!(words_of_bytes(1536), "1.5 KiB");
        assert_eq!(words_of_bytes(1023), "1023 bytes");
    }
}
