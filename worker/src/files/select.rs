//! Which files the globs of a job mean. Only regular files that are reached without a link; the others are counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reactorcide_engine::artifacts::{MAX_BYTES, MAX_FILES, words_of_bytes};
use reactorcide_engine::glob::{Glob, Globs};
use rustix::fs::FileType;

use super::{FilesError, Tree};

/// The most that is looked at for one job.
const MAX_SEEN: usize = 2_000_000;
/// The deepest directory that is looked into.
const MAX_DEPTH: usize = 128;

/// The files that globs mean.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// By name: where each is below the workspace.
    pub files: BTreeMap<String, PathBuf>,
    /// How many more are meant that are links, pipes, sockets, devices or no text.
    pub others: usize,
}

/// The files that globs mean, which count from `base` below a workspace. One that begins with the workspace's place in the
/// container counts from there.
pub fn select(tree: &Tree, base: &Path, mount: &str, patterns: &[String]) -> Result<Selected, FilesError> {
    let mut selected = Selected::default();
    let from_mount = |pattern: &str| {
        let (not, bare) = pattern.strip_prefix('!').map_or(("", pattern), |bare| ("!", bare));
        let below = bare.strip_prefix(mount)?.strip_prefix('/')?;
        Some(format!("{not}{below}"))
    };
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for pattern in patterns {
        check(pattern, mount)?;
        match from_mount(pattern) {
            Some(pattern) => there.push(pattern),
            // Exclusions count for what they can mean.
            None => here.push(pattern.clone()),
        }
    }
    for (base, patterns) in [(base, here), (Path::new(""), there)] {
        if patterns.iter().any(|pattern| !pattern.starts_with('!')) {
            walk(tree, base, &patterns, &mut selected)?;
        }
    }
    Ok(selected)
}

/// The pattern without wildcards that means no file, if there is one.
pub fn missing<'a>(selected: &Selected, mount: &str, patterns: &'a [String]) -> Option<&'a String> {
    let is_plain =
        |pattern: &&String| !pattern.starts_with('!') && literal(pattern) == Path::new(pattern.as_str());
    patterns.iter().filter(is_plain).find(|pattern| {
        let name = pattern.strip_prefix(mount).and_then(|rest| rest.strip_prefix('/')).unwrap_or(pattern);
        !selected.files.contains_key(name)
    })
}

/// What no pattern may be.
pub fn check(pattern: &str, mount: &str) -> Result<(), FilesError> {
    let refuse = |why: &str| {
        let (what, pattern) = ("artifacts.paths:", pattern.to_owned());
        Err(FilesError::Pattern { what, pattern, why: why.to_owned() })
    };
    let bare = pattern.strip_prefix('!').unwrap_or(pattern);
    let bare = bare.strip_prefix(mount).filter(|rest| rest.starts_with('/')).map_or(bare, |rest| &rest[1..]);
    if bare.starts_with('/') {
        return refuse("is outside of the workspace");
    }
    if bare.split('/').any(|part| part == "..") {
        return refuse("leads upwards");
    }
    match Glob::check(pattern) {
        Ok(()) => Ok(()),
        Err(why) => refuse(&format!("is no glob: {why}")),
    }
}

/// The directories in front of the first wildcard.
fn literal(pattern: &str) -> PathBuf {
    let is_wild = |part: &str| part.contains(['*', '?', '[', ']', '{', '}', '\\']);
    pattern.split('/').take_while(|part| !is_wild(part)).filter(|part| !matches!(*part, "" | ".")).collect()
}

fn walk(tree: &Tree, base: &Path, patterns: &[String], selected: &mut Selected) -> Result<(), FilesError> {
    // `./x` is `x`.
    let patterns: Vec<String> =
        patterns.iter().map(|pattern| pattern.strip_prefix("./").unwrap_or(pattern).to_owned()).collect();
    let wanted: Vec<PathBuf> =
        patterns.iter().filter(|pattern| !pattern.starts_with('!')).map(|pattern| literal(pattern)).collect();
    // A directory is looked into that a pattern begins in, or that leads to where one begins.
    let leads = |path: &Path| wanted.iter().any(|from| path.starts_with(from) || from.starts_with(path));
    let globs = Globs::new(&patterns);
    let mut pending = vec![PathBuf::new()];
    let mut seen = 0;
    while let Some(directory) = pending.pop() {
        let whole = base.join(&directory);
        let entries = match tree.list(&whole) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            listed => listed.map_err(FilesError::io(&whole, "read"))?,
        };
        for entry in entries {
            seen += 1;
            if seen > MAX_SEEN {
                return Err(FilesError::TooMuch(format!(
                    "artifacts: there are more than {MAX_SEEN} files to look through"
                )));
            }
            let path = directory.join(&entry.name);
            if entry.kind == FileType::Directory {
                if leads(&path) && path.components().count() < MAX_DEPTH {
                    pending.push(path);
                }
                continue;
            }
            let Some(name) = path.to_str() else {
                selected.others += 1;
                continue;
            };
            if !globs.selects(name) {
                continue;
            }
            if entry.kind != FileType::RegularFile || reactorcide_engine::artifacts::check_name(name).is_err()
            {
                selected.others += 1;
                continue;
            }
            selected.files.insert(name.to_owned(), base.join(&path));
            if selected.files.len() > MAX_FILES {
                return Err(FilesError::TooMuch(format!(
                    "artifacts: more than {MAX_FILES} files are meant; pack them into one"
                )));
            }
        }
    }
    Ok(())
}

/// Refuses more bytes than one attempt may keep.
pub fn weigh(bytes: u64) -> Result<(), FilesError> {
    if bytes > MAX_BYTES {
        let (found, most) = (words_of_bytes(bytes), words_of_bytes(MAX_BYTES));
        return Err(FilesError::TooMuch(format!(
            "artifacts: the files have {found} together, more than {most}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(names: &[&str]) -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().expect("a directory");
        for name in names {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, name).expect("written");
        }
        let tree = Tree::open(directory.path()).expect("opened");
        (directory, tree)
    }

    fn names(tree: &Tree, patterns: &[&str]) -> Result<Vec<String>, FilesError> {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Ok(select(tree, Path::new("src"), "/job", &patterns)?.files.into_keys().collect())
    }

    #[test]
    fn globs_count_from_the_working_directory_and_from_the_mount() {
        let (_directory, tree) = tree(&[
            "src/target/web",
            "src/target/deep/er/x.xml",
            "src/a.xml",
            "src/b.txt",
            "artifacts/r.xml",
            "c.xml",
        ]);
        let found = |patterns: &[&str]| names(&tree, patterns).expect("found");
        assert_eq!(found(&["target/web"]), ["target/web"]);
        assert_eq!(found(&["**/*.xml"]), ["a.xml", "target/deep/er/x.xml"]);
        assert_eq!(found(&["*.xml", "./*.txt"]), ["a.xml", "b.txt"]);
        assert_eq!(found(&["target/**", "!**/*.xml"]), ["target/web"]);
        assert_eq!(found(&["/job/artifacts/**"]), ["artifacts/r.xml"]);
        assert_eq!(found(&["none/**", "!*"]), [""; 0]);
        for wrong in
            ["../c.xml", "/etc/passwd", "a/../../c.xml", "/jobs/x", "[", "!../x", "/job/../etc/passwd"]
        {
            assert!(matches!(names(&tree, &[wrong]), Err(FilesError::Pattern { .. })), "{wrong}");
        }
    }

    #[test]
    fn links_and_what_is_no_file_are_counted_and_not_taken() {
        let (directory, tree) = tree(&["src/d/real", "secret"]);
        let src = directory.path().join("src");
        symlink("../../secret", src.join("d/link")).expect("linked");
        symlink("..", src.join("d/up")).expect("linked");
        symlink(directory.path(), src.join("around")).expect("linked");
        rustix::fs::mkfifoat(rustix::fs::CWD, src.join("d/pipe"), 0o644.into()).expect("made");
        let selected = select(&tree, Path::new("src"), "/job", &["**".to_owned()]).expect("found");
        assert_eq!(selected.files.into_keys().collect::<Vec<_>>(), ["d/real"]);
        assert_eq!(selected.others, 4);
    }

    #[test]
    fn a_name_without_wildcards_must_be_there() {
        let (_directory, tree) = tree(&["src/a"]);
        let patterns = ["a", "b", "*.none", "!c"].map(str::to_owned);
        let selected = select(&tree, Path::new("src"), "/job", &patterns).expect("found");
        assert_eq!(missing(&selected, "/job", &patterns), Some(&"b".to_owned()));
        assert_eq!(missing(&selected, "/job", &patterns[..1]), None);
    }
}
