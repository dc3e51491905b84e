//! Checkouts from repositories that are made here, good and hostile ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use reactorcide_engine::protocol::source::Schemes;
use reactorcide_engine::protocol::spec::Sensitive;
use tempfile::TempDir;

use super::*;
use crate::source::limits::Limits;
use crate::source::test_server::Server;

/// A repository with a history, and a context to fetch it into.
struct World {
    directory: TempDir,
    context: Context,
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@example.com",
            "-c",
            "protocol.file.allow=always",
            "-c",
            "safe.directory=*",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn repository(path: &Path) {
    fs::create_dir_all(path).expect("a directory");
    git(path, &["init", "--quiet"]);
    commit(path, "file", "one");
}

fn commit(path: &Path, file: &str, content: &str) -> String {
    let target = path.join(file);
    fs::create_dir_all(target.parent().expect("a parent")).expect("a directory");
    fs::write(target, content).expect("a file");
    git(path, &["add", "-A"]);
    git(path, &["commit", "--quiet", "-m", &content[..content.len().min(20)]]);
    git(path, &["rev-parse", "HEAD"])
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        repository(&directory.path().join("repo"));
        let mut context =
            Context::open(&directory.path().join("cache"), 1 << 30, Limits::default()).expect("a context");
        context.allow_local = true;
        Self { directory, context }
    }

    fn repo(&self) -> PathBuf {
        self.directory.path().join("repo")
    }

    fn source(&self, reference: &str) -> GitSource {
        let path = self.repo().display().to_string();
        GitSource {
            location: Location::parse(&path, Schemes::Git, true).expect("a location"),
            reference: Reference::parse(reference).expect("a ref"),
            depth: 1,
            submodules: Submodules::Off,
            hosts: None,
        }
    }

    async fn file(&self, reference: &str) -> String {
        let checkout = checkout(&self.source(reference), &self.context, None).await.expect("a checkout");
        fs::read_to_string(checkout.tree.path.join("file")).expect("a file")
    }

    async fn error(&self, source: &GitSource) -> String {
        checkout(source, &self.context, None).await.expect_err("no checkout").explain()
    }
}

#[tokio::test]
async fn branches_tags_commits_and_requests_are_checked_out() {
    let world = World::new();
    let repo = world.repo();
    let first = git(&repo, &["rev-parse", "HEAD"]);
    git(&repo, &["tag", "-a", "v1", "-m", "v1"]);
    git(&repo, &["tag", "light"]);
    git(&repo, &["checkout", "--quiet", "-b", "feature/x"]);
    let second = commit(&repo, "file", "two");
    git(&repo, &["update-ref", "refs/pull/7/head", &second]);
    git(&repo, &["checkout", "--quiet", "main"]);
    for (reference, expected) in [
        ("HEAD", "one"),
        ("main", "one"),
        ("v1", "one"),
        ("light", "one"),
        ("refs/tags/v1", "one"),
        ("feature/x", "two"),
        ("refs/pull/7/head", "two"),
        (first.as_str(), "one"),
        (second.as_str(), "two"),
    ] {
        assert_eq!(world.file(reference).await, expected, "{reference}");
    }
    let checkout = checkout(&world.source("v1"), &world.context, None).await.expect("a checkout");
    assert_eq!(checkout.commit, first, "an annotated tag is its commit");
    // A branch that moved is followed; what was fetched before stays what it was.
    commit(&repo, "file", "three");
    assert_eq!(world.file("main").await, "three");
    assert_eq!(world.file(&first).await, "one");
}

#[tokio::test]
async fn a_checkout_knows_its_commit_and_no_other_and_no_password() {
    let world = World::new();
    let repo = world.repo();
    let first = git(&repo, &["rev-parse", "HEAD"]);
    let second = commit(&repo, "file", "two");
    checkout(&world.source(&first), &world.context, None).await.expect("a checkout");
    let checkout = checkout(&world.source(&second), &world.context, None).await.expect("a checkout");
    let at = &checkout.tree.path;
    assert_eq!(git(at, &["rev-parse", "HEAD"]), second);
    assert_eq!(git(at, &["status", "--porcelain"]), "");
    assert_eq!(git(at, &["rev-list", "--all", "--count"]), "1", "one commit of history");
    let other =
        Command::new("git").args(["cat-file", "-e", &first]).current_dir(at).output().expect("git runs");
    assert!(!other.status.success(), "the history is not there");
    let config = fs::read_to_string(at.join(".git/config")).expect("a config");
    assert!(!config.contains("cache") && config.contains("repo"), "{config}");
    assert!(!at.join(".git/hooks").exists());
}

#[tokio::test]
async fn history_is_there_where_it_is_asked_for() {
    let world = World::new();
    for content in ["two", "three", "four"] {
        commit(&world.repo(), "file", content);
    }
    for (depth, expected) in [(2, "2"), (0, "4")] {
        let source = GitSource { depth, ..world.source("main") };
        let checkout = checkout(&source, &world.context, None).await.expect("a checkout");
        assert_eq!(git(&checkout.tree.path, &["rev-list", "--count", "HEAD"]), expected);
    }
}

#[tokio::test]
async fn links_to_elsewhere_stay_links() {
    let world = World::new();
    let repo = world.repo();
    symlink("/etc", repo.join("etc")).expect("a link");
    symlink("../../../..", repo.join("up")).expect("a link");
    commit(&repo, "other", "x");
    let checkout = checkout(&world.source("main"), &world.context, None).await.expect("a checkout");
    assert_eq!(fs::read_link(checkout.tree.path.join("etc")).expect("a link"), Path::new("/etc"));
    let to = world.directory.path().join("copy");
    crate::source::replicate::replicate(&checkout.tree.path, &to, None).expect("copied");
    assert_eq!(fs::read_link(to.join("up")).expect("a link"), Path::new("../../../.."));
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let world = World::new();
    let missing = world.error(&world.source("nope")).await;
    assert!(
        missing.starts_with("there is no branch or tag nope in ") && missing.contains("look at the name"),
        "{missing}"
    );
    let sha = "0123456789012345678901234567890123456789";
    let missing = world.error(&world.source(sha)).await;
    assert!(missing.contains(sha), "{missing}");
    let nowhere = Location::parse("/nowhere/at/all", Schemes::Git, true).expect("a location");
    let missing = world.error(&GitSource { location: nowhere, ..world.source("main") }).await;
    assert!(missing.starts_with("there is no git repository in /nowhere/at/all"), "{missing}");
}

#[tokio::test]
async fn submodules_come_with_it_and_those_that_escape_do_not() {
    let world = World::new();
    let repo = world.repo();
    let inner = world.directory.path().join("inner");
    repository(&inner);
    git(&repo, &["submodule", "--quiet", "add", "../inner", "deps/inner"]);
    git(&repo, &["commit", "--quiet", "-m", "with a submodule"]);
    let with = GitSource { submodules: Submodules::Recursive, ..world.source("main") };
    let whole = checkout(&with, &world.context, None).await.expect("a checkout");
    assert_eq!(fs::read_to_string(whole.tree.path.join("deps/inner/file")).expect("a file"), "one");
    let alone = checkout(&world.source("main"), &world.context, None).await.expect("a checkout");
    assert!(!alone.tree.path.join("deps/inner/file").exists());
    for url in [
        "ext::sh -c id>&2",
        "--upload-pack=id",
        "../../../../../../../etc",
        "https://me:secret@example.com/x",
    ] {
        git(&repo, &["config", "-f", ".gitmodules", "submodule.deps/inner.url", url]);
        let commit = {
            git(&repo, &["commit", "--quiet", "-am", "bad"]);
            git(&repo, &["rev-parse", "HEAD"])
        };
        let error = world.error(&GitSource { reference: Reference::Commit(commit), ..with.clone() }).await;
        assert!(error.contains("the submodule \"deps/inner\""), "{url}: {error}");
        assert!(!error.contains("uid=") && !error.contains("secret@"), "{error}");
    }
}

#[tokio::test]
async fn code_of_others_does_not_say_which_hosts_are_asked() {
    let world = World::new();
    let repo = world.repo();
    let inner = world.directory.path().join("inner");
    repository(&inner);
    git(&repo, &["submodule", "--quiet", "add", "../inner", "deps/inner"]);
    git(&repo, &["commit", "--quiet", "-m", "with a submodule"]);
    let with = |hosts: Option<&[&str]>, reference: &str| GitSource {
        submodules: Submodules::Recursive,
        hosts: hosts.map(|hosts| hosts.iter().map(|host| (*host).to_owned()).collect()),
        ..world.source(reference)
    };
    // Where the repository is, its submodules may be.
    assert!(checkout(&with(Some(&[]), "main"), &world.context, None).await.is_ok());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let host = listener.local_addr().expect("an address").to_string();
    let url = format!("http://{host}/latest/meta-data");
    git(&repo, &["config", "-f", ".gitmodules", "submodule.deps/inner.url", &url]);
    git(&repo, &["commit", "--quiet", "-am", "elsewhere"]);
    for hosts in [&[][..], &["git.example.com"]] {
        let error = world.error(&with(Some(hosts), "main")).await;
        assert!(error.contains("cannot be used here") && error.contains("submodule_hosts"), "{error}");
        assert_eq!(listener.accept().expect_err("nobody").kind(), std::io::ErrorKind::WouldBlock);
    }
    // Whoever is named is asked.
    let accepting = std::thread::spawn(move || {
        listener.set_nonblocking(false).expect("a listener");
        drop(listener.accept());
    });
    world.error(&with(Some(&[&host]), "main")).await;
    accepting.join().expect("somebody came");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_written() {
    let mut world = World::new();
    commit(&world.repo(), "large", &"x".repeat(300_000));
    world.context.limits.bytes = 100_000;
    let error = world.error(&world.source("main")).await;
    assert!(error.contains("is too large: more than 100000 bytes"), "{error}");
    world.context.limits = Limits { entries: 1, ..Limits::default() };
    let error = world.error(&world.source("main")).await;
    assert!(error.contains("more than 1 files"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_fetch_once_each_and_a_stop_leaves_nothing_half() {
    let world = World::new();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (source, context) = (world.source("main"), world.context.clone());
            tokio::spawn(
                async move { checkout(&source, &context, None).await.map(|checkout| checkout.commit) },
            )
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("a checkout");
    }
    let other = world.source("main");
    commit(&world.repo(), "file", "two");
    // Dropped in the middle, as by a job that is cancelled.
    for wait in 1..12 {
        let time = std::time::Duration::from_millis(wait * 4);
        let _ = tokio::time::timeout(time, checkout(&other, &world.context, None)).await;
    }
    assert_eq!(world.file("main").await, "two");
}

/// A bare repository on a web server that wants a password.
fn served(world: &World, password: Option<&str>) -> (Server, Location) {
    let bare = world.directory.path().join("www/repo.git");
    git(&world.repo(), &["clone", "--quiet", "--bare", ".", &bare.display().to_string()]);
    git(&bare, &["update-server-info"]);
    let server = Server::start(&world.directory.path().join("www"), password);
    let location =
        Location::parse(&format!("{}/repo.git", server.url), Schemes::Git, false).expect("a location");
    (server, location)
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_to_their_host_and_nowhere_else() {
    let world = World::new();
    let (server, location) = served(&world, Some("me:pa55word"));
    let source = GitSource { location, ..world.source("main") };
    let denied = world.error(&source).await;
    assert!(denied.contains("cannot be read with the credentials that there are"), "{denied}");
    let credentials = Credentials::new(Sensitive::new("me:pa55word"));
    let checkout = checkout(&source, &world.context, Some(&credentials)).await.expect("a checkout");
    assert_eq!(fs::read_to_string(checkout.tree.path.join("file")).expect("a file"), "one");
    assert!(server.authorized() > 0);
    let everything =
        Command::new("grep").args(["-r", "pa55word"]).arg(world.directory.path().join("cache")).output();
    assert!(everything.expect("grep runs").stdout.is_empty(), "no file of the cache holds the password");
    let denied = world.error(&source).await;
    assert!(
        denied.contains("credentials"),
        "what was fetched with a password is not given without: {denied}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unreachable() {
    let world = World::new();
    let location = Location::parse("http://127.0.0.1:9/x.git", Schemes::Git, false).expect("a location");
    let error = checkout(&GitSource { location, ..world.source("main") }, &world.context, None).await;
    let error = error.expect_err("no checkout");
    assert!(matches!(error, SourceError::Unreachable { .. }) && !error.is_permanent(), "{error:?}");
}

/// A file system with room for a few hundred kilobytes, as long as this lives.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=600k", "tmpfs"]).arg(at).output();
        // Only root may.
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_the_next_try_finds_nothing_half_done() {
    let mut world = World::new();
    let noise: String = (0..400_000).map(|_| char::from(fastrand::u8(b'a'..=b'z'))).collect();
    commit(&world.repo(), "large", &noise);
    let Some(small) = Small::mount(&world.directory.path().join("small")) else { return };
    world.context = Context::open(&small.0.join("cache"), 1 << 30, Limits::default()).expect("a context");
    world.context.allow_local = true;
    let error = checkout(&world.source("main"), &world.context, None).await.expect_err("no room");
    assert!(error.is_no_space(), "{error:?}");
    let grown =
        Command::new("mount").args(["-o", "remount,size=64m"]).arg(&small.0).status().expect("mount runs");
    assert!(grown.success());
    assert_eq!(world.file("main").await, "one");
    // And the same for the copy that a job gets.
    let held = checkout(&world.source("main"), &world.context, None).await.expect("a checkout");
    let tight = Small::mount(&world.directory.path().join("tight")).expect("root may");
    let error = crate::source::replicate::replicate(&held.tree.path, &tight.0.join("src"), None)
        .expect_err("no room");
    assert!(error.is_no_space(), "{error:?}");
}
