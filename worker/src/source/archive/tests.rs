//! Archives, good and hostile ones.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use reactorcide_engine::protocol::source::Schemes;
use reactorcide_engine::protocol::spec::Sensitive;
use rstest::rstest;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::source::limits::Limits;
use crate::source::test_server::Server;

struct World {
    directory: TempDir,
    context: Context,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut context =
            Context::open(&directory.path().join("cache"), 1 << 30, Limits::default()).expect("a context");
        context.allow_local = true;
        Self { directory, context }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    async fn unpack(&self, name: &str, bytes: &[u8]) -> Result<(Held, String), SourceError> {
        let path = self.write(name, bytes);
        let location =
            Location::parse(&path.display().to_string(), Schemes::Archive, true).expect("a location");
        unpacked(&ArchiveSource { location, checksum: None }, &self.context, None).await
    }
}

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header
}

/// Names that the library itself would refuse to write.
fn named(mut header: Header, name: &[u8]) -> Header {
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_cksum();
    header
}

fn tar(build: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().expect("an archive")
}

fn file(builder: &mut Builder<Vec<u8>>, name: &str, content: &str, mode: u32) {
    let mut header = header(EntryType::Regular, content.len() as u64, mode);
    builder.append_data(&mut header, name, content.as_bytes()).expect("an entry");
}

fn simple() -> Vec<u8> {
    tar(|builder| {
        file(builder, "web-1.0/src/main.c", "int main;", 0o644);
        file(builder, "web-1.0/run.sh", "#!/bin/sh", 0o4777);
        let mut link = header(EntryType::Symlink, 0, 0o777);
        builder.append_link(&mut link, "web-1.0/src/link", "../run.sh").expect("an entry");
    })
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("compressed")
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("compressed")
}

#[tokio::test]
async fn every_compression_is_read_and_the_one_directory_is_taken_off() {
    let world = World::new();
    let zst = zstd::encode_all(&simple()[..], 1).expect("compressed");
    for (name, bytes) in
        [("a.tar", simple()), ("a.tar.gz", gz(&simple())), ("a.tar.xz", xz(&simple())), ("a.tar.zst", zst)]
    {
        let (held, _) = world.unpack(name, &bytes).await.expect(name);
        assert_eq!(fs::read_to_string(held.path.join("src/main.c")).expect("a file"), "int main;");
        assert_eq!(fs::metadata(held.path.join("run.sh")).expect("a file").mode() & 0o7777, 0o755);
        assert_eq!(fs::read_link(held.path.join("src/link")).expect("a link"), Path::new("../run.sh"));
    }
}

#[rstest]
#[case::parent(b"../evil", "has a path with ..")]
#[case::deep_parent(b"a/../../evil", "has a path with ..")]
#[case::absolute(b"/etc/evil", "has an absolute path")]
#[case::empty(b"", "has no name")]
#[tokio::test]
async fn entries_outside_are_refused(#[case] name: &[u8], #[case] reason: &str) {
    let world = World::new();
    let archive = tar(|builder| {
        let header = named(header(EntryType::Regular, 1, 0o644), name);
        builder.append(&header, &b"x"[..]).expect("an entry");
    });
    let error = world.unpack("a.tar", &archive).await.expect_err("refused").explain();
    assert!(error.contains(reason), "{error}");
    assert!(!world.directory.path().join("evil").exists() && !Path::new("/etc/evil").exists());
}

#[rstest]
#[case::hard(EntryType::Link, "is a hard link")]
#[case::character(EntryType::Char, "is a device")]
#[case::block(EntryType::Block, "is a device")]
#[case::pipe(EntryType::Fifo, "is a named pipe")]
#[case::sparse(EntryType::GNUSparse, "sparse")]
#[tokio::test]
async fn what_is_no_file_directory_or_link_is_refused(#[case] kind: EntryType, #[case] reason: &str) {
    let world = World::new();
    let archive = tar(|builder| {
        let header = named(header(kind, 0, 0o644), b"x");
        builder.append(&header, &b""[..]).expect("an entry");
    });
    let error = world.unpack("a.tar", &archive).await.expect_err("refused").explain();
    assert!(error.contains(reason) || kind == EntryType::GNUSparse, "{error}");
}

#[rstest]
#[case("/etc")]
#[case("../../outside")]
#[case("..")]
#[tokio::test]
async fn links_that_lead_outside_are_refused(#[case] to: &str) {
    let world = World::new();
    let archive = tar(|builder| {
        let mut link = header(EntryType::Symlink, 0, 0o777);
        builder.append_link(&mut link, "link", to).expect("an entry");
        file(builder, "link/evil", "x", 0o644);
    });
    let error = world.unpack("a.tar", &archive).await.expect_err("refused").explain();
    assert!(error.contains("is a link that leads outside"), "{error}");
}

#[tokio::test]
async fn nothing_is_written_through_a_link() {
    let world = World::new();
    let archive = tar(|builder| {
        file(builder, "d/x", "x", 0o644);
        let mut link = header(EntryType::Symlink, 0, 0o777);
        builder.append_link(&mut link, "link", "d").expect("an entry");
        file(builder, "link/x", "changed", 0o644);
    });
    let error = world.unpack("a.tar", &archive).await.expect_err("refused").explain();
    assert!(error.contains("is reached over a link or a file"), "{error}");
    // A file in the place of a link replaces the link, not what it leads to.
    let archive = tar(|builder| {
        file(builder, "target", "kept", 0o644);
        let mut link = header(EntryType::Symlink, 0, 0o777);
        builder.append_link(&mut link, "link", "target").expect("an entry");
        file(builder, "link", "new", 0o644);
    });
    let (held, _) = world.unpack("b.tar", &archive).await.expect("unpacked");
    assert_eq!(fs::read_to_string(held.path.join("target")).expect("a file"), "kept");
    assert_eq!(fs::read_to_string(held.path.join("link")).expect("a file"), "new");
}

#[tokio::test]
async fn a_few_bytes_do_not_become_a_full_disk() {
    let mut world = World::new();
    world.context.limits = Limits { bytes: 1 << 20, entries: 50, ..Limits::default() };
    // A header that says ten gigabytes.
    let lies = tar(|builder| {
        let header = named(header(EntryType::Regular, 10 << 30, 0o644), b"x");
        builder.append(&header, &b"x"[..]).expect("an entry");
    });
    let bomb = gz(&tar(|builder| file(builder, "x", &"0".repeat(8 << 20), 0o644)));
    let many = tar(|builder| (0..100).for_each(|n| file(builder, &format!("{n}"), "", 0o644)));
    for (name, bytes) in [("lies.tar", lies), ("bomb.tgz", bomb), ("many.tar", many)] {
        let error = world.unpack(name, &bytes).await.expect_err(name).explain();
        assert!(error.contains("is too large"), "{error}");
    }
}

#[rstest]
#[case::nothing(b"")]
#[case::text(b"<html>not found</html>")]
#[case::half_gz(b"\x1f\x8b\x08\x00")]
#[case::half_xz(b"\xfd7zXZ\x00x")]
#[case::half_zst(b"\x28\xb5\x2f\xfdxx")]
#[tokio::test]
async fn what_is_no_archive_is_refused(#[case] bytes: &[u8]) {
    let world = World::new();
    let error = world.unpack("a.tar", bytes).await.expect_err("refused").explain();
    assert!(error.contains("is not unpacked") && !error.contains("html"), "{error}");
    let left: Vec<_> = fs::read_dir(world.directory.path().join("cache"))
        .expect("a directory")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("incoming"))
        .collect();
    assert!(left.is_empty(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_fetched_checked_and_kept() {
    let world = World::new();
    world.write("a.tar.gz", &gz(&simple()));
    let server = Server::start(world.directory.path(), Some("me:pa55word"));
    let at = |path: &str| {
        Location::parse(&format!("{}/{path}", server.url), Schemes::Archive, false).expect("a location")
    };
    let credentials = Credentials::new(Sensitive::new("me:pa55word"));
    let source = |path: &str, checksum: Option<&str>| ArchiveSource {
        location: at(path),
        checksum: checksum.map(str::to_owned),
    };
    let denied = unpacked(&source("a.tar.gz", None), &world.context, None).await.expect_err("denied");
    assert!(matches!(denied, SourceError::Denied { .. }), "{denied:?}");
    let (held, digest) =
        unpacked(&source("a.tar.gz", None), &world.context, Some(&credentials)).await.expect("unpacked");
    assert!(held.path.join("run.sh").exists());
    let wrong = "0".repeat(64);
    let error = unpacked(&source("a.tar.gz", Some(&wrong)), &world.context, Some(&credentials))
        .await
        .expect_err("refused")
        .explain();
    assert!(error.contains(&digest) && error.contains("write checksum"), "{error}");
    let before = server.authorized();
    unpacked(&source("a.tar.gz", Some(&digest)), &world.context, Some(&credentials)).await.expect("unpacked");
    assert_eq!(server.authorized(), before, "what is known by its checksum is not fetched again");
    let missing =
        unpacked(&source("b.tar.gz", None), &world.context, Some(&credentials)).await.expect_err("missing");
    assert!(matches!(missing, SourceError::Missing { .. }), "{missing:?}");
    let elsewhere = unpacked(&source("redirect", None), &world.context, Some(&credentials))
        .await
        .expect_err("not followed");
    assert!(
        matches!(elsewhere, SourceError::Unreachable { .. }),
        "credentials go nowhere else: {elsewhere:?}"
    );
}
