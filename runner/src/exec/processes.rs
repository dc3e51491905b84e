//! The processes below the runner: reaped wherever they came from, and none is left at the end.

use std::fs;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, set_child_subreaper, wait,
};

/// How long the end of killed processes is waited for; more is needed only where the kernel is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
}

/// Makes orphans below come to this process, which they do anyway where it is process 1.
pub fn adopt_orphans() {
    if getpid() != Pid::INIT {
        let _ = set_child_subreaper(Some(getpid()));
    }
}

/// Takes the ends of all processes that have ended.
pub fn reap() -> Vec<(Pid, End)> {
    let mut ended = Vec::new();
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => ended.extend(end(status).map(|end| (pid, end))),
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return ended,
        }
    }
}

fn end(status: WaitStatus) -> Option<End> {
    status.exit_status().map(End::Code).or_else(|| status.terminating_signal().map(End::Signal))
}

/// Sends a signal to all processes of a group; one that is gone already is fine.
pub fn signal_group(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
}

/// Kills every process below this one and waits for their end.
pub fn kill_all() {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if getpid() == Pid::INIT {
            // Process group 1 stands for -1 here: every process of the container but this one.
            let _ = kill_process_group(Pid::INIT, Signal::KILL);
        } else {
            for pid in children() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        match wait(WaitOptions::NOHANG) {
            Err(Errno::CHILD) => return,
            Ok(Some(_)) | Err(_) => {}
            Ok(None) if Instant::now() >= deadline => return,
            // A killed process takes a moment; its children become ours and need another round.
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The direct children, from /proc: what a kernel without `CONFIG_PROC_CHILDREN` has too.
fn children() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().get();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| parent(pid) == Some(own))
        .filter_map(Pid::from_raw)
        .collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, parentheses included.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    fields.nth(1)?.parse().ok()
}
