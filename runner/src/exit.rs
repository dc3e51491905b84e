//! Exit codes. A worker reads the result frame; the code is for people and for `docker inspect`.

use reactorcide_protocol::frame::{JobOutcome, JobResult};

/// Bad arguments, or a spec that cannot be read (EX_USAGE).
pub const USAGE: u8 = 64;
/// There is nobody to talk to (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// The runner refused a request (EX_NOPERM).
pub const REFUSED: u8 = 77;
/// The job cannot be run as it is configured (EX_CONFIG).
pub const CONFIG: u8 = 78;
/// Out of time, as `timeout` has it.
pub const TIMEOUT: u8 = 124;
/// Nobody kept the lease (EX_TEMPFAIL): another try may help.
pub const LOST: u8 = 75;
/// Stopped: 128 + SIGTERM.
pub const CANCELLED: u8 = 143;

/// The code for a result.
pub fn code(result: &JobResult) -> u8 {
    let from_step = result.exit_code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    match result.outcome {
        JobOutcome::Succeeded => 0,
        JobOutcome::Exit | JobOutcome::NoSpace | JobOutcome::Oom => from_step.unwrap_or(1),
        JobOutcome::Timeout => TIMEOUT,
        JobOutcome::Cancelled => CANCELLED,
        JobOutcome::LostWorker => LOST,
        JobOutcome::Config => CONFIG,
    }
}
