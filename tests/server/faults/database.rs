//! The database is stopped, killed, frozen, out of connections and out of space while a job runs and events come.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{assert_ran, ticking, unique};
use crate::docker::{eventually, running};
use crate::server::harness::{Serving, Site};
use crate::server::postgres::Postgres;

const TICKS: u32 = 50;
/// How long each of them lasts.
const WHILE: Duration = Duration::from_secs(4);

/// A server with a worker that runs a job on a database of its own.
struct Scene {
    postgres: Postgres,
    site: Site,
    server: Serving,
    _worker: crate::server::harness::Process,
    run: String,
    job: String,
}

impl Scene {
    fn set(postgres: Postgres) -> Self {
        let job = unique();
        let mut site = Site::on(&ticking(&job, TICKS), &postgres.url());
        let server = site.server(&[]);
        let worker = site.worker(&server, &[]);
        let run = site.start(&server, &[]);
        site.until_job(&server, &run, &job, "running");
        eventually("the container runs", || running(&job).len() == 1);
        Self { postgres, site, server, _worker: worker, run, job }
    }

    /// Events that come meanwhile, each with a key of its own: what was said of each.
    fn events(&self) -> Vec<(String, Option<String>)> {
        let send = |n: u32| {
            let key = format!("{}-{n}", self.job);
            let said = self.site.start_once(&self.server.url, &key);
            (key, said)
        };
        (0..2).map(send).collect()
    }

    /// Once it is over: the job that ran has noticed nothing, and every event makes one run, whatever was said of it.
    fn assert_healed(&self, events: Vec<(String, Option<String>)>) {
        eventually("the server answers", || self.site.ask(&self.server, &["runs", "list"]).code == Some(0));
        assert_ran(&self.site, &self.server, &self.run, &self.job, 1, TICKS);
        for (key, said) in events {
            let again = self.site.start_once(&self.server.url, &key).expect("all is well again");
            assert!(said.is_none_or(|said| said == again), "what was accepted is there");
            assert_ran(&self.site, &self.server, &again, &self.job, 1, TICKS);
        }
        assert_eq!(
            self.site.say(&self.server, &["runs", "list", "--json"]).lines().count(),
            3,
            "and no run more"
        );
    }
}

#[test]
fn a_database_that_is_stopped_and_started() {
    let mut scene = Scene::set(Postgres::start(&[]));
    scene.postgres.stop();
    let events = scene.events();
    std::thread::sleep(WHILE);
    scene.postgres.start_again();
    scene.assert_healed(events);
}

#[test]
fn a_database_that_is_killed() {
    let mut scene = Scene::set(Postgres::start(&[]));
    scene.postgres.kill();
    let events = scene.events();
    std::thread::sleep(WHILE);
    scene.postgres.start_again();
    scene.assert_healed(events);
}

#[test]
fn a_database_that_is_frozen() {
    let scene = Scene::set(Postgres::start(&[]));
    scene.postgres.freeze();
    // Whoever asks now may wait for as long as it is frozen.
    let postgres = &scene.postgres;
    let events = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(WHILE);
            postgres.thaw();
        });
        scene.events()
    });
    scene.assert_healed(events);
}

/// Somebody else's connections, all that there are, until it is dropped.
struct Crowd(Vec<Child>);

impl Crowd {
    fn come(postgres: &Postgres, most: usize) -> Self {
        let sit = |_| {
            let mut client = postgres.client();
            client.args(["--command", "select pg_sleep(8)"]).stdout(Stdio::null()).stderr(Stdio::null());
            client.spawn().expect("psql")
        };
        Self((0..most).map(sit).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for client in &mut self.0 {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

#[test]
fn a_database_without_a_free_connection() {
    // No place is kept for superusers, as everybody here is one.
    let scene = Scene::set(Postgres::start(&["max_connections=24", "superuser_reserved_connections=0"]));
    let crowd = Crowd::come(&scene.postgres, 30);
    eventually("nobody gets in", || scene.postgres.query("select 1").is_err());
    let events = scene.events();
    std::thread::sleep(WHILE);
    drop(crowd);
    scene.assert_healed(events);
}

/// A small file system of its own, until it is dropped.
struct Small(tempfile::TempDir);

impl Small {
    /// Nothing where we may not.
    fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can mount a small file system");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("rc-small-").tempdir_in("/tmp").expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"]).arg(directory.path());
        assert!(mount.status().expect("mount").success());
        Some(Self(directory))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_database_whose_disk_is_full() {
    let Some(small) = Small::mount() else { return };
    let directory = tempfile::Builder::new().prefix("pg-").tempdir_in(small.0.path()).expect("a directory");
    let mut scene = Scene::set(Postgres::start_in(directory, &["wal_recycle=off", "min_wal_size=32MB"]));
    let filler = scene.postgres.path().join("filler");
    let filled =
        Command::new("dd").arg("if=/dev/zero").arg(format!("of={}", filler.display())).arg("bs=64k").output();
    assert!(!filled.expect("dd").status.success(), "until nothing goes in any more");
    // What is written next needs a new segment of the log.
    let _ =
        scene.postgres.query("create table big as select repeat('x', 1000) from generate_series(1, 40000)");
    let events = scene.events();
    std::thread::sleep(WHILE);
    std::fs::remove_file(&filler).expect("there is room again");
    if scene.postgres.query("select 1").is_err() {
        // It ends itself where it cannot write its log.
        scene.postgres.kill();
        scene.postgres.start_again();
    }
    scene.assert_healed(events);
    drop(scene);
    drop(small);
}
