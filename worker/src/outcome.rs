//! How an attempt ended: what the runner said and what was seen from outside, taken together. A function on values.

use std::collections::BTreeMap;

use reactorcide_engine::config::FailureReason;
use reactorcide_engine::protocol::frame::{JobOutcome, JobResult};
use reactorcide_engine::protocol::usage::Usage;
use reactorcide_engine::provider::{Exit, ProviderError};
use reactorcide_engine::scheduler::AttemptResult;
use serde_json::Value;

/// Everything that was seen of an attempt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// How the container ended, where it did.
    pub exit: Option<Exit>,
    /// What the runner said in the end.
    pub result: Option<JobResult>,
    /// What the runner handed on.
    pub outputs: BTreeMap<String, Value>,
    /// Why we stopped it, where we did.
    pub stopped: Option<Stopped>,
    /// What the provider said, where it failed.
    pub error: Option<ProviderError>,
    /// Whether the container was started.
    pub started: bool,
    /// Whether the image runs untouched, so that no runner can say anything.
    pub bare: bool,
    /// Whether an earlier worker started it.
    pub adopted: bool,
    /// Its `timeout` in words, for the message.
    pub timeout: Option<String>,
    /// Its limit of memory in words.
    pub memory: Option<String>,
    /// What it used, where that was seen.
    pub usage: Option<Usage>,
}

/// What is said of an attempt whose lease could not be kept.
pub const NOT_KEPT: &str = "its worker could not reach the coordinator for too long, and ended it";

/// What is said of an attempt that ended itself, since it heard nothing of its worker.
const NOT_HEARD: &str = "it did not hear of its worker for too long, and ended itself";

/// The exit code of a runner whose lease nobody kept.
const RUNNER_LOST: i64 = 75;
/// The exit code of a runner that got no job.
const RUNNER_USAGE: i64 = 64;
/// The exit code of what was killed by SIGKILL.
pub const KILLED: i64 = 137;
/// The exit code of what was ended by SIGTERM.
pub const TERMINATED: i64 = 143;

/// Why we stopped an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// Somebody wanted it.
    Cancelled,
    /// Its lease could not be kept: somebody else may have it by now.
    NotKept,
    /// It took too long.
    Timeout,
    /// It used more disk than it may: so much, of so much.
    Disk(String, String),
}

/// The result of an attempt.
pub fn conclude(observed: Observed) -> AttemptResult {
    let exit_code = observed
        .result
        .as_ref()
        .and_then(|result| result.exit_code)
        .or_else(|| observed.exit.and_then(|exit| i32::try_from(exit.code).ok()));
    let (failure, message) = verdict(&observed, exit_code);
    // What a failed attempt handed on is dropped: its next attempt hands on its own.
    let outputs = if failure.is_none() { observed.outputs } else { BTreeMap::new() };
    // There is no such image, or we may not have it: another try would find the same.
    let permanent = matches!(&observed.error, Some(ProviderError::Image { transient: false, .. }));
    let (started, usage) = (observed.started, observed.usage.map(Box::new));
    AttemptResult { failure, exit_code, message, outputs, started, permanent, usage }
}

fn verdict(observed: &Observed, exit_code: Option<i32>) -> (Option<FailureReason>, Option<String>) {
    let failed = |reason: FailureReason, message: String| (Some(reason), Some(message));
    let succeeded = matches!(&observed.result, Some(JobResult { outcome: JobOutcome::Succeeded, .. }))
        || (observed.bare && observed.exit.is_some_and(|exit| exit.code == 0) && observed.error.is_none());
    let oom = observed.exit.is_some_and(|exit| exit.oom);
    if succeeded && observed.stopped.is_none() {
        let warning = oom.then(|| {
            "it succeeded, although the kernel killed one of its processes for lack of memory".to_owned()
        });
        return (None, warning);
    }
    match &observed.stopped {
        Some(Stopped::Cancelled) => return failed(FailureReason::Cancelled, "it was cancelled".to_owned()),
        Some(Stopped::NotKept) => return failed(FailureReason::LostWorker, NOT_KEPT.to_owned()),
        Some(Stopped::Timeout) => return failed(FailureReason::Timeout, timeout_words(observed)),
        Some(Stopped::Disk(used, limit)) => {
            return failed(FailureReason::NoSpace, format!("it used {used} of disk, more than {limit}"));
        }
        None => {}
    }
    if let Some(message) = lost(observed) {
        return failed(FailureReason::LostWorker, message.to_owned());
    }
    if let Some(error) = &observed.error {
        return failed(reason_of(error), error.to_string());
    }
    let says_oom = |result: &JobResult| result.outcome == JobOutcome::Oom;
    if oom || observed.result.as_ref().is_some_and(says_oom) {
        let limit = observed.memory.as_ref().map_or(String::new(), |limit| format!(" of {limit}"));
        return failed(FailureReason::Oom, format!("it used more memory than its limit{limit}"));
    }
    if let Some(result) = &observed.result {
        let words = result.reason.clone();
        return match result.outcome {
            // Told apart above; a container that was stopped meanwhile did not end well.
            JobOutcome::Succeeded | JobOutcome::Oom | JobOutcome::LostWorker => (None, None),
            JobOutcome::Exit => failed(FailureReason::Exit, words.unwrap_or_else(|| exit_words(exit_code))),
            JobOutcome::Timeout => {
                failed(FailureReason::Timeout, words.unwrap_or_else(|| timeout_words(observed)))
            }
            JobOutcome::Cancelled => {
                failed(FailureReason::Cancelled, words.unwrap_or_else(|| "it was cancelled".to_owned()))
            }
            JobOutcome::Config => {
                failed(FailureReason::Config, words.unwrap_or_else(|| "it cannot be run".to_owned()))
            }
            JobOutcome::NoSpace => {
                failed(FailureReason::NoSpace, words.unwrap_or_else(|| "no space was left".to_owned()))
            }
        };
    }
    match (observed.bare, observed.exit) {
        (true, Some(_)) => failed(FailureReason::Exit, exit_words(exit_code)),
        (false, Some(exit)) => failed(
            FailureReason::RunnerDied,
            format!("the runner ended with code {} and without a result", exit.code),
        ),
        (_, None) => failed(FailureReason::Provider, "the container ended in an unknown way".to_owned()),
    }
}

/// How a container ended whose runner could not say so, for a reason that has nothing to do with its job.
fn lost(observed: &Observed) -> Option<&'static str> {
    let code = observed.exit.filter(|exit| !exit.oom).map(|exit| exit.code);
    match (&observed.result, &observed.error, code) {
        (Some(JobResult { outcome: JobOutcome::LostWorker, .. }), ..) => Some(NOT_HEARD),
        (Some(_), ..) => None,
        _ if !observed.bare && code == Some(RUNNER_LOST) => Some(NOT_HEARD),
        _ if !observed.adopted => None,
        (_, Some(ProviderError::Missing(_)), _) => Some("its container was gone when its worker came back"),
        (_, _, Some(KILLED)) => Some("it was killed while its worker was away"),
        (_, _, Some(RUNNER_USAGE)) if !observed.bare => {
            Some("its worker was killed before it could give it its job")
        }
        _ => None,
    }
}

fn exit_words(code: Option<i32>) -> String {
    code.map_or_else(|| "it failed".to_owned(), |code| format!("it exited with code {code}"))
}

fn timeout_words(observed: &Observed) -> String {
    observed
        .timeout
        .as_ref()
        .map_or_else(|| "it took too long".to_owned(), |limit| format!("it took longer than {limit}"))
}

fn reason_of(error: &ProviderError) -> FailureReason {
    match error {
        ProviderError::Image { .. } => FailureReason::ImagePull,
        ProviderError::Refused { .. } => FailureReason::Config,
        ProviderError::NoSpace { .. } => FailureReason::NoSpace,
        ProviderError::Missing(_) => FailureReason::Evicted,
        ProviderError::Unreachable { .. } | ProviderError::Engine { .. } => FailureReason::Provider,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i64, oom: bool) -> Option<Exit> {
        Some(Exit { code, oom })
    }

    fn said(outcome: JobOutcome, exit_code: i32) -> Option<JobResult> {
        Some(JobResult { outcome, exit_code: Some(exit_code), reason: None })
    }

    fn ended(observed: Observed) -> Option<FailureReason> {
        conclude(Observed { started: true, ..observed }).failure
    }

    #[test]
    fn the_runner_says_how_a_job_ended() {
        for (outcome, reason) in [
            (JobOutcome::Succeeded, None),
            (JobOutcome::Exit, Some(FailureReason::Exit)),
            (JobOutcome::Timeout, Some(FailureReason::Timeout)),
            (JobOutcome::Config, Some(FailureReason::Config)),
            (JobOutcome::Cancelled, Some(FailureReason::Cancelled)),
            (JobOutcome::NoSpace, Some(FailureReason::NoSpace)),
        ] {
            assert_eq!(
                ended(Observed { exit: exit(1, false), result: said(outcome, 1), ..Observed::default() }),
                reason
            );
        }
    }

    #[test]
    fn what_is_seen_from_outside_has_the_last_word() {
        let observed = |code, oom, result| Observed { exit: exit(code, oom), result, ..Observed::default() };
        assert_eq!(ended(observed(137, false, None)), Some(FailureReason::RunnerDied));
        assert_eq!(ended(observed(137, true, None)), Some(FailureReason::Oom));
        assert_eq!(ended(observed(137, true, said(JobOutcome::Exit, 137))), Some(FailureReason::Oom));
        assert_eq!(ended(observed(1, false, said(JobOutcome::Oom, 1))), Some(FailureReason::Oom));
        let fine = conclude(observed(0, true, said(JobOutcome::Succeeded, 0)));
        assert_eq!(fine.failure, None);
        assert!(fine.message.expect("a warning").contains("lack of memory"));
    }

    #[test]
    fn what_we_stopped_is_not_its_own_failure() {
        for (stopped, reason) in [
            (Stopped::Cancelled, FailureReason::Cancelled),
            (Stopped::Timeout, FailureReason::Timeout),
            (Stopped::NotKept, FailureReason::LostWorker),
            (Stopped::Disk("2Gi".into(), "1Gi".into()), FailureReason::NoSpace),
        ] {
            let result = said(JobOutcome::Cancelled, 143);
            let observed =
                Observed { exit: exit(143, false), result, stopped: Some(stopped), ..Observed::default() };
            assert_eq!(ended(observed), Some(reason));
        }
    }

    #[test]
    fn an_untouched_image_has_only_its_exit_code() {
        let bare = |code| Observed { bare: true, exit: exit(code, false), ..Observed::default() };
        assert_eq!(ended(bare(0)), None);
        let failed = conclude(bare(3));
        assert_eq!((failed.failure, failed.exit_code), (Some(FailureReason::Exit), Some(3)));
    }

    #[test]
    fn a_failed_engine_is_named_by_its_failure() {
        let error = |error| Observed { error: Some(error), ..Observed::default() };
        let image = ProviderError::Image { image: "x".into(), reason: "no".into(), transient: false };
        let missing = conclude(error(image));
        assert_eq!((missing.failure, missing.permanent), (Some(FailureReason::ImagePull), true));
        assert_eq!(ended(error(ProviderError::Refused { reason: "no".into() })), Some(FailureReason::Config));
        assert_eq!(
            ended(error(ProviderError::NoSpace { reason: "no".into() })),
            Some(FailureReason::NoSpace)
        );
        assert_eq!(ended(error(ProviderError::Missing("c".into()))), Some(FailureReason::Evicted));
    }
}
