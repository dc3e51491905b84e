//! A worker that is cut off from its server, in one direction or both, for a moment or for longer than its lease.

use std::process::Command;
use std::time::Duration;

use rstest::rstest;

use super::{assert_ran, ticking, unique};
use crate::docker::{eventually, running};
use crate::server::harness::{Around, Site};

/// A network of its own with one cable to ours, until it is dropped.
struct Isle {
    name: String,
    /// Our end of the cable.
    here: String,
}

/// What does not get through.
#[derive(Debug, Clone, Copy)]
enum Cut {
    ToServer,
    FromServer,
    Both,
}

fn ip(arguments: &str) -> bool {
    let ended = Command::new("ip").args(arguments.split(' ')).output().expect("ip: ./dev setup");
    ended.status.success()
}

impl Isle {
    /// Nothing where we may not make one.
    fn new() -> Option<Self> {
        let id = uuid::Uuid::new_v4();
        let bytes = id.as_bytes();
        let name = format!("rc{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2]);
        let network = format!("10.{}.{}", 200 + bytes[0] % 50, bytes[1]);
        let last = bytes[2] & 0xfc;
        let (here, there) = (format!("{network}.{}", last + 1), format!("{network}.{}", last + 2));
        if !rustix::process::geteuid().is_root() || !ip(&format!("netns add {name}")) {
            eprintln!("skipped: only root can make a network, and not everywhere");
            return None;
        }
        let isle = Self { name, here };
        let Self { name, here } = &isle;
        for step in [
            format!("link add {name} type veth peer name cable netns {name}"),
            format!("address add {here}/30 dev {name}"),
            format!("link set {name} up"),
            format!("-netns {name} address add {there}/30 dev cable"),
            format!("-netns {name} link set cable up"),
            format!("-netns {name} link set lo up"),
        ] {
            assert!(ip(&step), "ip {step}");
        }
        Some(isle)
    }

    fn within(&self) -> Around {
        let program = ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec();
        Around { program, ..Around::default() }
    }

    fn filter(&self, arguments: &[&str]) {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name, "iptables"])
            .args(arguments)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        assert!(command.status().expect("iptables: ./dev setup").success());
    }

    fn cut(&self, cut: Cut) {
        let ways: &[&[&str]] = match cut {
            Cut::ToServer => &[&["OUTPUT", "-o"]],
            Cut::FromServer => &[&["INPUT", "-i"]],
            Cut::Both => &[&["OUTPUT", "-o"], &["INPUT", "-i"]],
        };
        for way in ways {
            self.filter(&["-A", way[0], way[1], "cable", "-j", "DROP"]);
        }
    }

    fn heal(&self) {
        self.filter(&["-F"]);
    }
}

impl Drop for Isle {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.name));
        ip(&format!("netns del {}", self.name));
    }
}

#[rstest]
fn who_is_cut_off_for_a_moment_goes_on(#[values(Cut::ToServer, Cut::FromServer, Cut::Both)] cut: Cut) {
    let Some(isle) = Isle::new() else { return };
    let job = unique();
    let mut site = Site::new(&ticking(&job, 40), crate::docker::Place::Sqlite);
    let server = site.server_at(&format!("{}:0", isle.here), &[]);
    site.around = isle.within();
    let _worker = site.worker(&server, &[]);
    let run = site.start(&server, &[]);
    site.until_job(&server, &run, &job, "running");
    isle.cut(cut);
    std::thread::sleep(Duration::from_secs(4));
    isle.heal();
    assert_ran(&site, &server, &run, &job, 1, 40);
}

#[rstest]
fn who_is_cut_off_for_long_ends_what_it_runs_before_another_has_it(
    #[values(Cut::ToServer, Cut::FromServer, Cut::Both)] cut: Cut,
) {
    let Some(isle) = Isle::new() else { return };
    let job = unique();
    let mut site = Site::new(&ticking(&job, 60), crate::docker::Place::Sqlite);
    let server = site.server_at(&format!("{}:0", isle.here), &["--stop-after", "4s", "--lost-after", "9s"]);
    site.around = isle.within();
    let _first = site.worker(&server, &[]);
    site.around = Around::default();
    let run = site.start(&server, &[]);
    site.until_job(&server, &run, &job, "running");
    eventually("the container runs", || running(&job).len() == 1);
    isle.cut(cut);
    let second = site.worker(&server, &[]);
    eventually("it is tried again", || {
        assert!(running(&job).len() <= 1, "two at once");
        site.job(&server, &run, &job)["attempts"] == 2
    });
    isle.heal();
    assert_ran(&site, &server, &run, &job, 2, 60);
    // And then it is there again.
    assert_eq!(second.stop(), Some(0));
    let run = site.start(&server, &[]);
    assert_ran(&site, &server, &run, &job, 1, 60);
}
