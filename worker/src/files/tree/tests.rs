//! A directory full of tricks, none of which reach anything outside of it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

struct Place {
    directory: tempfile::TempDir,
    tree: Tree,
}

/// A workspace beside a directory with something that nobody may reach.
fn place() -> Place {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("w")).expect("made");
    fs::create_dir(directory.path().join("outside")).expect("made");
    fs::write(directory.path().join("outside/key"), "SECRET").expect("written");
    let tree = Tree::open(&directory.path().join("w")).expect("opened");
    Place { directory, tree }
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("w").join(name)
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let (mut file, ..) = self.tree.file(Path::new(name))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, name: &str) -> io::Result<()> {
        self.tree.create(Path::new(name), false, None)?.write_all(b"new")
    }
}

#[test]
fn a_file_is_read_with_what_it_is() {
    let place = place();
    fs::create_dir_all(place.path("a/b")).expect("made");
    fs::write(place.path("a/b/program"), "x").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(place.path("a/b/program"), mode).expect("a mode");
    let (_, size, executable) = place.tree.file(Path::new("a/b/program")).expect("a file");
    assert_eq!((size, executable), (1, true));
    let names =
        |path: &str| place.tree.list(Path::new(path)).expect("a list").into_iter().map(|entry| entry.name);
    assert_eq!(names("").collect::<Vec<_>>(), ["a"]);
    assert_eq!(names("a/b").collect::<Vec<_>>(), ["program"]);
}

#[test]
fn nothing_outside_is_reached_by_any_name() {
    let place = place();
    let outside = place.directory.path().join("outside");
    symlink(&outside, place.path("absolute")).expect("linked");
    symlink("../outside", place.path("relative")).expect("linked");
    symlink(outside.join("key"), place.path("key")).expect("linked");
    symlink("/proc/self/root", place.path("magic")).expect("linked");
    fs::create_dir(place.path("d")).expect("made");
    symlink(".", place.path("d/loop")).expect("linked");
    let absolute = outside.join("key").display().to_string();
    let names = [
        "absolute/key",
        "relative/key",
        "key",
        "magic/etc/passwd",
        "../outside/key",
        "d/../../outside/key",
        &absolute,
        "d/loop/x",
        "..",
        ".",
        "",
    ];
    for name in names {
        assert!(place.read(name).is_err(), "{name} was read");
        if name != "key" {
            assert!(place.write(name).is_err(), "{name} was written");
        }
    }
    assert!(place.tree.list(Path::new("absolute")).is_err());
    assert_eq!(fs::read_dir(&outside).expect("a list").count(), 1);
    // A link that has the name of a new file is replaced, and not followed.
    place.write("key").expect("written");
    assert_eq!(fs::read_to_string(outside.join("key")).expect("it"), "SECRET");
    assert_eq!(place.read("key").expect("a file"), "new");
    assert!(place.tree.link(Path::new("absolute/x"), Path::new("y"), None).is_err());
}

#[test]
fn what_is_no_file_is_not_opened_and_nobody_waits() {
    let place = place();
    rustix::fs::mkfifoat(CWD, place.path("pipe"), Mode::from(0o644)).expect("made");
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).expect("bound");
    fs::create_dir(place.path("directory")).expect("made");
    for name in ["pipe", "socket", "directory"] {
        assert!(place.read(name).is_err(), "{name}");
    }
    let device = rustix::fs::mknodat(
        CWD,
        place.path("zero"),
        FileType::CharacterDevice,
        Mode::from(0o666),
        rustix::fs::makedev(1, 5),
    );
    if device.is_ok() {
        assert!(place.read("zero").is_err());
    }
    place.write("pipe").expect("it is replaced");
    assert!(place.write("directory").is_err(), "a directory is not");
    assert_eq!(place.read("pipe").expect("a file"), "new");
}

#[test]
fn a_file_is_not_written_through_another_name_of_it() {
    let place = place();
    fs::write(place.path("one"), "old").expect("written");
    fs::hard_link(place.path("one"), place.path("two")).expect("linked");
    place.write("two").expect("written");
    assert_eq!(place.read("one").expect("a file"), "old");
    place.write("new/directories/three").expect("written");
    assert_eq!(fs::metadata(place.path("new/directories/three")).expect("it").mode() & 0o777, 0o644);
}
