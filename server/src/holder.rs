//! Who holds a lease, so that others can tell whether it is still there: a process of a machine.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// This process, as a text that others on this machine can hold against the processes there are.
pub fn this() -> String {
    let pid = std::process::id();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    match (machine(), started(pid)) {
        (Some(machine), Some(started)) => format!("process {pid} on {host} ({started} {machine})"),
        _ => format!("process {pid} on {host} ({})", uuid::Uuid::now_v7()),
    }
}

/// Whether a holder is certainly gone: a process of this very machine, since it was last started, that is there no more.
/// Of others nobody knows.
pub fn is_gone(holder: &str) -> bool {
    let parse = || {
        let (who, what) = holder.strip_prefix("process ")?.split_once(" (")?;
        let pid: u32 = who.split_once(' ')?.0.parse().ok()?;
        let (then, there) = what.strip_suffix(')')?.split_once(' ')?;
        Some((pid, then, there))
    };
    let Some((pid, then, there)) = parse() else { return false };
    machine().is_some_and(|here| here == there) && is_another(pid, then)
}

/// Whether the process that had this number then is certainly gone. What cannot be looked at may be there.
fn is_another(pid: u32, then: &str) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => began(&text).is_none_or(|now| now != then),
        Err(_) => test_kill_process(id) == Err(Errno::SRCH),
    }
}

/// This machine, since it was last started, and what of its processes can be seen from here.
fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// When a process began, in ticks since the machine was started.
fn started(pid: u32) -> Option<String> {
    began(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// When a process began, as the system tells of it. Nothing of what is only its remains.
fn began(text: &str) -> Option<String> {
    // The name may hold blanks and brackets; what follows the last bracket does not.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    Some((*fields.get(19)?).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_there_until_it_has_ended() {
        assert!(!is_gone(&this()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let now = started(child.id()).expect("it runs");
        let machine = machine().expect("a machine");
        let holder = format!("process {} on here ({now} {machine})", child.id());
        assert!(!is_gone(&holder));
        let another = format!("process {} on here (1 {machine})", child.id());
        assert!(is_gone(&another), "the number belongs to a later process");
        child.kill().expect("it runs");
        // Dead, and not yet waited for.
        while started(child.id()).is_some() {
            std::thread::yield_now();
        }
        assert!(is_gone(&holder));
        child.wait().expect("it ended");
        assert!(is_gone(&holder));
    }

    #[test]
    fn of_other_machines_nobody_knows() {
        for holder in ["", "somebody", "process 1 on there (1 another pid:[1])", "process x on there (1 2)"] {
            assert!(!is_gone(holder), "{holder}");
        }
    }
}
