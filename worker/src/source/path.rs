//! Paths that somebody else wrote: which stay inside a directory.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest path that is taken.
const MAX_PATH: usize = 4096;
/// The most directories in directories.
const MAX_LEVELS: usize = 256;

/// A path that stays inside whatever it is joined to. Otherwise: what is wrong with it.
pub fn inside(path: &[u8]) -> Result<PathBuf, &'static str> {
    if path.is_empty() {
        return Err("has no name");
    }
    if path.len() > MAX_PATH {
        return Err("has too long a name");
    }
    if path.contains(&0) {
        return Err("has a NUL in its name");
    }
    if path.starts_with(b"/") {
        return Err("has an absolute path");
    }
    let mut inside = PathBuf::new();
    let mut levels = 0;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("has a path with .."),
            part if part.len() > 255 => return Err("has too long a name"),
            part => {
                inside.push(OsStr::from_bytes(part));
                levels += 1;
            }
        }
    }
    if levels > MAX_LEVELS { Err("is in too many directories") } else { Ok(inside) }
}

/// Whether a path below a directory is a directory that is reached without any link. Only for trees that nobody else
/// writes meanwhile.
pub fn is_real_directory(root: &Path, relative: &Path) -> bool {
    let mut path = root.to_owned();
    relative.components().all(|part| {
        path.push(part);
        fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_lead_outside_are_refused() {
        for (path, reason) in [
            ("", "has no name"),
            ("/etc/passwd", "has an absolute path"),
            ("..", "has a path with .."),
            ("a/../../b", "has a path with .."),
            ("a/..", "has a path with .."),
            ("a\0b", "has a NUL in its name"),
        ] {
            assert_eq!(inside(path.as_bytes()), Err(reason), "{path:?}");
        }
        assert_eq!(inside("a/".repeat(300).as_bytes()), Err("is in too many directories"));
        assert_eq!(inside("a".repeat(256).as_bytes()), Err("has too long a name"));
        assert_eq!(inside(b"./a//b/./c/"), Ok("a/b/c".into()));
        assert_eq!(inside(b"./"), Ok("".into()));
        assert_eq!(inside(b"...").expect("a name"), Path::new("..."));
    }

    proptest! {
        #[test]
        fn what_is_taken_stays_inside(path in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), Just(b'a'), any::<u8>()], 0..24)) {
            if let Ok(path) = inside(&path) {
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
            }
        }
    }

    #[test]
    fn a_link_on_the_way_is_seen() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("a/b")).expect("a directory");
        std::os::unix::fs::symlink("a", root.path().join("link")).expect("a link");
        assert!(is_real_directory(root.path(), Path::new("a/b")));
        assert!(!is_real_directory(root.path(), Path::new("link/b")));
        assert!(!is_real_directory(root.path(), Path::new("nothing")));
    }
}
