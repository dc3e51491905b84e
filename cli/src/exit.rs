//! How a command ends: every exit code there is, and the failure that picks one.

use std::process::ExitCode;

/// Every exit code of `reactorcide`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "a code is part of the interface before the command that gives it")]
pub enum Exit {
    /// Done, and nothing is wrong.
    Success = 0,
    /// The configuration is wrong, a job failed, or the command could not do its work.
    Failed = 1,
    /// With `--detailed-exitcode`: done, and there are changes.
    Changes = 2,
    /// The state moved since the plan was made.
    Moved = 3,
    /// Another apply holds the state.
    Held = 4,
    /// A protection forbids it, a finding is not accepted, or its acceptance has expired.
    NotAccepted = 5,
    /// The arguments make no sense.
    Usage = 64,
    /// Our own bug.
    Internal = 70,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened: one sentence, lower case, no full stop.
    pub message: String,
    /// What to do, where that is known.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), hint: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another exit code.
    #[must_use]
    #[allow(dead_code, reason = "commands that end in other codes use it")]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_documented() {
        let docs = include_str!("../../docs/exit-codes.md");
        let all = [
            Exit::Success,
            Exit::Failed,
            Exit::Changes,
            Exit::Moved,
            Exit::Held,
            Exit::NotAccepted,
            Exit::Usage,
            Exit::Internal,
            Exit::Interrupted,
        ];
        for exit in all {
            let code = exit as u8;
            assert!(docs.contains(&format!("\n## {code} ")), "docs/exit-codes.md has no part for {code}");
        }
        assert_eq!(docs.matches("\n## ").count(), all.len());
    }
}
