//! A cache as one stream: directories, files and links as tar, compressed with zstd.
//!
//! Links are kept as links, since what installs packages makes many, and are followed neither when a cache is packed nor
//! when it is unpacked: whoever follows them is the job, in its container.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use reactorcide_engine::artifacts::{MAX_ARCHIVED_FILES, MAX_CACHE_BYTES, words_of_bytes};
use rustix::fs::FileType;
use tar::{Archive, Builder, EntryType, Header};

use super::tree::Owner;
use super::{FilesError, Tree};
use crate::source::inside;

/// Fast, since it is paid for in every run.
const LEVEL: i32 = 1;
/// The largest window of an archive that is read, as a power of two.
const WINDOW: u32 = 27;

/// Packs what is below some directories and files; their names count from `base` below a workspace. What is not there is
/// left out, and so is what is neither directory nor file nor link. The same files give the same bytes. More than `room` bytes
/// are an error, since nobody could take them.
pub fn pack(tree: &Tree, base: &Path, paths: &[PathBuf], room: u64, into: impl Write) -> io::Result<()> {
    let room = room.min(MAX_CACHE_BYTES);
    let mut builder = Builder::new(zstd::Encoder::new(into, LEVEL)?);
    let (mut count, mut bytes) = (0_usize, 0_u64);
    let mut sorted = paths.to_vec();
    sorted.sort();
    sorted.dedup();
    let mut pending: Vec<PathBuf> = sorted.into_iter().rev().collect();
    while let Some(path) = pending.pop() {
        let at = base.join(&path);
        let Some(kind) = tree.kind(&at).map_err(|error| of(&path, &error))? else { continue };
        count += 1;
        if count > MAX_ARCHIVED_FILES {
            return Err(io::Error::other(format!("it has more than {MAX_ARCHIVED_FILES} files")));
        }
        let mut header = Header::new_gnu();
        header.set_mtime(1);
        match kind {
            FileType::Directory => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                builder.append_data(&mut header, &path, io::empty())?;
                let entries = tree.list(&at).map_err(|error| of(&path, &error))?;
                pending.extend(entries.into_iter().rev().map(|entry| path.join(entry.name)));
            }
            FileType::RegularFile => {
                let (file, size, executable) = tree.file(&at).map_err(|error| of(&path, &error))?;
                bytes = bytes.saturating_add(size);
                if bytes > room {
                    return Err(io::Error::other(too_large(room)));
                }
                header.set_entry_type(EntryType::Regular);
                header.set_mode(if executable { 0o755 } else { 0o644 });
                header.set_size(size);
                builder.append_data(&mut header, &path, file.take(size))?;
            }
            FileType::Symlink => {
                let target = tree.link_target(&at).map_err(|error| of(&path, &error))?;
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                builder.append_link(&mut header, &path, target)?;
            }
            _ => {}
        }
    }
    builder.into_inner()?.finish()?;
    Ok(())
}

fn of(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn too_large(room: u64) -> String {
    format!("its files have more than {} together", words_of_bytes(room))
}

/// Where a cache is unpacked.
pub struct Into<'a> {
    /// The workspace.
    pub tree: &'a Tree,
    /// Below it.
    pub base: &'a Path,
    /// What the job names, below `base`: nothing else is made.
    pub paths: &'a [PathBuf],
    /// How many bytes there may be.
    pub room: u64,
    /// Who is to own it.
    pub owner: Owner,
}

/// Unpacks a cache: only below the directories and files that the job names, and through no link.
pub fn unpack(name: &str, from: impl Read, into: &Into<'_>) -> Result<(), FilesError> {
    let Into { tree, base, paths, owner, .. } = *into;
    let room = into.room.min(MAX_CACHE_BYTES);
    let refused = |why: String| FilesError::Archive { name: name.to_owned(), why };
    let unreadable = |error: io::Error| refused(error.to_string());
    let mut decoder = zstd::Decoder::new(from).map_err(unreadable)?;
    decoder.window_log_max(WINDOW).map_err(unreadable)?;
    let mut archive = Archive::new(decoder);
    let (mut count, mut bytes) = (0_usize, 0_u64);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let named = entry.path_bytes().into_owned();
        let quoted = || String::from_utf8_lossy(&named).escape_debug().take(200).collect::<String>();
        count += 1;
        bytes = bytes.saturating_add(entry.size());
        if count > MAX_ARCHIVED_FILES {
            return Err(refused(format!("it has more than {MAX_ARCHIVED_FILES} files")));
        }
        if bytes > room {
            return Err(refused(too_large(room)));
        }
        let path = inside(&named).map_err(|why| refused(format!("{} {why}", quoted())))?;
        if !paths.iter().any(|below| path.starts_with(below)) {
            return Err(refused(format!("{} is not below what the job names", quoted())));
        }
        let at = base.join(&path);
        let failed = || FilesError::io(&path, "written");
        match entry.header().entry_type() {
            EntryType::Directory => drop(tree.make(&at, owner).map_err(failed())?),
            EntryType::Regular => {
                let executable = entry.header().mode().unwrap_or(0o644) & 0o111 != 0;
                let mut file = tree.create(&at, executable, owner).map_err(failed())?;
                io::copy(&mut entry, &mut file).map_err(failed())?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                tree.link(&at, Path::new(OsStr::from_bytes(&target)), owner).map_err(failed())?;
            }
            _ => return Err(refused(format!("{} is no file, directory or link", quoted()))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("src")).expect("made");
        let tree = Tree::open(directory.path()).expect("opened");
        (directory, tree)
    }

    fn packed(tree: &Tree, paths: &[&str]) -> Vec<u8> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let mut bytes = Vec::new();
        pack(tree, Path::new("src"), &paths, u64::MAX, &mut bytes).expect("packed");
        bytes
    }

    fn unpacked(bytes: &[u8], tree: &Tree, paths: &[&str]) -> Result<(), FilesError> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let into = Into { tree, base: Path::new("src"), paths: &paths, room: u64::MAX, owner: None };
        unpack("key", bytes, &into)
    }

    #[test]
    fn a_tree_comes_back_with_its_links_and_programs() {
        let (from, tree) = self::tree();
        let src = from.path().join("src");
        fs::create_dir_all(src.join("deps/bin")).expect("made");
        fs::write(src.join("deps/lib"), vec![7; 1_000_000]).expect("written");
        fs::write(src.join("deps/bin/tool"), "#!").expect("written");
        fs::set_permissions(src.join("deps/bin/tool"), fs::Permissions::from_mode(0o755)).expect("a mode");
        symlink("../lib", src.join("deps/bin/lib")).expect("linked");
        symlink("/etc/passwd", src.join("deps/outside")).expect("linked");
        rustix::fs::mkfifoat(rustix::fs::CWD, src.join("deps/pipe"), 0o644.into()).expect("made");
        let bytes = packed(&tree, &["deps", "none", "deps"]);
        assert_eq!(bytes, packed(&tree, &["deps"]), "the same files give the same bytes");
        assert!(bytes.len() < 10_000);
        let (into, tree) = self::tree();
        unpacked(&bytes, &tree, &["deps"]).expect("unpacked");
        let src = into.path().join("src");
        assert_eq!(fs::read(src.join("deps/bin/lib")).expect("through the link").len(), 1_000_000);
        assert_eq!(fs::metadata(src.join("deps/bin/tool")).expect("it").permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_link(src.join("deps/outside")).expect("a link"), Path::new("/etc/passwd"));
        assert!(!src.join("deps/pipe").exists());
    }

    #[test]
    fn more_than_there_is_room_for_is_neither_packed_nor_unpacked() {
        let (from, tree) = self::tree();
        fs::create_dir(from.path().join("src/deps")).expect("made");
        fs::write(from.path().join("src/deps/lib"), [7; 2048]).expect("written");
        let bytes = packed(&tree, &["deps"]);
        let paths = [PathBuf::from("deps")];
        let refused = pack(&tree, Path::new("src"), &paths, 1024, io::sink()).expect_err("too large");
        assert_eq!(refused.to_string(), "its files have more than 1 KiB together");
        pack(&tree, Path::new("src"), &paths, 2048, io::sink()).expect("there is room");
        let (into, tree) = self::tree();
        let unpack = |room| {
            let into = Into { tree: &tree, base: Path::new("src"), paths: &paths, room, owner: None };
            unpack("key", bytes.as_slice(), &into)
        };
        assert!(matches!(unpack(1024), Err(FilesError::Archive { .. })));
        assert!(!into.path().join("src/deps/lib").exists());
        unpack(2048).expect("there is room");
    }

    #[test]
    fn an_archive_that_leads_outside_leads_nowhere() {
        let (into, tree) = self::tree();
        let evil = |entries: &[(&[u8], EntryType, &str)]| {
            let mut builder = Builder::new(zstd::Encoder::new(Vec::new(), 1).expect("an encoder"));
            for (name, kind, content) in entries {
                let mut header = Header::new_gnu();
                header.as_old_mut().name[..name.len()].copy_from_slice(name);
                header.set_entry_type(*kind);
                header.set_mode(0o644);
                if matches!(kind, EntryType::Symlink | EntryType::Link) {
                    header.set_link_name_literal(content).expect("short");
                    header.set_size(0);
                    header.set_cksum();
                    builder.append(&header, io::empty()).expect("added");
                } else {
                    header.set_size(content.len() as u64);
                    header.set_cksum();
                    builder.append(&header, content.as_bytes()).expect("added");
                }
            }
            builder.into_inner().expect("whole").finish().expect("whole")
        };
        let outside = into.path().join("outside");
        fs::create_dir(&outside).expect("made");
        let link = outside.display().to_string();
        use EntryType::{Char, Fifo, Link, Regular, Symlink};
        for entries in [
            &[(&b"deps/../../x"[..], Regular, "x")][..],
            &[(b"/deps/x", Regular, "x")],
            &[(b"other/x", Regular, "x")],
            &[(b"depsx", Regular, "x")],
            &[(b"deps/l", Symlink, link.as_str()), (b"deps/l/x", Regular, "x")],
            &[(b"deps", Symlink, link.as_str()), (b"deps/x", Regular, "x")],
            &[(b"deps/h", Link, "/etc/passwd")],
            &[(b"deps/p", Fifo, "")],
            &[(b"deps/c", Char, "")],
        ] {
            let _ = fs::remove_file(into.path().join("src/deps"));
            assert!(unpacked(&evil(entries), &tree, &["deps"]).is_err(), "{entries:?}");
            assert_eq!(fs::read_dir(&outside).expect("a list").count(), 0);
        }
        assert!(unpacked(b"no archive", &tree, &["deps"]).is_err());
        // What the code under test has put there is not followed either.
        let _ = fs::remove_dir_all(into.path().join("src/deps"));
        let _ = fs::remove_file(into.path().join("src/deps"));
        symlink(&outside, into.path().join("src/deps")).expect("linked");
        assert!(unpacked(&evil(&[(b"deps/x", Regular, "x")]), &tree, &["deps"]).is_err());
        assert_eq!(fs::read_dir(&outside).expect("a list").count(), 0);
    }
}
