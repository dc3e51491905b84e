//! People cancel runs while these start, while they end, and while their worker is lost: many at once on the real engine,
//! in containers that waited. A dozen rounds, or as many as there are in a minute and a half with `./dev test --all`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{assert_settled, is_long, unique};
use crate::docker::{Place, signal};
use crate::server::harness::{BUSYBOX, Process, Serving, Site};

/// How many go on at once.
const LANES: usize = 6;
/// The longest that one waits before a cancel; a run takes less, mostly.
const LONGEST: u64 = 1_500;

/// What came of one round.
#[derive(Debug)]
struct Round {
    run: String,
    /// Whether a server said that it took a cancel.
    cancelled: bool,
    status: String,
}

/// Until when there are more rounds.
enum Until {
    Count(usize),
    Time(Instant),
}

impl Until {
    fn is_over(&self, begun: usize) -> bool {
        match self {
            Self::Count(count) => begun >= *count,
            Self::Time(time) => Instant::now() >= *time,
        }
    }
}

/// How a worker is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// It is killed, and goes on with what it left.
    Process,
    /// The same, and its containers are gone.
    Machine,
    /// It stands still until its leases are over.
    Frozen,
}

/// Two jobs, one after the other, of a pool in which containers wait.
fn configuration(name: &str) -> String {
    let job = format!(
        "image: '{BUSYBOX}', command: 'echo begun; sleep 0.1; echo ended', grace: 1s, \
         retry: {{max: 9, on: [lost_worker], delay: 10ms}}"
    );
    format!(
        "apiVersion: reactorcide/v1\nkind: Project\nmetadata: {{name: p}}\nspec: {{}}\n---\n\
         apiVersion: reactorcide/v1\nkind: WorkerPool\nmetadata: {{name: warm}}\n\
         spec: {{standby: [{{image: '{BUSYBOX}', min: 3, max: 6}}]}}\n---\n\
         apiVersion: reactorcide/v1\nkind: Pipeline\nmetadata: {{name: ci, project: p}}\nspec:\n  jobs:\n\
         \x20   {name}: {{{job}}}\n    then: {{{job}, depends_on: [{name}]}}\n"
    )
}

/// One run that is started, cancelled at some moment or not at all, and followed to its end.
fn round(site: &Site, url: &str) -> Round {
    let (status, run) = site.api(url, "POST", "/runs", r#"{"pipeline": "p/ci"}"#);
    assert_eq!(status, 201, "{run}");
    let run = run["id"].as_str().expect("an id").to_owned();
    let mut cancelled = false;
    // One of eight is left alone; every other moment is as likely, and the first ones more so.
    if fastrand::u8(..8) > 0 {
        let longest = if fastrand::bool() { LONGEST / 5 } else { LONGEST };
        std::thread::sleep(Duration::from_millis(fastrand::u64(..longest)));
        let body = if fastrand::u8(..3) == 0 { r#"{"force": true}"# } else { "{}" };
        // Impatient people say it twice.
        for _ in 0..fastrand::u8(1..=2) {
            let (status, said) = site.api(url, "POST", &format!("/runs/{run}/cancel"), body);
            assert!(matches!(status, 204 | 409), "{status}: {said}");
            cancelled |= status == 204;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let (_, shown) = site.api(url, "GET", &format!("/runs/{run}"), "");
        if let Some(status @ ("succeeded" | "failed" | "cancelled")) = shown["status"].as_str() {
            return Round { run, cancelled, status: status.to_owned() };
        }
        assert!(Instant::now() < deadline, "it never ends: {shown}");
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// Loses the worker, and sees that there is one again.
fn lose(site: &Site, server: &Serving, token: &str, worker: Process, loss: Loss) -> Process {
    match loss {
        Loss::Process | Loss::Machine => {
            worker.kill();
            if let Loss::Machine = loss {
                site.remove_containers();
            }
            site.worker_with(server, token, &OPTIONS)
        }
        Loss::Frozen => {
            signal(&worker.child, "STOP");
            std::thread::sleep(Duration::from_secs(11));
            signal(&worker.child, "CONT");
            worker
        }
    }
}

const OPTIONS: [&str; 4] = ["--slots", "4", "--pool", "warm"];

#[test]
fn a_cancel_at_any_moment_ends_a_run_once() {
    let name = unique();
    let mut site = Site::with_files(&[(".reactorcide/ci.yaml", &configuration(&name))], Place::Sqlite);
    let server = site.server(&["--stop-after", "2s", "--lost-after", "5s"]);
    let token = site.worker_token();
    let mut worker = Some(site.worker_with(&server, &token, &OPTIONS));
    let (until, losses, pause) = if is_long() {
        let until = Until::Time(Instant::now() + Duration::from_secs(45));
        (until, [Loss::Process, Loss::Machine, Loss::Frozen].repeat(2), Duration::from_secs(4))
    } else {
        (Until::Count(24), vec![Loss::Machine], Duration::from_secs(1))
    };
    let (begun, rounds) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let url = server.url.as_str();
    let lane = || {
        while !until.is_over(begun.fetch_add(1, Ordering::Relaxed)) {
            let round = round(&site, url);
            rounds.lock().expect("no panic").push(round);
        }
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        for loss in losses {
            std::thread::sleep(pause);
            worker = worker.take().map(|worker| lose(&site, &server, &token, worker, loss));
        }
        for lane in lanes {
            lane.join().expect("all rounds are well");
        }
    });
    let rounds = rounds.into_inner().expect("no panic");
    let of = |status: &str| rounds.iter().filter(|round| round.status == status).count();
    eprintln!("{} rounds: {} cancelled, {} succeeded", rounds.len(), of("cancelled"), of("succeeded"));
    assert_eq!(of("failed"), 0, "{rounds:#?}");
    for round in rounds.iter().filter(|round| round.status == "succeeded") {
        for job in [&name, "then"] {
            let log = site.say(&server, &["jobs", "logs", &round.run, job]);
            assert_eq!(log, "begun\nended\n", "{round:?}");
        }
    }
    let left_alone = rounds.iter().filter(|round| !round.cancelled);
    for round in left_alone {
        assert_eq!(round.status, "succeeded", "nobody cancelled it: {round:?}");
    }
    assert_eq!(worker.and_then(Process::stop), Some(0));
    let runs: Vec<String> = rounds.into_iter().map(|round| round.run).collect();
    assert_settled(&site, &server, &runs);
}
