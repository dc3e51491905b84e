//! What a killed process left half written in a directory: files that are named `NAME#NUMBER` until they are whole.

use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Removes those that were last written before a time, and tells their paths below the directory.
pub(crate) fn remove(directory: &Path, before: SystemTime) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        let entries = match std::fs::read_dir(&next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(entry.path());
                continue;
            }
            let name = entry.file_name();
            let is_unfinished =
                name.to_str().and_then(|name| name.rsplit_once('#')).is_some_and(|(_, number)| {
                    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                });
            if !kind.is_file() || !is_unfinished {
                continue;
            }
            // It may have become whole, and have its name, by now.
            let written_at = entry.metadata().and_then(|metadata| metadata.modified());
            if written_at.is_ok_and(|at| at < before) && std::fs::remove_file(entry.path()).is_ok() {
                let path = entry.path();
                removed.push(path.strip_prefix(directory).unwrap_or(&path).display().to_string());
            }
        }
    }
    Ok(removed)
}
