//! One step while it runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::delivery::Files;
use super::processes::{self, End};
use super::pump::Pump;
use crate::clock::Moment;

/// How long a stream must be silent, after the step's own process has ended, until whoever still holds it
/// open is no longer waited for.
const QUIET: Duration = Duration::from_millis(250);

/// How long, at most, the streams of an ended step keep it from being over. What comes later is still shown.
const DRAIN: Duration = Duration::from_secs(2);

/// How long a killed process may take to end before it is given up.
const STUCK: Duration = Duration::from_secs(10);

/// A step whose process was started.
pub struct Running {
    pub index: usize,
    pub outputs: Option<PathBuf>,
    pub pumps: [Pump; 2],
    /// Why it was told to end, if it was.
    pub cause: Option<Cause>,
    /// How its process ended, once it has.
    pub end: Option<End>,
    /// Its files with secrets, which go with it.
    _files: Option<Files>,
    begun: Instant,
    ended_at: Option<Instant>,
    pid: Pid,
    deadline: Option<Moment>,
    next: Option<(Next, Moment)>,
}

/// Why a step is ended by the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its own time is over.
    Timeout,
    /// The job is stopped.
    Stopped,
}

/// What follows if a step that was told to end does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Kill,
    GiveUp,
}

impl Running {
    pub fn new(
        index: usize,
        pid: Pid,
        pumps: [Pump; 2],
        outputs: Option<PathBuf>,
        files: Option<Files>,
        timeout: Option<Duration>,
    ) -> Self {
        let deadline = timeout.map(|timeout| Moment::now().after(timeout));
        let begun = Instant::now();
        Self {
            index,
            begun,
            ended_at: None,
            outputs,
            _files: files,
            pumps,
            cause: None,
            end: None,
            pid,
            deadline,
            next: None,
        }
    }

    pub fn is(&self, pid: Pid) -> bool {
        self.pid == pid && self.end.is_none()
    }

    /// Asks all processes of the step to end, and sees to it that they do.
    pub fn terminate(&mut self, cause: Cause, grace: Duration) {
        if self.cause.is_some() || self.end.is_some() {
            return;
        }
        self.cause = Some(cause);
        if grace.is_zero() {
            return self.kill();
        }
        processes::signal_group(self.pid, Signal::TERM);
        // A stopped process cannot answer.
        processes::signal_group(self.pid, Signal::CONT);
        self.next = Some((Next::Kill, Moment::now().after(grace)));
    }

    /// Kills all processes of the step.
    pub fn kill(&mut self) {
        if self.end.is_none() {
            processes::signal_group(self.pid, Signal::KILL);
            self.next = Some((Next::GiveUp, Moment::now().after(STUCK)));
        }
    }

    /// Its process has ended. Others of its group may go on, unless the step was told to end.
    pub fn ended(&mut self, end: End) {
        if self.cause.is_some() {
            processes::signal_group(self.pid, Signal::KILL);
        }
        self.ended_at = Some(Instant::now());
        (self.end, self.next, self.deadline) = (Some(end), None, None);
        self.pumps.iter_mut().for_each(Pump::look);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Moment, grace: Duration) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.terminate(Cause::Timeout, grace);
        }
        match self.next {
            Some((Next::Kill, at)) if at <= now => self.kill(),
            Some((Next::GiveUp, at)) if at <= now => self.ended(End::Signal(Signal::KILL.as_raw())),
            _ => {}
        }
    }

    /// How long its process ran.
    pub fn duration(&self) -> Duration {
        self.ended_at.unwrap_or_else(Instant::now).saturating_duration_since(self.begun)
    }

    /// When something is due.
    pub fn due(&self) -> Option<Moment> {
        self.deadline.into_iter().chain(self.next.map(|(_, at)| at)).min()
    }

    /// Whether it has ended and its output, as far as it can be waited for, was handed on.
    pub fn is_over(&mut self) -> bool {
        // Each stream is looked at, so that each counts its own quiet time.
        let quiet = self.pumps.each_mut().map(|pump| pump.quiet(QUIET));
        let drained = quiet == [true, true] || self.ended_at.is_some_and(|at| at.elapsed() >= DRAIN);
        self.end.is_some() && drained
    }
}
