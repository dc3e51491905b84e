//! Files that steps leave for the runner. Steps may put anything there, so they are opened without following
//! a link, must be regular files, and are read up to a limit.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// Reads a file that a step may have written. `None` if there is none.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, String> {
    // Without NONBLOCK, opening a FIFO would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => return Err("it is a symbolic link".to_owned()),
        Err(error) => return Err(format!("it cannot be opened: {}", io::Error::from(error))),
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| format!("it cannot be examined: {error}"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("it is longer than {limit} bytes"));
    }
    Ok(Some(bytes))
}

/// Makes a file anew where steps may have put anything: whatever is there goes, and nothing is opened that somebody else
/// made.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(path)?.write_all(bytes)
}

/// The first of some directories whose file system is full, if one is.
pub fn full_device<'a>(directories: impl IntoIterator<Item = &'a Path>) -> Option<&'a Path> {
    directories.into_iter().find(|directory| {
        rustix::fs::statvfs(*directory).is_ok_and(|stat| {
            let writable = !stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
            let no_blocks = stat.f_blocks > 0 && stat.f_bavail.saturating_mul(stat.f_frsize) < 64 << 10;
            let no_files = stat.f_files > 0 && stat.f_favail == 0;
            writable && (no_blocks || no_files)
        })
    })
}
