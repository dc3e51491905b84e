//! A server, or a worker, that is killed at one of its writes and started again. At more of them with `./dev test --all`.

use std::net::TcpListener;

use rstest::rstest;

use super::unique;
use crate::docker::{Place, eventually, running};
use crate::server::harness::{Around, BUSYBOX, Process, Site};

const LINES: u32 = 15;

/// Whoever is started within this is killed at the `number`th of these system calls of any of its threads.
fn killed_at(calls: &str, number: usize) -> Around {
    let program = ["strace", "-f", "-qq", "-o", "/dev/null"].map(str::to_owned);
    let fault = [format!("--trace={calls}"), format!("--inject={calls}:signal=KILL:when={number}")];
    Around { program: program.into_iter().chain(fault).collect(), ..Around::default() }
}

fn numbers() -> Vec<usize> {
    if std::env::var_os("REACTORCIDE_LONG_TESTS").is_some() {
        (1..120).step_by(4).collect()
    } else {
        vec![1, 4, 9, 17, 34]
    }
}

fn job(name: &str) -> String {
    format!(
        "    {name}: {{image: '{BUSYBOX}', command: 'i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); sleep 0.05; done'}}\n"
    )
}

fn lines() -> String {
    (0..LINES).map(|n| format!("line {n}\n")).collect()
}

/// An address that is free.
fn address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    listener.local_addr().expect("it has one").to_string()
}

/// Waits until a process was killed or has done its part, and ends what is left of it.
fn until_killed(doomed: &mut Process, mut done: impl FnMut() -> bool) {
    eventually("it was killed, or has done its part", || doomed.has_ended() || done());
    doomed.end();
}

#[rstest]
#[case::pages_of_sqlite(Place::Sqlite, "pwrite64")]
#[case::whatever_it_sends(Place::Postgres, "sendto,write,writev")]
fn a_server_that_is_killed_at_a_write_accepts_an_event_once(#[case] place: Place, #[case] calls: &str) {
    let (name, address) = (unique(), address());
    let mut site = Site::new(&job(&name), place);
    let mut server = site.server_at(&address, &[]);
    let _worker = site.worker(&server, &[]);
    for number in numbers() {
        server.process.kill();
        site.around = killed_at(calls, number);
        let mut doomed = site.server_starting(&address, &[]);
        site.around = Around::default();
        // Somebody who wants a run asks until that is accepted.
        let (key, mut said) = (format!("{name}-{number}"), None);
        let url = doomed.url.clone();
        until_killed(&mut doomed.process, || {
            said = said.take().or_else(|| site.start_once(&url, &key));
            said.as_ref()
                .is_some_and(|run| site.ask_at(&url, &["runs", "show", run]).stdout.contains("succeeded"))
        });
        server = site.server_at(&address, &[]);
        let run = site.start_once(&server.url, &key).expect("all is well again");
        assert!(said.is_none_or(|said| said == run), "{number}: what was accepted is there");
        site.until(&server, &run, "succeeded");
        assert_eq!(site.job(&server, &run, &name)["attempts"], 1, "{number}");
        assert_eq!(site.say(&server, &["jobs", "logs", &run, &name]), lines(), "{number}");
    }
    let runs = site.say(&server, &["runs", "list", "--limit", "100", "--json"]);
    assert_eq!(runs.lines().count(), numbers().len(), "one run for each key");
    eventually("nothing is left", || running(&name).is_empty());
}

#[rstest]
#[case::whatever_it_sends("sendto,write,writev")]
#[case::files_that_it_makes("openat,renameat,renameat2,rename,unlink,mkdir")]
fn a_worker_that_is_killed_at_a_write_is_followed_by_one_that_goes_on(#[case] calls: &str) {
    let name = unique();
    let mut site = Site::new(&job(&name), Place::Sqlite);
    let server = site.server(&[]);
    let token = site.worker_token();
    for number in numbers() {
        // Those that load its libraries come first.
        let number = if calls.starts_with("openat") { number + 20 } else { number };
        site.around = killed_at(calls, number);
        let mut doomed = site.worker_starting(&server, &token, &[]);
        site.around = Around::default();
        let run = site.start(&server, &[]);
        until_killed(&mut doomed, || site.run(&server, &run)["status"] == "succeeded");
        let next = site.worker_with(&server, &token, &[]);
        site.until(&server, &run, "succeeded");
        let log = site.say(&server, &["jobs", "logs", &run, &name]);
        assert!(log == lines() || log.contains("missing"), "{number}: {log}");
        eventually("nothing is left", || running(&name).is_empty());
        assert_eq!(next.stop(), Some(0));
    }
}
