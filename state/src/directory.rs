//! The directory of the state: ours alone, and invisible to git.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use reactorcide_engine::store::StoreError;

/// Creates the state's directory where it does not exist: readable by nobody else, with a `.gitignore` that
/// hides it whole. A directory that exists is left as it is.
pub fn prepare(directory: &Path) -> Result<(), StoreError> {
    if directory.is_dir() {
        return Ok(());
    }
    let access = |source: std::io::Error| StoreError::Access {
        location: directory.display().to_string(),
        attempt: "created",
        what: source.to_string(),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(access)?;
    let mut ignore = std::fs::File::create(directory.join(".gitignore")).map_err(access)?;
    ignore.write_all(b"*\n").map_err(access)
}
