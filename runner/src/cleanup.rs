//! Removes the contents of directories: workspaces that hold files of other users are emptied from inside a
//! container.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Empties each directory. What is missing is fine; a link is removed, never followed, and a directory that
/// is itself a link is refused.
pub fn cleanup(paths: &[&str]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        if let Err(error) = empty(Path::new(path)) {
            eprintln!("reactorcide-runner: cannot clean {path}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn empty(directory: &Path) -> io::Result<()> {
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_dir() => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
        Ok(_) => {}
    }
    let mut first = None;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // `remove_dir_all` works on descriptors and follows no link, even one that is swapped in meanwhile.
        let removed = match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        };
        first = first.or(removed.err());
    }
    first.map_or(Ok(()), Err)
}
