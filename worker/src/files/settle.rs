//! What was unpacked, moved to where it belongs: all of it, or nothing where something is in its way.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::{FilesError, Tree};

/// Moves what is below a directory of the workspace to the workspace itself. Directories that are there stay, and what is in
/// them; files and links are replaced. A file where a directory belongs, or the other way round, is an error, and nothing was
/// moved then.
pub fn settle(name: &str, tree: &Tree, from: &Path) -> Result<(), FilesError> {
    let moves = moves(name, tree, from)?;
    for path in moves {
        tree.rename(&from.join(&path), &path).map_err(FilesError::io(&path, "written"))?;
    }
    Ok(())
}

/// What is to be moved, each as high up as nothing is there.
fn moves(name: &str, tree: &Tree, from: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let is_in_the_way = |path: &Path, what: &str| FilesError::Archive {
        name: name.to_owned(),
        why: format!("{} is {what} here", path.display()),
    };
    let mut moves = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let failed = |error: io::Error| FilesError::io(&directory, "read")(error);
        for entry in tree.list(&from.join(&directory)).map_err(failed)? {
            let path = directory.join(&entry.name);
            let there = tree.kind(&path).map_err(FilesError::io(&path, "read"))?;
            match (entry.kind, there) {
                (FileType::Directory, Some(FileType::Directory)) => pending.push(path),
                (FileType::Directory, Some(FileType::Symlink)) => {
                    return Err(is_in_the_way(&path, "a symbolic link"));
                }
                (FileType::Directory, Some(_)) => return Err(is_in_the_way(&path, "a file")),
                (_, Some(FileType::Directory)) => return Err(is_in_the_way(&path, "a directory")),
                _ => moves.push(path),
            }
        }
    }
    Ok(moves)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        tree: Tree,
    }

    impl Place {
        fn with(files: &[&str]) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let tree = Tree::open(directory.path()).expect("opened");
            let place = Self { directory, tree };
            for file in files {
                let path = place.directory.path().join(file);
                fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                fs::write(path, file).expect("written");
            }
            place
        }

        fn settle(&self) -> Result<(), FilesError> {
            settle("key", &self.tree, Path::new("new"))
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
        }
    }

    #[test]
    fn what_is_new_joins_what_is_there() {
        let there = ["src/main", "src/deps/old", "src/deps/lib"];
        let new = ["new/src/deps/lib", "new/src/deps/bin/tool", "new/.home/x"];
        let place = Place::with(&[&there[..], &new].concat());
        place.settle().expect("moved");
        assert_eq!(place.read("src/main"), "src/main");
        assert_eq!(place.read("src/deps/old"), "src/deps/old");
        for name in ["src/deps/lib", "src/deps/bin/tool", ".home/x"] {
            assert_eq!(place.read(name), format!("new/{name}"));
        }
        place.tree.remove(Path::new("new")).expect("removed");
        assert!(!place.directory.path().join("new").exists());
        place.tree.remove(Path::new("new")).expect("gone already");
    }

    #[test]
    fn where_something_is_in_the_way_nothing_is_moved() {
        for (there, new) in [("src/deps", "new/src/deps/lib"), ("src/deps/lib/x", "new/src/deps/lib")] {
            let place = Place::with(&[there, "new/a", new]);
            let refused = place.settle().expect_err("it is in the way");
            assert!(matches!(&refused, FilesError::Archive { name, .. } if name == "key"), "{refused}");
            assert!(refused.to_string().ends_with(" here"), "{refused}");
            assert_eq!(place.read("a"), "");
            assert_eq!(place.read(there), there);
        }
        let place = Place::with(&["new/src/deps/lib", "outside/x"]);
        symlink(place.directory.path().join("outside"), place.directory.path().join("src")).expect("linked");
        assert!(place.settle().is_err());
        assert!(!place.directory.path().join("outside/deps").exists(), "no link is followed");
    }
}
